"""What a sender was told is safe reaches a server that hangs, is killed and comes back."""

import asyncio

from cases.case import Case
from cases.federation import ORDINARY, PAUSE_BETWEEN_ATTEMPTS, RECOVERY_WITHIN
from harness import stanzas
from harness.clients import Client
from harness.failure import CaseFailed
from harness.stage import Side, Stage

BATCH = 50
# A client that is told what is safe (XEP-0198). slixmpp is not asked to confirm anything itself.
ENABLE = "<enable xmlns='urn:xmpp:sm:3'/>"


async def collect(bob: Client, sender: str, numbers: range) -> int:
    """Waits for the messages with these numbers, in order; how many came twice."""
    for number in numbers:
        await bob.expect(stanzas.message(sender, f"number {number}"), RECOVERY_WITHIN)
    return sum(stanza.tag == f"{stanzas.CLIENT}message" for stanza in bob.inbox)


async def confirmed(near: Side, far: Side) -> None:
    """Waits until the near server has nothing more for the far one, which has confirmed all of it."""

    async def look() -> None:
        while any(peer["stanzas"] for peer in await near.server.told("peers") if peer["remote"] == far.domain):
            await asyncio.sleep(PAUSE_BETWEEN_ATTEMPTS)

    try:
        await asyncio.wait_for(look(), RECOVERY_WITHIN)
    except asyncio.TimeoutError:
        raise CaseFailed(f"{far.domain} did not confirm what it had got within {RECOVERY_WITHIN:g} s") from None


async def hangs(_stage: Stage, near: Side, far: Side) -> None:
    """The far server takes messages and is killed before it looks at them; not one is lost. A batch at most
    comes twice, and none that was confirmed before."""
    alice, bob = await near.online("alice"), await far.account("bob")
    # Some servers keep a new account in memory for a while, and would have forgotten Bob when they are killed.
    await far.server.stop()
    await far.server.start()
    await bob.online()
    await alice.raw(ENABLE)
    for number in range(BATCH):
        await alice.message(bob.bare, f"number {number}")
    if await collect(bob, alice.bare, range(BATCH)):
        raise CaseFailed(f"something came twice: {bob.unread()}")
    # The answer to a change comes when it is stored, and with it that Bob has got what came before.
    await bob.add_contact(alice.bare)
    await confirmed(near, far)
    assert far.server.process
    far.server.process.hang()
    for number in range(BATCH, 2 * BATCH):
        await alice.message(bob.bare, f"number {number}")
    # They are with the operating system of the far server when this one has handled what comes behind them.
    await alice.settle(near.domain)
    await far.server.crash()
    await far.server.start()
    await bob.online()
    twice = await collect(bob, alice.bare, range(BATCH, 2 * BATCH))
    if twice > BATCH:
        raise CaseFailed(f"{twice} messages came twice")
    for number in range(BATCH):
        bob.refuse(stanzas.message(alice.bare, f"number {number}"))
    alice.refuse(stanzas.error(bob.bare))


CASES = [
    Case("hangs", ORDINARY, hangs, near="comity"),
]
