"""A stand: one server in a namespace, with everything that it has switched on, and room for a suite beside it."""

import enum
import itertools
from pathlib import Path

from harness.authority import Authority, Certificate, Usage
from harness.network import Namespace, Network
from harness.process import Process
from peers import PEERS
from peers.server import Encryption, Proof, Server, Services, Site

#: The name of the administrator's account.
ADMIN = "admin"
PASSWORD = "correct-horse-battery"
# Suite and server share a namespace, and no server takes clients without TLS from further away.
ADDRESS = "127.0.0.1"


class Security(enum.Enum):
    """What clients do about encryption."""

    TLS = "tls"
    NONE = "without-tls"


class Stand:
    """A server that runs and has an administrator."""

    numbers = itertools.count(1)

    def __init__(self, kind: str, security: Security, directory: Path, logs: Path, authority: Authority):
        self.kind = kind
        self.security = security
        self.directory = directory / f"stand-{next(self.numbers)}"
        self.logs = logs
        self.domain = f"{kind}.example"
        self._authority = authority
        self._network = Network(self.directory / "net", logs, authority, f"s{self.directory.name[6:]}")
        self._server: Server | None = None

    @property
    def namespace(self) -> Namespace:
        """Where the server lives."""
        return self._server.site.namespace

    @property
    def certificate(self) -> Certificate:
        """What the server shows."""
        return self._server.site.certificate

    @property
    def root(self) -> Path:
        """The certificate of the authority that issued it."""
        return self._authority.root

    async def build(self) -> None:
        """Builds the network and starts the server; `close` is needed even if it fails."""
        self.directory.mkdir(parents=True)
        await self._network.build()
        namespace = await self._network.join(self.kind)
        site = Site(
            label=self.kind,
            domain=self.domain,
            namespace=namespace,
            directory=self.directory / self.kind,
            log=self.logs / f"{self.kind}.log",
            certificate=await self._authority.issue(self.domain, Usage.SERVER, also=(f"conference.{self.domain}",)),
            trust=self._authority.root,
            proof=Proof.ORDINARY,
            encryption=Encryption.REQUIRED,
            s2s_address=ADDRESS,
            s2s_port=5269,
            rooms=f"conference.{self.domain}",
            services=Services(f"{ADMIN}@{self.domain}", self.security is Security.NONE),
        )
        await self._network.serve_dns(self._records())
        self._server = PEERS[self.kind](site)
        await self._server.prepare()
        await self._server.start()
        await self._server.add_account(ADMIN, PASSWORD)

    def _records(self) -> list[str]:
        domain, host = f"{self.domain}.", f"xmpp.{self.domain}."
        return [
            f"{domain} 0 IN A {ADDRESS}",
            f"{host} 0 IN A {ADDRESS}",
            f"_xmpp-client._tcp.{domain} 0 IN SRV 0 0 5222 {host}",
            f"_xmpps-client._tcp.{domain} 0 IN SRV 0 0 5223 {host}",
        ]

    async def account(self, local: str) -> tuple[str, str]:
        """Makes an account; its address and password."""
        await self._server.add_account(local, PASSWORD)
        return f"{local}@{self.domain}", PASSWORD

    async def start(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> Process:
        """Starts a program beside the server."""
        inside = self.namespace.command(command)
        return await Process.start(name, inside, self.logs / f"{name}.log", environment)

    async def close(self) -> None:
        """Stops the server and takes the namespace away."""
        if self._server:
            await self._server.stop()
        await self._network.close()
