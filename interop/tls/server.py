"""A Comity on loopback addresses, with a certificate as public authorities issue it."""

import socket
from dataclasses import dataclass
from pathlib import Path

from harness.authority import Authority, Usage
from harness.process import Process
from peers.comity import binary

#: Both scanners look for this domain themselves, and every machine knows where it is.
DOMAIN = "localhost"
#: Neither about to end nor valid for longer than authorities issue today.
DAYS = 90
#: Where it could be asked whether the certificate was revoked. Nobody asks: that would leave this machine.
REVOCATION = "authorityInfoAccess=OCSP;URI:http://ocsp.invalid/\n"
START = 30.0

TEMPLATE = """
domain = "{domain}"
data_dir = "{directory}/data"

[listen]
{listen}

[tls]
certificate = "{chain}"
key = "{key}"
"""


@dataclass(frozen=True)
class Endpoint:
    """A listener."""

    #: As in `[listen]`.
    name: str
    port: int
    #: Whether servers connect here, not clients.
    for_servers: bool
    #: Whether TLS begins after `<starttls/>`.
    starttls: bool

    @property
    def words(self) -> str:
        """For people."""
        return f"{'servers' if self.for_servers else 'clients'}, {'STARTTLS' if self.starttls else 'direct TLS'}"


def endpoints() -> list[Endpoint]:
    """The four listeners, on free ports."""
    kinds = [("c2s", False, True), ("c2s_tls", False, False), ("s2s", True, True), ("s2s_tls", True, False)]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in kinds]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return [Endpoint(name, port, server, start) for (name, server, start), port in zip(kinds, ports)]


async def start(directory: Path, authority: Authority, listeners: list[Endpoint], log: Path) -> Process:
    """A server that listens there."""
    certificate = await authority.issue(DOMAIN, Usage.SERVER, DAYS, REVOCATION)
    config = directory / "comity.toml"
    listen = "\n".join(f'{each.name} = "127.0.0.1:{each.port}"' for each in listeners)
    config.write_text(
        TEMPLATE.format(
            domain=DOMAIN, directory=directory, listen=listen, chain=certificate.chain, key=certificate.key
        )
    )
    process = await Process.start("comity", [str(binary()), "serve", "--config", str(config)], log)
    await process.line(r"^ready\s*$", START)
    return process
