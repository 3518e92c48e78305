"""The two ways in which a row of the report can go wrong."""


class CaseFailed(Exception):
    """The servers did not do what the case demands."""


class HarnessBroken(Exception):
    """The harness could not set the case up: a missing package, a server that does not start."""
