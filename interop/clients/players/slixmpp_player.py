"""A client made of slixmpp: slixmpp_player.py JID PASSWORD. What it obeys and prints is in clients/program.py.

It runs with several versions of the library, and in their environment, so it imports nothing of the harness.
"""

import asyncio
import logging
import sys

from slixmpp import ClientXMPP


def say(*words: str) -> None:
    """Prints one line."""
    print(*(word.replace("\n", " ") for word in words), flush=True)


class Wire(logging.Handler):
    """Prints what the library logs of its streams."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(("SEND", "RECV")):
            say("wire", text)
        else:
            say("log", text)


class Player(ClientXMPP):
    """A client that shows messages, whichever way they come."""

    def __init__(self, jid: str, password: str):
        super().__init__(jid, password)
        self.use_ipv6 = False
        self.leaving = False
        for plugin in ("xep_0030", "xep_0045", "xep_0191", "xep_0198", "xep_0280", "xep_0313"):
            self.register_plugin(plugin)
        self.add_event_handler("session_start", self.begin)
        self.add_event_handler("message", lambda message: self.show(message))
        self.add_event_handler("carbon_received", lambda message: self.show(message["carbon_received"]))
        self.add_event_handler("carbon_sent", lambda message: self.show(message["carbon_sent"]))
        self.add_event_handler("disconnected", self.return_or_end)
        self.ended = asyncio.get_event_loop().create_future()

    def show(self, message) -> None:
        """Shows a message that has a text."""
        if message["body"] and message["type"] != "error":
            say("shown", message["from"].bare, message["body"])

    async def begin(self, _event: object) -> None:
        """Makes the new session a useful one, and catches up."""
        await self["xep_0280"].enable()
        await self.get_roster()
        self.send_presence()
        say("online")
        async for result in self["xep_0313"].iterate(rsm={"max": 50}):
            self.show(result["mam_result"]["forwarded"]["stanza"])

    def return_or_end(self, _event: object) -> None:
        """Comes back, unless the user has left."""
        if not self.leaving:
            self.connect()
        elif not self.ended.done():
            self.ended.set_result(None)

    async def obey(self, line: str) -> None:
        """Carries out one order."""
        order, _, rest = line.partition(" ")
        if order == "say":
            to, _, text = rest.partition(" ")
            self.send_message(mto=to, mbody=text, mtype="chat")
        elif order == "block":
            await self["xep_0191"].block(rest)
            say("blocked")
        elif order == "enter":
            room, _, nick = rest.partition(" ")
            await self["xep_0045"].join_muc_wait(room, nick)
        elif order == "speak":
            room, _, text = rest.partition(" ")
            self.send_message(mto=room, mbody=text, mtype="groupchat")
        elif order == "leave":
            self.leaving = True
            self.disconnect()


async def main(jid: str, password: str) -> None:
    """Obeys until it is told to leave."""
    logging.basicConfig(level=logging.DEBUG, handlers=[Wire()])
    player = Player(jid, password)
    player.connect()
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)

    async def listen() -> None:
        while line := await orders.readline():
            await player.obey(line.decode().strip())

    listening = asyncio.create_task(listen())
    await player.ended
    listening.cancel()


asyncio.get_event_loop().run_until_complete(main(*sys.argv[1:]))
