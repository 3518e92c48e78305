"""A server is killed and comes back: nobody stays online who is gone, and whoever is there is seen again."""

from cases.case import Case
from cases.federation import ORDINARY, RECOVERY_WITHIN, befriend
from harness import stanzas
from harness.failure import CaseFailed
from harness.stage import Side, Stage

KILLS = 3


async def killed(_stage: Stage, near: Side, far: Side) -> None:
    """The far server is killed with Bob online, again and again; Alice sees that he is gone, and sees him when he is back."""
    alice, bob = await near.online("alice"), await far.online("bob")
    await befriend(alice, bob)
    # Some servers keep what they were told in memory for a while, and would have forgotten it when they are killed.
    await far.server.stop()
    await far.server.start()
    alice.forget_unread()
    await bob.online()
    await alice.expect(stanzas.presence(bob.bare), RECOVERY_WITHIN)
    for number in range(KILLS):
        there = bob.full
        await far.server.crash()
        await alice.message(bob.bare, f"number {number}")
        await far.server.start()
        await alice.expect(stanzas.gone(there), RECOVERY_WITHIN)
        alice.forget_unread()
        await bob.online()
        await alice.expect(stanzas.presence(bob.bare), RECOVERY_WITHIN)
        await bob.expect(stanzas.presence(alice.bare), RECOVERY_WITHIN)
        await alice.settle(far.domain)
        # Resources that have gone earlier, and only now without a doubt, are another matter.
        if any(stanzas.gone(bob.full).test(stanza) for stanza in alice.inbox):
            raise CaseFailed(f"Bob is there, and Alice was told that he is not: {alice.unread()}")


CASES = [
    Case("killed", ORDINARY, killed, near="comity"),
]
