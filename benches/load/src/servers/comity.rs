//! Comity, driven by what its interface promises: `serve`, `account import` and `comity.toml`.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::Server;
use crate::population::Population;
use crate::scram::PASSWORD;

/// What a benchmark does without: limits that those of other makes do not have, and what is logged.
const LIFTED: &str = r#"
[limits]
unauthenticated_bytes = "4GiB"
unauthenticated_bytes_per_address = "4GiB"
client_stanzas_per_second = 0
client_bytes_per_second = 0
server_stanzas_per_second = 0
server_bytes_per_second = 0
ring_bytes = "16MiB"

[federation]
queue_bytes = "64MiB"
queue_bytes_total = "256MiB"

[log]
level = "warn"
"#;

/// The program under test: from the environment variable `COMITY`, or the one that was built beside this one.
fn program() -> PathBuf {
    let beside = || env::current_exe().ok().and_then(|own| own.parent().map(|folder| folder.join("comity")));
    env::var_os("COMITY").map(PathBuf::from).or_else(beside).unwrap_or_default()
}

pub(super) fn prepare(server: &Server, population: &Population) -> io::Result<()> {
    let directory = server.directory.display();
    let rooms = format!(
        "
[services]
rooms = [\"rooms.{}\"]

[rooms]
occupants = 10000
messages_per_second = 0
domain_entries_per_second = 0
domain_messages_per_second = 0
",
        server.site.domain
    );
    let config = format!(
        r#"domain = "{domain}"
data_dir = "{directory}/data"

[listen]
c2s = "{start_tls}"
c2s_tls = "{direct_tls}"
s2s = "{s2s}"
s2s_tls = []

[tls]
certificate = "{directory}/chain.pem"
key = "{directory}/key.pem"
trust_anchors = ["{directory}/root.pem"]

[dns]
servers = ["{dns}"]

[archive]
enabled = {archive}
{rooms}{LIFTED}"#,
        domain = server.site.domain,
        start_tls = server.site.start_tls,
        direct_tls = server.site.direct_tls,
        s2s = server.s2s,
        dns = server.dns,
        archive = server.archive,
        rooms = if server.has_rooms() { rooms } else { String::new() },
    );
    fs::write(server.path("comity.toml"), config)?;
    let lines: String = population.users().map(|user| format!("{user}@{} {PASSWORD}\n", server.site.domain)).collect();
    fs::write(server.path("accounts.txt"), lines)?;
    let mut import = Command::new(program());
    import.args(["account", "import"]).arg(server.path("accounts.txt"));
    import.arg("--config").arg(server.path("comity.toml"));
    server.run(import)
}

/// Takes it back.
pub(super) fn keep_default_limits(server: &Server) -> io::Result<()> {
    let path = server.path("comity.toml");
    let text = fs::read_to_string(&path)?;
    let rest = text.strip_suffix(LIFTED).ok_or_else(|| io::Error::other("the limits are not where they were put"))?;
    fs::write(path, rest)
}

pub(super) fn command(server: &Server) -> Command {
    let mut command = Command::new(program());
    command.arg("serve").arg("--config").arg(server.path("comity.toml"));
    command
}

pub(super) fn memory_question(server: &Server) -> Command {
    let mut command = Command::new(program());
    command.args(["status", "--memory", "--json", "--config"]).arg(server.path("comity.toml"));
    command
}
