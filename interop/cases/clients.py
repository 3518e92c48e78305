"""Real clients on the near side: log in with verification of the certificate, and talk across the domains."""

from cases.case import Case, Directions
from cases.federation import ORDINARY
from harness import stanzas
from harness.clients import PATIENCE, Client
from harness.failure import CaseFailed, HarnessBroken
from harness.process import Process, run
from harness.stage import Side, Stage
from harness.terminal import Terminal


async def slixmpp(_stage: Stage, near: Side, far: Side) -> None:
    """slixmpp refuses a certificate of an unknown authority, accepts the right one, and talks."""
    alice, bob = await near.account("alice"), await far.online("bob")
    try:
        await alice.login(trust=near.workshop.stranger.root)
    except CaseFailed:
        pass
    else:
        raise CaseFailed("the client logged in although it does not trust the authority: nothing was verified")
    await alice.online()
    await alice.message(bob.bare, "from slixmpp")
    await bob.expect(stanzas.message(alice.bare, "from slixmpp"))
    await bob.message(alice.bare, "to slixmpp")
    await alice.expect(stanzas.message(bob.bare, "to slixmpp"))


async def go_sendxmpp(stage: Stage, near: Side, far: Side) -> None:
    """go-sendxmpp sends one message and listens for another."""
    alice, bob = await near.account("alice"), await far.online("bob")
    home = stage.directory / "go-sendxmpp"
    home.mkdir()
    login = ["env", f"HOME={home}", "go-sendxmpp", "-u", alice.bare, "-p", alice.password,
             # It does not ask for SRV records; the certificate is still checked for the domain.
             "-j", f"xmpp.{near.domain}:5222"]
    try:
        await run(near.namespace.command([*login, bob.bare]), PATIENCE, stdin="from go-sendxmpp")
    except HarnessBroken as error:
        raise CaseFailed(str(error)) from None
    await bob.expect(stanzas.message(alice.bare, "from go-sendxmpp"))
    listener = await Process.start(
        "go-sendxmpp", near.namespace.command([*login, "-l"]), stage.logs / f"{near.label}-go-sendxmpp.log"
    )
    try:
        await bob.message(alice.bare, "to go-sendxmpp")
        await listener.line("to go-sendxmpp", PATIENCE)
    except HarnessBroken as error:
        raise CaseFailed(str(error)) from None
    finally:
        await listener.stop()


async def profanity(stage: Stage, near: Side, far: Side) -> None:
    """profanity in a terminal: connect, give the password, write, read."""
    alice, bob = await near.account("alice"), await far.online("bob")
    terminal = Terminal(near.namespace, stage.directory / "profanity")
    await terminal.open("profanity")
    try:
        await terminal.shows("Profanity")
        await terminal.type(f"/connect {alice.bare}")
        await terminal.shows("Enter password")
        await terminal.type(alice.password)
        # A certificate that does not verify makes it ask instead.
        await terminal.shows("logged in successfully")
        await talk(terminal, alice, bob)
    finally:
        (stage.logs / f"{near.label}-profanity.txt").write_text(await terminal.picture())
        await terminal.close()


async def talk(terminal: Terminal, alice: Client, bob: Client) -> None:
    """A message out of the terminal and one into it."""
    await terminal.type(f"/msg {bob.bare} from profanity")
    await bob.expect(stanzas.message(alice.bare, "from profanity"))
    await bob.message(alice.bare, "to profanity")
    await terminal.shows("to profanity")


CASES = [
    Case("client-slixmpp", ORDINARY, slixmpp, Directions.FIRST_ONLY),
    Case("client-go-sendxmpp", ORDINARY, go_sendxmpp, Directions.FIRST_ONLY),
    Case("client-profanity", ORDINARY, profanity, Directions.FIRST_ONLY),
]
