"""What the scanners find, in one form."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from harness.failure import HarnessBroken

#: From here on a finding is a fault.
FAULTS = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
#: What testssl.sh must have looked at; without one of these it has not done its work.
TESTSSL = {
    "SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "cipherlist_NULL", "cipherlist_aNULL", "cipherlist_3DES_IDEA",
    "cert_chain_of_trust", "cert_trust", "cert_expirationStatus", "heartbleed", "secure_renego", "secure_client_renego",
    "CRIME_TLS", "LUCKY13", "RC4", "scanTime",
}
#: The same with the hellos of OpenSSL, which has given up most of what is old.
NATIVE = TESTSSL | {"cipher_order", "cipherlist_STRONG", "cipherorder_TLSv1_2", "cipherorder_TLSv1_3"}
#: What sslscan calls ciphers that nobody should offer.
WEAK = {"null", "anonymous", "weak", "medium"}


@dataclass(frozen=True)
class Finding:
    """One thing that a scanner has to say about an endpoint."""

    scanner: str
    endpoint: str
    name: str
    severity: str
    text: str

    @property
    def is_fault(self) -> bool:
        """Whether it is medium or worse."""
        return self.severity in FAULTS

    def __str__(self) -> str:
        return f"{self.scanner} {self.endpoint}: {self.name} ({self.severity}): {self.text}"


@dataclass(frozen=True)
class Exclusion:
    """A finding that comes from the test and not from the server."""

    scanner: str
    name: str
    reason: str


def exclusions(path: Path) -> list[Exclusion]:
    """What is excluded, each with its reason."""
    return [Exclusion(**entry) for entry in tomllib.loads(path.read_text()).get("excluded", [])]


def of_testssl(path: Path, endpoint: str, native: bool) -> list[Finding]:
    """From the flat JSON of testssl.sh."""
    entries = json.loads(path.read_text())
    missing = (NATIVE if native else TESTSSL) - {entry["id"] for entry in entries}
    if missing:
        raise HarnessBroken(f"testssl.sh says nothing about {', '.join(sorted(missing))} of {endpoint}")
    offered = {entry["id"] for entry in entries if entry["finding"].startswith("offered")}
    if not {"TLS1_3", *(["TLS1_2"] if native else [])} <= offered:
        raise HarnessBroken(f"testssl.sh has not reached {endpoint}")
    return [Finding("testssl.sh", endpoint, entry["id"], entry["severity"], entry["finding"]) for entry in entries]


def of_sslscan(path: Path, endpoint: str) -> list[Finding]:
    """From the XML of sslscan, which knows no severities: what BCP 195 forbids is HIGH, the rest INFO."""
    test = ElementTree.parse(path).getroot().find("ssltest")
    if test is None:
        raise HarnessBroken(f"sslscan could not look at {endpoint}")
    found: list[Finding] = []

    def add(name: str, bad: bool, text: str) -> None:
        found.append(Finding("sslscan", endpoint, name, "HIGH" if bad else "INFO", text))

    offered = {f"{each.get('type')} {each.get('version')}" for each in test.iter("protocol") if each.get("enabled") == "1"}
    # It asks for TLS 1.2 without the extended master secret, and does not get it here.
    add("protocols", "tls 1.3" not in offered or not offered <= {"tls 1.2", "tls 1.3"}, ", ".join(sorted(offered)))
    ciphers = list(test.iter("cipher"))
    add("ciphers", not ciphers, str(len(ciphers)))
    for cipher in ciphers:
        text = f"{cipher.get('sslversion')} {cipher.get('cipher')} ({cipher.get('strength')})"
        add("cipher", cipher.get("strength") in WEAK, text)
    for name, bad in [("compression", "1"), ("heartbleed", "1")]:
        for each in test.iter(name):
            state = each.get("supported") or each.get("vulnerable")
            add(name, state == bad, f"{each.get('sslversion', '')} {state}".strip())
    for each in test.iter("renegotiation"):
        add("renegotiation", each.get("supported") == "1" and each.get("secure") != "1", str(each.attrib))
    return found


def judge(found: list[Finding], excluded: list[Exclusion]) -> list[str]:
    """What is wrong: each fault that is not excluded, and each exclusion that excludes nothing."""
    used: set[Exclusion] = set()
    faults = []
    for finding in filter(lambda finding: finding.is_fault, found):
        matching = [each for each in excluded if (each.scanner, each.name) == (finding.scanner, finding.name)]
        used.update(matching)
        if not matching:
            faults.append(str(finding))
    return faults + [f"excluded.toml: {each.scanner} {each.name} was not found" for each in excluded if each not in used]
