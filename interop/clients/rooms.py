"""The columns about rooms (XEP-0045): one of another domain, and a channel of IRC behind biboumi; and a meeting of two."""

import itertools
from pathlib import Path

from cases import rooms
from cases.components import said as says
from harness import stanzas
from harness.clients import Client, Expected
from harness.failure import CaseFailed
from harness.process import run

from clients.dino import Dino
from clients.gajim import Gajim
from clients.house import CHANNEL, NARROW, OPEN, ROOMS, House

NUMBERS = itertools.count(1)
# Bookmarks (XEP-0048) where old and new clients look for them (XEP-0049).
BOOKMARK = """
<iq type='set' id='bookmark'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>
<conference autojoin='true' jid='{room}' name='{name}'><nick>{nick}</nick></conference></storage></query></iq>
"""
MEETING = (("romeo", "Is the day so young?"), ("juliet", "It is but nine."), ("romeo", "Which server are you on, then?"),
           ("juliet", "Another one than yours. Does it matter?"), ("romeo", "Not in the least."))


async def answered(client: Client, identity: str) -> None:
    """Waits for the result of a request."""
    answer = await client.expect(Expected(f"the answer to {identity}", lambda stanza: stanza.get("id") == identity))
    if answer.get("type") != "result":
        raise CaseFailed(f"{identity} was refused")


async def hall(owner: Client, name: str, nick: str) -> str:
    """A room that goes with its last occupant, with its owner in it."""
    room, identity = f"{name}@{ROOMS}", f"hall-{next(NUMBERS)}"
    await rooms.enter(owner, room, nick)
    await owner.raw(
        f"<iq type='set' id='{identity}' to='{room}'><query xmlns='{rooms.MUC}#owner'>"
        "<x xmlns='jabber:x:data' type='submit'/></query></iq>"
    )
    await answered(owner, identity)
    return room


async def remember(device: Client, room: str, name: str, nick: str) -> None:
    """Gives an account a bookmark, from another of its devices: with it, graphical clients enter by themselves."""
    await device.online()
    await device.raw("".join(BOOKMARK.format(room=room, name=name, nick=nick).splitlines()))
    await answered(device, "bookmark")
    await device.logout()


async def in_room(scene) -> str:
    """The client enters a room of another domain, is seen, hears, is heard, and is seen to go."""
    await scene.house.offer_only("SCRAM-SHA-1")
    friend, nick = await scene.house.friend(NARROW), "guest"
    room = await hall(friend, f"hall-{next(NUMBERS)}", "friend")
    program = await scene.program()
    await remember(scene.house.device(program.account), room, "a hall", nick)
    await program.start()
    await program.enter(room, nick)
    await friend.expect(rooms.occupant(room, nick), 90)
    await program.turn_to(room)
    await rooms.say(friend, room, "is it morning")
    await program.shows("is it morning")
    await program.speak(room, "it is morning")
    await friend.expect(rooms.said(room, nick, "it is morning"))
    await program.stop()
    await friend.expect(rooms.occupant(room, nick, "unavailable"))
    return "yes"


async def in_channel(scene) -> str:
    """The same in a channel of IRC, with somebody there."""
    await scene.house.open_channel()
    nick, words = f"guest{next(NUMBERS)}", f"what day it is, no. {next(NUMBERS)}"
    friend = await scene.house.friend()
    await friend.raw(f"<presence to='{CHANNEL}/{nick}f'><x xmlns='{rooms.MUC}'/></presence>")
    await friend.expect(rooms.occupant(CHANNEL, f"{nick}f", status="110"), 60)
    program = await scene.program()
    await remember(scene.house.device(program.account), CHANNEL, "a channel", nick)
    await program.start()
    await program.enter(CHANNEL, nick)
    await friend.expect(rooms.occupant(CHANNEL, nick), 90)
    await program.turn_to(CHANNEL)
    await rooms.say(friend, CHANNEL, f"ask {words}")
    await program.shows(f"heard {words}")
    await program.speak(CHANNEL, f"ask {words} again")
    await says(scene.house.mercutio, f"{nick} says ask {words} again")
    await friend.expect(stanzas.message(CHANNEL, f"heard {words} again"), 60)
    await program.stop()
    await friend.expect(rooms.occupant(CHANNEL, nick, "unavailable"))
    return "yes"


async def meet(house: House, logs: Path, picture: Path) -> None:
    """Dino of one domain and Gajim of the other talk in a room, and a picture is taken of both."""
    await house.offer_only("SCRAM-SHA-1")
    nurse = await house.friend(NARROW)
    room = await hall(nurse, "verona", "nurse")
    people, programs = {}, []
    try:
        for nick, kind, domain in (("romeo", Dino, OPEN), ("juliet", Gajim, NARROW)):
            account = await house.account(nick, domain)
            program = people[nick] = house.program(kind, account, logs / nick)
            programs.append(program)
            await remember(house.device(account), room, "Verona", nick)
            await program.start()
            await program.enter(room, nick)
            await nurse.expect(rooms.occupant(room, nick), 90)
        await rooms.say(nurse, room, "Good morrow.")
        for program in programs:
            await program.shows("Good morrow.")
        for nick, words in MEETING:
            await people[nick].speak(room, words)
            await nurse.expect(rooms.said(room, nick, words))
            for program in programs:
                await program.shows(words)
        parts = [logs / f"{program.name}.png" for program in programs]
        for program, part in zip(programs, parts):
            await program.photograph(part)
        await run(["convert", *map(str, parts), "-append", "+dither", "-colors", "64", "-strip", f"png8:{picture}"])
    finally:
        for program in programs:
            await program.kill()
