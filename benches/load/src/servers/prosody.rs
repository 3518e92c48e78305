//! Prosody as Debian packages it: the modules of its default configuration without `limits`; the archive only where it
//! is measured, in files, its default (SQLite costs it as much CPU time, and a wait for the disk with every message).

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::process::Command;

use super::Server;
use crate::population::Population;
use crate::scram;

/// What Prosody 0.12 uses for new accounts.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).expect("it is not zero");

pub(super) fn prepare(server: &Server, population: &Population) -> io::Result<()> {
    let directory = server.directory.display();
    let rooms = format!("Component \"rooms.{}\" \"muc\"\n", server.site.domain);
    let archive = "default_archive_policy = true\narchive_expires_after = \"never\"\n";
    let config = format!(
        r#"data_path = "{directory}/data"
plugin_paths = {{}}
pidfile = "{directory}/prosody.pid"
log = {{ {{ levels = {{ min = "warn" }}, to = "stdout" }} }}
modules_enabled = {{
  "disco"; "roster"; "saslauth"; "tls"; "blocklist"; "bookmarks"; "carbons"; "dialback"; "pep"; "private"; "smacks";
  "vcard4"; "vcard_legacy"; "csi_simple"; "invites"; "invites_adhoc"; "invites_register"; "ping"; "register"; "time";
  "uptime"; "version"; "admin_adhoc"; "admin_shell"; "posix";{mam}
}}
authentication = "internal_hashed"
storage = "internal"
interfaces = {{ "127.0.0.1" }}
use_ipv6 = false
network_settings = {{ tcp_backlog = 4096 }}
c2s_ports = {{ {start_tls} }}
c2s_direct_tls_ports = {{ {direct_tls} }}
s2s_ports = {{ {s2s} }}
s2s_direct_tls_ports = {{}}
s2s_secure_auth = true
unbound = {{ resolvconf = false; hoststxt = false; forward = {{ "{dns_ip}@{dns_port}" }};
  options = {{ ["do-not-query-localhost:"] = "no" }}; }}
ssl = {{ certificate = "{directory}/chain.pem", key = "{directory}/key.pem", cafile = "{directory}/root.pem" }}
c2s_direct_tls_ssl = {{ certificate = "{directory}/chain.pem", key = "{directory}/key.pem" }}
{archive}VirtualHost "{domain}"
{rooms}"#,
        start_tls = server.site.start_tls.port(),
        direct_tls = server.site.direct_tls.port(),
        s2s = server.s2s.port(),
        dns_ip = server.dns.ip(),
        dns_port = server.dns.port(),
        domain = server.site.domain,
        mam = if server.archive { " \"mam\";" } else { "" },
        archive = if server.archive { archive } else { "" },
        rooms = if server.has_rooms() { rooms } else { String::new() },
    );
    fs::write(server.path("prosody.cfg.lua"), config)?;
    accounts(server, population)
}

/// Writes accounts and rosters where the storage `internal` keeps them; every account has the same salt.
fn accounts(server: &Server, population: &Population) -> io::Result<()> {
    let keys = scram::stored("6f1dc1c4-1d4f-4e0f-8f36-4a1b3a9f2c11", ITERATIONS);
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let account = format!(
        "return {{\n\t[\"salt\"] = \"{}\";\n\t[\"iteration_count\"] = {};\n\t[\"stored_key\"] = \"{}\";\n\
         \t[\"server_key\"] = \"{}\";\n}};\n",
        keys.salt,
        keys.iterations,
        hexadecimal(&keys.stored_key),
        hexadecimal(&keys.server_key),
    );
    let host = server.path("data").join(server.site.domain.replace('.', "%2e").replace('-', "%2d"));
    fs::create_dir_all(host.join("accounts"))?;
    fs::create_dir_all(host.join("roster"))?;
    for user in population.users() {
        fs::write(host.join("accounts").join(format!("{user}.dat")), &account)?;
        let contacts = population.contacts(&user);
        if contacts.is_empty() {
            continue;
        }
        let items: String = contacts
            .iter()
            .map(|contact| {
                let domain = &server.site.domain;
                format!("\t[\"{contact}@{domain}\"] = {{ [\"subscription\"] = \"both\"; [\"groups\"] = {{}}; }};\n")
            })
            .collect();
        let head = "\t[false] = { [\"version\"] = 1; [\"pending\"] = {}; };\n";
        fs::write(host.join("roster").join(format!("{user}.dat")), format!("return {{\n{head}{items}}};\n"))?;
    }
    Ok(())
}

pub(super) fn command(server: &Server) -> Command {
    let mut command = Command::new("prosody");
    command.args(["-F", "--config"]).arg(server.path("prosody.cfg.lua"));
    command
}
