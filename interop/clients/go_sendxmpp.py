"""go-sendxmpp, which sends one message from standard input, or listens and prints."""

from harness import install
from harness.failure import CaseFailed, HarnessBroken
from harness.process import Process, run

from clients.program import PATIENCE, Program

ONLY_PLAIN = "it knows PLAIN only"


class GoSendxmpp(Program):
    """Debian's."""

    name = "go-sendxmpp"
    title = "go-sendxmpp"
    packages = ("go-sendxmpp",)
    cannot = {
        "tls-1.2": "the TLS of Go cannot be limited from outside",
        "scram-sha-512": ONLY_PLAIN,
        "scram-sha-256": ONLY_PLAIN,
        "scram-sha-1": ONLY_PLAIN,
        "resume": "it does not know stream management: it ends when its connection does",
        "carbons": "it does not ask for carbons",
        "archive": "it does not read archives",
        "block": "it has no command for it",
        "one-round-trip": "it does not know SASL2",
    }
    _listener: Process | None = None
    _nick = ""
    _sent = ""

    @classmethod
    def version(cls) -> str:
        return install.release("go-sendxmpp")

    def _command(self, *arguments: str) -> list[str]:
        # It does not ask for SRV records; the certificate is still checked for the domain.
        login = ["go-sendxmpp", "-d", "-u", self.account.bare, "-p", self.account.password,
                 "-j", f"xmpp.{self.account.domain}:5222"]
        return self.place.namespace.command(["env", f"HOME={self.place.home}", *login, *arguments])

    async def start(self) -> None:
        self.place.home.mkdir(exist_ok=True)
        self._listener = await Process.start("go-sendxmpp", self._command("-l"), self.place.logs / "go-sendxmpp.log")
        await self.has_on_wire("<presence")

    async def stop(self) -> None:
        self._sent += self._listener.text
        await self._listener.stop()

    async def kill(self) -> None:
        if self._listener:
            await self._listener.stop()

    async def say(self, to: str, body: str) -> None:
        await self._send(body, to)

    async def enter(self, room: str, nick: str) -> None:
        # Who listens in a room does so from the start.
        await self.stop()
        self._nick = nick
        command = self._command("-l", "-c", "-a", nick, room)
        self._listener = await Process.start("go-sendxmpp", command, self.place.logs / "go-sendxmpp-room.log")

    async def speak(self, room: str, body: str) -> None:
        await self._send(body, "-c", "-a", self._nick, room)

    async def _send(self, body: str, *arguments: str) -> None:
        try:
            self._sent += await run(self._command(*arguments), PATIENCE, stdin=body)
        except HarnessBroken as error:
            raise CaseFailed(str(error)) from None

    def mechanism(self) -> str:
        # It logs what it reads only. Of all mechanisms that Comity offers, this one alone has no challenge.
        if "<challenge" in self.wire() or "<success" not in self.wire():
            raise CaseFailed("it did not log in by PLAIN")
        return "PLAIN"

    async def picture(self) -> str:
        return self._listener.text

    def wire(self) -> str:
        return self._sent + self._listener.text
