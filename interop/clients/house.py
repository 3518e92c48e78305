"""Where the clients are tried: two servers, a way to cut connections, and people to talk to.

`comity.example` is reached through a relay that cuts connections; `narrow.example` looks as if it knew one mechanism only,
and has rooms. They federate. A gateway of the first leads to a channel of IRC.
All programs share a namespace of their own; the friends and the other devices are slixmpp's and live beside the first server.
"""

import itertools
from pathlib import Path

from cases.components import GATEWAY, IRC_SERVER, IRC_USER
from harness.authority import Authority, Usage
from harness.clients import Client, Driver
from harness.network import Namespace, Network
from harness.process import Process
from peers.comity import Comity
from peers.server import COMPONENT_PORT, COMPONENT_SECRET, Encryption, Proof, Server, Services, Site

from clients.program import Account, Place, Program

HERE = Path(__file__).parent
OPEN, NARROW = "comity.example", "narrow.example"
ROOMS, IRC = f"conference.{NARROW}", f"irc.{OPEN}"
CHANNEL = f"#verona%127.0.0.1@{IRC}"
PASSWORD = "correct-horse-battery"
# What relays may take for an order, on a busy machine.
PROMPT = 20.0
OPENSSL_CONF = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = limits
[limits]
MaxProtocol = TLSv1.2
"""


class House:
    """The servers, the relays and the people."""

    numbers = itertools.count(1)

    def __init__(self, directory: Path, logs: Path, python: Path, authority: Authority):
        self._directory = directory
        self._logs = logs
        self._python = python
        self._authority = authority
        self._network = Network(directory / "net", logs, authority, "clients")
        self._servers: dict[str, Server] = {}
        self._drivers: dict[str, Driver] = {}
        self._relays: list[Process] = []
        self._namespace: Namespace | None = None
        #: Somebody on IRC who answers.
        self.mercutio: Process | None = None

    @property
    def root(self) -> Path:
        """The certificate of the authority that everybody trusts."""
        return self._authority.root

    async def build(self) -> None:
        """Builds the network and starts everything; `close` is needed even if it fails."""
        self._directory.mkdir(parents=True)
        limits = self._directory / "without-tls13"
        limits.mkdir()
        (limits / "openssl.cnf").write_text(OPENSSL_CONF)
        await self._network.build()
        self._namespace = await self._network.join("clients")
        first = await self._site(OPEN, None, components=(IRC,))
        second = await self._site(NARROW, Services(f"admin@{NARROW}", True), rooms=ROOMS)
        sites = [first, second]
        await self._network.serve_dns([
            *records(OPEN, self._namespace), *records(NARROW, second.namespace),
            *federated(OPEN, first.namespace, OPEN, IRC), *federated(NARROW, second.namespace, NARROW, ROOMS),
        ])
        for site in sites:
            server = self._servers[site.domain] = Comity(site)
            await server.prepare()
            await server.start()
        await self._relay("relay", self._namespace, first.namespace.address, "5222", "5223")
        await self._relay(
            "narrow", second.namespace, NARROW, str(second.certificate.chain), str(second.certificate.key)
        )
        for site in sites:
            log = self._logs / f"{site.label}-friends.log"
            self._drivers[site.domain] = await Driver.start(site.namespace, self._python, log, self.root)

    async def open_channel(self) -> None:
        """Has a gateway lead to a channel of IRC, in which somebody is; done once."""
        if self.mercutio:
            return
        directory, namespace = self._directory / "irc", self._servers[OPEN].site.namespace
        directory.mkdir()
        (directory / "ngircd.conf").write_text(IRC_SERVER)
        gateway = GATEWAY.format(hostname=IRC, secret=COMPONENT_SECRET, port=COMPONENT_PORT, directory=directory)
        (directory / "biboumi.cfg").write_text(gateway)
        for name, command, says in (
            ("ngircd", ["ngircd", "-n", "-f", str(directory / "ngircd.conf")], "Now listening"),
            ("mercutio", ["/usr/bin/python3", str(IRC_USER), "127.0.0.1", "6667", "mercutio", "#verona"], "^joined"),
            ("biboumi", ["biboumi", str(directory / "biboumi.cfg")], "[Aa]uthenticated"),
        ):
            home = {"HOME": str(directory)}
            process = await Process.start(name, namespace.command(command), self._logs / f"{name}.log", home)
            self._relays.append(process)
            await process.line(says, PROMPT)
            if name == "mercutio":
                self.mercutio = process

    async def _site(
        self, domain: str, services: Services | None, components: tuple[str, ...] = (), rooms: str | None = None
    ) -> Site:
        label = domain.partition(".")[0]
        return Site(
            label=label,
            domain=domain,
            namespace=await self._network.join(label),
            directory=self._directory / label,
            log=self._logs / f"{label}.log",
            certificate=await self._authority.issue(domain, Usage.SERVER, also=(*components, *filter(None, (rooms,)))),
            trust=self._authority.root,
            proof=Proof.ORDINARY,
            encryption=Encryption.REQUIRED,
            s2s_address="0.0.0.0",
            s2s_port=5269,
            components=components,
            rooms=rooms,
            services=services,
        )

    async def _relay(self, name: str, namespace: Namespace, *arguments: str) -> None:
        command = ["/usr/bin/python3", str(HERE / f"{name}.py"), namespace.address, *arguments]
        relay = await Process.start(name, namespace.command(command), self._logs / f"{name}.log", obeys=True)
        self._relays.append(relay)
        await relay.line("^ready", PROMPT)

    async def account(self, name: str, domain: str = OPEN) -> Account:
        """Makes an account."""
        local = f"{name}-{next(self.numbers)}"
        await self._servers[domain].add_account(local, PASSWORD)
        return Account(f"{local}@{domain}", PASSWORD)

    def device(self, account: Account) -> Client:
        """One more device of an account, not logged in; its connection is never cut."""
        return self._drivers[account.domain].client(account.bare, account.password)

    async def friend(self, domain: str = OPEN) -> Client:
        """Somebody who is online."""
        return await self.device(await self.account("friend", domain)).online()

    def program(self, kind: type[Program], account: Account, folder: Path, with_tls13: bool = True) -> Program:
        """A device with this program, not started."""
        limits = {} if with_tls13 else kind.without_tls13(self._directory / "without-tls13")
        folder.mkdir(parents=True, exist_ok=True)
        home = self._directory / f"home-{next(self.numbers)}"
        return kind(Place(self._namespace, home, folder, limits, self.root), account)

    async def cut(self) -> None:
        """Resets the connections of all programs and lets them not come back."""
        await self._relays[0].order("cut", PROMPT)

    async def mend(self) -> None:
        """Lets them in again."""
        await self._relays[0].order("open", PROMPT)

    def without_tls13(self) -> int:
        """How many connections of programs did without TLS 1.3 so far."""
        return self._relays[0].text.count("TLS 1.2\n")

    async def offer_only(self, mechanism: str) -> None:
        """From now on the narrow server offers this mechanism only."""
        await self._relays[1].order(f"only {mechanism}", PROMPT)

    async def log_everybody_out(self) -> None:
        """Ends the sessions of friends and devices."""
        for driver in self._drivers.values():
            await driver.log_everybody_out()

    async def close(self) -> None:
        """Stops what runs and removes the namespaces."""
        for running in (*self._drivers.values(), *self._relays, *self._servers.values()):
            await running.stop()
        await self._network.close()


def records(domain: str, namespace: Namespace) -> list[str]:
    """How clients find a domain. STARTTLS only, because that is what every client can do."""
    host = f"xmpp.{domain}."
    return [
        f"{domain}. 0 IN A {namespace.address}",
        f"{host} 0 IN A {namespace.address}",
        f"_xmpp-client._tcp.{domain}. 0 IN SRV 0 0 5222 {host}",
    ]


def federated(label: str, namespace: Namespace, *domains: str) -> list[str]:
    """How other servers find these domains; no relay is on their way."""
    host = f"s2s.{label}."
    return [
        f"{host} 0 IN A {namespace.address}",
        *(f"_xmpp-server._tcp.{domain}. 0 IN SRV 0 0 5269 {host}" for domain in domains),
    ]
