"""The harness's side of the clients: calls to the driver process, and the inbox of each client."""

import asyncio
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from harness.failure import CaseFailed, HarnessBroken
from harness.network import Namespace
from peers.server import COMPONENT_PORT

DRIVER = Path(__file__).with_name("driver.py")
# What a server may take for anything that needs no new connection to another server, on a busy machine.
PATIENCE = 20.0


class Expected:
    """A stanza that a case waits for: a test and the words for the message when it does not come."""

    def __init__(self, words: str, test: Callable[[ElementTree.Element], bool]):
        self.words = words
        self.test = test


class Client:
    """One logged-in client, seen from the harness."""

    def __init__(self, driver: "Driver", name: str, bare: str, password: str):
        self._driver = driver
        self.name = name
        self.bare = bare
        self.password = password
        self.full = bare
        #: Whether the server shows it its own presence, as RFC 6121 section 4.2.2 has it.
        self.hears_itself = True
        self.inbox: list[ElementTree.Element] = []
        self.ended: str | None = None
        self.news = asyncio.Condition()

    async def login(self, trust: Path | None = None) -> None:
        """Logs in; the certificate is verified against the authority that clients here trust, or against `trust`."""
        self.inbox.clear()
        self.ended = None
        value = await self._driver.call(
            "login", client=self.name, jid=self.bare, password=self.password, within=PATIENCE,
            trust=str(trust or self._driver.trust),
        )
        self.full = value

    async def online(self) -> "Client":
        """Logs in, fetches the roster and sends initial presence; done when the server has shown it back, or has
        answered what came behind it."""
        await self.login()
        await self._do("fetch_roster")
        await self.presence()
        if not self.hears_itself:
            await self.settle(self.bare.split("@")[1])
            return self
        await self.expect(Expected("its own initial presence", lambda stanza: stanza.get("from") == self.full
                                   and stanza.tag == "{jabber:client}presence"))
        return self

    async def logout(self) -> None:
        """Ends the session in the polite way."""
        await self._do("logout")

    async def message(self, to: str, body: str) -> None:
        """Sends a chat message."""
        await self._do("message", to=to, body=body)

    async def presence(self, **fields: str) -> None:
        """Sends presence."""
        await self._do("presence", **fields)

    async def add_contact(self, jid: str) -> None:
        """Puts a contact into the roster."""
        await self._do("roster", jid=jid, name="a friend")

    async def remove_contact(self, jid: str) -> None:
        """Removes a contact, and with it both subscriptions."""
        await self._do("forget", jid=jid)

    async def raw(self, xml: str) -> None:
        """Sends XML as it stands."""
        await self._do("raw", xml=xml)

    async def expect(self, expected: Expected, within: float = PATIENCE) -> ElementTree.Element:
        """Takes the first matching stanza out of the inbox, waiting for it if it is not there yet."""

        async def wait() -> ElementTree.Element:
            async with self.news:
                while True:
                    for position, stanza in enumerate(self.inbox):
                        if expected.test(stanza):
                            return self.inbox.pop(position)
                    if self.ended:
                        raise CaseFailed(f"{self.bare}'s session ended ({self.ended}) before {expected.words} came")
                    await self.news.wait()

        try:
            return await asyncio.wait_for(wait(), within)
        except asyncio.TimeoutError:
            raise CaseFailed(
                f"{self.bare} did not get {expected.words} within {within:g} s; unread: {self.unread()}"
            ) from None

    def refuse(self, expected: Expected) -> None:
        """Fails if such a stanza has arrived."""
        if any(expected.test(stanza) for stanza in self.inbox):
            raise CaseFailed(f"{self.bare} got {expected.words}, which must not happen")

    def forget_unread(self) -> None:
        """Drops what has arrived so far, so that only something new can satisfy the case."""
        self.inbox.clear()

    def unread(self) -> str:
        """The last unread stanzas, for a message about a failure."""
        return " ".join(ElementTree.tostring(stanza, encoding="unicode") for stanza in self.inbox[-3:]) or "nothing"

    async def settle(self, domain: str) -> None:
        """Waits until everything sent to `domain` so far was handled there: a request after it is answered in order."""
        identity = f"settle-{next(self._driver.numbers)}"
        await self.raw(
            f"<iq type='get' id='{identity}' to='{domain}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        )
        await self.expect(
            Expected(f"an answer from {domain}", lambda stanza: stanza.get("id") == identity), within=PATIENCE
        )

    async def _do(self, action: str, **fields: object) -> object:
        return await self._driver.call(action, client=self.name, **fields)


class Component(Client):
    """A component (XEP-0114), seen from the harness; `bare` is its domain."""

    async def connect(self) -> None:
        """Connects and proves to be the component."""
        self.inbox.clear()
        self.ended = None
        await self._driver.call(
            "component", client=self.name, jid=self.bare, secret=self.password, port=COMPONENT_PORT, within=PATIENCE
        )

    async def say(self, sender: str, to: str, body: str) -> None:
        """Sends a chat message from any address of its domain."""
        addresses = f"from={quoteattr(sender)} to={quoteattr(to)}"
        await self.raw(f"<message type='chat' {addresses}><body>{escape(body)}</body></message>")


class Driver:
    """The process inside a namespace that holds the slixmpp clients."""

    def __init__(self, child: asyncio.subprocess.Process, trust: Path):
        self._child = child
        self.trust = trust
        self.numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future] = {}
        self._clients: dict[str, Client] = {}
        self._ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, namespace: Namespace, python: Path, log: Path, trust: Path) -> "Driver":
        """Starts the process and waits until it listens."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            child = await asyncio.create_subprocess_exec(
                *namespace.command([str(python), str(DRIVER)]),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
                start_new_session=True, limit=1 << 24,
                env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            )
        driver = cls(child, trust)
        try:
            await asyncio.wait_for(driver._ready, 60)
        except asyncio.TimeoutError:
            await driver.stop()
            raise HarnessBroken(f"the client process did not start; its log: {log}") from None
        return driver

    def client(self, bare: str, password: str) -> Client:
        """A new client that has not logged in yet."""
        client = Client(self, f"{bare}#{next(self.numbers)}", bare, password)
        self._clients[client.name] = client
        return client

    def component(self, domain: str, secret: str) -> Component:
        """A new component that has not connected yet."""
        component = Component(self, f"{domain}#{next(self.numbers)}", domain, secret)
        self._clients[component.name] = component
        return component

    async def call(self, action: str, **fields: object) -> object:
        """Has the process do something and waits for the answer."""
        number = next(self.numbers)
        answer = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        self._child.stdin.write(json.dumps({"call": number, "do": action, **fields}).encode() + b"\n")
        try:
            return await asyncio.wait_for(answer, PATIENCE + 10)
        except asyncio.TimeoutError:
            raise CaseFailed(f"{action} by {fields.get('client')} was not done in time") from None

    async def log_everybody_out(self) -> None:
        """Ends the sessions that a case left open."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            try:
                await client.logout()
            except CaseFailed:
                pass

    async def stop(self) -> None:
        """Closes the pipe, which ends the process."""
        self._child.stdin.close()
        try:
            await asyncio.wait_for(self._child.wait(), 10)
        except asyncio.TimeoutError:
            self._child.kill()
            await self._child.wait()
        await self._reader

    async def _read(self) -> None:
        while line := await self._child.stdout.readline():
            event = json.loads(line)
            if "ready" in event:
                self._ready.set_result(None)
            elif "call" in event:
                self._answer(event)
            elif client := self._clients.get(event["client"]):
                async with client.news:
                    if "stanza" in event:
                        client.inbox.append(ElementTree.fromstring(event["stanza"]))
                    else:
                        client.ended = event["ended"]
                    client.news.notify_all()
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(HarnessBroken("the client process ended"))

    def _answer(self, event: dict) -> None:
        answer = self._calls.pop(event["call"])
        if answer.done():
            return
        if event["error"]:
            answer.set_exception(CaseFailed(event["error"]))
        else:
            answer.set_result(event["value"])
