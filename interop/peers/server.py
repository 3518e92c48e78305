"""What every server under test has: a place to live, the settings of a variant, a start, a stop and accounts."""

import enum
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.authority import Certificate
from harness.network import DNS_ADDRESS, Namespace
from harness.process import Process, run

# What every component proves itself with, and where it connects.
COMPONENT_SECRET = "open sesame"
COMPONENT_PORT = 5347
# A server that needs longer than this to start or to add an account is broken.
START = 60.0


class Proof(enum.Enum):
    """How the other server may prove its domain."""

    ORDINARY = "as the package is delivered"
    CERTIFICATE = "a trusted certificate and nothing else"
    DIALBACK = "dialback, whatever the certificate"


class Encryption(enum.Enum):
    """Whether the server can encrypt streams between servers."""

    REQUIRED = "TLS required"
    NEVER = "no TLS at all"


@dataclass(frozen=True)
class Services:
    """What the public suites want of a server beyond federation: everything that it has, and somebody who rules it."""

    admin: str
    clients_without_tls: bool


@dataclass(frozen=True)
class Site:
    """Where one server lives and how this variant wants it."""

    label: str
    domain: str
    namespace: Namespace
    directory: Path
    log: Path
    certificate: Certificate
    trust: Path
    proof: Proof
    encryption: Encryption
    s2s_address: str
    s2s_port: int
    components: tuple[str, ...] = ()
    #: The domain of its rooms, if it has any.
    rooms: str | None = None
    dns: str = DNS_ADDRESS
    #: The key that signs the DNS, if it is signed.
    root_key: Path | None = None
    services: Services | None = None
    bidi: bool = False
    #: Whether other servers find it at an IPv6 address, and only there.
    ipv6: bool = False


class Server:
    """One server; a subclass per make knows its configuration."""

    kind: str
    #: The system user it runs as, or nobody's name for root.
    user: str | None = None
    #: Whether it can be told to federate without TLS.
    can_go_without_tls = True
    #: Whether it refuses EXTERNAL from a certificate that is issued for server authentication only.
    wants_client_usage = False
    #: Whether it follows the keys that a signed DNS names for a server that it connects to (RFC 7673) ...
    connects_by_dane = False
    #: ... and for one that connects to it (RFC 7712).
    accepts_by_dane = False
    #: Whether it takes stanzas both ways on one stream (XEP-0288).
    has_bidi = False
    #: Whether it knows SASL EXTERNAL between servers (XEP-0178).
    has_external = True
    #: Whether it shows a resource its own presence (RFC 6121 section 4.2.2).
    hears_itself = True
    #: Whether it has rooms (XEP-0045).
    has_rooms = True
    #: What stands before its domain in the domains of the components that it is configured for.
    components: tuple[str, ...] = ()

    def __init__(self, site: Site):
        self.site = site
        self.process: Process | None = None

    async def prepare(self) -> None:
        """Lays out the data directory, the certificates and the configuration."""
        self.site.directory.mkdir(parents=True)
        for source, name in (
            (self.site.certificate.chain, "chain.pem"),
            (self.site.certificate.key, "key.pem"),
            (self.site.trust, "trust.pem"),
        ):
            shutil.copyfile(source, self.site.directory / name)
        (self.site.directory / "data").mkdir()
        self.configure()
        self.site.log.parent.mkdir(parents=True, exist_ok=True)
        if self.user:
            await run(["chown", "-R", f"{self.user}:{self.user}", str(self.site.directory)])

    def path(self, name: str) -> Path:
        """A file in this server's directory."""
        return self.site.directory / name

    def configure(self) -> None:
        """Writes the configuration."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The command that runs the server in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Environment variables for the server."""
        return {"HOME": str(self.site.directory), "PYTHONPATH": ""}

    async def ready(self, process: Process) -> None:
        """Waits until every listener accepts."""
        raise NotImplementedError

    async def add_account(self, local: str, password: str) -> None:
        """Creates an account."""
        raise NotImplementedError

    async def start(self) -> None:
        """Starts the server and waits until it is ready."""
        self.process = await Process.start(
            self.site.label, self.inside(self.command()), self.site.log, self.environment()
        )
        await self.ready(self.process)

    async def stop(self) -> None:
        """Stops the server."""
        if self.process:
            await self.process.stop()
            self.process = None

    async def crash(self) -> None:
        """Ends the server as a failure of the machine would."""
        if self.process:
            self.process.kill()
            await self.stop()

    def panics(self) -> int:
        """How often this server says that it has met a defect of its own; others do not say that."""
        return 0

    def inside(self, command: list[str]) -> list[str]:
        """A command line for this server's namespace and user."""
        return self.site.namespace.command(command, self.user)

    async def run(self, command: list[str], stdin: str = "") -> str:
        """Runs a command beside the server: same namespace, same user."""
        return await run(self.inside(command), START, stdin, {**os.environ, **self.environment()})
