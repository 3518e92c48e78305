"""A stage: one pair of servers running in one variant of configuration, ready for the cases that want it."""

import asyncio
import enum
import itertools
from dataclasses import dataclass
from pathlib import Path

from harness.authority import Authority, Usage, public_key_hash
from harness.clients import Client, Component, Driver
from harness.failure import CaseFailed
from harness.network import DEAD_ADDRESS, Namespace, Network
from harness.process import Process
from peers import PEERS
from peers.server import COMPONENT_SECRET, Encryption, Proof, Server, Site

STRIPPER = Path(__file__).with_name("stripper.py")


class Srv(enum.Enum):
    """What the SRV records between servers look like."""

    ORDINARY = "one target on port 5269"
    FIRST_DEAD = "a target that does not exist, then the server"
    OTHER_PORT = "one target on another port; nobody listens on 5269"


class Dane(enum.Enum):
    """What the TLSA records of a signed DNS say about the servers (RFC 7673)."""

    RIGHT = "the key that the server has"
    WRONG = "another key"


@dataclass(frozen=True)
class Variant:
    """A configuration that some cases share."""

    name: str
    proof: Proof = Proof.ORDINARY
    trusted: bool = True
    second_without_tls: bool = False
    srv: Srv = Srv.ORDINARY
    #: What the TLSA records in a signed DNS name; without them the DNS is not signed.
    dane: Dane | None = None
    #: Whether the first of the pair has a certificate that every server trusts although the second has not.
    first_trusted: bool = False
    #: Whether the servers find each other at IPv6 addresses, and only there.
    ipv6: bool = False
    #: Whether streams go both ways (XEP-0288).
    bidi: bool = False
    #: Which of the pair no other server finds.
    hidden: int | None = None


@dataclass(frozen=True)
class Workshop:
    """What all stages of a run have in common."""

    directory: Path
    logs: Path
    python: Path
    authority: Authority
    stranger: Authority


class Side:
    """One server of the pair with the process that holds its clients."""

    numbers = itertools.count(1)

    def __init__(self, label: str, server: Server, driver: Driver, workshop: Workshop):
        self.label = label
        self.server = server
        self.workshop = workshop
        self._driver = driver

    @property
    def domain(self) -> str:
        """The domain that this server hosts."""
        return self.server.site.domain

    @property
    def namespace(self) -> Namespace:
        """Where this server and its clients live."""
        return self.server.site.namespace

    async def account(self, name: str) -> Client:
        """A new account, not logged in."""
        local, password = f"{name}-{next(self.numbers)}", "correct horse battery"
        await self.server.add_account(local, password)
        client = self._driver.client(f"{local}@{self.domain}", password)
        client.hears_itself = self.server.hears_itself
        return client

    async def online(self, name: str) -> Client:
        """A new account, logged in and available."""
        return await (await self.account(name)).online()

    def component(self, label: str, secret: str = COMPONENT_SECRET) -> Component:
        """A component that this server is configured for, not connected."""
        return self._driver.component(f"{label}.{self.domain}", secret)

    async def log_everybody_out(self) -> None:
        """Ends all sessions of this side."""
        await self._driver.log_everybody_out()


def labels(pair: tuple[str, str]) -> tuple[str, str]:
    """The names of the two sides, which differ even if both run the same server."""
    first, second = pair
    return (first, second) if first != second else (f"{first}-1", f"{second}-2")


