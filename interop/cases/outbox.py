"""What a sender was told is safe reaches a server that hangs, is killed and comes back."""

from collections import Counter

from cases.case import Case
from cases.federation import ORDINARY, RECOVERY_WITHIN
from harness import stanzas
from harness.clients import Client
from harness.failure import CaseFailed
from harness.stage import Side, Stage

BATCH = 50
# A client that is told what is safe (XEP-0198). slixmpp is not asked to confirm anything itself.
ENABLE = "<enable xmlns='urn:xmpp:sm:3'/>"


async def collect(bob: Client, sender: str, numbers: range) -> list[str | None]:
    """Waits for the messages with these numbers, in order; the texts of those that came twice."""
    for number in numbers:
        await bob.expect(stanzas.message(sender, f"number {number}"), RECOVERY_WITHIN)
    messages = (stanza for stanza in bob.inbox if stanza.tag == f"{stanzas.CLIENT}message")
    return [message.findtext(f"{stanzas.CLIENT}body") for message in messages]


async def hangs(_stage: Stage, near: Side, far: Side) -> None:
    """The far server takes messages and is killed before it looks at them; not one is lost, and a batch at most comes again.

    Two servers may have a reason to send a message again: the far one because Bob's client has confirmed nothing, and the near
    one because it has not been told yet that the message arrived. Where it counts, or the far one keeps nothing for such a
    client, one of the two reasons falls away; on a stream that goes both ways nobody counts.
    """
    alice, bob = await near.online("alice"), await far.account("bob")
    # Some servers keep a new account in memory for a while, and would have forgotten Bob when they are killed.
    await far.server.stop()
    await far.server.start()
    await bob.online()
    await alice.raw(ENABLE)
    for number in range(BATCH):
        await alice.message(bob.bare, f"number {number}")
    if twice := await collect(bob, alice.bare, range(BATCH)):
        raise CaseFailed(f"{len(twice)} messages came twice: {twice}")
    assert far.server.process
    far.server.process.hang()
    for number in range(BATCH, 2 * BATCH):
        await alice.message(bob.bare, f"number {number}")
    # They are with the operating system of the far server when this one has handled what comes behind them.
    await alice.settle(near.domain)
    await far.server.crash()
    await far.server.start()
    await bob.online()
    again = Counter(await collect(bob, alice.bare, range(BATCH, 2 * BATCH)))
    first, most = {f"number {number}" for number in range(BATCH)}, 2 if near.server.site.bidi else 1
    if wrong := {text: times for text, times in again.items() if times > most or text not in first}:
        raise CaseFailed(f"these came again so often: {wrong}")
    alice.refuse(stanzas.error(bob.bare))


CASES = [
    Case("hangs", ORDINARY, hangs, near="comity"),
]
