"""Smack's own integration tests, from Maven Central."""

from pathlib import Path

from harness import install
from suites import sint
from suites.stand import Security, Stand
from suites.suite import Result, Suite

PROJECT = Path(__file__).parent / "smack" / "pom.xml"


class Smack(Suite):
    """The tests that come with the client library Smack."""

    name = "smack"
    title = "Smack 4.5.0-beta5"
    securities = (Security.TLS, Security.NONE)
    programs = {"javac": "default-jdk-headless", "mvn": "maven"}

    def prepare(self, cache: Path) -> None:
        directory = cache / self.name
        directory.mkdir(parents=True, exist_ok=True)
        listing, mark = directory / "classpath", directory / "pom.xml"
        if not mark.exists() or mark.read_bytes() != PROJECT.read_bytes():
            install.tell("downloading Smack and what it needs with Maven (once)")
            install.run(
                ["mvn", "-B", "-q", "-f", str(PROJECT), "dependency:build-classpath", f"-Dmdep.outputFile={listing}"]
            )
            mark.write_bytes(PROJECT.read_bytes())
        jars = listing.read_text().strip()
        self._classpath = f"{sint.compile_runner(jars, directory)}:{jars}"

    async def play(self, stand: Stand, only: list[str], without: list[str]) -> list[Result]:
        return await sint.play(stand, self._classpath, only, without)
