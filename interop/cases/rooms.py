"""Rooms (XEP-0045) with people of two domains: they meet, one of the two servers is killed, nobody drops out unnoticed."""

import asyncio
import itertools
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cases.case import Case
from cases.federation import ORDINARY, RECOVERY_WITHIN, TEXT
from harness import stanzas
from harness.clients import Client, Expected
from harness.failure import CaseFailed
from harness.stage import Side, Stage

MUC = "http://jabber.org/protocol/muc"
USER = f"{{{MUC}#user}}"
# A server that notices that another one is gone: the first error that comes back, or a stream that breaks.
GONE_WITHIN = 90.0
NUMBERS = itertools.count(1)


def occupant(room: str, nick: str, kind: str | None = None, status: str | None = None) -> Expected:
    """Presence of an occupant; `status` is a code that it must have."""

    def test(stanza: ElementTree.Element) -> bool:
        codes = {it.get("code") for it in stanza.iterfind(f"{USER}x/{USER}status")}
        return (
            stanza.tag == f"{stanzas.CLIENT}presence" and stanza.get("from") == f"{room}/{nick}"
            and stanza.get("type") == kind and (status is None or status in codes)
        )

    return Expected(f"{kind or 'available'} presence of {nick} in {room}" + (f" with {status}" if status else ""), test)


def said(room: str, nick: str, body: str) -> Expected:
    """A message of an occupant."""
    return Expected(
        f"the message {body!r} of {nick} in {room}",
        lambda stanza: stanza.tag == f"{stanzas.CLIENT}message" and stanza.get("type") == "groupchat"
        and stanza.get("from") == f"{room}/{nick}" and stanza.findtext(f"{stanzas.CLIENT}body") == body,
    )


async def enter(client: Client, room: str, nick: str) -> None:
    """Enters, and is told that it is in."""
    await client.raw(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>")
    await client.expect(occupant(room, nick, status="110"), RECOVERY_WITHIN)


async def enter_in_time(client: Client, room: str, nick: str) -> None:
    """The same for a room whose server has just lost this one: some throw away what they have to say for a moment."""
    loop = asyncio.get_running_loop()
    until = loop.time() + RECOVERY_WITHIN
    while True:
        await client.raw(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>")
        try:
            await client.expect(occupant(room, nick, status="110"), 5)
            return
        except CaseFailed:
            if loop.time() > until:
                raise


async def say(client: Client, room: str, body: str) -> None:
    """Says something; the number tells messages apart that say the same."""
    identity = f"say-{next(NUMBERS)}"
    await client.raw(f"<message type='groupchat' to='{room}' id='{identity}'><body>{escape(body)}</body></message>")


async def make(owner: Client, side: Side) -> str:
    """A room that stays, on the server of `side`."""
    room, identity = f"hall-{next(NUMBERS)}@conference.{side.domain}", f"owner-{next(NUMBERS)}"
    await enter(owner, room, "owner")
    fields = "".join(
        f"<field var='{name}'><value>{value}</value></field>"
        for name, value in (("FORM_TYPE", f"{MUC}#roomconfig"), ("muc#roomconfig_persistentroom", "1"))
    )
    await owner.raw(
        f"<iq type='set' id='{identity}' to='{room}'><query xmlns='{MUC}#owner'>"
        f"<x xmlns='jabber:x:data' type='submit'>{fields}</x></query></iq>"
    )
    done = await owner.expect(Expected("the end of the configuration", lambda stanza: stanza.get("id") == identity))
    if done.get("type") != "result":
        raise CaseFailed(f"the room was not configured: {ElementTree.tostring(done, encoding='unicode')}")
    await owner.raw(f"<presence type='unavailable' to='{room}/owner'/>")
    await owner.expect(occupant(room, "owner", "unavailable"))
    return room


async def settled(side: Side) -> None:
    """What the server of `side` was told so far is on its disk: some keep it in memory for a while."""
    await side.server.stop()
    await side.server.start()


async def meets(_stage: Stage, near: Side, far: Side) -> None:
    """Somebody enters a room of the other server, sees and hears everybody there, is seen and heard, and goes."""
    alice, bob = await near.online("alice"), await far.online("bob")
    room = await make(bob, far)
    await enter(bob, room, "bob")
    await say(bob, room, "earlier")
    await bob.expect(said(room, "bob", "earlier"))
    await enter(alice, room, "alice")
    await alice.expect(occupant(room, "bob"))
    await alice.expect(said(room, "bob", "earlier"))
    await bob.expect(occupant(room, "alice"))
    for speaker, nick in ((alice, "alice"), (bob, "bob")):
        await say(speaker, room, TEXT)
        await alice.expect(said(room, nick, TEXT))
        await bob.expect(said(room, nick, TEXT))
    await alice.logout()
    await bob.expect(occupant(room, "alice", "unavailable"))


async def members_server_is_killed(_stage: Stage, near: Side, far: Side) -> None:
    """The server of somebody in a room is killed: he does not stay there as a ghost, and finds what he has missed."""
    alice, bob = await near.account("alice"), await far.online("bob")
    await settled(near)
    await alice.online()
    room = await make(bob, far)
    await enter(bob, room, "bob")
    await enter(alice, room, "alice")
    await bob.expect(occupant(room, "alice"))
    await near.server.crash()
    for number in range(3):
        await say(bob, room, f"number {number}")
    await bob.expect(occupant(room, "alice", "unavailable"), GONE_WITHIN)
    await near.server.start()
    await alice.online()
    await enter_in_time(alice, room, "alice")
    for number in range(3):
        await alice.expect(said(room, "bob", f"number {number}"), RECOVERY_WITHIN)
    await bob.expect(occupant(room, "alice"))
    await say(alice, room, "back")
    await bob.expect(said(room, "alice", "back"))


async def rooms_server_is_killed(_stage: Stage, near: Side, far: Side) -> None:
    """The server of a room is killed: whoever was in it is in it again, without doing anything, and has missed nothing."""
    alice, bob, tybalt = await near.online("alice"), await far.account("bob"), await far.account("tybalt")
    await settled(far)
    await bob.online()
    room = await make(bob, far)
    await settled(far)
    for client, nick in ((bob, "bob"), (tybalt, "tybalt"), (alice, "alice")):
        if client is not alice:
            await client.online()
        await enter(client, room, nick)
    await alice.expect(occupant(room, "bob"))
    await say(bob, room, "before")
    await alice.expect(said(room, "bob", "before"))
    alice.forget_unread()
    await far.server.crash()
    await far.server.start()
    await bob.online()
    await enter(bob, room, "bob")
    for number in range(5):
        await say(bob, room, f"number {number}")
    for number in range(5):
        await alice.expect(said(room, "bob", f"number {number}"), RECOVERY_WITHIN)
    await bob.expect(occupant(room, "alice"), RECOVERY_WITHIN)
    # Tybalt has not come back, and she knows.
    await alice.expect(occupant(room, "tybalt", "unavailable"), RECOVERY_WITHIN)
    await say(alice, room, "back")
    await bob.expect(said(room, "alice", "back"))
    await alice.expect(said(room, "alice", "back"))
    for unwanted in (occupant(room, "alice", "unavailable"), said(room, "bob", "before"), said(room, "bob", "number 0")):
        alice.refuse(unwanted)


CASES = [
    Case("room", ORDINARY, meets, in_rooms=True),
    Case("room-member-restarts", ORDINARY, members_server_is_killed, in_rooms=True),
    Case("room-restarts", ORDINARY, rooms_server_is_killed, near="comity", in_rooms=True),
]
