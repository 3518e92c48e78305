"""The matrix: which rows there are, and playing them pair by pair, variant by variant."""

import asyncio
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from cases import CASES
from cases.case import Case, Directions
from harness.failure import CaseFailed
from harness.stage import Stage, Workshop, labels
from peers import PEERS

PAIRS = [("comity", "comity"), ("comity", "prosody"), ("comity", "ejabberd"), ("comity", "jabberd2")]
CASE_LIMIT = 180.0
BUILD_LIMIT = 180.0


@dataclass(frozen=True)
class Row:
    """One line of the report, before it was played."""

    case: Case
    pair: tuple[str, str]
    near: int

    @property
    def direction(self) -> str:
        """From the near to the far side."""
        names = labels(self.pair)
        return f"{names[self.near]}->{names[1 - self.near]}"

    @property
    def key(self) -> tuple[str, str, str]:
        """Case, pair and direction, as in required.toml."""
        return self.case.name, "-".join(self.pair), self.direction


@dataclass(frozen=True)
class Outcome:
    """What became of a row."""

    row: Row
    result: str
    seconds: float
    detail: str


def rows(pairs: list[tuple[str, str]], names: set[str] | None) -> list[Row]:
    """All rows for these pairs and case names."""
    return [
        Row(case, pair, near)
        for pair in pairs
        for case in CASES
        if names is None or case.name in names
        for near in ((0, 1) if case.directions is Directions.BOTH else (0,))
        if case.near in (None, pair[near])
        if not case.by_dane or (PEERS[pair[near]].connects_by_dane and PEERS[pair[1 - near]].accepts_by_dane)
        if not case.by_bidi or all(PEERS[kind].has_bidi for kind in pair)
        if not case.by_external or all(PEERS[kind].has_external for kind in pair)
        if not case.in_rooms or PEERS[pair[1 - near]].has_rooms
    ]


async def play(plan: list[Row], workshop: Workshop, tell: Callable[[Outcome], None]) -> list[Outcome]:
    """Plays all rows; those that share pair and variant share one running pair of servers."""
    stages: dict[tuple, list[Row]] = {}
    for row in plan:
        stages.setdefault((row.pair, row.case.variant), []).append(row)
    outcomes: list[Outcome] = []

    def record(outcome: Outcome) -> None:
        outcomes.append(outcome)
        tell(outcome)

    for (pair, variant), group in stages.items():
        stage = Stage(workshop, pair, variant)
        started = time.monotonic()
        try:
            await asyncio.wait_for(stage.build(), BUILD_LIMIT)
        except Exception as error:
            spent = time.monotonic() - started
            for row in group:
                record(Outcome(row, "broken", spent, f"the servers did not come up: {words(error)}"))
        else:
            for row in group:
                record(await play_one(stage, row))
        finally:
            await stage.close()
    return outcomes


async def play_one(stage: Stage, row: Row) -> Outcome:
    """Plays one row on a running stage."""
    near, far = stage.sides[row.near], stage.sides[1 - row.near]
    started, before = time.monotonic(), panics(stage)
    result, detail = "pass", ""
    try:
        await asyncio.wait_for(row.case.play(stage, near, far), CASE_LIMIT)
    except CaseFailed as error:
        result, detail = "fail", str(error)
    except asyncio.TimeoutError:
        result, detail = "fail", f"the case did not end within {CASE_LIMIT:g} s"
    except Exception as error:
        result, detail = "broken", words(error)
    seconds = time.monotonic() - started
    for side in stage.sides:
        await side.log_everybody_out()
    if result == "pass" and panics(stage) > before:
        result, detail = "fail", "a server has panicked: see its log"
    return Outcome(row, result, seconds, detail)


def panics(stage: Stage) -> int:
    """How often the servers have panicked."""
    return sum(side.server.panics() for side in stage.sides)


def words(error: Exception) -> str:
    """An error of the harness itself, with the place where it happened."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename.rsplit('/', 1)[-1]}:{place.lineno})"
