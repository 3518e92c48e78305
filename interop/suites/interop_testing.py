"""The XMPP Interop Testing suite, which is released as one jar; `--jar` says where it is."""

from pathlib import Path

from suites import sint
from suites.stand import Security, Stand
from suites.suite import Result, Suite


class InteropTesting(Suite):
    """The tests of the XMPP Interop Testing project, and with them those of Smack's that its jar contains."""

    name = "interop-testing"
    title = "XMPP Interop Testing"
    securities = (Security.TLS, Security.NONE)
    programs = {"javac": "default-jdk-headless"}

    def __init__(self, jar: Path):
        self._jar = jar.resolve()

    def prepare(self, cache: Path) -> None:
        self._classpath = f"{sint.compile_runner(str(self._jar), cache / self.name)}:{self._jar}"

    async def play(self, stand: Stand, only: list[str], without: list[str]) -> list[Result]:
        return await sint.play(stand, self._classpath, only, without)
