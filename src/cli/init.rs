//! `comity init`: the first configuration, and the DNS records that go with it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::output::{Failure, Output};
use crate::cli::place::{FILE, Place};
use crate::config::{Config, DomainName, example};

/// Write a configuration and print the DNS records to publish.
///
/// Writes comity.toml with every setting explained and commented out, except the domains, into the
/// current directory (or where --config says). A file that is there already is never overwritten.
#[derive(Debug, Args)]
#[command(after_help = "Example: comity init example.org --host chat.example.org --rooms rooms.example.org")]
pub(super) struct Init {
    /// The domain of the accounts: what stands behind the @ of an address.
    domain: DomainName,
    /// The name under which this machine is found; the SRV records point to it. Default: xmpp.DOMAIN.
    #[arg(long, value_name = "NAME")]
    host: Option<DomainName>,
    /// A domain for rooms in which many talk, such as rooms.DOMAIN; without it there are none.
    #[arg(long, value_name = "NAME")]
    rooms: Vec<DomainName>,
    /// Where to keep accounts and messages. Default: /var/lib/comity for root, otherwise the directory
    /// data beside the file.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let file = place.named().unwrap_or_else(|| PathBuf::from(FILE));
        let data_dir = self.data_dir.or_else(|| (!rustix::process::geteuid().is_root()).then(|| PathBuf::from("data")));
        let text = example(self.domain.as_str(), data_dir.as_deref(), &self.rooms);
        let config = Config::parse(&text, &file).map_err(|error| Failure::Failed(error.to_string()))?;
        write_new(&file, &text)?;
        let host = self.host.unwrap_or_else(|| self.domain.below("xmpp"));
        let data_dir = config.data_dir.display();
        output.line(format_args!("Wrote {}; accounts and messages will be kept in {data_dir}.\n", file.display()))?;
        output.line(records(&config, &self.domain, &host))?;
        output.line(next_steps(&file, &self.domain, &self.rooms))
    }
}

/// Never overwrites: the file must not be there yet.
fn write_new(file: &Path, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new().write(true).create_new(true).open(file).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.sync_all()
    });
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Failed(format!("{} is there already; it was not touched", file.display()))
        }
        _ => Failure::Failed(format!("{} cannot be written: {error}", file.display())),
    })
}

/// As they stand in a zone file; internationalised names as A-labels.
fn records(config: &Config, domain: &DomainName, host: &DomainName) -> String {
    let listen = &config.listen;
    let clients = [("_xmpp-client", &listen.c2s), ("_xmpps-client", &listen.c2s_tls)];
    let servers = [("_xmpp-server", &listen.s2s), ("_xmpps-server", &listen.s2s_tls)];
    let (domain, host) = (domain.a_labels(), host.a_labels());
    let of_domain = clients.iter().chain(&servers).map(|service| (service, domain.clone()));
    // Clients go the way of their own domain; only other servers look for the rooms.
    let of_rooms = config.services.rooms.iter().flat_map(|name| servers.iter().map(move |it| (it, name.a_labels())));
    let mut records = Vec::new();
    for ((service, addresses), name) in of_domain.chain(of_rooms) {
        if let Some(address) = addresses.into_iter().next() {
            records.push((format!("{service}._tcp.{name}."), format!("SRV  0 5 {} {host}.", address.port())));
        }
    }
    records.push((format!("{host}."), "A    the IPv4 address of this machine".to_owned()));
    records.push((format!("{host}."), "AAAA its IPv6 address, if it has one".to_owned()));
    let width = records.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines = records.iter().map(|(name, record)| format!("  {name:width$}  3600 IN {record}\n"));
    format!("Publish these DNS records (in the zone of {domain}):\n\n{}", lines.collect::<String>())
}

fn next_steps(file: &Path, domain: &DomainName, rooms: &[DomainName]) -> String {
    let names: Vec<&str> = [domain].into_iter().chain(rooms).map(DomainName::as_str).collect();
    format!(
        "Next:\n\
         \x20 1. Get a certificate for {names} (not for the name of the machine), for example with\n\
         \x20    certbot, and name it and its key under [tls] in {file}.\n\
         \x20 2. Add an account:          comity account add you@{domain}\n\
         \x20 3. Start the server:        comity serve\n\
         \x20 4. See whether all is well: comity check",
        names = names.join(" and "),
        file = file.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::{next_steps, records, write_new};
    use crate::cli::output::Failure;
    use crate::config::Config;

    #[test]
    fn records_for_each_listener_with_a_labels() {
        let text = "domain = \"müller.example\"\n[listen]\nc2s_tls = []\ns2s = \"[::]:15269\"";
        let config = Config::parse(text, "comity.toml".as_ref()).unwrap();
        let domain = config.domains[0].name.clone();
        let text = records(&config, &domain, &domain.below("xmpp"));
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines[2..5],
            [
                "_xmpp-client._tcp.xn--mller-kva.example. 3600 IN SRV 0 5 5222 xmpp.xn--mller-kva.example.",
                "_xmpp-server._tcp.xn--mller-kva.example. 3600 IN SRV 0 5 15269 xmpp.xn--mller-kva.example.",
                "_xmpps-server._tcp.xn--mller-kva.example. 3600 IN SRV 0 5 5270 xmpp.xn--mller-kva.example.",
            ]
        );
    }

    #[test]
    fn rooms_are_found_by_other_servers() {
        let text = "domain = \"a.example\"\n[listen]\ns2s_tls = []\n[services]\nrooms = [\"rooms.a.example\"]";
        let config = Config::parse(text, "comity.toml".as_ref()).unwrap();
        let domain = config.domains[0].name.clone();
        let text = records(&config, &domain, &domain.below("xmpp"));
        let of_rooms: Vec<_> = text.lines().filter(|line| line.contains("rooms")).map(str::trim).collect();
        assert_eq!(of_rooms, ["_xmpp-server._tcp.rooms.a.example.  3600 IN SRV  0 5 5269 xmpp.a.example."]);
        let steps = next_steps("comity.toml".as_ref(), &domain, &config.services.rooms);
        assert!(steps.contains("a certificate for a.example and rooms.a.example (not"), "{steps}");
    }

    #[test]
    fn a_file_is_never_overwritten() {
        let file = std::env::temp_dir().join(format!("comity-init-{}.toml", std::process::id()));
        write_new(&file, "first").unwrap();
        assert!(matches!(write_new(&file, "second"), Err(Failure::Failed(_))));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "first");
        std::fs::remove_file(&file).unwrap();
    }
}
