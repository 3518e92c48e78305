"""`interop/tls/run`: arguments in, findings and exit code out."""

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from harness import install
from harness.authority import Authority
from harness.failure import HarnessBroken
from harness.process import run
from peers.comity import binary
from tls import document, findings, relay, server
from tls.findings import Finding
from tls.server import DOMAIN, Endpoint

HOME = Path(__file__).resolve().parents[1]
PACKAGES = ["openssl", "testssl.sh", "sslscan"]
#: A scan takes some minutes on a small machine.
PATIENCE = 3600.0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="interop/tls/run",
        description="Has testssl.sh and sslscan look at the four listeners of a Comity on loopback addresses. "
        "The program under test is target/release/comity (built first) or the one that the variable COMITY names.",
        epilog="Exit codes: 0 no finding is medium or worse, 1 one is, 2 the scan could not be made.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all findings as JSON")
    parser.add_argument("--record", action="store_true", help="put the results into docs/tls.md")
    return parser.parse_args()


async def testssl(endpoint: Endpoint, root: Path, directory: Path, native: bool) -> list[Finding]:
    """What testssl.sh says. Its exit code counts what it found odd, so the report is what counts.

    It writes its hellos itself, so that it can ask for ciphers that nobody has any more, but without the extended
    master secret, so that it sees nothing of TLS 1.2 here; `native` has it use OpenSSL's, which have that.
    """
    report = directory / f"{endpoint.name}{'-native' if native else ''}.json"
    way, port, relayed = [], endpoint.port, None
    if endpoint.starttls and endpoint.for_servers:
        relayed = await relay.serve(endpoint)
        port = relayed.sockets[0].getsockname()[1]
    elif endpoint.starttls:
        way = ["--starttls", "xmpp", "--xmpphost", DOMAIN]
    command = [
        "testssl", "--quiet", "--warnings", "off", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1",
        "--add-ca", str(root), "--jsonfile", str(report), *(["--ssl-native"] if native else []),
        *way, f"{DOMAIN}:{port}",
    ]
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await child.communicate()
    if relayed:
        relayed.close()
    if not report.exists():
        raise HarnessBroken(f"testssl.sh wrote no report: {output.decode('utf-8', 'replace')[-600:]}")
    return findings.of_testssl(report, endpoint.words, native)


async def sslscan(endpoint: Endpoint, directory: Path) -> list[Finding]:
    """What sslscan says."""
    report = directory / f"{endpoint.name}.xml"
    way = ["--starttls-xmpp", *(["--xmpp-server"] if endpoint.for_servers else [])]
    command = [
        "sslscan", "--no-colour", "--ipv4", f"--sni-name={DOMAIN}", f"--xml={report}",
        *(way if endpoint.starttls else []), f"{DOMAIN}:{endpoint.port}",
    ]
    await run(command, PATIENCE)
    return findings.of_sslscan(report, endpoint.words)


async def scan(directory: Path) -> list[Finding]:
    """Everything about all listeners."""
    authority = Authority(directory / "authority", "interop test authority")
    await authority.create()
    listeners = server.endpoints()
    process = await server.start(directory, authority, listeners, directory / "comity.log")
    found: list[Finding] = []
    try:
        for endpoint in listeners:
            install.tell(f"scanning {endpoint.words}")
            for native in (False, True):
                found += await testssl(endpoint, authority.root, directory, native)
            found += await sslscan(endpoint, directory)
    finally:
        await process.stop()
    return found


def versions() -> dict[str, str]:
    """The packages that judge."""
    asked = {"testssl.sh": "testssl.sh", "sslscan": "sslscan"}
    command = ["dpkg-query", "-W", "-f", "${Version}"]
    return {
        name: re.split(r"[-+]", subprocess.run([*command, package], capture_output=True, text=True).stdout)[0]
        for name, package in asked.items()
    }


def main() -> int:
    """Scans and judges."""
    options = arguments()
    directory = Path(tempfile.mkdtemp(prefix="comity-tls-"))
    try:
        install.debian(PACKAGES)
        install.comity(HOME.parent, binary())
        excluded = findings.exclusions(HOME / "tls" / "excluded.toml")
        found = asyncio.run(scan(directory))
    except HarnessBroken as error:
        install.tell(str(error))
        return 2
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for finding in found:
        if finding.severity not in ("OK", "INFO"):
            print(finding)
    if options.json:
        options.json.write_text(json.dumps([asdict(finding) for finding in found], indent=1) + "\n")
    if options.record:
        document.write(versions(), found, excluded)
    faults = findings.judge(found, excluded)
    for fault in faults:
        print(f"FAULT {fault}")
    print(f"{len(found)} findings, {len(faults)} faults", flush=True)
    return 1 if faults else 0


sys.exit(main())
