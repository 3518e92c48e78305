"""`interop/suites/run`: arguments in, table and exit code out."""

import argparse
import asyncio
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness import install
from harness.authority import Authority
from harness.failure import HarnessBroken
from harness.kept import CACHE, ROOT
from harness.workplace import end_as_ctrl_c_does, workplace
from peers import PEERS
from peers.comity import binary
from suites import SUITES, document, lists
from suites.interop_testing import InteropTesting
from suites.stand import Security, Stand
from suites.suite import Outcome, Result, Suite


@dataclass(frozen=True)
class Run:
    """One suite against one server."""

    suite: Suite
    server: str
    security: Security

    @property
    def words(self) -> str:
        """How the run is called."""
        return f"{self.suite.name} {self.security.value} {self.server}"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="interop/suites/run",
        description="Plays public test suites against a server in a network namespace of its own. "
        "The program under test is target/release/comity (built first) or the one that the variable COMITY names.",
        epilog="Exit codes: 0 every required case passed and all others have a reason, 1 otherwise, 2 wrong usage. "
        "Only cases with Comity are required.",
    )
    parser.add_argument("--suite", action="append", choices=list(SUITES), help="only this suite (repeatable)")
    parser.add_argument("--server", action="append", choices=list(PEERS), help="this server (repeatable), not comity")
    parser.add_argument("--security", action="append", choices=[each.value for each in Security],
                        help="only with, or only without TLS (repeatable)")
    parser.add_argument("--jar", type=Path, metavar="PATH", help="the jar of the XMPP Interop Testing suite")
    parser.add_argument("--only", action="append", metavar="CASE", default=[],
                        help="only this case, or class of cases, as the suite calls it (repeatable)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all results as JSON")
    parser.add_argument("--update", action="store_true", help="add what passed to required.toml")
    parser.add_argument("--record", action="store_true", help="put the results into docs/interop.md")
    options = parser.parse_args()
    if options.jar and not options.jar.is_file():
        parser.error(f"there is no file {options.jar}")
    if options.suite and InteropTesting.name in options.suite and not options.jar:
        parser.error(f"{InteropTesting.name} needs --jar PATH: the jar with dependencies that its project releases")
    if options.only and (options.record or options.update):
        parser.error("a part of a suite is not recorded")
    return options


def plan(options: argparse.Namespace) -> list[Run]:
    """The runs that the arguments ask for."""
    names = options.suite or [name for name in SUITES if options.jar or name != InteropTesting.name]
    suites = [InteropTesting(options.jar) if name == InteropTesting.name else SUITES[name]() for name in names]
    securities = [Security(text) for text in options.security or [each.value for each in Security]]
    return [
        Run(suite, server, security)
        for suite in suites
        for server in options.server or ["comity"]
        for security in suite.securities
        if security in securities
    ]


def prepare(runs: list[Run]) -> None:
    """Installs and builds what the runs need."""
    if os.geteuid() != 0:
        raise HarnessBroken("network namespaces need root: run it as root, in a container or a throw-away machine")
    servers = {run.server for run in runs}
    programs = {program: package for run in runs for program, package in run.suite.programs.items()}
    install.packages(servers, [package for program, package in programs.items() if not shutil.which(program)])
    if "comity" in servers:
        install.comity(ROOT, binary())
    for suite in {run.suite.name: run.suite for run in runs}.values():
        suite.prepare(CACHE)


async def play(run: Run, directory: Path, logs: Path, only: list[str]) -> list[Result]:
    """Builds the stand for one run and plays the suite on it."""
    authority = Authority(directory / "authority", "interop test authority")
    if not authority.root.exists():
        await authority.create()
    stand = Stand(run.server, run.security, directory, logs / run.words.replace(" ", "-"), authority)
    try:
        await stand.build()
        without = lists.hanging(run.suite.name) if run.server == "comity" else []
        return sorted(await run.suite.play(stand, only, without), key=lambda result: (result.spec, result.case))
    finally:
        await stand.close()


async def play_again(run: Run, directory: Path, logs: Path, results: list[Result]) -> list[Result]:
    """The results, where a case that loses a race with itself has been played once more, alone, if it failed."""
    final = {(result.spec, result.case): result for result in results}
    for number, first in enumerate(lists.raced(run.suite.name, results), 1):
        print(f"played again, alone: {first.case}  {first.detail[:300]}", flush=True)
        for result in await play(run, directory, logs / f"again-{number}", [first.case]):
            final[result.spec, result.case] = result
    return list(final.values())


def conclude(run: Run, results: list[Result], seconds: float, options: argparse.Namespace) -> list[str]:
    """Prints what a run came to; returns what is wrong with it."""
    for result in results:
        if result.outcome is not Outcome.PASSED:
            print(f"{result.outcome.value:<11} {result.spec:<10} {result.case}  {result.detail[:300]}")
    sums = {outcome: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    print(f"{run.words}: {', '.join(f'{number} {outcome.value}' for outcome, number in sums.items())} in {seconds:.0f} s")
    if options.record:
        document.record(run.suite.title, run.suite.name, run.security.value, run.server, results)
    if run.server != "comity":
        return []
    faults, news = lists.judge(run.suite.name, results, not options.only)
    for case in news:
        print(f"passes, but is not in required.toml: {case}")
    return [f"{run.words}: {fault}" for fault in faults]


def perform(runs: list[Run], directory: Path, logs: Path, options: argparse.Namespace) -> list[str]:
    """Plays all runs; returns what is wrong."""
    faults, everything, passed = [], [], {}
    for run in runs:
        started = time.monotonic()
        try:
            results = asyncio.run(play(run, directory, logs, options.only))
            if run.server == "comity":
                results = asyncio.run(play_again(run, directory, logs, results))
        except HarnessBroken as error:
            faults.append(f"{run.words}: broken: {error}")
            print(faults[-1], flush=True)
            continue
        faults += conclude(run, results, time.monotonic() - started, options)
        sys.stdout.flush()
        everything.append(as_json(run, results))
        if run.server == "comity":
            passed.setdefault(run.suite.name, []).append(results)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    if options.update:
        for suite, results in passed.items():
            lists.update(suite, results)
    if options.record:
        document.write()
    return faults


def as_json(run: Run, results: list[Result]) -> dict:
    """One run for programs."""
    cases = [
        {"spec": result.spec, "case": result.case, "outcome": result.outcome.value, "detail": result.detail}
        for result in results
    ]
    return {"suite": run.suite.name, "security": run.security.value, "server": run.server, "cases": cases}


def main() -> int:
    """Plays the suites."""
    options = arguments()
    runs = plan(options)
    end_as_ctrl_c_does()
    try:
        prepare(runs)
    except HarnessBroken as error:
        install.tell(str(error))
        return 2
    try:
        with workplace(f"{len(runs)} runs") as (directory, logs):
            faults = perform(runs, directory, logs, options)
    except KeyboardInterrupt:
        install.tell("interrupted")
        return 1
    for fault in faults:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults", flush=True)
    return 1 if faults or not runs else 0


sys.exit(main())
