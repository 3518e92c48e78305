"""What a case is."""

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from harness.stage import Side, Stage, Variant


class Directions(enum.Enum):
    """Which of the two servers can be the near side."""

    BOTH = "both"
    FIRST_ONLY = "the first of the pair"


@dataclass(frozen=True)
class Case:
    """A row of the matrix without its pair and direction."""

    name: str
    variant: Variant
    play: Callable[[Stage, Side, Side], Awaitable[None]]
    directions: Directions = Directions.BOTH
    #: The make that the near side has to be, if it cannot be any.
    near: str | None = None
    #: Whether both sides have to be proven by keys in a signed DNS: the near one connects, the far one accepts.
    by_dane: bool = False
    #: Whether both sides have to prove themselves by SASL EXTERNAL.
    by_external: bool = False
    #: Whether the far side has to have rooms.
    in_rooms: bool = False
    #: Whether both sides have to take stanzas both ways on one stream (XEP-0288).
    by_bidi: bool = False
