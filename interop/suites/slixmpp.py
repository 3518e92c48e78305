"""slixmpp's integration tests, from its source package, and ours with its plugins."""

import json
import shutil
from pathlib import Path

from harness import install
from harness.failure import HarnessBroken
from suites.stand import ADMIN, PASSWORD, Stand
from suites.suite import Outcome, Result, Suite

CASES = Path(__file__).parent / "slixmpp" / "cases.py"
LIMIT = 900.0
# What each file of tests is about.
SPECS = {
    "basic_connect_and_message": "RFC 6120",
    "blocking": "XEP-0191",
    "bob": "XEP-0231",
    "carbons": "XEP-0280",
    "chatmarkers": "XEP-0333",
    "component": "XEP-0114",
    "disco": "XEP-0030",
    "httpupload": "XEP-0363",
    "ibb": "XEP-0047",
    "last_activity": "XEP-0012",
    "mam": "XEP-0313",
    "moderate": "XEP-0425",
    "muc": "XEP-0045",
    "pep": "XEP-0163",
    "ping": "XEP-0199",
    "privatestorage": "XEP-0049",
    "quickresponse": "XEP-0439",
    "reactions": "XEP-0444",
    "reconnect": "RFC 6120",
    "reports": "XEP-0377",
    "retract": "XEP-0424",
    "selfping": "XEP-0410",
    "slow_filters": "RFC 6120",
    "sos": "XEP-0455",
    "tls_check": "RFC 6120",
    "user_avatar": "XEP-0084",
    "vcard": "XEP-0054",
    "vcard_avatar": "XEP-0153",
    "version": "XEP-0092",
}


class Slixmpp(Suite):
    """The tests that come with the client library slixmpp."""

    name = "slixmpp"
    title = install.SLIXMPP.replace("==", " ")

    def prepare(self, cache: Path) -> None:
        self._python = install.slixmpp(cache)
        self._folder = cache / self.name / install.SLIXMPP.replace("==", "-")
        if self._folder.exists():
            return
        install.tell(f"downloading the sources of {install.SLIXMPP} (once)")
        shutil.rmtree(self._folder.parent, ignore_errors=True)
        self._folder.parent.mkdir(parents=True)
        command = [str(self._python), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", "slixmpp", "--dest", str(self._folder.parent), install.SLIXMPP]
        install.run(command)
        shutil.unpack_archive(f"{self._folder}.tar.gz", self._folder.parent)

    async def play(self, stand: Stand, only: list[str], without: list[str]) -> list[Result]:
        environment, results = {"SSL_CERT_FILE": str(stand.root)}, stand.directory / "results"
        for number in (1, 2):
            jid, password = await stand.account(f"slixmpp-{number}")
            environment |= {f"CI_ACCOUNT{number}": jid, f"CI_ACCOUNT{number}_PASSWORD": password}
        environment |= {"CI_ADMIN": f"{ADMIN}@{stand.domain}", "CI_ADMIN_PASSWORD": PASSWORD}
        environment |= {"CI_MUC_SERVER": f"conference.{stand.domain}", "PYTHONPATH": ""}
        process = await stand.start(
            self.name, [str(self._python), str(CASES), str(self._folder), str(results), *only], environment
        )
        try:
            code = await process.end(LIMIT)
        finally:
            await process.stop()
        if code or not results.exists():
            raise HarnessBroken(f"the tests ended with {code}; {process.tail()}")
        return [parse(json.loads(line)) for line in results.read_text().splitlines()]


def parse(line: dict) -> Result:
    """One line of the report."""
    module = line["case"].partition(".")[0].removeprefix("test_")
    return Result(SPECS.get(module, "none named"), line["case"], Outcome(line["outcome"]), line["detail"])
