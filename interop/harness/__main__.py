"""`interop/run`: arguments in, table and exit code out."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from cases import CASES
from harness import install, matrix, report
from harness.authority import Authority
from harness.failure import HarnessBroken
from harness.kept import CACHE, HOME, ROOT
from harness.stage import Workshop
from harness.workplace import end_as_ctrl_c_does, workplace
from peers import PEERS
from peers.comity import binary


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="interop/run",
        description="Runs real XMPP servers against each other, each in its own network namespace. "
        "The program under test is target/release/comity (built first) or the one that the variable COMITY names.",
        epilog="Exit codes: 0 every row passed and no required row is missing, 1 otherwise, 2 wrong usage.",
    )
    names = [case.name for case in CASES]
    parser.add_argument("--case", action="append", choices=names, metavar="NAME", help="only this case (repeatable)")
    parser.add_argument(
        "--pair", action="append", metavar="A-B",
        help=f"only this pair (repeatable); any two of {', '.join(PEERS)}; default: those with comity first",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report as JSON")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    options = parser.parse_args()
    options.pairs = [pair(parser, text) for text in options.pair] if options.pair else matrix.PAIRS
    options.names = set(options.case) if options.case else None
    return options


def pair(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    """A pair of makes from `A-B`."""
    kinds = tuple(text.split("-"))
    if len(kinds) != 2 or any(kind not in PEERS for kind in kinds):
        parser.error(f"{text!r} is not a pair of {', '.join(PEERS)}")
    return kinds


async def perform(plan: list[matrix.Row], directory: Path, logs: Path, python: Path) -> list[matrix.Outcome]:
    """Makes the authorities and plays the plan, printing each row as it is done."""
    workshop = Workshop(
        directory=directory,
        logs=logs,
        python=python,
        authority=Authority(directory / "authority", "interop test authority"),
        stranger=Authority(directory / "stranger", "an authority that no server trusts"),
    )
    await workshop.authority.create()
    await workshop.stranger.create()
    print(report.heading(), flush=True)
    return await matrix.play(plan, workshop, lambda outcome: print(report.line(outcome), flush=True))


def prepare(plan: list[matrix.Row]) -> Path:
    """Installs and builds what the plan needs; returns the Python that has slixmpp."""
    if os.geteuid() != 0:
        raise HarnessBroken("network namespaces need root: run it as root, in a container or a throw-away machine")
    kinds = {kind for row in plan for kind in row.pair}
    install.packages(kinds)
    if "comity" in kinds:
        install.comity(ROOT, binary())
    return install.slixmpp(CACHE)


def main() -> int:
    """Runs the matrix."""
    options = arguments()
    plan = matrix.rows(options.pairs, options.names)
    if options.list:
        print(report.listing(plan))
        return 0
    end_as_ctrl_c_does()
    try:
        python = prepare(plan)
    except HarnessBroken as error:
        install.tell(str(error))
        return 2
    try:
        with workplace(f"{len(plan)} rows") as (directory, logs):
            outcomes = asyncio.run(perform(plan, directory, logs, python))
    except KeyboardInterrupt:
        install.tell("interrupted")
        return 1
    pairs = {"-".join(kinds) for kinds in options.pairs}
    wanted = report.selected(report.required(HOME / "required.toml"), pairs, options.names)
    faults, news = report.judge(outcomes, wanted)
    if options.json:
        options.json.write_text(report.as_json(outcomes, faults, news) + "\n")
    for key in news:
        print(f"passes, but is not in required.toml: {key}")
    for fault in faults:
        print(f"FAULT {fault}")
    passed = sum(outcome.result == "pass" for outcome in outcomes)
    print(f"{passed} passed, {len(outcomes) - passed} failed; {len(faults)} faults", flush=True)
    return 1 if faults or not outcomes else 0


sys.exit(main())
