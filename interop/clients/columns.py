"""The columns of the matrix: what every client is asked to do, in terms of what a program can do."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from harness import stanzas
from harness.clients import Client, Expected
from harness.failure import CaseFailed

from clients import rooms
from clients.house import NARROW, OPEN, House
from clients.program import Program

CARBONS = "urn:xmpp:carbons:2"
MISSED = "while you were cut off"
BODY = "{jabber:client}body"


class Scene:
    """One client in one column: its programs, which have to be ended however it goes."""

    def __init__(self, house: House, kind: type[Program], folder: Path):
        self.house = house
        self.kind = kind
        self._folder = folder
        self._programs: list[Program] = []

    async def program(self, domain: str = OPEN, with_tls13: bool = True) -> Program:
        """A device of a new account, not started."""
        account = await self.house.account(self.kind.name, domain)
        program = self.house.program(self.kind, account, self._folder, with_tls13)
        self._programs.append(program)
        return program

    async def close(self) -> None:
        """Ends what still runs."""
        for program in self._programs:
            await program.kill()
        await self.house.mend()
        await self.house.log_everybody_out()


@dataclass(frozen=True)
class Column:
    """What is tried; `play` returns what the table says where it went well."""

    name: str
    heading: str
    play: Callable[[Scene], Awaitable[str]]


async def converse(program: Program, friend: Client, about: str) -> None:
    """A message in, which is seen, and a message out."""
    await friend.message(program.account.bare, f"is it {about}")
    await program.look_into(friend.bare)
    await program.shows(f"is it {about}")
    await program.say(friend.bare, f"it is {about}")
    await friend.expect(stanzas.message(program.account.bare, f"it is {about}"))


async def begin(scene: Scene, domain: str = OPEN, with_tls13: bool = True) -> tuple[Program, Client]:
    """The client logs in, and talks with somebody."""
    friend = await scene.house.friend(domain)
    program = await scene.program(domain, with_tls13)
    await program.start()
    await converse(program, friend, "morning")
    return program, friend


async def cut_off(scene: Scene, program: Program, friend: Client) -> int:
    """Its connection is cut, and when it is back it sees what was said meanwhile; how much was on the wire before."""
    said = len(program.wire())
    await scene.house.cut()
    await friend.message(program.account.bare, MISSED)
    await friend.settle(OPEN)
    await scene.house.mend()
    await program.shows(MISSED)
    return said


async def log_in(scene: Scene, domain: str = OPEN, with_tls13: bool = True) -> str:
    """The client logs in, and talks; by which mechanism it did."""
    program, _ = await begin(scene, domain, with_tls13)
    return program.mechanism()


async def log_in_without_tls13(scene: Scene) -> str:
    """The client logs in while its TLS knows nothing newer than 1.2."""
    before = scene.house.without_tls13()
    mechanism = await log_in(scene, with_tls13=False)
    if scene.house.without_tls13() == before:
        raise CaseFailed("the client used TLS 1.3")
    return mechanism


def log_in_by(mechanism: str) -> Callable[[Scene], Awaitable[str]]:
    """The client logs in to a server that offers one mechanism."""

    async def play(scene: Scene) -> str:
        await scene.house.offer_only(mechanism)
        used = await log_in(scene, NARROW)
        if used != mechanism:
            raise CaseFailed(f"it was offered {mechanism} and logged in by {used}")
        return "yes"

    return play


async def resume(scene: Scene) -> str:
    """Its connection is cut; it comes back to the same session and misses nothing, and nothing comes twice (XEP-0198)."""
    program, friend = await begin(scene)
    said = await cut_off(scene, program, friend)
    await program.has_on_wire("<resumed", said)
    await converse(program, friend, "evening")
    times = (await program.picture()).count(MISSED)
    if times != 1:
        raise CaseFailed(f"the message was shown {times} times")
    return "yes"


async def carbons(scene: Scene) -> str:
    """Two devices of an account see what the other one gets and sends (XEP-0280)."""
    program, friend = await begin(scene)
    await program.has_on_wire(f"<enable[^>]*{CARBONS}")
    other = await scene.house.device(program.account).online()
    await other.raw(f"<iq type='set' id='carbons'><enable xmlns='{CARBONS}'/></iq>")
    await other.expect(Expected("carbons", lambda stanza: stanza.get("id") == "carbons" and stanza.get("type") == "result"))
    await friend.message(other.full, "to the other device")
    await program.shows("to the other device")
    await other.message(friend.bare, "from the other device")
    await program.shows("from the other device")
    await program.say(friend.bare, "from this device")
    await other.expect(
        Expected("a copy of what the client sent", lambda stanza: any(
            body.text == "from this device" for body in stanza.iter(BODY)
        ))
    )
    return "yes"


async def offline(scene: Scene) -> str:
    """What came while nobody was there is seen at the next login (XEP-0160)."""
    program, friend = await begin(scene)
    await program.stop()
    await friend.message(program.account.bare, "while nobody was there")
    await friend.settle(OPEN)
    await program.start()
    await program.look_into(friend.bare)
    await program.shows("while nobody was there")
    return "yes"


async def archive(scene: Scene) -> str:
    """What another device got and sent while this one was away is seen at the next login (XEP-0313)."""
    program, friend = await begin(scene)
    await program.stop()
    other = await scene.house.device(program.account).online()
    await friend.message(program.account.bare, "for whoever is there")
    await other.expect(stanzas.message(friend.bare, "for whoever is there"))
    await other.message(friend.bare, "said by the other device")
    await friend.expect(stanzas.message(program.account.bare, "said by the other device"))
    await other.logout()
    await program.start()
    await program.look_into(friend.bare)
    await program.shows("for whoever is there")
    await program.shows("said by the other device")
    return "yes"


async def block(scene: Scene) -> str:
    """The client blocks somebody, who is told so and not seen any more (XEP-0191)."""
    program, pest = await begin(scene)
    friend = await scene.house.friend()
    await program.block(pest.bare)
    await program.has_on_wire(rf"<block\s[^>]*>\s*<item\s[^>]*{re.escape(pest.bare)}")
    # What it says next comes to the server after the block.
    await converse(program, friend, "noon")
    await pest.message(program.account.bare, "after the block")
    await pest.expect(stanzas.error(program.account.bare))
    await converse(program, friend, "evening")
    await program.look_into(pest.bare)
    if "after the block" in await program.picture():
        raise CaseFailed("it shows a message from somebody that it has blocked")
    return "yes"


async def one_round_trip(scene: Scene) -> str:
    """It comes back by one request, to a new session and, after a cut, to the old one (XEP-0388, XEP-0386, XEP-0484)."""
    program, friend = await begin(scene)
    await program.stop()
    said = len(program.wire())
    await program.start()
    await converse(program, friend, "noon")
    returned(program.wire()[said:], "<bind", "<bound")
    said = await cut_off(scene, program, friend)
    returned(program.wire()[said:], "<resume ", "<resumed")
    await converse(program, friend, "evening")
    return program.mechanism()


def returned(wire: str, asked: str, given: str) -> None:
    """Fails unless a token and what was asked for went in one request, and the answer to it was all there was before."""
    request = wire.find("<authenticate")
    success = wire.find("<success", request)
    between = wire[request:success]
    is_token = re.search(r"mechanism=[\"']HT-", between)
    if request < 0 or success < 0 or not is_token or asked not in between or "<failure" in between:
        raise CaseFailed(f"it did not come back by one request with {asked}: {between[:600]}")
    if between.count("<auth") > 1 or "<response" in between or "<challenge" in between:
        raise CaseFailed(f"it took more than one request: {between[:600]}")
    if given not in wire[success : success + 2000]:
        raise CaseFailed(f"the answer has no {given}: {wire[success : success + 600]}")


COLUMNS = [
    Column("login", "login", log_in),
    Column("tls-1.2", "with TLS 1.2", log_in_without_tls13),
    *(Column(name.lower(), f"{name} only", log_in_by(name)) for name in ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")),
    Column("resume", "resume", resume),
    Column("carbons", "carbons", carbons),
    Column("offline", "offline messages", offline),
    Column("archive", "archive", archive),
    Column("block", "block", block),
    Column("room", "room of another domain", rooms.in_room),
    Column("irc", "channel of IRC (biboumi)", rooms.in_channel),
    Column("one-round-trip", "back in one round trip", one_round_trip),
]
