"""jabberd2 as Debian packages it (2.7): four programs, each with the package's own configuration but for what a site needs."""

import json
from pathlib import Path
from xml.etree import ElementTree

from harness.process import Process, run
from peers.server import START, Encryption, Server

PACKAGE = Path("/etc/jabberd2")
PROGRAMS = ("router", "sm", "c2s", "s2s")
SCHEMA = "/usr/share/doc/jabberd2/db-setup.sqlite.gz"
MENDED = Path(__file__).with_suffix(".c")

# All of them end when one does; whoever ends this ends all. What a crash has left half done in the store is put right
# before: two of them would both begin with that, and the one that comes second gives up.
RUN = """
trap 'trap - TERM; kill 0' TERM
/usr/bin/python3 -c '{recover}' "$0/data/jabberd2.db"
for name in {names}; do
    LD_PRELOAD="$0/mended.so" /usr/sbin/jabberd2-$name -c "$0/$name.xml" &
done
wait -n
kill -TERM $$
"""

RECOVER = 'import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=20).execute("BEGIN EXCLUSIVE")'

MAKE = """
import gzip, sqlite3, sys
sqlite3.connect(sys.argv[1]).executescript(gzip.open(sys.argv[2], "rt").read())
"""

# What somebody who registers leaves: a password, and that there is such a user.
REGISTER = """
import json, sqlite3, sys
account = json.load(sys.stdin)
with sqlite3.connect(sys.argv[1], timeout=20) as store:
    store.execute("INSERT INTO authreg VALUES (:user, :host, :password)", account)
    jid = f"{account['user']}@{account['host']}"
    store.execute('INSERT INTO active ("collection-owner", time) VALUES (?, 1)', (jid,))
"""


def place(root: ElementTree.Element, path: str, text: str | None = None, **attributes: str) -> None:
    """Gives the element at this path this text, and makes it if it is not there."""
    at = root
    for name in path.split("/"):
        found = at.find(name)
        at = found if found is not None else ElementTree.SubElement(at, name)
    at.text = text
    at.attrib.update(attributes)


class Jabberd2(Server):
    """jabberd2 in the foreground as its own user."""

    kind = "jabberd2"
    user = "jabber"
    # Its s2s knows STARTTLS and dialback; there is no SASL between servers in it.
    has_external = False
    has_rooms = False
    # It shows presence to the other resources only.
    hears_itself = False

    def configure(self) -> None:
        for name in PROGRAMS:
            tree = ElementTree.parse(PACKAGE / f"{name}.xml")
            root = tree.getroot()
            place(root, "pidfile", str(self.path(f"{name}.pid")))
            root.find("log").set("type", "stdout")
            getattr(self, f"_{name}")(root)
            tree.write(self.path(f"{name}.xml"))
        self.path("pem.pem").write_text(self.path("chain.pem").read_text() + self.path("key.pem").read_text())

    def _router(self, root: ElementTree.Element) -> None:
        place(root, "local/ip", "127.0.0.1")

    def _sm(self, root: ElementTree.Element) -> None:
        self._connect(root)
        place(root, "local/id", self.site.domain)
        place(root, "storage/sqlite/dbname", str(self.path("data/jabberd2.db")))

    def _c2s(self, root: ElementTree.Element) -> None:
        self._connect(root)
        pem = str(self.path("pem.pem"))
        encrypted = {"require-starttls": "true"} if self.site.encryption is Encryption.REQUIRED else {}
        place(root, "local/id", self.site.domain, pemfile=pem, **encrypted)
        place(root, "local/ssl-port", "5223")
        place(root, "local/pemfile", pem)
        place(root, "authreg/sqlite/dbname", str(self.path("data/jabberd2.db")))

    def _s2s(self, root: ElementTree.Element) -> None:
        self._connect(root)
        place(root, "local/ip", self.site.s2s_address)
        place(root, "local/port", str(self.site.s2s_port))
        if self.site.encryption is Encryption.REQUIRED:
            place(root, "local/pemfile", str(self.path("pem.pem")))
            place(root, "local/cachain", str(self.path("trust.pem")))
            place(root, "security/require_tls")
        if self.site.ipv6:
            place(root, "lookup/resolve-ipv6")
        # Another server that was away is looked for again soon.
        for path in ("check/interval", "check/dnscache", "lookup/min-ttl", "lookup/bad-host-timeout"):
            place(root, path, "1")
        place(root, "check/queue", "20")

    @staticmethod
    def _connect(root: ElementTree.Element) -> None:
        """The router may come up later."""
        place(root, "router/retry/init", "30")
        place(root, "router/retry/sleep", "1")

    async def prepare(self) -> None:
        await super().prepare()
        flags = ["-shared", "-fPIC", "-nostdlib", "-Wall", "-Wextra", "-Werror"]
        await run(["cc", *flags, "-o", str(self.path("mended.so")), str(MENDED)])
        await self.run(["/usr/bin/python3", "-c", MAKE, str(self.path("data/jabberd2.db")), SCHEMA])

    def command(self) -> list[str]:
        return ["bash", "-c", RUN.format(names=" ".join(PROGRAMS), recover=RECOVER), str(self.site.directory)]

    async def ready(self, process: Process) -> None:
        await process.line("sm ready for sessions", START)
        await process.line(r"port=5222\] listening for connections", START)
        await process.line(rf"port={self.site.s2s_port}\] listening for connections", START)

    async def add_account(self, local: str, password: str) -> None:
        account = json.dumps({"user": local, "host": self.site.domain, "password": password})
        await self.run(["/usr/bin/python3", "-c", REGISTER, str(self.path("data/jabberd2.db"))], stdin=account)
