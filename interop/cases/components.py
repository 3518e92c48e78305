"""Components of the near side (XEP-0114): a library's and a gateway to IRC, used from both sides."""

import itertools
from contextlib import asynccontextmanager
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

from cases.case import Case, Directions
from cases.federation import ORDINARY, TEXT
from harness import stanzas
from harness.clients import PATIENCE, Client, Expected
from harness.failure import CaseFailed, HarnessBroken
from harness.process import Process
from harness.stage import Side, Stage
from peers.server import COMPONENT_PORT, COMPONENT_SECRET

IRC_USER = Path(__file__).resolve().parents[1] / "harness" / "irc_user.py"
DISCO = "http://jabber.org/protocol/disco"
MUC = "http://jabber.org/protocol/muc"
NUMBERS = itertools.count(1)

IRC_SERVER = """
[Global]
Name = irc.example
Info = an IRC server
MotdPhrase = welcome
Listen = 127.0.0.1
Ports = 6667
ServerUID = irc
ServerGID = irc
[Limits]
MaxConnectionsIP = 0
[Options]
Ident = no
PAM = no
DNS = no
"""

GATEWAY = """
hostname={hostname}
password={secret}
xmpp_server_ip=127.0.0.1
port={port}
db_name={directory}/biboumi.sqlite
identd_port=0
log_level=0
"""


async def ask(client: Client, to: str, what: str) -> ElementTree.Element:
    """What service discovery says of an address (XEP-0030): `info` or `items`."""
    identity = f"disco-{next(NUMBERS)}"
    await client.raw(f"<iq type='get' id='{identity}' to='{to}'><query xmlns='{DISCO}#{what}'/></iq>")
    return await client.expect(Expected(f"an answer from {to}", lambda stanza: stanza.get("id") == identity))


async def listed(client: Client, domain: str) -> set[str]:
    """The services of a domain."""
    return {item.get("jid") for item in (await ask(client, domain, "items")).iter(f"{{{DISCO}#items}}item")}


async def is_answered_for(client: Client, address: str) -> None:
    """A message to somebody behind a component that is not connected comes back (RFC 6120 section 8.3.3.17)."""
    await client.message(address, TEXT)
    condition = stanzas.condition(await client.expect(stanzas.error(stanzas.bare(address))))
    if condition != "remote-server-timeout":
        raise CaseFailed(f"the error from {address} is {condition}")


async def slixmpp(_stage: Stage, near: Side, far: Side) -> None:
    """slixmpp connects as a component, is found, talks with both sides, and is missed when it goes."""
    alice, bob = await near.online("alice"), await far.online("bob")
    bot, impostor = near.component("bot"), near.component("bot", secret="close sesame")
    if bot.bare in await listed(alice, near.domain):
        raise CaseFailed("a component that is not connected is listed")
    await is_answered_for(alice, f"friar@{bot.bare}")
    try:
        await impostor.connect()
    except CaseFailed:
        pass
    else:
        raise CaseFailed("a wrong secret was accepted")
    await bot.connect()
    if bot.bare not in await listed(alice, near.domain):
        raise CaseFailed("the component is not listed")
    if (await ask(alice, bot.bare, "info")).find(f".//{{{DISCO}#info}}identity[@category='component']") is None:
        raise CaseFailed("the component does not say what it is")
    for client in (alice, bob):
        await client.message(f"friar@{bot.bare}", TEXT)
        await bot.expect(stanzas.message(client.bare, TEXT), 60)
        await bot.say(f"nurse@{bot.bare}/anywhere", client.full, f"Re: {TEXT}")
        await client.expect(stanzas.message(f"nurse@{bot.bare}", f"Re: {TEXT}"), 60)
    await alice.presence(pto=f"cell@{bot.bare}/alice")
    await bot.expect(stanzas.presence(alice.bare))
    await bot.logout()
    await alice.expect(stanzas.presence(f"cell@{bot.bare}", "unavailable"))
    if bot.bare in await listed(alice, near.domain):
        raise CaseFailed("the component is listed after it has gone")
    for client in (alice, bob):
        await is_answered_for(client, f"friar@{bot.bare}")


