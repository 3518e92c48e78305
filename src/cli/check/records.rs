//! The SRV records of a domain (RFC 6120 §3.2, XEP-0368) and the ports that they lead to.

use std::net::SocketAddr;
use std::time::Duration;

use crate::cli::check::{About, Findings, Whom};
use crate::config::{Addresses, Config};
use crate::federation::doctor::Verdict;
use crate::net::{Answer, DnsError, Network, Resolver, Srv};

/// How long one address may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A host and a port that somebody will try.
pub(super) type Endpoint = (String, u16);

/// A kind of record.
struct Service<'a> {
    label: &'static str,
    /// Who follows it.
    who: &'static str,
    listen: &'a Addresses,
    /// The port that is tried where there is no record; direct TLS has none.
    fallback: Option<u16>,
}

/// Looks at the records that are for `whom`; what they lead to is returned.
pub(super) async fn check(
    config: &Config,
    (domain, whom): (&str, Whom),
    resolver: &dyn Resolver,
    findings: &mut Findings<'_>,
) -> Vec<Endpoint> {
    let listen = &config.listen;
    let of_clients = [
        Service { label: "_xmpp-client", who: "clients", listen: &listen.c2s, fallback: Some(5222) },
        Service { label: "_xmpps-client", who: "clients", listen: &listen.c2s_tls, fallback: None },
    ];
    let of_servers = [
        Service { label: "_xmpp-server", who: "other servers", listen: &listen.s2s, fallback: Some(5269) },
        Service { label: "_xmpps-server", who: "other servers", listen: &listen.s2s_tls, fallback: None },
    ];
    let mut endpoints = Vec::new();
    for service in of_clients.iter().filter(|_| whom == Whom::All).chain(&of_servers) {
        let name = format!("{}._tcp.{domain}", service.label);
        let answer = resolver.srv(&name).await;
        for endpoint in service.judge(&name, domain, answer, findings) {
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
    }
    endpoints
}

impl Service<'_> {
    fn judge(
        &self,
        name: &str,
        domain: &str,
        answer: Result<Answer<Srv>, DnsError>,
        findings: &mut Findings<'_>,
    ) -> Vec<Endpoint> {
        let mut say = |verdict, text: String| findings.add(About::Dns, verdict, text);
        let is_on = !self.listen.as_slice().is_empty();
        let who = self.who;
        match answer {
            Err(DnsError::NotFound | DnsError::NoSuchName) => self.absent(name, domain, findings),
            Err(error) => {
                say(Verdict::Wrong, format!("{name}: {error}"));
                Vec::new()
            }
            Ok(records) if records.iter().all(|record| record.target == ".") => {
                let verdict = if is_on { Verdict::Wrong } else { Verdict::Fine };
                say(verdict, format!("{name} tells {who} that there is no such service"));
                Vec::new()
            }
            Ok(records) if !is_on => {
                let target = records.first().map_or("", |record| &record.target);
                say(Verdict::Wrong, format!("{name} leads {who} to {target}, but that listener is off"));
                Vec::new()
            }
            Ok(records) => {
                for Srv { target, port, .. } in records.iter().filter(|record| record.target != ".") {
                    if self.listen.into_iter().any(|address| address.port() == *port) {
                        say(Verdict::Fine, format!("{name} leads {who} to {target} port {port}"));
                    } else {
                        let ours: Vec<_> = self.listen.into_iter().map(|address| address.port().to_string()).collect();
                        let ours = ours.join(", ");
                        let text =
                            format!("{name} leads {who} to {target} port {port}, but the server listens on {ours}");
                        say(Verdict::Warning, text);
                    }
                }
                records
                    .into_iter()
                    .filter(|record| record.target != ".")
                    .map(|record| (record.target, record.port))
                    .collect()
            }
        }
    }

    /// Nothing is found; where a fallback exists, that is what will be tried.
    fn absent(&self, name: &str, domain: &str, findings: &mut Findings<'_>) -> Vec<Endpoint> {
        let Some(listens) = self.listen.as_slice().first() else { return Vec::new() };
        let Some(fallback) = self.fallback else {
            let text =
                format!("{name} is missing, so port {} is not found; comity init shows the record", listens.port());
            findings.add(About::Dns, Verdict::Warning, text);
            return Vec::new();
        };
        let who = self.who;
        if self.listen.into_iter().any(|address| address.port() == fallback) {
            let text = format!("{name} is missing; {who} will try {domain} port {fallback}");
            findings.add(About::Dns, Verdict::Warning, text);
        } else {
            let text = format!(
                "{name} is missing; {who} will try port {fallback}, but the server listens on {}",
                listens.port()
            );
            findings.add(About::Dns, Verdict::Wrong, text);
        }
        vec![(domain.to_owned(), fallback)]
    }
}

