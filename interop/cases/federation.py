"""What people on two domains do: RFC 6121 between two servers in their ordinary configuration."""

import asyncio
from xml.etree import ElementTree

from cases.case import Case
from harness import stanzas
from harness.clients import Client
from harness.failure import CaseFailed
from harness.stage import Side, Stage, Variant

ORDINARY = Variant("ordinary")
# Bounds that the issue calls "bounded time": a stanza that cannot be delivered, and a server that is back.
ERROR_WITHIN = 60.0
RECOVERY_WITHIN = 60.0
PAUSE_BETWEEN_ATTEMPTS = 0.5
# What a sender is told when another server is down, and what jabberd2 says instead.
UNREACHABLE = {"remote-server-not-found", "remote-server-timeout"}
OTHER_WORDS = {"jabberd2": {"service-unavailable"}}
TEXT = "Grüße & <Küsse> 'zu' \"Haus\" ]]> 你好 👋🏽"


async def befriend(alice: Client, bob: Client) -> None:
    """Both subscribe to each other and see each other online (RFC 6121 section 3.1)."""
    await alice.add_contact(bob.bare)
    await alice.presence(pto=bob.bare, ptype="subscribe")
    await bob.expect(stanzas.presence(alice.bare, "subscribe"))
    await bob.presence(pto=alice.bare, ptype="subscribed")
    await alice.expect(stanzas.presence(bob.bare, "subscribed"))
    await alice.expect(stanzas.roster_push(bob.bare, "to"))
    await alice.expect(stanzas.presence(bob.bare))
    await bob.presence(pto=alice.bare, ptype="subscribe")
    await alice.expect(stanzas.presence(bob.bare, "subscribe"))
    await alice.presence(pto=bob.bare, ptype="subscribed")
    await bob.expect(stanzas.presence(alice.bare, "subscribed"))
    await alice.expect(stanzas.roster_push(bob.bare, "both"))
    await bob.expect(stanzas.roster_push(alice.bare, "both"))
    await bob.expect(stanzas.presence(alice.bare))


async def subscription(_stage: Stage, near: Side, far: Side) -> None:
    """Subscribe, approve, the same back; then removal ends both subscriptions."""
    alice, bob = await near.online("alice"), await far.online("bob")
    await befriend(alice, bob)
    await alice.remove_contact(bob.bare)
    await alice.expect(stanzas.roster_push(bob.bare, "remove"))
    await bob.expect(stanzas.roster_push(alice.bare, "none"))
    await bob.expect(stanzas.presence(alice.bare, "unavailable"))


async def presence(_stage: Stage, near: Side, far: Side) -> None:
    """A contact goes, comes and changes; somebody who logs in learns who is there by probe."""
    alice, bob = await near.online("alice"), await far.online("bob")
    await befriend(alice, bob)
    await bob.presence(pshow="away")
    await alice.expect(stanzas.presence(bob.bare, show="away"))
    await bob.logout()
    await alice.expect(stanzas.presence(bob.bare, "unavailable"))
    alice.forget_unread()
    await bob.online()
    await alice.expect(stanzas.presence(bob.bare))
    await bob.expect(stanzas.presence(alice.bare))
    await alice.logout()
    await bob.expect(stanzas.presence(alice.bare, "unavailable"))
    bob.forget_unread()
    await alice.online()
    await alice.expect(stanzas.presence(bob.bare))
    await bob.expect(stanzas.presence(alice.bare))


