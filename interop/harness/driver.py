"""Runs inside a server's namespace and holds its slixmpp clients; obeys the harness over pipes, one JSON object a line.

In: {"call": N, "client": NAME, "do": ACTION, ...}. Out: {"call": N, "error": null or text} for each call, and
{"client": NAME, "stanza": XML} for each stanza that arrives. This file runs in the virtual environment that has
slixmpp, so it imports nothing of the harness.
"""

import asyncio
import json
import logging
import ssl
import sys
from pathlib import Path
from xml.etree import ElementTree

from slixmpp import ClientXMPP, ComponentXMPP


def say(**fields: object) -> None:
    """Sends one line to the harness."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class Client(ClientXMPP):
    """A slixmpp client that verifies certificates, does nothing on its own and reports what arrives."""

    def __init__(self, name: str, jid: str, password: str, trust: Path):
        # A context of our own, because slixmpp's trusts the system's authorities as well.
        super().__init__(jid, password, ssl_context=ssl.create_default_context(cafile=trust))
        self.name = name
        self.use_ipv6 = False
        self.auto_authorize = None
        self.auto_subscribe = False
        self.outcome = asyncio.get_running_loop().create_future()
        self.add_filter("in", self.report)
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("failed_all_auth", lambda _: self.give_up("authentication failed"))
        self.add_event_handler("ssl_invalid_chain", lambda error: self.give_up(f"certificate refused: {error}"))
        self.add_event_handler("connection_failed", lambda error: self.give_up(f"connection failed: {error}"))
        self.add_event_handler("stream_error", lambda error: self.give_up(f"stream error: {error}"))
        self.add_event_handler("disconnected", lambda reason: self.give_up(f"disconnected: {reason}"))

    def report(self, stanza):
        """Passes each incoming stanza on to the harness."""
        xml = getattr(stanza, "xml", None)
        if xml is not None and xml.tag.startswith("{jabber:client}"):
            say(client=self.name, stanza=ElementTree.tostring(xml, encoding="unicode"))
        return stanza

    def started(self, _event) -> None:
        """The resource is bound."""
        if not self.outcome.done():
            self.outcome.set_result(None)

    def give_up(self, reason: str) -> None:
        """Ends the waiting for the session; after it began, only tells the harness that it ended."""
        if not self.outcome.done():
            self.cancel_connection_attempt()
            self.outcome.set_exception(ConnectionError(reason))
        else:
            say(client=self.name, ended=reason)


class Component(ComponentXMPP):
    """A slixmpp component that says what it is (XEP-0030) and reports what arrives."""

    def __init__(self, name: str, jid: str, secret: str, port: int):
        super().__init__(jid, secret, "127.0.0.1", port)
        self.name = name
        self.use_ipv6 = False
        self.outcome = asyncio.get_running_loop().create_future()
        self.register_plugin("xep_0030")
        self["xep_0030"].add_identity(category="component", itype="generic", name="a component of slixmpp")
        self.add_filter("in", self.report)
        self.add_event_handler("session_start", lambda _: self.outcome.done() or self.outcome.set_result(None))
        self.add_event_handler("connection_failed", lambda error: self.give_up(f"connection failed: {error}"))
        self.add_event_handler("stream_error", lambda error: self.give_up(f"stream error: {error['condition']}"))
        self.add_event_handler("disconnected", lambda reason: self.give_up(f"disconnected: {reason}"))

    def report(self, stanza):
        """Passes each incoming stanza on to the harness, in the namespace of clients."""
        xml = getattr(stanza, "xml", None)
        if xml is not None and xml.tag.startswith("{jabber:component:accept}"):
            text = ElementTree.tostring(xml, encoding="unicode").replace("jabber:component:accept", "jabber:client")
            say(client=self.name, stanza=text)
        return stanza

    def give_up(self, reason: str) -> None:
        """Ends the waiting for the handshake; after it, only tells the harness that the stream ended."""
        if not self.outcome.done():
            self.cancel_connection_attempt()
            self.outcome.set_exception(ConnectionError(reason))
        else:
            say(client=self.name, ended=reason)


class Driver:
    """The clients of one namespace and the actions on them."""

    def __init__(self) -> None:
        self.clients: dict[str, Client | Component] = {}

    async def login(self, client: str, jid: str, password: str, within: float, trust: str) -> str:
        """Connects by SRV, verifies the certificate, authenticates and binds; returns the full JID."""
        it = Client(client, jid, password, Path(trust))
        self.clients[client] = it
        it.connect()
        try:
            await asyncio.wait_for(it.outcome, within)
        except BaseException:
            it.abort()
            raise
        return it.boundjid.full

    async def component(self, client: str, jid: str, secret: str, port: int, within: float) -> None:
        """Connects on this machine and proves to be a component."""
        it = Component(client, jid, secret, port)
        self.clients[client] = it
        it.connect()
        try:
            await asyncio.wait_for(it.outcome, within)
        except BaseException:
            it.abort()
            raise

    async def logout(self, client: str) -> None:
        """Closes the stream and waits for the server to close its side."""
        it = self.clients.pop(client)
        if it.is_connected():
            await it.disconnect(wait=5.0)

    async def message(self, client: str, to: str, body: str) -> None:
        """Sends a chat message."""
        self.clients[client].send_message(mto=to, mbody=body, mtype="chat")

    async def presence(self, client: str, **fields: str) -> None:
        """Sends presence; fields are slixmpp's: pto, ptype, pshow, pstatus."""
        self.clients[client].send_presence(**fields)

    async def roster(self, client: str, jid: str, name: str) -> None:
        """Puts a contact into the roster and waits for the server's answer."""
        await self.clients[client].update_roster(jid, name=name, timeout=15)

    async def fetch_roster(self, client: str) -> None:
        """Asks for the roster, which makes this an interested resource."""
        await self.clients[client].get_roster(timeout=15)

    async def forget(self, client: str, jid: str) -> None:
        """Removes a contact from the roster."""
        await self.clients[client].del_roster_item(jid)

    async def raw(self, client: str, xml: str) -> None:
        """Sends XML as it stands."""
        self.clients[client].send_raw(xml)

    async def obey(self, line: str) -> None:
        """Carries one call out and answers it."""
        call = json.loads(line)
        number, action = call.pop("call"), call.pop("do")
        try:
            value = await getattr(self, action)(**call)
        except Exception as error:
            say(call=number, error=f"{type(error).__name__}: {error}")
        else:
            say(call=number, error=None, value=value)


async def main() -> None:
    """Obeys until the pipe is closed."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    driver = Driver()
    say(ready=True)
    calls = set()
    while line := await commands.readline():
        task = asyncio.create_task(driver.obey(line.decode()))
        calls.add(task)
        task.add_done_callback(calls.discard)


asyncio.run(main())
