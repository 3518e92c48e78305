"""A screen that nobody sits at, for graphical clients: Xvfb, whose keys are pressed by xdotool and which can be photographed."""

from pathlib import Path

from harness.failure import HarnessBroken
from harness.process import Process, run

from clients.program import PATIENCE, Place

#: What it takes; without the icons Gajim does not start.
PACKAGES = ("xvfb", "xdotool", "imagemagick", "fonts-dejavu-core", "adwaita-icon-theme", "librsvg2-common")
SIZE = "1000x640"
COLORS = 64
# There is no graphics card, and nobody listens to the screen being read.
ENVIRONMENT = {"LIBGL_ALWAYS_SOFTWARE": "1", "GSK_RENDERER": "cairo", "NO_AT_BRIDGE": "1", "GTK_A11Y": "none",
               "LANG": "C.UTF-8", "GDK_BACKEND": "x11"}


class Desktop:
    """The screen of one home."""

    def __init__(self, place: Place):
        self._place = place
        self._display = ""
        self._server: Process | None = None

    @property
    def environment(self) -> dict[str, str]:
        """How programs find it."""
        return {"DISPLAY": self._display, **ENVIRONMENT}

    async def start(self) -> None:
        """Switches it on, unless it is."""
        if self._server:
            return
        command = ["Xvfb", "-displayfd", "1", "-screen", "0", f"{SIZE}x24", "-nolisten", "tcp", "-ac"]
        self._server = await Process.start("screen", self._place.namespace.command(command), self._place.logs / "screen.log")
        self._display = f":{(await self._server.line('^[0-9]+$', PATIENCE)).strip()}"

    async def do(self, *arguments: str) -> str:
        """Has xdotool do something."""
        return await run(self._place.namespace.command(["xdotool", *arguments]), PATIENCE, env=self.environment)

    async def window(self, name: str) -> str:
        """The window with this in its name, once it is there; it gets the keys, and the whole screen."""
        found = (await self.do("search", "--sync", "--onlyvisible", "--name", name)).split()[-1]
        width, height = SIZE.split("x")
        await self.do("windowmove", found, "0", "0", "windowsize", found, width, height, "windowfocus", found)
        return found

    async def press_in(self, name: str, key: str) -> None:
        """Presses a key in the window with this in its name, if there is one."""
        try:
            await self.do("search", "--onlyvisible", "--name", name, "windowfocus")
        except HarnessBroken:
            return
        await self.do("key", key)

    async def click(self, x: int, y: int) -> None:
        """Presses the mouse button at this place."""
        await self.do("mousemove", str(x), str(y), "sleep", "0.5", "click", "1")

    async def type(self, text: str) -> None:
        """Types a line and presses Enter."""
        await self.do("type", "--delay", "20", text)
        await self.do("key", "Return")

    async def photograph(self, file: Path) -> None:
        """Takes a picture of the screen, in few colours, so that it stays small."""
        command = ["import", "-window", "root", "+dither", "-colors", str(COLORS), "-depth", "8", "-strip", f"png8:{file}"]
        await run(self._place.namespace.command(command), PATIENCE, env=self.environment)

    async def stop(self) -> None:
        """Switches it off."""
        if self._server:
            await self._server.stop()
