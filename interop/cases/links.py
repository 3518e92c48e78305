"""How two servers find and believe each other: DNS, TLS, certificates and dialback."""

from cases.case import Case, Directions
from cases.federation import ERROR_WITHIN, TEXT, chat, deliver
from cases.outbox import hangs
from cases.presence import killed
from harness import stanzas
from harness.failure import CaseFailed
from harness.network import DNS_ADDRESS
from harness.process import run
from harness.stage import Dane, Side, Srv, Stage, Variant
from peers.server import Proof


async def arrives(_stage: Stage, near: Side, far: Side) -> None:
    """The link comes up in this variant. Only one way: the link back is the row of the other direction."""
    alice, bob = await near.online("alice"), await far.online("bob")
    await deliver(alice, bob, bob.bare, TEXT)


async def refused(_stage: Stage, near: Side, far: Side) -> None:
    """The link does not come up: the sender is told, the recipient gets nothing."""
    alice, bob = await near.online("alice"), await far.online("bob")
    await alice.message(bob.bare, TEXT)
    await alice.expect(stanzas.error(bob.bare), ERROR_WITHIN)
    await bob.settle(far.domain)
    bob.refuse(stanzas.message(alice.bare, TEXT))


async def tls_required(stage: Stage, near: Side, far: Side) -> None:
    """One server requires TLS, the other has none: nothing is delivered, and nothing is said in plain text."""
    await refused(stage, near, far)
    stage.nothing_leaked()


async def dane(stage: Stage, near: Side, far: Side) -> None:
    """No certificate is trusted; both sides prove themselves by the keys that a signed DNS names (RFC 7673, RFC 7712)."""
    await arrives(stage, near, far)


async def records_validate(_stage: Stage, near: Side, far: Side) -> None:
    """Another implementation (BIND) comes to the same judgement on the records that the servers have followed."""
    key = near.server.site.root_key.read_text().split()
    flags, protocol, algorithm, *digits = key[key.index("DNSKEY") + 1 :]
    anchors = near.server.site.directory / "delv.anchors"
    text = f'trust-anchors {{ . static-key {flags} {protocol} {algorithm} "{"".join(digits)}"; }};\n'
    anchors.write_text(text)
    host = f"xmpp.{far.domain}"
    for name, kind in ((f"_xmpp-server._tcp.{far.domain}", "SRV"), (host, "A"), (f"_5269._tcp.{host}", "TLSA")):
        command = ["delv", f"@{DNS_ADDRESS}", "-a", str(anchors), "+root=.", name, kind]
        said = await run(near.namespace.command(command))
        if "; fully validated" not in said:
            raise CaseFailed(f"delv says of {name} {kind}: {said.strip()}")


async def answered(_stage: Stage, near: Side, far: Side) -> None:
    """Nobody finds the near server: what comes back comes on the stream that it has opened (XEP-0288)."""
    alice, bob = await near.online("alice"), await far.online("bob")
    await deliver(alice, bob, bob.bare, TEXT)
    for number in range(20):
        await deliver(bob, alice, alice.full, f"number {number}")


async def answered_far(stage: Stage, near: Side, far: Side) -> None:
    """The same with the other server behind the wall."""
    await answered(stage, far, near)


CASES = [
    Case("dialback-only", Variant("dialback", Proof.DIALBACK, trusted=False), arrives),
    Case("certificate-only", Variant("certificate", Proof.CERTIFICATE), arrives, by_external=True),
    Case("dialback-ipv6", Variant("dialback6", Proof.DIALBACK, trusted=False, ipv6=True), arrives),
    Case("certificate-ipv6", Variant("certificate6", Proof.CERTIFICATE, ipv6=True), arrives, by_external=True),
    Case("chat-ipv6", Variant("ipv6", ipv6=True), chat),
    Case("no-proof", Variant("no-proof", Proof.CERTIFICATE, trusted=False), refused),
    Case("tls-required", Variant("plaintext", second_without_tls=True), tls_required),
    Case("srv-first-dead", Variant("srv-dead", srv=Srv.FIRST_DEAD), arrives),
    Case("srv-other-port", Variant("srv-port", srv=Srv.OTHER_PORT), arrives),
    Case("dane", Variant("dane", Proof.CERTIFICATE, trusted=False, dane=Dane.RIGHT), dane, by_dane=True),
    Case(
        "dane-validator",
        Variant("dane", Proof.CERTIFICATE, trusted=False, dane=Dane.RIGHT),
        records_validate,
        Directions.FIRST_ONLY,
        "comity",
    ),
    Case(
        "dane-target",
        Variant("dane-target", Proof.CERTIFICATE, trusted=False, dane=Dane.RIGHT, first_trusted=True),
        arrives,
        Directions.FIRST_ONLY,
        "comity",
    ),
    Case(
        "dane-mismatch",
        Variant("dane-mismatch", Proof.CERTIFICATE, dane=Dane.WRONG),
        refused,
        Directions.FIRST_ONLY,
        "comity",
    ),
    Case("bidi", Variant("bidi", bidi=True, hidden=0), answered, Directions.FIRST_ONLY, by_bidi=True),
    Case("bidi-killed", Variant("bidi-both", bidi=True), killed, Directions.FIRST_ONLY, "comity", by_bidi=True),
    Case("bidi-hangs", Variant("bidi-both", bidi=True), hangs, Directions.FIRST_ONLY, "comity", by_bidi=True),
    Case("bidi-far", Variant("bidi-far", bidi=True, hidden=1), answered_far, Directions.FIRST_ONLY, by_bidi=True),
]
