"""`interop/clients/run`: arguments in, cells and exit code out."""

import argparse
import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

from harness import install
from harness.authority import Authority
from harness.failure import CaseFailed, HarnessBroken
from harness.kept import CACHE, ROOT
from harness.matrix import words
from harness.workplace import end_as_ctrl_c_does, workplace
from peers.comity import binary

from clients import CLIENTS, report, rooms
from clients.columns import COLUMNS, Column, Scene
from clients.house import House
from clients.program import Program
from clients.report import Cell

CELL_LIMIT = 420.0
# The relay knows certificates by this name.
AUTHORITY = "interop test authority"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="interop/clients/run",
        description="Has real clients log in to Comity, talk, be cut off, come back, catch up and block. "
        "The program under test is target/release/comity (built first) or the one that the variable COMITY names.",
        epilog="Exit codes: 0 every required cell passed and no other one failed, 1 otherwise, 2 it could not begin.",
    )
    columns = [column.name for column in COLUMNS]
    parser.add_argument("--client", action="append", choices=list(CLIENTS), help="only this client (repeatable)")
    parser.add_argument("--column", action="append", choices=columns, help="only this column (repeatable)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all cells as JSON")
    parser.add_argument("--record", action="store_true", help="put the cells into docs/interop.md")
    parser.add_argument("--meeting", action="store_true",
                        help="instead: Dino and Gajim meet in a room of two domains; with --record the picture is kept")
    parser.add_argument("--list", action="store_true", help="list the cells and stop")
    options = parser.parse_args()
    options.client = options.client or list(CLIENTS)
    options.column = options.column or columns
    return options


def reason(kind: type[Program], column: Column) -> str | None:
    """Why this column is not for this client."""
    if column.name == "tls-1.2" and not kind.without_tls13(Path()):
        return kind.cannot.get(column.name, "its TLS library cannot be limited from outside")
    return kind.cannot.get(column.name)


def prepare(clients: list[str]) -> Path:
    """Installs and builds what the run needs; returns the Python that has slixmpp."""
    if os.geteuid() != 0:
        raise HarnessBroken("network namespaces need root: run it as root, in a container or a throw-away machine")
    kinds = [CLIENTS[name] for name in clients]
    programs = {program: package for kind in kinds for program, package in kind.programs.items()}
    install.debian(
        install.NETWORK + [package for kind in kinds for package in kind.packages]
        + [package for program, package in programs.items() if not shutil.which(program)]
    )
    install.comity(ROOT, binary())
    python = install.slixmpp(CACHE)
    for kind in kinds:
        kind.prepare(CACHE)
    return python


async def perform(options: argparse.Namespace, directory: Path, logs: Path, python: Path) -> list[Cell]:
    """Plays the cells, printing each as it is done."""
    authority = Authority(directory / "authority", AUTHORITY)
    await authority.create()
    house = House(directory / "house", logs, python, authority)
    cells = []
    try:
        await house.build()
        for name in options.client:
            for column in COLUMNS:
                if column.name in options.column:
                    cells.append(await play(house, CLIENTS[name], column, logs))
                    print(report.line(cells[-1]), flush=True)
    finally:
        await house.close()
    return cells


async def play(house: House, kind: type[Program], column: Column, logs: Path) -> Cell:
    """Plays one cell."""
    why = reason(kind, column)
    if why:
        return Cell(kind.name, column.name, "cannot", why)
    scene = Scene(house, kind, logs / f"{kind.name}-{column.name}")
    started = time.monotonic()
    try:
        detail = await asyncio.wait_for(column.play(scene), CELL_LIMIT)
        result = "pass"
    except CaseFailed as error:
        result, detail = "fail", str(error)
    except asyncio.TimeoutError:
        result, detail = "fail", f"it did not end within {CELL_LIMIT:g} s"
    except Exception as error:
        result, detail = "broken", words(error)
    finally:
        await scene.close()
    return Cell(kind.name, column.name, result, detail, time.monotonic() - started)


async def meeting(directory: Path, logs: Path, python: Path, record: bool) -> None:
    """Plays the meeting."""
    authority = Authority(directory / "authority", AUTHORITY)
    await authority.create()
    house = House(directory / "house", logs, python, authority)
    picture = report.RECORD.with_name("room.png") if record else logs / "room.png"
    try:
        await house.build()
        await rooms.meet(house, logs, picture)
    finally:
        await house.close()


def main() -> int:
    """Plays the matrix."""
    options = arguments()
    if options.list:
        for name in options.client:
            for column in COLUMNS:
                if column.name in options.column:
                    print(name, column.name, reason(CLIENTS[name], column) or "")
        return 0
    end_as_ctrl_c_does()
    try:
        python = prepare(options.client)
    except HarnessBroken as error:
        install.tell(str(error))
        return 2
    try:
        if options.meeting:
            with workplace("a meeting") as (directory, logs):
                asyncio.run(meeting(directory, logs, python, options.record))
            return 0
        with workplace(f"{len(options.client)} clients") as (directory, logs):
            cells = asyncio.run(perform(options, directory, logs, python))
    except KeyboardInterrupt:
        install.tell("interrupted")
        return 1
    faults, news = report.judge(cells, set(options.client), set(options.column))
    if options.json:
        options.json.write_text(report.as_json(cells, faults) + "\n")
    if options.record:
        report.record(cells, logs)
    for key in news:
        print(f"passes, but is not in required.toml: {key}")
    for fault in faults:
        print(f"FAULT {fault}")
    passed = sum(cell.result == "pass" for cell in cells)
    failed = sum(cell.result in ("fail", "broken") for cell in cells)
    print(f"{passed} passed, {failed} failed; {len(faults)} faults", flush=True)
    return 1 if faults or not cells else 0


sys.exit(main())
