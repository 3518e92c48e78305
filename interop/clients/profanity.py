"""profanity in a terminal, with libstrophe inside."""

from harness import install
from harness.terminal import Terminal

from clients import in_terminal
from clients.in_terminal import InTerminal
from clients.program import PATIENCE, on_openssl

# What a user of it would set who wants archives, and who does not want to wait half a minute.
SETTINGS = ("/mam on", "/reconnect 2", "/save")


class Profanity(InTerminal):
    """Debian's."""

    name = "profanity"
    title = "profanity"
    packages = ("profanity", *in_terminal.PACKAGES)
    cannot = {
        "archive": "it asks the domain whether there is an archive, and not the account, which is what has it (XEP-0313)",
        "one-round-trip": "it does not know SASL2",
    }
    without_tls13 = staticmethod(on_openssl)

    @classmethod
    def version(cls) -> str:
        return install.release("profanity")

    async def start(self) -> None:
        self.starts += 1
        self._terminal = Terminal(self.place.namespace, self.place.home, self.place.environment)
        await self._terminal.open("profanity", "-l", "DEBUG")
        await self._terminal.shows("Profanity", PATIENCE)
        if self.starts == 1:
            for setting in SETTINGS:
                await self._terminal.type(setting)
        await self._terminal.type(f"/connect {self.account.bare}")
        await self._terminal.shows("Enter password", PATIENCE)
        await self._terminal.type(self.account.password)
        # A certificate that does not verify makes it ask instead.
        await self._terminal.shows("logged in successfully", PATIENCE)

    async def leave(self) -> None:
        await self._terminal.type("/quit")

    async def look_into(self, jid: str) -> None:
        await self._terminal.type(f"/msg {jid}")

    async def say(self, to: str, body: str) -> None:
        await self._terminal.type(f"/msg {to} {body}")

    async def enter(self, room: str, nick: str) -> None:
        await self._terminal.type(f"/join {room} nick {nick}")

    async def turn_to(self, room: str) -> None:
        await self._terminal.type(f"/win {room}")

    async def speak(self, room: str, body: str) -> None:
        await self._terminal.type(body)

    async def block(self, jid: str) -> None:
        await self._terminal.type(f"/blocked add {jid}")

    def wire(self) -> str:
        logs = self.place.home / ".local" / "share" / "profanity" / "logs"
        return "".join(file.read_text(errors="replace") for file in sorted(logs.glob("profanity*.log")))
