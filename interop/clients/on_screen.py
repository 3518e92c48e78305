"""What graphical clients have in common: a screen and a D-Bus of their own, and a log of streams on standard output."""

from pathlib import Path

from harness.process import Process, run

from clients import desktop, session_bus
from clients.desktop import Desktop
from clients.program import PATIENCE, Account, Place, Program
from clients.session_bus import SessionBus

#: What it takes.
PACKAGES = (*desktop.PACKAGES, *session_bus.PACKAGES)


class OnScreen(Program):
    """A program with windows, which can be told on its bus what its menus would tell it."""

    #: Where it is on the bus.
    address: tuple[str, str]
    #: Who runs it, where root may not.
    user: str | None = None

    def __init__(self, place: Place, account: Account):
        super().__init__(place, account)
        self._desktop = Desktop(place)
        self._bus = SessionBus(place, self.user)
        self._process: Process | None = None
        self._earlier = ""

    def command(self) -> list[str]:
        """The command line."""
        raise NotImplementedError

    async def set_up(self) -> None:
        """Makes what it keeps, with the account in it."""
        raise NotImplementedError

    async def start(self) -> None:
        self.starts += 1
        if self.starts == 1:
            self.place.home.mkdir()
            if self.user:
                await run(["chown", f"{self.user}:{self.user}", str(self.place.home)])
        await self._desktop.start()
        await self._bus.start()
        if self.starts == 1:
            await self.set_up()
        said = len(self.wire())
        await self._run()
        await self.has_on_wire("<presence", said)
        await self._desktop.window(self.title)

    async def stop(self) -> None:
        await self._activate("quit")
        await self._process.end(PATIENCE)
        self._ended()

    async def photograph(self, file: Path) -> None:
        """Takes a picture of what it shows."""
        await self._desktop.photograph(file)

    async def kill(self) -> None:
        if self._process:
            await self.photograph(self.place.logs / "last-picture.png")
            await self._process.stop()
        await self._bus.stop()
        await self._desktop.stop()

    def wire(self) -> str:
        return self._earlier + (self._process.text if self._process else "")

    @property
    def _environment(self) -> dict[str, str]:
        home = {"HOME": str(self.place.home), "XDG_RUNTIME_DIR": str(self.place.home), "PYTHONPATH": ""}
        return home | self._desktop.environment | self._bus.environment | self.place.environment

    async def _run(self) -> None:
        command = self.place.namespace.command(self.command(), self.user)
        self._process = await Process.start(self.name, command, self.place.logs / f"{self.name}.log", self._environment)

    def _ended(self) -> None:
        self._earlier += self._process.text
        self._process = None

    async def _activate(self, action: str, parameter: str = "[]") -> None:
        await self._bus.call(*self.address, "org.gtk.Actions.Activate", action, parameter, "{}")
