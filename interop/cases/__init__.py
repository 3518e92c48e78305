"""The cases: one function each, written from the near side's view; the matrix runs them in both directions."""

from cases import clients, components, doctor, federation, links, outbox, presence, rooms
from cases.case import Case

CASES: list[Case] = [
    *federation.CASES,
    *links.CASES,
    *doctor.CASES,
    *clients.CASES,
    *components.CASES,
    *outbox.CASES,
    *presence.CASES,
    *rooms.CASES,
]
