"""What `comity check DOMAIN` and `comity interop DOMAIN` say of a server that is in order."""

from cases.case import Case, Directions
from cases.federation import ORDINARY
from harness.failure import CaseFailed
from harness.stage import Side, Stage

# ejabberd 23.01 refuses SASL EXTERNAL from a certificate that is issued for server authentication only, and answers
# disco#info to any account, whether or not there is one, with subscription-required: it gives nothing away, but RFC 6121
# section 8.5.1 and XEP-0030 section 8 allow only service-unavailable where there is no account.
KNOWN_FINDINGS = {"ejabberd": {"server-auth-only"}}
KNOWN_FAULTS = {"ejabberd": {"sasl-external", "unknown-account-discovery"}}


async def check(_stage: Stage, near: Side, far: Side) -> None:
    """The doctor reaches the server and finds nothing."""
    diagnosis = await near.server.told("check", far.domain)
    kinds = {finding["kind"] for finding in diagnosis["findings"]} - KNOWN_FINDINGS.get(far.server.kind, set())
    if not diagnosis["reached"] or kinds:
        raise CaseFailed(f"the doctor finds {sorted(kinds)}: {diagnosis['findings']}")


async def tester(_stage: Stage, near: Side, far: Side) -> None:
    """The tester gets an answer to everything, and no rule is broken that is not known to be."""
    report = await near.server.told("interop", far.domain)
    failed = [outcome for outcome in report["outcomes"] if outcome["result"] == "failed"]
    known = KNOWN_FAULTS.get(far.server.kind, set())
    faults = [f"{outcome['case']}: {outcome['saw']}" for outcome in failed if outcome["case"] not in known]
    if faults:
        raise CaseFailed("; ".join(faults))
    passed = {outcome["case"] for outcome in report["outcomes"] if outcome["result"] == "passed"}
    if not {"ping", "discovery"} <= passed:
        raise CaseFailed(f"it was not asked: {report['outcomes']}")


CASES = [
    Case("doctor", ORDINARY, check, Directions.FIRST_ONLY, near="comity"),
    Case("tester", ORDINARY, tester, Directions.FIRST_ONLY, near="comity"),
]
