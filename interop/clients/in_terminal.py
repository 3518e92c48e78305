"""What clients in a terminal have in common: the terminal, and that its picture is all that they show."""

from harness.failure import HarnessBroken
from harness.terminal import Terminal

from clients.program import Program

#: What it takes.
PACKAGES = ("tmux",)


class InTerminal(Program):
    """A program that is driven by keys."""

    _terminal: Terminal | None = None

    async def leave(self) -> None:
        """Presses what makes it end."""
        raise NotImplementedError

    async def stop(self) -> None:
        await self.leave()
        await self.eventually(lambda seen: seen == "", self._remains, "end")

    async def kill(self) -> None:
        if self._terminal:
            (self.place.logs / "last-picture.txt").write_text(await self._remains())
            (self.place.logs / f"{self.name}.log").write_text(self.wire())
            try:
                await self._terminal.close()
            except HarnessBroken:
                pass

    async def picture(self) -> str:
        return await self._terminal.picture()

    async def _remains(self) -> str:
        """What is left of the picture: nothing once the program has ended."""
        try:
            return await self._terminal.picture()
        except HarnessBroken:
            return ""
