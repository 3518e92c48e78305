"""The report: a table for people, JSON for programs, and the comparison with required.toml."""

import json
import tomllib
from pathlib import Path

from harness.matrix import Outcome, Row

Key = tuple[str, str, str]
# How much of a failure the table shows; JSON has all of it.
DETAIL = 300


def line(outcome: Outcome) -> str:
    """One line of the table."""
    case, pair, direction = outcome.row.key
    detail = f"  {outcome.detail.splitlines()[0][:DETAIL]}" if outcome.detail else ""
    return f"{case:<20} {pair:<18} {direction:<22} {outcome.result:<7} {outcome.seconds:7.1f}{detail}"


def heading() -> str:
    """The head of the table."""
    return f"{'case':<20} {'pair':<18} {'direction':<22} {'result':<7} {'seconds':>7}"


def required(path: Path) -> set[Key]:
    """The rows that must pass: a table per pair, in it the directions of each case."""
    tables = tomllib.loads(path.read_text())
    return {
        (case, pair, direction)
        for pair, cases in tables.items()
        for case, directions in cases.items()
        for direction in directions
    }


def selected(keys: set[Key], pairs: set[str], names: set[str] | None) -> set[Key]:
    """The required rows that this run was asked for."""
    return {key for key in keys if key[1] in pairs and (names is None or key[0] in names)}


def judge(outcomes: list[Outcome], wanted: set[Key]) -> tuple[list[str], list[str]]:
    """What is wrong with this run, and which passing rows could be added to required.toml."""
    played = {outcome.row.key: outcome.result for outcome in outcomes}
    faults = [f"{' '.join(key)}: required, but not played" for key in sorted(wanted - played.keys())]
    faults += [f"{' '.join(key)}: {result}" for key, result in sorted(played.items()) if result != "pass"]
    news = [" ".join(key) for key, result in sorted(played.items()) if result == "pass" and key not in wanted]
    return faults, news


def as_json(outcomes: list[Outcome], faults: list[str], news: list[str]) -> str:
    """The whole report for programs."""
    return json.dumps(
        {
            "rows": [
                dict(zip(("case", "pair", "direction"), outcome.row.key))
                | {"result": outcome.result, "seconds": round(outcome.seconds, 2), "detail": outcome.detail}
                for outcome in outcomes
            ],
            "faults": faults,
            "passing_but_not_required": news,
        },
        indent=1,
    )


def listing(plan: list[Row]) -> str:
    """The rows without playing them."""
    return "\n".join(" ".join(row.key) for row in plan)
