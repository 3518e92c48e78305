"""What a suite is, and what it says about each of its cases."""

import enum
from dataclasses import dataclass
from pathlib import Path

from suites.stand import Security, Stand


class Outcome(enum.Enum):
    """What became of a case."""

    PASSED = "passed"
    FAILED = "failed"
    # The suite found that the server has not what the case needs, and did not play it.
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True)
class Result:
    """One case, played."""

    spec: str
    case: str
    outcome: Outcome
    detail: str = ""


class Suite:
    """A test suite; a subclass knows how to get it and how to run it."""

    #: As in the arguments and in the lists.
    name: str
    #: As in the report: with the version.
    title: str
    #: With which security it runs.
    securities: tuple[Security, ...] = (Security.TLS,)
    #: Programs that it needs, and the packages of Debian that have them.
    programs: dict[str, str] = {}

    def prepare(self, cache: Path) -> None:
        """Gets what the suite consists of; done once, outside the namespaces."""
        raise NotImplementedError

    async def play(self, stand: Stand, only: list[str], without: list[str]) -> list[Result]:
        """Plays all cases, or those whose names are in `only`, but none that matches one of the patterns `without`."""
        raise NotImplementedError
