"""Prosody as Debian packages it (0.12)."""

from harness.process import Process
from peers.server import START, Encryption, Proof, Server

TEMPLATE = """
data_path = "{directory}/data"
plugin_paths = {{}}
pidfile = "{directory}/prosody.pid"
log = {{ {{ levels = {{ min = "debug" }}, to = "stdout" }} }}
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "ping", "posix", "dialback"{modules} }}
modules_disabled = {{ {disabled} }}
authentication = "internal_hashed"
storage = "internal"
interfaces = {{ "*" }}
s2s_interfaces = {{ "{s2s_address}" }}
c2s_ports = {{ 5222 }}
c2s_direct_tls_ports = {{ 5223 }}
s2s_ports = {{ {s2s_port} }}
s2s_direct_tls_ports = {{}}
c2s_require_encryption = {c2s_require_encryption}
s2s_require_encryption = {s2s_require_encryption}
s2s_secure_auth = {s2s_secure_auth}
s2s_timeout = 20
use_ipv6 = {ipv6}
{dane}
ssl = {{ certificate = "{directory}/chain.pem", key = "{directory}/key.pem", cafile = "{directory}/trust.pem" }}
c2s_direct_tls_ssl = {{ certificate = "{directory}/chain.pem", key = "{directory}/key.pem" }}
{options}
VirtualHost "{domain}"
{components}
"""
# What the package has for clients (its default configuration and what that shows commented out).
MODULES = (
    "admin_adhoc", "announce", "blocklist", "bookmarks", "carbons", "csi_simple", "external_services", "lastactivity",
    "mam", "pep", "private", "server_contact_info", "smacks", "time", "uptime", "vcard4", "vcard_legacy", "version",
)
OPTIONS = """
admins = {{ "{admin}" }}
contact_info = {{ admin = {{ "xmpp:{admin}" }} }}
external_services = {{ {{ type = "stun", transport = "udp", host = "stun.{domain}", port = 3478 }} }}
"""
ROOMS = """
Component "{rooms}" "muc"
modules_enabled = {{ "muc_mam", "vcard_muc" }}
"""
COMPONENTS = """
Component "pubsub.{domain}" "pubsub"
Component "upload.{domain}" "http_file_share"
"""


class Prosody(Server):
    """Prosody in the foreground as its own user."""

    kind = "prosody"
    user = "prosody"
    # 0.12 looks at TLSA records when it connects, not when somebody connects to it.
    connects_by_dane = True
    has_bidi = True

    def configure(self) -> None:
        site = self.site
        services = site.services
        dane = f'use_dane = true\nunbound = {{ resolvconf = true, trustfile = "{site.root_key}" }}' if site.root_key else ""
        modules = (*(MODULES if services else ()), *(("s2s_bidi",) if site.bidi else ()))
        disabled = []
        if site.proof is Proof.CERTIFICATE:
            disabled.append('"dialback"')
        if site.encryption is Encryption.NEVER:
            # STARTTLS is one module for clients and servers: clients come by direct TLS in this variant.
            disabled.append('"tls"')
        self.path("prosody.cfg.lua").write_text(
            TEMPLATE.format(
                directory=site.directory,
                modules="".join(f', "{module}"' for module in modules),
                options=OPTIONS.format(domain=site.domain, admin=services.admin) if services else "",
                components=(ROOMS.format(rooms=site.rooms) if site.rooms else "")
                + (COMPONENTS.format(domain=site.domain) if services else ""),
                c2s_require_encryption=str(not (services and services.clients_without_tls)).lower(),
                disabled=", ".join(disabled),
                dane=dane,
                ipv6=str(site.ipv6).lower(),
                s2s_address=site.s2s_address,
                s2s_port=site.s2s_port,
                s2s_require_encryption=str(site.encryption is Encryption.REQUIRED).lower(),
                s2s_secure_auth=str(site.proof is not Proof.DIALBACK and site.encryption is Encryption.REQUIRED).lower(),
                domain=site.domain,
            )
        )

    def command(self) -> list[str]:
        return ["prosody", "-F", "--config", str(self.path("prosody.cfg.lua"))]

    async def ready(self, process: Process) -> None:
        await process.line("Activated service 's2s' on", START)
        await process.line("Activated service 'c2s' on", START)

    async def add_account(self, local: str, password: str) -> None:
        config = str(self.path("prosody.cfg.lua"))
        await self.run(["prosodyctl", "--config", config, "register", local, self.site.domain, password])