/// Connects to each endpoint from here.
pub(super) async fn connect(
    endpoints: &[Endpoint],
    resolver: &dyn Resolver,
    network: &dyn Network,
    findings: &mut Findings<'_>,
) {
    for (host, port) in endpoints {
        let addresses = match resolver.addresses(host).await {
            Ok(addresses) => addresses,
            Err(DnsError::NotFound | DnsError::NoSuchName) => {
                findings.add(About::Dns, Verdict::Wrong, format!("{host} has no address; publish A and AAAA records"));
                continue;
            }
            Err(error) => {
                findings.add(About::Dns, Verdict::Wrong, format!("{host}: {error}"));
                continue;
            }
        };
        for ip in addresses {
            let address = SocketAddr::new(ip, *port);
            let (verdict, text) = match tokio::time::timeout(PATIENCE, network.connect(address)).await {
                Ok(Ok(_)) => (Verdict::Fine, format!("{host} port {port} answers ({ip})")),
                Ok(Err(error)) => (Verdict::Wrong, format!("{host} port {port} does not answer ({ip}): {error}")),
                Err(_) => {
                    let seconds = PATIENCE.as_secs();
                    let text = format!(
                        "{host} port {port} does not answer ({ip}) within {seconds} seconds; is a firewall in between?"
                    );
                    (Verdict::Wrong, text)
                }
            };
            findings.add(About::Port, verdict, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::net::TcpListener;

    use super::{check, connect};
    use crate::cli::check::{Finding, Findings, Whom};
    use crate::config::Config;
    use crate::federation::doctor::Verdict;
    use crate::net::dns::Tlsa;
    use crate::net::{Answer, BoxFuture, DnsError, Resolver, Srv, System};

    #[derive(Default)]
    struct Table(HashMap<&'static str, Vec<(&'static str, u16)>>);

    impl Resolver for Table {
        fn srv<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Srv>, DnsError>> {
            let record = |(target, port): &(&str, u16)| Srv {
                priority: 0,
                weight: 5,
                port: *port,
                target: (*target).to_owned(),
            };
            let found = self.0.get(name).map(|records| records.iter().map(record).collect());
            Box::pin(async move { found.map(Answer::insecure).ok_or(DnsError::NotFound) })
        }

        fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, DnsError>> {
            let found =
                if name == "here.example" { Ok(vec![Ipv4Addr::LOCALHOST.into()]) } else { Err(DnsError::NotFound) };
            Box::pin(async move { found.map(Answer::insecure) })
        }

        fn tlsa<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Answer<Tlsa>, DnsError>> {
            Box::pin(async { Err(DnsError::NotFound) })
        }

        fn validates(&self) -> bool {
            false
        }
    }

    fn config(listen: &str) -> Config {
        Config::parse(&format!("domain = \"a.example\"\n[listen]\n{listen}"), "comity.toml".as_ref()).unwrap()
    }

    async fn judged(config: &Config, table: &Table) -> (Vec<Finding>, Vec<(String, u16)>) {
        let mut all = Vec::new();
        let mut findings = Findings { domain: "a.example", all: &mut all };
        let endpoints = check(config, ("a.example", Whom::All), table, &mut findings).await;
        (all, endpoints)
    }

    fn verdicts(findings: &[Finding]) -> Vec<Verdict> {
        findings.iter().map(|finding| finding.verdict).collect()
    }

    #[tokio::test]
    async fn records_as_init_shows_them_are_fine() {
        let table = Table(HashMap::from([
            ("_xmpp-client._tcp.a.example", vec![("here.example", 5222)]),
            ("_xmpps-client._tcp.a.example", vec![("here.example", 5223)]),
            ("_xmpp-server._tcp.a.example", vec![("here.example", 5269)]),
            ("_xmpps-server._tcp.a.example", vec![("here.example", 5270)]),
        ]));
        let (findings, endpoints) = judged(&config(""), &table).await;
        assert_eq!(verdicts(&findings), [Verdict::Fine; 4]);
        assert_eq!(endpoints.len(), 4);
    }

    #[tokio::test]
    async fn rooms_are_for_other_servers() {
        let table = Table(HashMap::from([("_xmpp-server._tcp.rooms.a.example", vec![("here.example", 5269)])]));
        let mut all = Vec::new();
        let mut findings = Findings { domain: "rooms.a.example", all: &mut all };
        let config = config("");
        let endpoints = check(&config, ("rooms.a.example", Whom::Servers), &table, &mut findings).await;
        assert_eq!(verdicts(&all), [Verdict::Fine, Verdict::Warning]);
        assert_eq!(endpoints, [("here.example".to_owned(), 5269)]);
    }

    #[tokio::test]
    async fn without_records_the_fallback_counts() {
        let (findings, endpoints) = judged(&config("s2s = \"[::]:15269\""), &Table::default()).await;
        assert_eq!(verdicts(&findings), [Verdict::Warning, Verdict::Warning, Verdict::Wrong, Verdict::Warning]);
        assert_eq!(endpoints, [("a.example".to_owned(), 5222), ("a.example".to_owned(), 5269)]);
    }

    #[tokio::test]
    async fn records_that_lead_elsewhere() {
        let table = Table(HashMap::from([
            ("_xmpp-client._tcp.a.example", vec![("here.example", 443)]),
            ("_xmpps-client._tcp.a.example", vec![("here.example", 5223)]),
            ("_xmpp-server._tcp.a.example", vec![(".", 0)]),
        ]));
        let (findings, endpoints) = judged(&config("c2s_tls = []\ns2s_tls = []"), &table).await;
        assert_eq!(verdicts(&findings), [Verdict::Warning, Verdict::Wrong, Verdict::Wrong]);
        assert_eq!(endpoints, [("here.example".to_owned(), 443)]);
    }

    #[tokio::test]
    async fn ports_are_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let endpoints = [("here.example", port), ("here.example", closed), ("nowhere.example", port)];
        let endpoints = endpoints.map(|(host, port)| (host.to_owned(), port));
        let mut all = Vec::new();
        connect(&endpoints, &Table::default(), &System, &mut Findings { domain: "a.example", all: &mut all }).await;
        assert_eq!(verdicts(&all), [Verdict::Fine, Verdict::Wrong, Verdict::Wrong]);
    }
}
