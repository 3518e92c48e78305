"""The integration test framework of Smack, which runs Smack's own tests and those of XMPP Interop Testing."""

import hashlib
import ssl
import subprocess
from pathlib import Path

from harness.failure import HarnessBroken
from suites.stand import ADMIN, PASSWORD, Security, Stand
from suites.suite import Outcome, Result

MAIN = "org.igniterealtime.smack.inttest.SmackIntegrationTestFramework"
REPORT = Path(__file__).parent / "smack" / "src" / "Report.java"
# One reply; the suites wait twice or three times that long for what must not come.
REPLY_MILLISECONDS = 5000
# The whole suite: a bound for what hangs, far above what the slowest server needs.
LIMIT = 5400.0


def compile_report(classpath: str, cache: Path) -> Path:
    """Compiles our report of results against the framework in `classpath`; the directory with the class."""
    classes = cache / "classes"
    classes.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["javac", "-Xlint:all", "-Werror", "-proc:none", "-implicit:none", "-cp", classpath, "-d", str(classes), str(REPORT)],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise HarnessBroken(f"javac failed: {done.stdout[-800:]}")
    return classes


def pin(chain: Path) -> str:
    """The certificate that the server has to show, as the framework wants it."""
    leaf = chain.read_text().partition("-----END CERTIFICATE-----")
    return f"CERTSHA256:{hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf[0] + leaf[1])).hexdigest()}"


async def play(stand: Stand, classpath: str, only: list[str]) -> list[Result]:
    """Plays what is in `classpath` against the server of `stand`."""
    home, results = stand.directory / "java", stand.directory / "results.tsv"
    home.mkdir()
    settings = {
        "service": stand.domain,
        "adminAccountUsername": ADMIN,
        "adminAccountPassword": PASSWORD,
        "replyTimeout": str(REPLY_MILLISECONDS),
        "enabledConnections": "tcp",
        "dnsResolver": "javax",
        "testRunResultProcessors": "comity.suites.Report",
    }
    if stand.security is Security.TLS:
        settings |= {"securityMode": "required", "serviceTlsPin": pin(stand.certificate.chain)}
    else:
        settings["securityMode"] = "disabled"
    if only:
        settings["enabledTests"] = ",".join(only)
    process = await stand.start(
        "sint",
        ["java", "-Xmx512m", f"-Duser.home={home}", f"-Dcomity.report={results}",
         *(f"-Dsinttest.{key}={value}" for key, value in settings.items()), "-cp", classpath, MAIN],
    )
    try:
        await process.end(LIMIT)
    finally:
        await process.stop()
    if not results.exists():
        raise HarnessBroken(f"the framework gave up; {process.tail()}")
    return [parse(line) for line in results.read_text().splitlines()]


def parse(line: str) -> Result:
    """One line of the report: outcome, specification, case, reason."""
    outcome, spec, case, detail = line.split("\t", 3)
    return Result(spec or "none named", case, Outcome(outcome), detail)
