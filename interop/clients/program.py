"""What a client program is to the cases: something that logs in, says, shows, blocks and leaves."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.failure import CaseFailed, HarnessBroken
from harness.network import Namespace
from harness.process import Process

# What a program may take to start, to draw itself or to try again after its connection was cut, on a busy machine.
PATIENCE = 90.0
# A picture cannot tell when it changes, so it is looked at this often.
GLANCE = 0.2
# How a client asks to be authenticated by RFC 6120 and by XEP-0388; logs may show the XML escaped or in pieces.
REQUESTS = re.compile(r"<(auth|authenticate)\s[^>]*?mechanism=[\"']([A-Z0-9-]+)")


@dataclass(frozen=True)
class Account:
    """Somebody at one of the servers."""

    bare: str
    password: str

    @property
    def local(self) -> str:
        """The name before the @."""
        return self.bare.partition("@")[0]

    @property
    def domain(self) -> str:
        """Whose user it is."""
        return self.bare.partition("@")[2]


@dataclass(frozen=True)
class Place:
    """Where a program runs: the network it sees, a home of its own, a folder for what it logs, and what limits its TLS."""

    namespace: Namespace
    home: Path
    logs: Path
    environment: dict[str, str]
    root: Path


class Program:
    """A client; a subclass knows how one program is handled. One object is one device of one account."""

    #: As in the arguments and in required.toml.
    name: str
    #: As in the table.
    title: str
    #: What it is in Debian, and the packages that driving it takes.
    packages: tuple[str, ...] = ()
    #: Programs that it takes, and the packages of Debian that have them, where a machine may have them otherwise.
    programs: dict[str, str] = {}
    #: The columns that are not for it, with the reason.
    cannot: dict[str, str] = {}
    #: The variables that keep it from TLS 1.3, made from the folder with the settings for this.
    without_tls13: Callable[[Path], dict[str, str]] = staticmethod(lambda _folder: {})

    def __init__(self, place: Place, account: Account):
        self.place = place
        self.account = account
        #: How often it has been started.
        self.starts = 0

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """Gets and builds what the packages do not bring."""

    @classmethod
    def version(cls) -> str:
        """The version of the program."""
        raise NotImplementedError

    async def start(self) -> None:
        """Starts the program, which logs in; what it kept from the last time is still there."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Has the user leave the program."""
        raise NotImplementedError

    async def kill(self) -> None:
        """Ends whatever still runs."""
        raise NotImplementedError

    async def say(self, to: str, body: str) -> None:
        """Sends a chat message."""
        raise NotImplementedError

    async def block(self, jid: str) -> None:
        """Blocks an address."""
        raise NotImplementedError

    async def enter(self, room: str, nick: str) -> None:
        """Enters a room; one that does so by itself, because of a bookmark, turns to it."""
        raise NotImplementedError

    async def turn_to(self, room: str) -> None:
        """Turns to a room in which it is, where that is what makes it show it."""

    async def speak(self, room: str, body: str) -> None:
        """Says something to everybody in a room in which it is."""
        raise NotImplementedError

    async def look_into(self, jid: str) -> None:
        """Turns to the conversation with somebody, where that is what makes it show or fetch messages."""

    async def picture(self) -> str:
        """All that a user can see or could see by scrolling back."""
        raise NotImplementedError

    def wire(self) -> str:
        """What the program logs of its streams, in both directions."""
        raise NotImplementedError

    async def shows(self, text: str) -> None:
        """Waits until a user can see this."""
        await self.eventually(lambda seen: text in seen, self.picture, f"show {text!r}")

    async def has_on_wire(self, pattern: str, since: int = 0) -> None:
        """Waits until the log of the streams, beyond the first `since` characters, has this."""

        async def wire() -> str:
            return self.wire()[since:]

        await self.eventually(lambda seen: re.search(pattern, seen, re.DOTALL) is not None, wire, f"say {pattern!r}")

    async def eventually(self, test: Callable[[str], bool], look: Callable, words: str) -> None:
        """Waits until what is looked at passes the test."""

        async def search() -> None:
            while not test(await look()):
                await asyncio.sleep(GLANCE)

        try:
            await asyncio.wait_for(search(), PATIENCE)
        except asyncio.TimeoutError:
            last = " | ".join(line.strip() for line in (await look()).splitlines() if line.strip())
            raise CaseFailed(f"{self.title} does not {words}; it has: ...{last[-800:]}") from None

    def mechanism(self) -> str:
        """By which mechanism it has logged in last, in the profile it has used."""
        requests = REQUESTS.findall(self.wire())
        if not requests:
            raise CaseFailed(f"{self.title} has logged no request for authentication")
        element, mechanism = requests[-1]
        return f"{mechanism} by SASL2" if element == "authenticate" else mechanism


class Player(Program):
    """A program of ours around somebody's library. It obeys lines on standard input, `say JID TEXT`, `block JID`,
    `enter ROOM NICK`, `speak ROOM TEXT` and `leave`, and prints `online`, `shown JID TEXT` for each message however it
    came, and `wire XML`."""

    process: Process | None = None
    earlier = ""

    def command(self) -> list[str]:
        """The command line."""
        raise NotImplementedError

    async def start(self) -> None:
        self.starts += 1
        self.place.home.mkdir(exist_ok=True)
        log = self.place.logs / f"{self.name}.log"
        command = self.place.namespace.command(self.command())
        environment = {"HOME": str(self.place.home), "PYTHONPATH": "", **self.place.environment}
        self.process = await Process.start(self.name, command, log, environment, obeys=True)
        await self._hears("^online")

    async def stop(self) -> None:
        self.process.send("leave")
        try:
            await self.process.end(PATIENCE)
        except HarnessBroken as error:
            raise CaseFailed(str(error)) from None
        self.earlier += self.process.text
        self.process = None

    async def kill(self) -> None:
        if self.process:
            await self.process.stop()

    async def say(self, to: str, body: str) -> None:
        self.process.send(f"say {to} {body}")

    async def block(self, jid: str) -> None:
        self.process.send(f"block {jid}")
        await self._hears("^blocked")

    async def enter(self, room: str, nick: str) -> None:
        self.process.send(f"enter {room} {nick}")

    async def speak(self, room: str, body: str) -> None:
        self.process.send(f"speak {room} {body}")

    async def picture(self) -> str:
        return "".join(line for line in self.process.text.splitlines(True) if line.startswith("shown "))

    def wire(self) -> str:
        text = self.earlier + (self.process.text if self.process else "")
        return "".join(line for line in text.splitlines(True) if line.startswith("wire "))

    async def _hears(self, pattern: str) -> None:
        try:
            await self.process.line(pattern, PATIENCE)
        except HarnessBroken as error:
            raise CaseFailed(str(error)) from None


def on_openssl(folder: Path) -> dict[str, str]:
    """For programs that use OpenSSL, Python's among them."""
    return {"OPENSSL_CONF": str(folder / "openssl.cnf")}
