//! Name resolution as the rest of the server sees it, and its implementation with hickory.
//!
//! SRV records (RFC 2782) and addresses only, names in A-label form. It must never know what the
//! names are wanted for.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError as Answer, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, Query};
use hickory_resolver::proto::rr::domain::usage::LOCALHOST;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, TokioResolver};
use serde::{Deserialize, Serialize};

use crate::net::BoxFuture;

/// How long one question to one server may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long an answer may be believed at most: a peer that moves is found again.
const LONGEST: Duration = Duration::from_secs(3600);
/// The same for "there is nothing", which is put right sooner.
const LONGEST_NEGATIVE: Duration = Duration::from_secs(60);

/// How many aliases are followed to see whether they lead in a circle.
const ALIASES: usize = 8;

/// Where a service is said to be (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// Without trailing dot; `.` alone says that there is no such service.
    pub target: String,
}

/// Why a question got no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsError {
    /// It has no records of the kind.
    NotFound,
    /// There is no such name.
    NoSuchName,
    /// Its aliases lead in a circle.
    Loop,
    /// Nobody knows: the server failed or did not answer; the text says which.
    Failed(String),
}

impl std::fmt::Display for DnsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound => f.write_str("not found in DNS"),
            Self::NoSuchName => f.write_str("not found in DNS, there is no such name"),
            Self::Loop => f.write_str("in DNS its aliases (CNAME) lead in a circle"),
            Self::Failed(why) => write!(f, "DNS failed: {why}"),
        }
    }
}

impl std::error::Error for DnsError {}

/// Answers questions about names; in tests a table stands in for the DNS.
pub trait Resolver: Send + Sync {
    /// The SRV records of `name`, such as `_xmpp-server._tcp.example.org`, in no particular order.
    fn srv<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Srv>, DnsError>>;

    /// The addresses of the host `name`, of both families.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>>;
}

/// The DNS, asked with hickory.
pub struct Hickory {
    resolver: TokioResolver,
    /// Asked directly for what hickory refuses to ask anybody; only with servers of our own choice.
    servers: Option<NameServerPool<TokioRuntimeProvider>>,
}

impl Hickory {
    /// Asks the servers that this machine is set up with.
    ///
    /// # Errors
    /// If the system's configuration cannot be read.
    pub fn system() -> Result<Self, NetError> {
        let mut builder = TokioResolver::builder_tokio()?;
        options(builder.options_mut());
        Ok(Self { resolver: builder.build()?, servers: None })
    }

    /// Asks `servers`, over UDP and, for large answers, TCP.
    ///
    /// # Errors
    /// If the resolver cannot be built.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Self, NetError> {
        let servers: Vec<_> = servers.iter().map(|server| name_server(*server)).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.clone());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        options(builder.options_mut());
        // Whoever names the servers wants their answers, not those of the hosts file.
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        let context = PoolContext::new(builder.options_mut().clone(), TlsConfig::new()?);
        let pool = NameServerPool::from_config(servers, context.into(), TokioRuntimeProvider::default());
        Ok(Self { resolver: builder.build()?, servers: Some(pool) })
    }

    /// SRV records below `localhost` (RFC 6761 §6.3 lets a resolver withhold them, and hickory does):
    /// servers that were named explicitly are asked all the same, uncached.
    async fn ask(&self, name: Name) -> Result<Vec<Record>, NetError> {
        match &self.servers {
            Some(pool) if LOCALHOST.zone_of(&name) => {
                let query = Query::query(name, RecordType::SRV);
                let response = pool.lookup(query, DnsRequestOptions::default()).first_answer().await?;
                Ok(Answer::from_response(response)?.answers.clone())
            }
            _ => Ok(self.resolver.lookup(name, RecordType::SRV).await?.answers().to_vec()),
        }
    }

    /// Whether aliases lead from `name` to one that was there before.
    async fn is_circle(&self, name: Name) -> bool {
        let mut seen = vec![name];
        while seen.len() <= ALIASES
            && let Some(last) = seen.last()
        {
            let Ok(answer) = self.resolver.lookup(last.clone(), RecordType::CNAME).await else { return false };
            let alias = answer.answers().iter().find_map(|record| match &record.data {
                RData::CNAME(alias) => Some(alias.0.clone()),
                _ => None,
            });
            match alias {
                Some(alias) if seen.contains(&alias) => return true,
                Some(alias) => seen.push(alias),
                None => return false,
            }
        }
        false
    }
}