def occupant(address: str, kind: str | None = None, code: str | None = None) -> Expected:
    """Presence from an occupant of a room, with a status code (XEP-0045) if one is given."""
    return Expected(
        f"{kind or 'available'} presence from {address}" + (f" with status {code}" if code else ""),
        lambda stanza: stanza.tag == f"{stanzas.CLIENT}presence" and stanza.get("from") == address
        and stanza.get("type") == kind
        and (code is None or any(status.get("code") == code for status in stanza.iter(f"{{{MUC}#user}}status"))),
    )


async def join(client: Client, room: str, nick: str) -> None:
    """Enters a room (XEP-0045)."""
    await client.raw(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>")
    await client.expect(occupant(f"{room}/{nick}", code="110"), 60)


@asynccontextmanager
async def program(name: str, stage: Stage, side: Side, command: list[str], says: str) -> AsyncIterator[Process]:
    """A program beside the near server, from the moment at which it says that it is ready."""
    process = await Process.start(
        name, side.namespace.command(command), stage.logs / f"{side.label}-{name}.log", {"HOME": str(stage.directory)}
    )
    try:
        await process.line(says, PATIENCE)
        yield process
    finally:
        await process.stop()


async def biboumi(stage: Stage, near: Side, far: Side) -> None:
    """biboumi brings people of both sides into a channel of IRC; when it is killed, nobody believes in a ghost."""
    alice, bob = await near.online("alice"), await far.online("bob")
    gateway = f"irc.{near.domain}"
    room = f"#verona%127.0.0.1@{gateway}"
    directory = stage.directory / "irc"
    directory.mkdir()
    (directory / "ngircd.conf").write_text(IRC_SERVER)
    (directory / "biboumi.cfg").write_text(
        GATEWAY.format(hostname=gateway, secret=COMPONENT_SECRET, port=COMPONENT_PORT, directory=directory)
    )

    def start() -> AsyncIterator[Process]:
        return program("biboumi", stage, near, ["biboumi", str(directory / "biboumi.cfg")], "[Aa]uthenticated")

    server = ["ngircd", "-n", "-f", str(directory / "ngircd.conf")]
    user = ["/usr/bin/python3", str(IRC_USER), "127.0.0.1", "6667", "mercutio", "#verona"]
    async with program("ngircd", stage, near, server, "Now listening"):
        async with program("mercutio", stage, near, user, "^joined") as mercutio:
            async with start() as bridge:
                await converse(alice, bob, room, mercutio)
                if gateway not in await listed(alice, near.domain):
                    raise CaseFailed("the gateway is not listed")
                bridge.kill()
                await alice.expect(occupant(f"{room}/alice", "unavailable"))
                if gateway in await listed(alice, near.domain):
                    raise CaseFailed("the gateway is listed after it was killed")
                await said(mercutio, "alice leaves")
                for client in (alice, bob):
                    await is_answered_for(client, f"{room}/mercutio")
            alice.forget_unread()
            bob.forget_unread()
            async with start():
                await converse(alice, bob, room, mercutio)


async def converse(alice: Client, bob: Client, room: str, mercutio: Process) -> None:
    """Both enter the room and are heard and answered on IRC, and by each other."""
    await join(alice, room, "alice")
    await alice.expect(occupant(f"{room}/mercutio"))
    await join(bob, room, "bob")
    await alice.expect(occupant(f"{room}/bob"))
    for client, nick in ((alice, "alice"), (bob, "bob")):
        words = f"what {nick} means, no. {next(NUMBERS)}"
        await client.raw(f"<message type='groupchat' to='{room}'><body>ask {words}</body></message>")
        await said(mercutio, f"{nick} says ask {words}")
        for everybody in (alice, bob):
            await everybody.expect(stanzas.message(room, f"heard {words}"), 60)


async def said(process: Process, words: str) -> None:
    """Waits until a program has said something."""
    try:
        await process.line(words, PATIENCE)
    except HarnessBroken as error:
        raise CaseFailed(str(error)) from None


CASES = [
    Case("component-slixmpp", ORDINARY, slixmpp, Directions.FIRST_ONLY, near="comity"),
    Case("component-biboumi", ORDINARY, biboumi, Directions.FIRST_ONLY, near="comity"),
]
