"""What became of the matrix: the comparison with required.toml, JSON for programs, and the table of docs/interop.md."""

import json
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from harness.kept import ROOT

from clients import CLIENTS
from clients.columns import COLUMNS

REQUIRED = Path(__file__).with_name("required.toml")
RECORD = ROOT / "docs" / "interop" / "clients.json"
DOCUMENT = ROOT / "docs" / "interop.md"
BEGIN, END = "<!-- clients: begin -->\n", "<!-- clients: end -->\n"
# Which column the pictures show: there is most to be seen.
PICTURED = "carbons"
# How much of a failure the list of cells shows; JSON has all of it.
DETAIL = 400


@dataclass(frozen=True)
class Cell:
    """One client in one column, played or not."""

    client: str
    column: str
    #: `pass`, `fail`, `broken` (the harness could not play it) or `cannot`.
    result: str
    detail: str
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """As in required.toml."""
        return self.client, self.column


def line(cell: Cell) -> str:
    """One line of the list."""
    return f"{cell.client:<16} {cell.column:<14} {cell.result:<7} {cell.seconds:6.1f}  {' '.join(cell.detail.split())[:DETAIL]}"


def required() -> set[tuple[str, str]]:
    """The cells that must pass."""
    tables = tomllib.loads(REQUIRED.read_text())
    return {(client, column) for client, columns in tables.items() for column in columns["columns"]}


def judge(cells: list[Cell], clients: set[str], columns: set[str]) -> tuple[list[str], list[str]]:
    """What is wrong with this run, and what passes without being required."""
    wanted = {key for key in required() if key[0] in clients and key[1] in columns}
    passed = {cell.key for cell in cells if cell.result == "pass"}
    faults = [f"{' '.join(key)}: required, but it did not pass" for key in sorted(wanted - passed)]
    faults += [f"{cell.client} {cell.column}: {cell.result}: {cell.detail}" for cell in cells
               if cell.result in ("fail", "broken") and cell.key not in wanted]
    return faults, [" ".join(key) for key in sorted(passed - wanted)]


def as_json(cells: list[Cell], faults: list[str]) -> str:
    """The whole run for programs."""
    rows = [
        {"client": cell.client, "version": CLIENTS[cell.client].version(), "column": cell.column, "result": cell.result,
         "detail": cell.detail, "seconds": round(cell.seconds, 1)}
        for cell in cells
    ]
    return json.dumps({"cells": rows, "faults": faults}, indent=1)


def record(cells: list[Cell], logs: Path) -> None:
    """Puts the cells into the record, and rewrites the table; keeps a picture of each client that has a window."""
    whole = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for cell in cells:
        entry = whole.setdefault(cell.client, {"cells": {}})
        entry |= {"title": CLIENTS[cell.client].title, "version": CLIENTS[cell.client].version()}
        entry["cells"][cell.column] = {"result": cell.result, "detail": cell.detail}
        picture = logs / f"{cell.client}-{cell.column}" / "last-picture.png"
        if cell.column == PICTURED and cell.result == "pass" and picture.exists():
            shutil.copyfile(picture, RECORD.with_name(f"{cell.client}.png"))
    RECORD.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(before + BEGIN + table(whole) + END + after)


def table(whole: dict) -> str:
    """A row for each column of the matrix, a column for each client, and below it why some of them cannot."""
    clients = [name for name in CLIENTS if name in whole]
    notes: dict[str, int] = {}

    def shown(client: str, column: str) -> str:
        cell = whole[client]["cells"].get(column)
        if cell is None:
            return ""
        if cell["result"] == "pass":
            return cell["detail"]
        if cell["result"] == "cannot":
            return f"– ({notes.setdefault(cell['detail'], len(notes) + 1)})"
        return "**no**"

    lines = ["| | " + " | ".join(f"{whole[name]['title']} {whole[name]['version']}" for name in clients) + " |",
             "|---|" + "---|" * len(clients)]
    for column in COLUMNS:
        lines.append(f"| {column.heading} | " + " | ".join(shown(name, column.name) for name in clients) + " |")
    lines += ["", "Where a client cannot:", ""]
    lines += [f"{number}. {words}" for words, number in notes.items()]
    return "\n".join(lines) + "\n"
