"""ejabberd as Debian packages it (23.01), run by `erl` without Erlang distribution: no epmd, no node name."""

import json

from harness.process import Process
from peers.server import START, Encryption, Proof, Server

TEMPLATE = """
hosts:
  - {domain}
loglevel: debug
certfiles:
  - {directory}/chain.pem
  - {directory}/key.pem
ca_file: {directory}/trust.pem
s2s_cafile: {directory}/trust.pem
auth_method: internal
auth_password_format: scram
s2s_use_starttls: {s2s_use_starttls}
s2s_max_retry_delay: 1
s2s_dns_timeout: 5
listen:
  - port: 5222
    ip: "0.0.0.0"
    module: ejabberd_c2s
    starttls_required: {starttls_required}
  - port: 5223
    ip: "0.0.0.0"
    module: ejabberd_c2s
    tls: true
  - port: {s2s_port}
    ip: "{s2s_address}"
    module: ejabberd_s2s_in
  - port: 5281
    ip: "127.0.0.1"
    module: ejabberd_http
    request_handlers:
      /api: mod_http_api
api_permissions:
  "the harness":
    from: mod_http_api
    who: all
    what: "register"
access_rules:
  local:
    - allow: all
  configure:
    - allow: admin
shaper_rules:
  max_user_offline_messages: 1000
acl:
  admin:
    user: [{admins}]
modules:
  mod_disco: {{}}
  mod_http_api: {{}}
  mod_offline:
    access_max_user_messages: max_user_offline_messages
  mod_ping: {{}}
  mod_roster:
    versioning: true
{dialback}
{modules}
"""
# What the package has for clients: the modules of its default configuration, by the rules of that.
MODULES = """
  mod_adhoc: {}
  mod_announce:
    access: configure
  mod_avatar: {}
  mod_blocking: {}
  mod_caps: {}
  mod_carboncopy: {}
  mod_client_state: {}
  mod_configure: {}
  mod_http_upload:
    put_url: "https://@HOST@:5443/upload"
  mod_last: {}
  mod_privacy: {}
  mod_private: {}
  mod_pubsub:
    plugins: ["flat", "pep"]
    force_node_config:
      "storage:bookmarks":
        access_model: whitelist
  mod_push: {}
  mod_stream_mgmt:
    resend_on_timeout: if_offline
  mod_stun_disco: {}
  mod_time: {}
  mod_vcard: {}
  mod_vcard_xupdate: {}
  mod_version: {}
"""
# Rooms, with their archives; accounts have one only where they have everything.
ROOMS = """
  mod_mam:
    default: {archive}
  mod_muc:
    access_admin: configure
    hosts: ["{rooms}"]
    default_room_options:
      mam: true
"""

REGISTER = """
import sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:5281/api/register", sys.stdin.buffer.read())
request.add_header("Content-Type", "application/json")
urllib.request.urlopen(request, timeout=30).read()
"""


class Ejabberd(Server):
    """ejabberd in the foreground as its own user."""

    kind = "ejabberd"
    user = "ejabberd"
    # "Failed inbound s2s EXTERNAL authentication: unsupported certificate purpose". Where dialback is on as well,
    # that is what the other server then has to do; this happens in the ordinary variant.
    wants_client_usage = True

    def configure(self) -> None:
        site = self.site
        services = site.services
        self.path("ejabberd.yml").write_text(
            TEMPLATE.format(
                domain=site.domain,
                directory=site.directory,
                starttls_required=str(not (services and services.clients_without_tls)).lower(),
                admins=f'"{services.admin}"' if services else "",
                modules=(MODULES if services else "")
                + (ROOMS.format(rooms=site.rooms, archive="always" if services else "never") if site.rooms else ""),
                s2s_use_starttls="required" if site.encryption is Encryption.REQUIRED else "false",
                s2s_address=site.s2s_address,
                s2s_port=site.s2s_port,
                dialback="" if site.proof is Proof.CERTIFICATE else "  mod_s2s_dialback: {}",
            )
        )
        self.path("inetrc").write_text(
            '{lookup,["file","native"]}.\n{host,{127,0,0,1},["localhost"]}.\n{file,resolv,"/etc/resolv.conf"}.\n'
        )

    def command(self) -> list[str]:
        return ["erl", "-noinput", "+P", "250000", "-mnesia", "dir", f'"{self.path("data")}"', "-s", "ejabberd"]

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "EJABBERD_CONFIG_PATH": str(self.path("ejabberd.yml")),
            "EJABBERD_LOG_PATH": str(self.path("ejabberd.log")),
            "ERL_CRASH_DUMP": str(self.path("erl_crash.dump")),
            "ERL_INETRC": str(self.path("inetrc")),
            "ERL_LIBS": "/usr/lib/x86_64-linux-gnu",
        }

    async def ready(self, process: Process) -> None:
        for port in (5222, 5223, self.site.s2s_port, 5281):
            await process.line(rf"Start accepting T\w+ connections at \S+:{port} ", START)

    async def add_account(self, local: str, password: str) -> None:
        account = json.dumps({"user": local, "host": self.site.domain, "password": password})
        await self.run(["/usr/bin/python3", "-c", REGISTER], stdin=account)
