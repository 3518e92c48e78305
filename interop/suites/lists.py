"""What is expected of Comity: the cases that must pass, those that do not apply, and those that wait for a feature."""

import fnmatch
import tomllib
from dataclasses import dataclass
from pathlib import Path

from suites.suite import Outcome, Result

HOME = Path(__file__).parent
REQUIRED, EXCLUDED, LATER = HOME / "required.toml", HOME / "excluded.toml", HOME / "later.toml"
RACES = HOME / "races.toml"
HEAD = """\
# Every case that must pass with Comity, by suite and by the specification that the suite names.
# `interop/suites/run` fails if one of them does not pass, and `--update` adds those that pass now. Nothing is removed.
"""


@dataclass(frozen=True)
class Reason:
    """Why some cases need not pass."""

    kind: str
    words: str
    suites: tuple[str, ...]
    specs: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    hangs: bool = False

    def covers(self, suite: str, result: Result) -> bool:
        """Whether it speaks of this case."""
        return suite in self.suites and (
            result.spec in self.specs or any(fnmatch.fnmatchcase(result.case, pattern) for pattern in self.tests)
        )


Required = dict[str, dict[str, set[str]]]


def required() -> Required:
    """Suite, specification, cases."""
    tables = tomllib.loads(REQUIRED.read_text()) if REQUIRED.exists() else {}
    return {suite: {spec: set(cases) for spec, cases in specs.items()} for suite, specs in tables.items()}


def reasons() -> list[Reason]:
    """All reasons, those for ever before those for now."""
    excluded = [
        Reason("excluded", f"{entry['section']}: {entry['reason']}", tuple(entry["suites"]), (), tuple(entry["tests"]),
               entry.get("hangs", False))
        for entry in tomllib.loads(EXCLUDED.read_text())["case"]
    ]
    later = [
        Reason("not yet", entry["feature"], tuple(entry["suites"]), tuple(entry.get("specs", ())),
               tuple(entry.get("tests", ())))
        for entry in tomllib.loads(LATER.read_text())["feature"]
    ]
    return excluded + later


def hanging(suite: str) -> list[str]:
    """The cases, as patterns, that would only wait."""
    return [pattern for entry in reasons() if entry.hangs and suite in entry.suites for pattern in entry.tests]


def raced(suite: str, results: list[Result]) -> list[Result]:
    """Those of the results that are failures of cases with a race of their own."""
    races = [entry for entry in tomllib.loads(RACES.read_text())["case"] if suite in entry["suites"]]
    patterns = [pattern for entry in races for pattern in entry["tests"]]
    return [
        result
        for result in results
        if result.outcome is Outcome.FAILED and any(fnmatch.fnmatchcase(result.case, pattern) for pattern in patterns)
    ]


def reason(known: list[Reason], suite: str, result: Result) -> Reason | None:
    """Why this case need not pass."""
    return next((entry for entry in known if entry.covers(suite, result)), None)


def passing(results: list[Result]) -> set[tuple[str, str]]:
    """Specification and name of the cases that passed."""
    return {(result.spec, result.case) for result in results if result.outcome is Outcome.PASSED}


def judge(suite: str, results: list[Result], whole: bool) -> tuple[list[str], list[str]]:
    """What is wrong with this run of Comity, and what passes without being required."""
    known, wanted = reasons(), required().get(suite, {})
    passed, played = passing(results), {(result.spec, result.case) for result in results}
    must = {(spec, case) for spec, cases in wanted.items() for case in cases}
    faults = [f"{case}: required, but not played" for spec, case in sorted(must - played) if whole]
    for result in results:
        entry = reason(known, suite, result)
        if result.outcome is Outcome.PASSED or entry and entry.kind == "excluded":
            continue
        if (result.spec, result.case) in must:
            faults.append(f"{result.case}: required, but {result.outcome.value}: {result.detail}")
        elif entry is None:
            faults.append(f"{result.case}: {result.outcome.value}, and no list says why: {result.detail}")
    return faults, [case for _, case in sorted(passed - must)]


def update(suite: str, runs: list[list[Result]]) -> None:
    """Adds to the required cases what passed in every run and is not excluded."""
    table, excluded = required(), [entry for entry in reasons() if entry.kind == "excluded"]
    for spec, case in set.intersection(*map(passing, runs)):
        if reason(excluded, suite, Result(spec, case, Outcome.PASSED)) is None:
            table.setdefault(suite, {}).setdefault(spec, set()).add(case)
    parts = [HEAD]
    for name in sorted(table):
        parts.append(f"\n[{name}]\n")
        for spec in sorted(table[name]):
            cases = "".join(f'    "{case}",\n' for case in sorted(table[name][spec]))
            parts.append(f'"{spec}" = [\n{cases}]\n')
    REQUIRED.write_text("".join(parts))
