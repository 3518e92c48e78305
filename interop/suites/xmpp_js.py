"""@xmpp/client, the client library of npm, over STARTTLS and over direct TLS."""

import json
import shutil
from pathlib import Path

from harness import install
from harness.failure import HarnessBroken
from suites.stand import Stand
from suites.suite import Outcome, Result, Suite

PROJECT = Path(__file__).parent / "xmpp-js"
FILES = ("package.json", "package-lock.json", "cases.mjs")
LIMIT = 300.0


class XmppJs(Suite):
    """Cases of ours, played by the library."""

    name = "xmpp-js"
    title = "@xmpp/client 0.14.0"
    programs = {"node": "nodejs", "npm": "npm"}

    def prepare(self, cache: Path) -> None:
        self._home = cache / self.name
        self._home.mkdir(parents=True, exist_ok=True)
        lock, installed = self._home / "package-lock.json", self._home / "installed"
        fresh = installed.exists() and lock.read_bytes() == (PROJECT / "package-lock.json").read_bytes()
        for file in FILES:
            shutil.copyfile(PROJECT / file, self._home / file)
        if fresh:
            return
        install.tell("installing @xmpp/client with npm (once)")
        install.run(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], self._home)
        installed.touch()

    async def play(self, stand: Stand, only: list[str], without: list[str]) -> list[Result]:
        # One process that knows the authority, and one that does not.
        results = await self._run(stand, True) + await self._run(stand, False)
        return [result for result in results if not only or result.case in only]

    async def _run(self, stand: Stand, trusted: bool) -> list[Result]:
        name = "xmpp-js" if trusted else "xmpp-js-stranger"
        accounts = [await stand.account(f"{name}-{who}") for who in ("alice", "bob")]
        settings, results = stand.directory / f"{name}.json", stand.directory / f"{name}.results"
        settings.write_text(json.dumps({
            "domain": stand.domain,
            "accounts": [{"username": jid.partition("@")[0], "password": password} for jid, password in accounts],
            "trusted": trusted,
        }))
        process = await stand.start(
            name, ["node", str(self._home / "cases.mjs"), str(settings), str(results)],
            {"NODE_EXTRA_CA_CERTS": str(stand.root) if trusted else ""},
        )
        try:
            code = await process.end(LIMIT)
        finally:
            await process.stop()
        if code or not results.exists():
            raise HarnessBroken(f"node ended with {code}; {process.tail()}")
        return [parse(json.loads(line)) for line in results.read_text().splitlines()]


def parse(line: dict) -> Result:
    """One line of the report."""
    outcome = Outcome.FAILED if line["detail"] else Outcome.PASSED
    return Result(SPECS[line["case"].partition(".")[2]], line["case"], outcome, line["detail"])


SPECS = {"conversation": "RFC 6120", "refusal": "RFC 6120", "resumption": "XEP-0198", "token": "XEP-0484"}
