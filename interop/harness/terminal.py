"""A terminal that nobody sits at: tmux, whose keys are pressed and whose picture is read by the harness."""

import asyncio
import os
from pathlib import Path

from harness.clients import PATIENCE
from harness.failure import CaseFailed
from harness.network import Namespace
from harness.process import run

# A terminal cannot tell when its picture changes, so it is looked at this often.
GLANCE = 0.1
WIDTH, HEIGHT = 160, 50


class Terminal:
    """A tmux session of its own inside a namespace, with an own socket and home directory."""

    def __init__(self, namespace: Namespace, home: Path, environment: dict[str, str] | None = None):
        self._namespace = namespace
        self._home = home
        more = [f"{name}={value}" for name, value in (environment or {}).items()]
        self._tmux = ["env", "-u", "TMUX", f"HOME={home}", "TERM=xterm-256color", "LANG=C.UTF-8", *more, "tmux", "-f",
                      os.devnull, "-S", str(home / "tmux")]

    async def open(self, *program: str) -> None:
        """Starts the program in a new terminal."""
        self._home.mkdir(exist_ok=True)
        await self._run("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), *program)

    async def type(self, text: str) -> None:
        """Types a line and presses Enter."""
        await self._run("send-keys", "-l", text)
        await self.press("Enter")

    async def press(self, *keys: str) -> None:
        """Presses keys, by tmux's names for them."""
        await self._run("send-keys", *keys)

    async def picture(self) -> str:
        """What the terminal shows."""
        return await self._run("capture-pane", "-p")

    async def shows(self, text: str, within: float = PATIENCE) -> None:
        """Waits until the terminal shows a text."""

        async def look() -> None:
            while text not in await self.picture():
                await asyncio.sleep(GLANCE)

        try:
            await asyncio.wait_for(look(), within)
        except asyncio.TimeoutError:
            lines = [line.strip() for line in (await self.picture()).splitlines() if line.strip()]
            raise CaseFailed(f"the terminal does not show {text!r}; it shows: {' | '.join(lines[-8:])}") from None

    async def close(self) -> None:
        """Ends the terminal and the program in it."""
        await self._run("kill-server")

    async def _run(self, *arguments: str) -> str:
        return await run(self._namespace.command([*self._tmux, *arguments]), PATIENCE)
