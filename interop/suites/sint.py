"""The integration test framework of Smack, which runs Smack's own tests and those of XMPP Interop Testing."""

import itertools
import subprocess
from pathlib import Path

from harness.failure import HarnessBroken
from harness.process import run
from suites.stand import ADMIN, PASSWORD, Security, Stand
from suites.suite import Outcome, Result

MAIN = "comity.suites.Runner"
RUNNER = Path(__file__).parent / "smack" / "src" / "Runner.java"
# Java wants one, and what it protects is public.
STORE_PASSWORD = "changeit"
# What the runner says of the test that made the framework give up.
ABORTED = "aborted"
# One reply; the suites wait twice or three times that long for what must not come.
REPLY_MILLISECONDS = 5000
# The whole suite: a bound for what hangs, far above what the slowest server needs.
LIMIT = 5400.0


def compile_runner(classpath: str, cache: Path) -> Path:
    """Compiles our runner against the framework in `classpath`; the directory with the class."""
    classes = cache / "classes"
    classes.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["javac", "-proc:none", "-implicit:none", "-cp", classpath, "-d", str(classes), str(RUNNER)],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise HarnessBroken(f"javac failed: {done.stdout[-800:]}")
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


async def play(stand: Stand, classpath: str, only: list[str]) -> list[Result]:
    """Plays what is in `classpath` against the server of `stand`; what an abort left over is played again and again."""
    home, store = stand.directory / "java", await pinned(stand)
    results: dict[str, Result] = {}
    home.mkdir()
    settings = {
        "service": stand.domain,
        "adminAccountUsername": ADMIN,
        "adminAccountPassword": PASSWORD,
        "securityMode": "required" if stand.security is Security.TLS else "disabled",
        "replyTimeout": str(REPLY_MILLISECONDS),
        "enabledConnections": "tcp",
        "dnsResolver": "javax",
    }
    if only:
        settings["enabledTests"] = ",".join(only)
    java = ["java", "-Xmx512m", f"-Duser.home={home}", f"-Djavax.net.ssl.trustStore={store}",
            f"-Djavax.net.ssl.trustStorePassword={STORE_PASSWORD}"]
    for attempt in itertools.count(1):
        lines = stand.logs / f"results-{attempt}.tsv"
        if results:
            settings["disabledTests"] = ",".join(sorted(results))
        options = [f"-Dsinttest.{key}={value}" for key, value in settings.items()]
        process = await stand.start(f"sint-{attempt}", [*java, *options, "-cp", classpath, MAIN, str(lines)])
        try:
            await process.end(LIMIT)
        finally:
            await process.stop()
        if not lines.exists():
            raise HarnessBroken(f"the framework gave up; {process.tail()}")
        fields = [line.split("\t", 3) for line in lines.read_text().splitlines()]
        for line in fields:
            # Classes that are impossible are so in every attempt.
            results.setdefault(line[2], parse(*line))
        if not fields or fields[-1][0] != ABORTED:
            return list(results.values())


def parse(outcome: str, spec: str, case: str, detail: str) -> Result:
    """One line of the report: outcome, specification, case, reason."""
    return Result(spec or "none named", case, Outcome.FAILED if outcome == ABORTED else Outcome(outcome), detail)
