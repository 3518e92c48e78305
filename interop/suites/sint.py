"""The integration test framework of Smack, which runs Smack's own tests and those of XMPP Interop Testing."""

import re
from dataclasses import dataclass
from pathlib import Path

from harness import install
from harness.failure import HarnessBroken
from harness.process import run
from suites.stand import ADMIN, PASSWORD, Security, Stand
from suites.suite import Outcome, Result

MAIN = "comity.suites.Runner"
RUNNER = Path(__file__).parent / "smack" / "src" / "Runner.java"
# Java wants one, and what it protects is public.
STORE_PASSWORD = "changeit"
# What the runner says of the test that made the framework give up, and of those of its class that were not played.
ABORTED, LEFT = "aborted", "left"
# One reply; the suites wait twice or three times that long for what must not come.
REPLY_MILLISECONDS = 5000
# Cases in which one client asks another something whom it does not know: a server should not hand that on, so that nobody
# finds out who is there (RFC 6121 section 8.5.3.1), unless the one who is asked shows himself, which they do here.
SHOWN = (
    r"CsiIntegrationTest\.detectDisco.*Unsubscribed",
    r"AdHocCommandIntegrationTest\..*",
    r"PingIntegrationTest\.pingAsync",
    r"VersionIntegrationTest\.testVersion",
    r"FileTransferIntegrationTest\..*",
)
# The whole suite: a bound for what hangs, far above what the slowest server needs.
LIMIT = 5400.0


def compile_runner(classpath: str, cache: Path) -> Path:
    """Compiles our runner against the framework in `classpath`; the directory with the class."""
    classes = cache / "classes"
    classes.mkdir(parents=True, exist_ok=True)
    install.run(["javac", "-proc:none", "-implicit:none", "-cp", classpath, "-d", str(classes), str(RUNNER)])
    return classes


async def pinned(stand: Stand) -> Path:
    """A trust store of Java with the server's certificate and nothing else.

    The framework has a setting for a pin, but Smack makes the context anew with the trust store and forgets it.
    """
    leaf, store = stand.directory / "leaf.pem", stand.directory / "trust.p12"
    first, end, _ = stand.certificate.chain.read_text().partition("-----END CERTIFICATE-----\n")
    leaf.write_text(first + end)
    await run(["keytool", "-importcert", "-noprompt", "-alias", "server", "-file", str(leaf),
               "-keystore", str(store), "-storepass", STORE_PASSWORD])
    return store


async def play(stand: Stand, classpath: str, only: list[str], without: list[str]) -> list[Result]:
    """Plays what is in `classpath` against the server of `stand`; what an abort left over is played afterwards."""
    off = {pattern.removesuffix(".*") for pattern in without}
    home, store = stand.directory / "java", await pinned(stand)
    home.mkdir()
    java = ["java", "-Xmx512m", f"-Duser.home={home}", f"-Djavax.net.ssl.trustStore={store}",
            f"-Djavax.net.ssl.trustStorePassword={STORE_PASSWORD}", f"-Dcomity.shown={'|'.join(SHOWN)}"]
    results: dict[str, Result] = {}
    attempts = [Selection(only)]
    for number, attempt in enumerate(attempts, 1):
        lines = stand.directory / f"results-{number}.tsv"
        options = [f"-Dsinttest.{key}={value}" for key, value in (settings(stand) | attempt.settings(results, off)).items()]
        process = await stand.start(f"sint-{number}", [*java, *options, "-cp", classpath, MAIN, str(lines)])
        try:
            await process.end(LIMIT)
        finally:
            await process.stop()
        if not lines.exists():
            raise HarnessBroken(f"the framework gave up; {process.tail()}")
        fields = [line.split("\t", 3) for line in lines.read_text().splitlines()]
        for outcome, spec, case, detail in fields:
            if outcome != LEFT:
                # Classes that are impossible are so in every attempt.
                results.setdefault(case, parse(outcome, spec, case, detail))
        if any(line[0] == ABORTED for line in fields):
            # The iteration over `attempts` comes to these; each plays at least one case that nothing is known of.
            left = [case for outcome, _, case, _ in fields if outcome == LEFT and case not in results]
            attempts += [Selection(left, True)] if left else []
            attempts += [] if attempt.part else [attempt]
    return list(results.values())


@dataclass(frozen=True)
class Selection:
    """Which cases an attempt plays: those named, or all; a part of a class, or all classes of which nothing is known."""

    only: list[str]
    part: bool = False

    def settings(self, results: dict[str, Result], off: set[str]) -> dict[str, str]:
        """The settings for it. A class of which one case is switched off is off as a whole, so only classes are."""
        known = {case.partition(".")[0] for case in results} | off
        return {
            key: ",".join(sorted(names))
            for key, names in (("enabledTests", self.only), ("disabledTests", () if self.part else known))
            if names
        }


def settings(stand: Stand) -> dict[str, str]:
    """The settings of every attempt."""
    return {
        "service": stand.domain,
        "adminAccountUsername": ADMIN,
        "adminAccountPassword": PASSWORD,
        "securityMode": "required" if stand.security is Security.TLS else "disabled",
        "replyTimeout": str(REPLY_MILLISECONDS),
        "enabledConnections": "tcp",
        "dnsResolver": "javax",
        # What was on the wire is in the log of the run.
        "debugger": "console",
    }


def parse(outcome: str, spec: str, case: str, detail: str) -> Result:
    """One line of the report: outcome, specification, case, reason."""
    spec = re.sub(r"^RFC ?", "RFC ", spec) or "none named"
    return Result(spec, case, Outcome.FAILED if outcome == ABORTED else Outcome(outcome), detail)
