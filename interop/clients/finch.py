"""finch in a terminal, with libpurple inside: an old stack, whose messages and blocks are told to it by its D-Bus."""

import asyncio
from xml.sax.saxutils import escape

from harness import install
from harness.terminal import Terminal

from clients import in_terminal, session_bus
from clients.in_terminal import InTerminal
from clients.program import GLANCE, Account, Place
from clients.session_bus import SessionBus

ACCOUNTS = """<?xml version='1.0' encoding='UTF-8' ?>
<account version='1.0'>
 <account>
  <protocol>prpl-jabber</protocol>
  <name>{jid}/finch</name>
  <password>{password}</password>
  <settings>
   <setting name='connection_security' type='string'>require_tls</setting>
  </settings>
  <settings ui='gnt-purple'>
   <setting name='auto-login' type='bool'>1</setting>
  </settings>
 </account>
</account>
"""
BUS = ("im.pidgin.purple.PurpleService", "/im/pidgin/purple/PurpleObject")
INTERFACE = "im.pidgin.purple.PurpleInterface"
# The list of contacts, and the log that comes with `-d`.
OTHER_WINDOWS = 2


class Finch(InTerminal):
    """Debian's."""

    name = "finch"
    title = "finch"
    # Without the modules it knows SCRAM-SHA-1 only.
    packages = ("finch", "libsasl2-modules", *in_terminal.PACKAGES, *session_bus.PACKAGES)
    cannot = {
        "tls-1.2": "its TLS library, NSS, cannot be limited from outside",
        "resume": "it acknowledges by stream management, but does not resume",
        "carbons": "it does not know carbons",
        "archive": "it does not read archives",
        "one-round-trip": "it does not know SASL2",
    }
    _bus: SessionBus | None = None

    def __init__(self, place: Place, account: Account):
        super().__init__(place, account)
        self._partners: list[str] = []

    @classmethod
    def version(cls) -> str:
        return install.release("finch")

    async def start(self) -> None:
        settings = self.place.home / ".purple"
        if not settings.exists():
            settings.mkdir(parents=True)
            accounts = ACCOUNTS.format(jid=escape(self.account.bare), password=escape(self.account.password))
            (settings / "accounts.xml").write_text(accounts)
        self._bus = self._bus or SessionBus(self.place)
        await self._bus.start()
        self._terminal = Terminal(
            self.place.namespace, self.place.home, {**self.place.environment, **self._bus.environment}
        )
        self._partners.clear()
        log = self.place.home / "finch.log"
        said = len(self.wire())
        await self._terminal.open("sh", "-c", f"exec finch -d 2>>{log}")
        await self.has_on_wire("<presence", said)

    async def leave(self) -> None:
        await self._terminal.press("M-q")

    async def kill(self) -> None:
        await super().kill()
        if self._bus:
            await self._bus.stop()

    async def look_into(self, jid: str) -> None:
        await self._conversation(jid)
        if jid not in self._partners:
            self._partners.append(jid)
        await self._terminal.press(f"M-{OTHER_WINDOWS + 1 + self._partners.index(jid)}")

    async def say(self, to: str, body: str) -> None:
        part = await self._number("PurpleConversationGetImData", await self._conversation(to))
        await self._call("PurpleConvImSend", part, body)

    async def enter(self, room: str, nick: str) -> None:
        connection = await self._number("PurpleAccountGetConnection", await self._account())
        local, _, domain = room.partition("@")
        await self._call("ServJoinChat", connection, f"{{'room': '{local}', 'server': '{domain}', 'handle': '{nick}'}}")
        self._partners.append(room)

    async def turn_to(self, room: str) -> None:
        # A server of IRC has a window of its own, before or behind this one. What is on top shows its title.
        local = room.partition("@")[0].partition("%")[0]
        for number in range(OTHER_WINDOWS + 1, OTHER_WINDOWS + 4):
            await self._terminal.press(f"M-{number}")
            await asyncio.sleep(GLANCE)
            if f"┤{local}" in await self.picture():
                return

    async def speak(self, room: str, body: str) -> None:
        chat = await self._number("PurpleFindConversationWithAccount", "2", room, await self._account())
        await self._call("PurpleConvChatSend", await self._number("PurpleConversationGetChatData", chat), body)

    async def block(self, jid: str) -> None:
        connection = await self._number("PurpleAccountGetConnection", await self._account())
        await self._call("ServAddDeny", connection, jid)

    def wire(self) -> str:
        log = self.place.home / "finch.log"
        return log.read_text(errors="replace") if log.exists() else ""

    async def _conversation(self, jid: str) -> str:
        """The conversation of two with somebody, made if it is not there."""
        return await self._number("PurpleConversationNew", "1", await self._account(), jid)

    async def _account(self) -> str:
        return await self._number("PurpleAccountsFindConnected", f"{self.account.bare}/finch", "prpl-jabber")

    async def _call(self, method: str, *arguments: str) -> str:
        return await self._bus.call(*BUS, f"{INTERFACE}.{method}", *arguments)

    async def _number(self, method: str, *arguments: str) -> str:
        return await self._bus.number(*BUS, f"{INTERFACE}.{method}", *arguments)
