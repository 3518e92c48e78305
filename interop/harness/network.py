"""The private network of one pair of servers: a namespace for each, and one that holds the switch and the DNS server.

Nothing in it has a route to the machine or to the world. Names carry the id of this process, so that runs side by
side do not meet; what a killed run left behind is removed by the next one.
"""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.authority import Authority
from harness.process import Process, run

ENTER = Path(__file__).with_name("enter.sh")
PREFIX = "interop-"
DNS_ADDRESS = "10.77.0.1"
DNS_ADDRESS6 = "fd77::1"
# Nobody has this address: a connection to it ends with "no route to host" after the kernel asked three times.
DEAD_ADDRESS = "10.77.0.99"


@dataclass(frozen=True)
class Namespace:
    """One network namespace with its own resolver file, hosts file and trust store."""

    name: str
    address: str
    address6: str
    etc: Path

    def command(self, command: list[str], user: str | None = None) -> list[str]:
        """The command line that runs `command` inside, optionally as another user. No shell stays in between."""
        drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"] if user else []
        return ["ip", "netns", "exec", self.name, "sh", str(ENTER), str(self.etc), *drop, *command]


class Network:
    """The namespaces of one pair and the DNS server between them."""

    def __init__(self, directory: Path, logs: Path, authority: Authority, tag: str):
        self._directory = directory
        self._logs = logs
        self._authority = authority
        self._tag = f"{PREFIX}{os.getpid()}-{tag}"
        self._switch = Namespace(f"{self._tag}-dns", DNS_ADDRESS, DNS_ADDRESS6, directory / "dns")
        self._members: list[Namespace] = []
        self._dns: Process | None = None

    async def build(self) -> None:
        """Makes the namespace that holds the switch."""
        await self._make(self._switch)
        switch = ["ip", "-n", self._switch.name]
        await run([*switch, "link", "add", "lan", "type", "bridge"])
        await run([*switch, "addr", "add", f"{DNS_ADDRESS}/24", "dev", "lan"])
        await run([*switch, "link", "set", "lan", "up"])

    async def join(self, label: str) -> Namespace:
        """Makes one more namespace and plugs it into the switch."""
        number = len(self._members)
        addresses = f"10.77.0.{11 + number}", f"fd77::{11 + number}"
        member = Namespace(f"{self._tag}-{number}", *addresses, self._directory / label)
        self._members.append(member)
        await self._make(member)
        port = f"port{number}"
        await run(
            ["ip", "link", "add", "eth0", "netns", member.name, "type", "veth", "peer", "name", port,
             "netns", self._switch.name]
        )
        await run(["ip", "-n", self._switch.name, "link", "set", port, "master", "lan", "up"])
        await run(["ip", "-n", member.name, "addr", "add", f"{member.address}/24", "dev", "eth0"])
        # Nobody else can have it, so there is nothing to wait for.
        await run(["ip", "-n", member.name, "addr", "add", f"{member.address6}/64", "dev", "eth0", "nodad"])
        await run(["ip", "-n", member.name, "link", "set", "eth0", "up"])
        return member

    @property
    def root_key(self) -> Path:
        """The file with the key that signs the DNS, as a DNSKEY record, where it is signed."""
        return self._directory / "root.key"

    async def _sign(self, records: list[str]) -> Path:
        """A root zone with these records, signed with a key of this run."""
        folder, zone = self._directory, self._directory / "root.zone"
        head = [". 3600 IN SOA ns.example. nobody.example. 1 3600 600 86400 60", ". 3600 IN NS ns.example."]
        zone.write_text("\n".join([*head, f"ns.example. 3600 IN A {DNS_ADDRESS}", *records, ""]))
        name = (await run(["sh", "-c", f"cd '{folder}' && ldns-keygen -a ECDSAP256SHA256 -k ."])).strip()
        await run(["sh", "-c", f"cd '{folder}' && ldns-signzone root.zone '{name}'"])
        self.root_key.write_text((folder / f"{name}.key").read_text().split(";")[0].strip() + "\n")
        # Prosody reads it as its own user.
        self.root_key.chmod(0o644)
        return folder / "root.zone.signed"

    async def serve_dns(self, records: list[str], signed: bool = False) -> None:
        """Starts the DNS server; every name that is not in `records` does not exist."""
        if signed:
            zone = await self._sign(records)
            answers = []
            tail = ["auth-zone:", '  name: "."', f'  zonefile: "{zone}"', "  fallback-enabled: no"]
        else:
            answers = ['  local-zone: "." static', *(f'  local-data: "{record}"' for record in records)]
            tail = []
        lines = [
            "server:", f"  interface: {DNS_ADDRESS}", "  do-daemonize: no", '  username: ""', '  chroot: ""',
            f'  directory: "{self._directory}"', '  pidfile: ""', "  use-syslog: no", '  logfile: ""',
            "  verbosity: 1", "  access-control: 10.77.0.0/24 allow", '  module-config: "iterator"',
            *answers, "remote-control:", "  control-enable: no", *tail, "",
        ]
        config = self._directory / "unbound.conf"
        config.write_text("\n".join(lines))
        command = self._switch.command(["unbound", "-d", "-c", str(config)])
        self._dns = await Process.start("dns", command, self._logs / "dns.log")
        await self._dns.line("start of service", 15)

    async def close(self) -> None:
        """Stops the DNS server and takes the namespaces away, with whatever still runs in them."""
        if self._dns:
            await self._dns.stop()
        for namespace in [*self._members, self._switch]:
            remove(namespace.name)
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _make(self, namespace: Namespace) -> None:
        namespace.etc.mkdir(parents=True)
        (namespace.etc / "resolv.conf").write_text(f"nameserver {DNS_ADDRESS}\noptions timeout:2 attempts:2\n")
        (namespace.etc / "hosts").write_text("127.0.0.1 localhost\n")
        await self._authority.trust_store(namespace.etc / "certs")
        await run(["ip", "netns", "add", namespace.name])
        await run(["ip", "-n", namespace.name, "link", "set", "lo", "up"])


def remove(name: str) -> None:
    """Removes a namespace of ours; the processes in it can only be ours."""
    for pid in os.popen(f"ip netns pids {name} 2>/dev/null").read().split():
        try:
            os.kill(int(pid), 9)
        except ProcessLookupError:
            pass
    os.system(f"ip netns del {name} 2>/dev/null")


def sweep() -> None:
    """Removes namespaces and files of earlier runs that were killed before they could clean up."""
    for line in os.popen("ip netns list").read().splitlines():
        name = line.split()[0]
        owner = re.fullmatch(rf"{PREFIX}(\d+)-.*", name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            remove(name)
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = re.fullmatch(rf"{PREFIX}(\d+)-.*", left.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            shutil.rmtree(left, ignore_errors=True)


def remove_own() -> None:
    """Removes every namespace of this process: what is left when a run was interrupted."""
    for line in os.popen("ip netns list").read().splitlines():
        name = line.split()[0]
        if name.startswith(f"{PREFIX}{os.getpid()}-"):
            remove(name)
