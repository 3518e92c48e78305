"""Processes that this run started: each has a log file, is awaited by its output and ended by its id."""

import asyncio
import os
import re
import signal
from pathlib import Path

from harness.failure import HarnessBroken


class Process:
    """A running program whose output goes line by line to a log file and to whoever waits for a line."""

    def __init__(self, name: str, child: asyncio.subprocess.Process, log: Path):
        self.name = name
        self.log = log
        self._child = child
        self._lines: list[str] = []
        self._news = asyncio.Condition()
        self._ended = False
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, name: str, command: list[str], log: Path, env: dict[str, str] | None = None) -> "Process":
        """Starts `command` in a process group of its own, so that stopping it also stops what it started."""
        log.parent.mkdir(parents=True, exist_ok=True)
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            limit=1 << 24,
        )
        return cls(name, child, log)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self._child.pid

    async def _read(self) -> None:
        with self.log.open("ab", buffering=0) as log:
            while line := await self._child.stdout.readline():
                log.write(line)
                async with self._news:
                    self._lines.append(line.decode("utf-8", "replace"))
                    self._news.notify_all()
        async with self._news:
            self._ended = True
            self._news.notify_all()

    async def line(self, pattern: str, within: float) -> str:
        """Waits for a line of output that matches; the end of the process is a failure at once."""
        wanted = re.compile(pattern)
        seen = 0

        async def search() -> str:
            nonlocal seen
            async with self._news:
                while True:
                    while seen < len(self._lines):
                        seen += 1
                        if wanted.search(self._lines[seen - 1]):
                            return self._lines[seen - 1]
                    if self._ended:
                        raise HarnessBroken(f"{self.name} ended before it said {pattern!r}; {self.tail()}")
                    await self._news.wait()

        try:
            return await asyncio.wait_for(search(), within)
        except asyncio.TimeoutError:
            raise HarnessBroken(f"{self.name} did not say {pattern!r} within {within:g} s; {self.tail()}") from None

    async def end(self, within: float) -> int:
        """Waits until the process has ended by itself and all that it printed was read; its exit code."""
        try:
            await asyncio.wait_for(asyncio.shield(self._reader), within)
        except asyncio.TimeoutError:
            raise HarnessBroken(f"{self.name} did not end within {within:g} s; {self.tail()}") from None
        return await self._child.wait()

    def said(self, pattern: str) -> bool:
        """Whether such a line was printed so far."""
        return any(re.search(pattern, line) for line in self._lines)

    def tail(self) -> str:
        """The last lines of output, for a message about a failure."""
        last = " | ".join(line.strip() for line in self._lines[-6:])
        return f"its last lines: {last}" if last else f"it printed nothing (log: {self.log})"

    async def stop(self, within: float = 15) -> None:
        """Asks the process to end, and ends its group if it does not listen."""
        if self._child.returncode is None:
            self._signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._child.wait(), within)
            except asyncio.TimeoutError:
                pass
        self._signal_group(signal.SIGKILL)
        await self._child.wait()
        await self._reader

    def hang(self) -> None:
        """Stops the process group in the middle of whatever it does; only `kill` and `stop` end it then."""
        self._signal_group(signal.SIGSTOP)

    def kill(self) -> None:
        """Ends the process group without waiting: for a crash, and when the run itself is being ended."""
        self._signal_group(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass


async def run(command: list[str], within: float = 30, stdin: str = "", env: dict[str, str] | None = None) -> str:
    """Runs a command to its end and returns its output; a failure or too long a wait is an error of the harness."""
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(child.communicate(stdin.encode()), within)
    except asyncio.TimeoutError:
        os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
        raise HarnessBroken(f"`{' '.join(command)}` took longer than {within:g} s") from None
    text = output.decode("utf-8", "replace")
    if child.returncode:
        raise HarnessBroken(f"it ended with {child.returncode}: {text.strip()[-600:]} (`{' '.join(command)}`)")
    return text