class Stage:
    """Builds the network, starts both servers and their clients' processes, and takes all of it down again."""

    def __init__(self, workshop: Workshop, pair: tuple[str, str], variant: Variant):
        self._workshop = workshop
        self._pair = pair
        self._variant = variant
        name = f"{pair[0]}-{pair[1]}-{variant.name}"
        self.directory = workshop.directory / name
        self.logs = workshop.logs / name
        tag = f"{PEERS[pair[0]].kind[0]}{PEERS[pair[1]].kind[0]}{variant.name[:8]}"
        self._network = Network(self.directory / "net", self.logs, workshop.authority, tag)
        self._servers: list[Server] = []
        self._drivers: list[Driver] = []
        self._strippers: list[Process] = []
        self.sides: list[Side] = []

    def nothing_leaked(self) -> None:
        """Fails if a relay that removed STARTTLS saw a message pass."""
        if any(stripper.said("plain text") for stripper in self._strippers):
            raise CaseFailed("a message crossed the network in plain text")

    async def close(self) -> None:
        """Stops what runs and removes the namespaces."""
        running = [*self._drivers, *self._servers, *self._strippers]
        await asyncio.gather(*(process.stop() for process in running), return_exceptions=True)
        await self._network.close()

    async def build(self) -> None:
        """Builds the network and starts servers and client processes; `close` is needed even if it fails."""
        self.directory.mkdir(parents=True)
        await self._network.build()
        records: list[str] = []
        sites: list[tuple[type[Server], Site, bool]] = []
        for position, (kind, label) in enumerate(zip(self._pair, labels(self._pair))):
            peer = PEERS[kind]
            without_tls = self._variant.second_without_tls and position == 1 and peer.can_go_without_tls
            # A server that insists on TLS is made to look plaintext-only by a relay that removes the STARTTLS feature.
            stripped = self._variant.second_without_tls and self._pair[1] == kind and not peer.can_go_without_tls
            encryption = Encryption.NEVER if without_tls else Encryption.REQUIRED
            usage = self._usage(PEERS[self._pair[1 - position]])
            site = await self._site(label, encryption, stripped, usage, peer.components)
            sites.append((peer, site, stripped))
            records += self._records(site, self._variant.hidden == position)
            if self._variant.dane:
                records.append(await self._key(site, self._variant.dane))
        await self._network.serve_dns(records, signed=self._variant.dane is not None)
        self._servers = [peer(site) for peer, site, _ in sites]
        raised = await asyncio.gather(
            *(self._raise(server, stripped) for server, (_, _, stripped) in zip(self._servers, sites)),
            return_exceptions=True,
        )
        for result in raised:
            if isinstance(result, BaseException):
                raise result
        self.sides = raised

    async def _raise(self, server: Server, stripped: bool) -> Side:
        site = server.site
        await server.prepare()
        await server.start()
        if stripped:
            await self._strip(site)
        # Clients verify in every variant; where the servers' certificates come from a stranger, only the clients know it.
        trust = self._workshop.authority if self._trusts(site.label) else self._workshop.stranger
        log = self.logs / f"{site.label}-clients.log"
        driver = await Driver.start(site.namespace, self._workshop.python, log, trust.root)
        self._drivers.append(driver)
        return Side(site.label, server, driver, self._workshop)

    def _trusts(self, label: str) -> bool:
        """Whether every server trusts the certificate of this one."""
        return self._variant.trusted or (self._variant.first_trusted and label == labels(self._pair)[0])

    def _usage(self, other: type[Server]) -> Usage:
        needed = self._variant.proof is Proof.CERTIFICATE and other.wants_client_usage
        return Usage.SERVER_AND_CLIENT if needed else Usage.SERVER

    async def _site(
        self, label: str, encryption: Encryption, stripped: bool, usage: Usage, components: tuple[str, ...]
    ) -> Site:
        # Resolvers know `test` themselves and never ask for it (RFC 6761); they do ask for `example`.
        domain = f"{label}.example"
        components, rooms = tuple(f"{component}.{domain}" for component in components), f"conference.{domain}"
        authority = self._workshop.authority if self._trusts(label) else self._workshop.stranger
        port = 7269 if self._variant.srv is Srv.OTHER_PORT else 5269
        namespace = await self._network.join(label)
        return Site(
            label=label,
            domain=domain,
            namespace=namespace,
            directory=self.directory / label,
            log=self.logs / f"{label}.log",
            certificate=await authority.issue(domain, usage, also=(*components, rooms)),
            trust=self._workshop.authority.root,
            proof=self._variant.proof,
            encryption=encryption,
            s2s_address="127.0.0.1" if stripped else "::" if self._variant.ipv6 else "0.0.0.0",
            s2s_port=5369 if stripped else port,
            components=components,
            bidi=self._variant.bidi,
            rooms=rooms,
            ipv6=self._variant.ipv6,
            root_key=self._network.root_key if self._variant.dane else None,
        )

    async def _key(self, site: Site, dane: Dane) -> str:
        """The TLSA record for the port that the SRV record of this server names."""
        digest = await public_key_hash(site.certificate)
        if dane is Dane.WRONG:
            digest = digest[::-1]
        return f"_5269._tcp.xmpp.{site.domain}. 0 IN TLSA 3 1 1 {digest}"

    def _records(self, site: Site, hidden: bool) -> list[str]:
        host, domain = f"xmpp.{site.domain}.", f"{site.domain}."
        # Clients come as ever.
        door = f"clients.{domain}" if site.ipv6 else host
        records = [f"{door} 0 IN A {site.namespace.address}"]
        if site.ipv6:
            records.append(f"{host} 0 IN AAAA {site.namespace.address6}")
        if site.encryption is Encryption.NEVER:
            records.append(f"_xmpps-client._tcp.{domain} 0 IN SRV 0 0 5223 {door}")
        else:
            records.append(f"_xmpp-client._tcp.{domain} 0 IN SRV 0 0 5222 {door}")
        if hidden:
            return records
        server = f"_xmpp-server._tcp.{domain} 0 IN SRV"
        match self._variant.srv:
            case Srv.ORDINARY:
                records.append(f"{server} 0 0 5269 {host}")
            case Srv.OTHER_PORT:
                records.append(f"{server} 0 0 7269 {host}")
            case Srv.FIRST_DEAD:
                records.append(f"dead.{domain} 0 IN A {DEAD_ADDRESS}")
                records.append(f"{server} 0 0 5269 dead.{domain}")
                records.append(f"{server} 10 0 5269 {host}")
        port = 7269 if self._variant.srv is Srv.OTHER_PORT else 5269
        names = (*site.components, site.rooms)
        records += [f"_xmpp-server._tcp.{name}. 0 IN SRV 0 0 {port} {host}" for name in names]
        return records

    async def _strip(self, site: Site) -> None:
        command = site.namespace.command(
            ["/usr/bin/python3", str(STRIPPER), site.namespace.address, "5269", str(site.s2s_port)]
        )
        stripper = await Process.start(f"{site.label}-stripper", command, self.logs / f"{site.label}-stripper.log")
        self._strippers.append(stripper)
        await stripper.line("^ready", 15)
