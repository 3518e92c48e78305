"""How two servers find and believe each other: DNS, TLS, certificates and dialback."""

from cases.case import Case
from cases.federation import ERROR_WITHIN, TEXT, deliver
from harness import stanzas
from harness.stage import Side, Srv, Stage, Variant
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


CASES = [
    Case("dialback-only", Variant("dialback", Proof.DIALBACK, trusted=False), arrives),
    Case("certificate-only", Variant("certificate", Proof.CERTIFICATE), arrives),
    Case("no-proof", Variant("no-proof", Proof.CERTIFICATE, trusted=False), refused),
    Case("tls-required", Variant("plaintext", second_without_tls=True), tls_required),
    Case("srv-first-dead", Variant("srv-dead", srv=Srv.FIRST_DEAD), arrives),
    Case("srv-other-port", Variant("srv-port", srv=Srv.OTHER_PORT), arrives),
]