async def deliver(sender: Client, receiver: Client, to: str, body: str) -> ElementTree.Element:
    """One message that must arrive; its error is reported at once instead of waited out."""
    await sender.message(to, body)
    arrival = asyncio.create_task(receiver.expect(stanzas.message(sender.bare, body), ERROR_WITHIN))
    failure = asyncio.create_task(sender.expect(stanzas.error(receiver.bare), 2 * ERROR_WITHIN))
    try:
        done, _ = await asyncio.wait({arrival, failure}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        arrival.cancel()
        failure.cancel()
    if arrival in done:
        return await arrival
    raise CaseFailed(f"the message to {to} came back: {ElementTree.tostring(await failure, encoding='unicode')}")


async def converse(near: Side, far: Side) -> None:
    """One message there and one back."""
    alice, bob = await near.online("alice"), await far.online("bob")
    received = await deliver(alice, bob, bob.bare, TEXT)
    if received.get("from") != alice.full:
        raise CaseFailed(f"the message came from {received.get('from')}, not from {alice.full}")
    await deliver(bob, alice, alice.full, f"Re: {TEXT}")


async def chat(_stage: Stage, near: Side, far: Side) -> None:
    """Chat both ways, with every character that needs care; then twenty in a row, in order."""
    await converse(near, far)
    alice, bob = await near.online("alice"), await far.online("bob")
    for number in range(20):
        await alice.message(bob.full, f"number {number}")
    for number in range(20):
        await bob.expect(stanzas.message(alice.bare, f"number {number}"))
    await alice.settle(far.domain)


async def offline(_stage: Stage, near: Side, far: Side) -> None:
    """A message to somebody who is not there waits, and carries the time of its arrival (XEP-0203)."""
    alice, bob = await near.online("alice"), await far.account("bob")
    await alice.message(bob.bare, TEXT)
    await alice.settle(far.domain)
    alice.refuse(stanzas.error(bob.bare))
    await bob.online()
    received = await bob.expect(stanzas.message(alice.bare, TEXT))
    if received.find(stanzas.DELAY) is None:
        raise CaseFailed("the offline message has no <delay/>")


async def unknown_user(_stage: Stage, near: Side, far: Side) -> None:
    """Messages and requests to an account that does not exist come back (RFC 6121 section 8.5.1)."""
    alice, nobody = await near.online("alice"), f"nobody@{far.domain}"
    await alice.message(nobody, TEXT)
    check(await alice.expect(stanzas.error(nobody)))
    await alice.raw(f"<iq type='get' id='version' to='{nobody}'><query xmlns='jabber:iq:version'/></iq>")
    check(await alice.expect(stanzas.error(nobody, "iq")))


def check(stanza: ElementTree.Element) -> None:
    """The error must say that nobody is served under this address."""
    if stanzas.condition(stanza) not in ("service-unavailable", "item-not-found"):
        raise CaseFailed(f"the error is {stanzas.condition(stanza)}, not service-unavailable")


async def remote_down(_stage: Stage, near: Side, far: Side) -> None:
    """While the other server is down messages come back in bounded time; when it is up again they arrive."""
    alice, bob = await near.online("alice"), await far.account("bob")
    await alice.settle(far.domain)
    await far.server.stop()
    try:
        await alice.message(bob.bare, "while you are down")
        failure = await alice.expect(stanzas.error(bob.bare), ERROR_WITHIN)
        if stanzas.condition(failure) not in UNREACHABLE | OTHER_WORDS.get(near.server.kind, set()):
            raise CaseFailed(f"the error is {stanzas.condition(failure)}, not remote-server-not-found or -timeout")
    finally:
        await far.server.start()
    await bob.online()
    try:
        await asyncio.wait_for(until_it_arrives(alice, bob), RECOVERY_WITHIN)
    except asyncio.TimeoutError:
        raise CaseFailed(f"no message arrived within {RECOVERY_WITHIN:g} s after the server was back") from None
    bob.refuse(stanzas.message(alice.bare, "while you are down"))


async def until_it_arrives(alice: Client, bob: Client) -> None:
    """Sends again after each error; a server may hold on to its knowledge that the other is down for a while."""
    while True:
        await alice.message(bob.bare, "are you back?")
        arrival = asyncio.create_task(bob.expect(stanzas.message(alice.bare, "are you back?"), RECOVERY_WITHIN))
        failure = asyncio.create_task(alice.expect(stanzas.error(bob.bare), RECOVERY_WITHIN))
        try:
            done, _ = await asyncio.wait({arrival, failure}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()
            failure.cancel()
        if arrival in done:
            return await arrival
        await asyncio.sleep(PAUSE_BETWEEN_ATTEMPTS)


CASES = [
    Case("subscription", ORDINARY, subscription),
    Case("presence", ORDINARY, presence),
    Case("chat", ORDINARY, chat),
    Case("offline", ORDINARY, offline),
    Case("unknown-user", ORDINARY, unknown_user),
    Case("remote-down", ORDINARY, remote_down),
]
