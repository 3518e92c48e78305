"""Runs slixmpp's integration tests, and ours with its plugins, and writes one JSON object a line: python cases.py FOLDER
RESULTS.

FOLDER is the unpacked source package. This file runs in the virtual environment that has slixmpp, so it imports nothing
of the harness.
"""

import asyncio
import json
import os
import sys
import unittest
from pathlib import Path

from slixmpp import ClientXMPP

PATIENCE = 20
OURS = Path(__file__).parent / "ours"


class Report(unittest.TestResult):
    """Says what became of each test as soon as it is known."""

    def __init__(self, out):
        super().__init__()
        self._out = out

    def say(self, outcome: str, test: unittest.TestCase, detail: object = "") -> None:
        """One line."""
        line = {"case": test.id().removeprefix("itests."), "outcome": outcome, "detail": str(detail)}
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()

    def startTest(self, test):
        super().startTest(test)
        print(f"start {test.id()}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.say("passed", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.say("impossible", test, reason)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.fail(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.fail(test, err)

    def fail(self, test, err) -> None:
        """A failure or an error, with the place in the log."""
        print(self._exc_info_to_string(err, test), flush=True)
        self.say("failed", test, f"{err[0].__name__}: {err[1]}")


async def befriend() -> None:
    """Has the two accounts subscribe to each other: tests send requests from one to the other's full address, which
    a server need not deliver between strangers (RFC 6121 section 8.5.3.1)."""
    people = [ClientXMPP(os.environ[f"CI_ACCOUNT{number}"], os.environ[f"CI_ACCOUNT{number}_PASSWORD"]) for number in (1, 2)]
    for person in people:
        # Both ask, and both agree.
        person.auto_authorize = person.auto_subscribe = True
        person.connect()
        await person.wait_until("session_start", PATIENCE)
        await person.get_roster()
        person.send_presence()
    people[0].send_presence_subscription(people[1].boundjid.bare)
    for person, friend in zip(people, reversed(people)):
        while person.client_roster[friend.boundjid.bare]["subscription"] != "both":
            await person.wait_until("roster_update", PATIENCE)
    await asyncio.gather(*(person.disconnect() for person in people))


def full(name: str) -> str:
    """The name of a case for the loader: slixmpp's are in a package."""
    ours = (OURS / name.partition(".")[0]).with_suffix(".py").exists()
    return name if ours else f"itests.{name}"


def main() -> None:
    """Runs all tests, or those named after the first two arguments."""
    folder, results, *only = sys.argv[1:]
    asyncio.run(befriend())
    sys.path[:0] = [folder, str(OURS)]
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames([full(name) for name in only]) if only else unittest.TestSuite(
        [loader.discover("itests", top_level_dir=folder), loader.discover(str(OURS), top_level_dir=str(OURS))]
    )
    with Path(results).open("w") as out:
        suite.run(Report(out))


main()
