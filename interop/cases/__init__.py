"""The cases: one function each, written from the near side's view; the matrix runs them in both directions."""

from cases import clients, components, federation, links, outbox, rooms
from cases.case import Case

CASES: list[Case] = [*federation.CASES, *links.CASES, *clients.CASES, *components.CASES, *outbox.CASES, *rooms.CASES]