impl Resolver for Hickory {
    fn srv<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Srv>, DnsError>> {
        Box::pin(async move {
            let records = self.ask(absolute(name)?).await.map_err(|error| fault(&error))?;
            let found: Vec<_> = records.iter().filter_map(srv).collect();
            if found.is_empty() { Err(DnsError::NotFound) } else { Ok(found) }
        })
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(async move {
            let name = absolute(name)?;
            match self.resolver.lookup_ip(name.clone()).await {
                Ok(found) => {
                    let found: Vec<_> = found.iter().collect();
                    if found.is_empty() { Err(DnsError::NotFound) } else { Ok(found) }
                }
                Err(error) => match fault(&error) {
                    // A resolver calls it a failure, or says nothing of it.
                    DnsError::NotFound | DnsError::Failed(_) if self.is_circle(name).await => Err(DnsError::Loop),
                    fault => Err(fault),
                },
            }
        })
    }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

fn options(options: &mut ResolverOpts) {
    options.timeout = PATIENCE;
    options.attempts = 2;
    options.positive_max_ttl = Some(LONGEST);
    options.negative_max_ttl = Some(LONGEST_NEGATIVE);
}

/// The name as it stands, never completed with the search list of this machine.
fn absolute(name: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_ascii(name).map_err(|_| DnsError::NotFound)?;
    name.set_fqdn(true);
    Ok(name)
}

fn srv(record: &Record) -> Option<Srv> {
    let RData::SRV(srv) = &record.data else { return None };
    let target = srv.target.to_ascii();
    let target = match target.strip_suffix('.') {
        Some("") | None => target,
        Some(name) => name.to_owned(),
    };
    Some(Srv { priority: srv.priority, weight: srv.weight, port: srv.port, target })
}

fn fault(error: &NetError) -> DnsError {
    if error.is_nx_domain() {
        DnsError::NoSuchName
    } else if error.is_no_records_found() {
        DnsError::NotFound
    } else {
        DnsError::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, CNAME, SRV};
    use tokio::net::UdpSocket;

    use super::*;

    /// Answers on a free loopback port: SRV for two names, an address for one, `SERVFAIL` for one.
    async fn server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let request = Message::from_vec(&buffer[..length]).unwrap();
                let reply = answer(&request).to_vec().unwrap();
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        address
    }

    fn answer(request: &Message) -> Message {
        let query = request.queries[0].clone();
        let name = query.name().to_ascii().to_ascii_lowercase();
        let mut reply = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.recursion_available = true;
        reply.add_query(query.clone());
        let data = match (name.as_str(), query.query_type()) {
            ("_xmpp-server._tcp.example.org." | "_xmpp-server._tcp.a.localhost.", RecordType::SRV) => {
                let target = Name::from_ascii("xmpp.example.org.").unwrap();
                Some(RData::SRV(SRV::new(5, 7, 5269, target)))
            }
            ("_xmpps-server._tcp.example.org.", RecordType::SRV) => Some(RData::SRV(SRV::new(0, 0, 0, Name::root()))),
            ("xmpp.example.org.", RecordType::A) => Some(RData::A(A::new(192, 0, 2, 7))),
            ("one.example.org." | "other.example.org.", _) => {
                let other = if name.starts_with("one") { "other.example.org." } else { "one.example.org." };
                Some(RData::CNAME(CNAME(Name::from_ascii(other).unwrap())))
            }
            ("empty.example.org.", _) => None,
            ("broken.example.org.", _) => {
                reply.metadata.response_code = ResponseCode::ServFail;
                None
            }
            _ => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                None
            }
        };
        if let Some(data) = data {
            reply.add_answer(Record::from_rdata(query.name().clone(), 60, data));
        }
        reply
    }

    #[tokio::test]
    async fn asks_the_named_server() {
        let dns = Hickory::with_servers(&[server().await]).unwrap();
        let found = Srv { priority: 5, weight: 7, port: 5269, target: "xmpp.example.org".to_owned() };
        assert_eq!(dns.srv("_xmpp-server._tcp.example.org").await, Ok(vec![found.clone()]));
        assert_eq!(dns.srv("_xmpp-server._tcp.a.localhost").await, Ok(vec![found]));
        let none = dns.srv("_xmpps-server._tcp.example.org").await.unwrap();
        assert_eq!(none[0].target, ".");
        assert_eq!(dns.addresses("xmpp.example.org").await, Ok(vec![IpAddr::from([192, 0, 2, 7])]));
    }

    #[tokio::test]
    async fn nothing_and_failure_are_told_apart() {
        let dns = Hickory::with_servers(&[server().await]).unwrap();
        assert_eq!(dns.srv("_xmpp-server._tcp.example.net").await, Err(DnsError::NoSuchName));
        assert_eq!(dns.addresses("nobody.example.net").await, Err(DnsError::NoSuchName));
        assert_eq!(dns.addresses("empty.example.org").await, Err(DnsError::NotFound));
        assert_eq!(dns.addresses("one.example.org").await, Err(DnsError::Loop));
        assert_eq!(dns.srv("_xmpp-server._tcp.b.localhost").await, Err(DnsError::NoSuchName));
        assert!(matches!(dns.srv("broken.example.org").await, Err(DnsError::Failed(_))));
        assert_eq!(dns.addresses("no such name").await, Err(DnsError::NotFound));
    }
}
