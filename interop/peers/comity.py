"""Comity, driven only by what its interface promises: `serve`, the line `ready`, `account add` and comity.toml."""

import json
import os
from pathlib import Path

from harness.process import Process
from peers.server import COMPONENT_PORT, COMPONENT_SECRET, START, Proof, Server

TEMPLATE = """
domain = "{domain}"
data_dir = "{directory}/data"
admins = [{admins}]

[listen]
{c2s}
c2s_tls = "0.0.0.0:5223"
s2s = "{s2s_host}:{s2s_port}"
s2s_tls = "{s2s_host}:5270"
component = "127.0.0.1:{component_port}"

[tls]
certificate = "{directory}/chain.pem"
key = "{directory}/key.pem"
trust_anchors = ["{directory}/trust.pem"]

[dns]
servers = ["{dns}"]
{dnssec}

[federation]
accept_dialback = {accept_dialback}
bidi = {bidi}

[log]
level = "info,comity=debug"
"""
WITH_TLS = 'c2s = "0.0.0.0:5222"'
# Only loopback addresses may do without.
WITHOUT_TLS = 'c2s = "127.0.0.1:5222"\nc2s_without_tls = true'

COMPONENT = """
[[components]]
name = "{name}"
secret = "{secret}"
"""

ROOMS = """
[services]
rooms = ["{rooms}"]

[rooms]
create = "anybody"
"""


#: What it logs when it panics.
PANIC = "panic, by a defect of this server"


def binary() -> Path:
    """The program under test: from the environment variable COMITY, or the release build of this tree."""
    default = Path(__file__).resolve().parents[2] / "target" / "release" / "comity"
    return Path(os.environ.get("COMITY", default)).resolve()


class Comity(Server):
    """Comity in the foreground."""

    kind = "comity"
    can_go_without_tls = False
    connects_by_dane = True
    accepts_by_dane = True
    has_bidi = True
    components = ("irc", "bot")

    def configure(self) -> None:
        site = self.site
        services = site.services
        components = (COMPONENT.format(name=name, secret=COMPONENT_SECRET) for name in site.components)
        self.path("comity.toml").write_text(
            TEMPLATE.format(
                domain=site.domain,
                directory=site.directory,
                admins=f'"{services.admin}"' if services else "",
                c2s=WITHOUT_TLS if services and services.clients_without_tls else WITH_TLS,
                s2s_host=f"[{site.s2s_address}]" if site.ipv6 else site.s2s_address,
                s2s_port=site.s2s_port,
                dns=site.dns,
                dnssec=f'dnssec = "required"\ntrust_anchors = "{site.root_key}"' if site.root_key else "",
                accept_dialback=str(site.proof is Proof.DIALBACK).lower(),
                bidi=str(site.bidi).lower(),
                component_port=COMPONENT_PORT,
            )
            + "".join(components)
            + (ROOMS.format(rooms=site.rooms) if site.rooms else "")
        )

    def command(self) -> list[str]:
        return [str(binary()), "serve", "--config", str(self.path("comity.toml"))]

    async def ready(self, process: Process) -> None:
        await process.line(r"^ready\s*$", START)

    async def add_account(self, local: str, password: str) -> None:
        jid, config = f"{local}@{self.site.domain}", str(self.path("comity.toml"))
        await self.run(
            [str(binary()), "account", "add", jid, "--password-stdin", "--config", config], stdin=f"{password}\n"
        )

    def panics(self) -> int:
        return self.site.log.read_text("utf-8", "replace").count(PANIC)

    async def told(self, *command: str) -> dict:
        """What a command prints as JSON, whether or not it has found something wrong."""
        line = [str(binary()), *command, "--json", "--config", str(self.path("comity.toml"))]
        # Its exit code says whether something is wrong, which is for the case to judge.
        return json.loads(await self.run(["sh", "-c", '"$@" || test $? -eq 1', "sh", *line]))
