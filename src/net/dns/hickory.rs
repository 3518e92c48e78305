//! The DNS, asked with hickory, and its signatures, checked in this process (RFC 4033 to 4035).
//!
//! Whoever sits between this machine and the DNS servers can change what is not checked here; so nothing that a DNS server
//! says about its own checks counts.

#[cfg(test)]
pub(crate) mod signed;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError as Refusal, NetError};
use hickory_resolver::proto::dnssec::{DnssecSummary, Proof, TrustAnchors};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::domain::usage::LOCALHOST;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::txt::trust_anchor::{Entry, Parser};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, TokioResolver};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::{Answer, DnsError, Resolver, Security, Srv, Tlsa};
use crate::net::BoxFuture;

/// How long one question to one server may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long an answer may be believed at most: a peer that moves is found again.
const LONGEST: Duration = Duration::from_secs(3600);
/// The same for "there is nothing", which is put right sooner.
const LONGEST_NEGATIVE: Duration = Duration::from_secs(60);
/// So many aliases are followed at most.
const ALIASES: usize = 8;
/// How long it may take to find out whether signatures come through.
const TRIAL: Duration = Duration::from_secs(3);
/// When that is tried again if they did not.
const AGAIN: Duration = Duration::from_secs(60);
/// After so many questions a checking resolver begins anew: what it remembers of signatures has no bound of its own that is
/// worth the name.
const QUESTIONS: usize = 10_000;

/// Whether signatures are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// Where DNS servers pass them on. Once they have done so, they have to.
    WherePossible,
    /// Always: without signatures of the root there are no answers.
    Always,
}

/// The keys with which all trust in signatures begins.
#[derive(Clone)]
pub struct Anchors {
    keys: Arc<TrustAnchors>,
    /// The zones that they belong to.
    zones: Vec<Name>,
}

impl Default for Anchors {
    /// Those of the root (RFC 9718).
    fn default() -> Self {
        Self { keys: Arc::new(TrustAnchors::default()), zones: vec![Name::root()] }
    }
}

impl Anchors {
    /// Reads DNSKEY records, written as in a zone file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(text: &str) -> Result<Self, String> {
        let keys: TrustAnchors = text.parse().map_err(|error| format!("no DNSKEY records: {error}"))?;
        let entries = Parser::new(text).parse().map_err(|error| error.to_string())?;
        let mut zones = Vec::new();
        for entry in entries {
            if let Entry::DNSKEY(record) = entry {
                let mut zone = record.name().to_lowercase();
                zone.set_fqdn(true);
                zones.push(zone);
            }
        }
        zones.dedup();
        if zones.is_empty() {
            Err("no DNSKEY record is in it".to_owned())
        } else {
            Ok(Self { keys: Arc::new(keys), zones })
        }
    }

    /// Reads a file of such records.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Self::read(&text)).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Whether they say anything about `name`.
    fn cover(&self, name: &Name) -> bool {
        self.zones.iter().any(|zone| zone.zone_of(name))
    }
}

/// The DNS, asked with hickory.
pub struct Hickory {
    config: ResolverConfig,
    options: ResolverOpts,
    resolver: TokioResolver,
    /// Asked directly for what hickory refuses to ask anybody; only with servers of our own choice.
    servers: Option<NameServerPool<TokioRuntimeProvider>>,
    validating: Option<Validating>,
}

/// Checks signatures.
struct Validating {
    config: ResolverConfig,
    options: ResolverOpts,
    anchors: Anchors,
    validation: Validation,
    resolver: ArcSwap<TokioResolver>,
    /// How many questions it has been asked.
    asked: AtomicUsize,
    /// Whether signatures come through, and when that was found out.
    tried: Mutex<Option<(Instant, bool)>>,
    /// One at a time finds it out.
    turn: Semaphore,
}

impl Hickory {
    /// Asks the servers that this machine is set up with.
    ///
    /// # Errors
    /// If the system's configuration cannot be read.
    pub fn system() -> Result<Self, NetError> {
        let (config, mut options) = read_system_conf()?;
        limit(&mut options);
        Self::new(config, options, None)
    }

    /// Asks `servers`, over UDP and, for large answers, TCP.
    ///
    /// # Errors
    /// If the resolver cannot be built.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Self, NetError> {
        let servers: Vec<_> = servers.iter().map(|server| name_server(*server)).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.clone());
        let mut options = ResolverOpts::default();
        limit(&mut options);
        // Whoever names the servers wants their answers, not those of the hosts file.
        options.use_hosts_file = ResolveHosts::Never;
        let context = PoolContext::new(options.clone(), TlsConfig::new()?);
        let pool = NameServerPool::from_config(servers, context.into(), TokioRuntimeProvider::default());
        Self::new(config, options, Some(pool))
    }

    fn new(
        config: ResolverConfig,
        options: ResolverOpts,
        servers: Option<NameServerPool<TokioRuntimeProvider>>,
    ) -> Result<Self, NetError> {
        let resolver = build(&config, &options, None)?;
        Ok(Self { config, options, resolver, servers, validating: None })
    }

    /// The same, and checks the signatures of answers, from `anchors` down.
    ///
    /// # Errors
    /// If the resolver cannot be built.
    pub fn validating(mut self, validation: Validation, anchors: Anchors) -> Result<Self, NetError> {
        let (config, options) = (self.config.clone(), self.options.clone());
        let resolver = ArcSwap::from_pointee(build(&config, &options, Some(&anchors))?);
        let (asked, tried, turn) = (AtomicUsize::new(0), Mutex::new(None), Semaphore::new(1));
        self.validating = Some(Validating { config, options, anchors, validation, resolver, asked, tried, turn });
        Ok(self)
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Answer<Record>, DnsError> {
        let name = absolute(name)?;
        if let Some(validating) = self.in_charge_of(&name).await? {
            return validating.ask(name, kind).await;
        }
        let records = match &self.servers {
            // RFC 6761 §6.3 lets a resolver withhold what is below `localhost`, and hickory does: servers that were named
            // explicitly are asked all the same, uncached.
            Some(pool) if LOCALHOST.zone_of(&name) => {
                let query = Query::query(name, kind);
                let response = pool.lookup(query, DnsRequestOptions::default()).first_answer().await;
                let response = response.and_then(|response| Ok(Refusal::from_response(response)?));
                response.map(|response| response.answers.clone())
            }
            _ => self.resolver.lookup(name, kind).await.map(|found| found.answers().to_vec()),
        };
        records.map(Answer::insecure).map_err(|error| fault(&error))
    }

    async fn both_families(&self, name: &str) -> Result<Answer<IpAddr>, DnsError> {
        let host = absolute(name)?;
        if self.in_charge_of(&host).await?.is_none() {
            let found = self.resolver.lookup_ip(host).await.map_err(|error| fault(&error))?;
            let found: Vec<_> = found.iter().collect();
            return if found.is_empty() { Err(DnsError::NotFound) } else { Ok(Answer::insecure(found)) };
        }
        let (newer, older) = tokio::join!(self.ask(name, RecordType::AAAA), self.ask(name, RecordType::A));
        both(newer.and_then(|answer| some(answer, address)), older.and_then(|answer| some(answer, address)))
    }

    /// Whether aliases lead from `name` to one that was there before.
    async fn is_circle(&self, name: Name) -> bool {
        let mut seen = vec![name];
        while seen.len() <= ALIASES
            && let Some(last) = seen.last()
        {
            let Ok(answer) = self.resolver.lookup(last.clone(), RecordType::CNAME).await else { return false };
            let alias = answer.answers().iter().find_map(alias).and_then(|alias| absolute(&alias).ok());
            match alias {
                Some(alias) if seen.contains(&alias) => return true,
                Some(alias) => seen.push(alias),
                None => return false,
            }
        }
        false
    }

    /// The SRV records of `name`, also behind aliases: hickory does not follow those to SRV records.
    async fn services(&self, name: &str) -> Result<Answer<Srv>, DnsError> {
        let (mut name, mut security) = (name.to_owned(), Security::Secure);
        for _ in 0..ALIASES {
            match self.ask(&name, RecordType::SRV).await.and_then(|answer| some(answer, srv)) {
                Err(DnsError::NotFound) => {}
                Ok(found) if security == Security::Insecure => return Ok(Answer::insecure(found.records)),
                decided => return decided,
            }
            let alias = some(self.ask(&name, RecordType::CNAME).await?, alias)?;
            if alias.security == Security::Insecure {
                security = Security::Insecure;
            }
            name = alias.into_iter().next().ok_or(DnsError::NotFound)?;
        }
        Err(DnsError::NotFound)
    }

    /// Who checks signatures of `name`, if anybody does.
    async fn in_charge_of(&self, name: &Name) -> Result<Option<&Validating>, DnsError> {
        let covers = |validating: &&Validating| validating.anchors.cover(name) && !LOCALHOST.zone_of(name);
        match self.validating.as_ref().filter(covers) {
            None => Ok(None),
            Some(validating) if validating.is_possible().await => Ok(Some(validating)),
            Some(validating) if validating.validation == Validation::WherePossible => Ok(None),
            Some(_) => Err(DnsError::Failed("the DNS servers do not pass on signatures (DNSSEC)".to_owned())),
        }
    }
}

impl Validating {
    /// Whether signatures come through from the DNS servers. Only as long as nothing is known does anybody wait for it whose
    /// turn it is not.
    async fn is_possible(&self) -> bool {
        let _turn = match self.tried() {
            // From now on nobody on the way can take them away.
            Some((_, true)) => return true,
            Some((at, false)) if at.elapsed() < AGAIN => return false,
            Some((_, false)) => match self.turn.try_acquire() {
                Ok(turn) => turn,
                Err(_) => return false,
            },
            None => {
                let Ok(turn) = self.turn.acquire().await else { return false };
                if let Some((_, works)) = self.tried() {
                    return works;
                }
                turn
            }
        };
        let works = timeout(TRIAL, self.is_any_signed()).await.unwrap_or(false);
        match (works, self.tried()) {
            (true, _) => tracing::info!("answers of the DNS are checked (DNSSEC)"),
            (false, None) => {
                tracing::warn!("the DNS servers do not pass on signatures (DNSSEC), so the answers are not checked");
            }
            (false, Some(_)) => {}
        }
        *self.tried.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), works));
        works
    }

    fn tried(&self) -> Option<(Instant, bool)> {
        *self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn is_any_signed(&self) -> bool {
        for zone in &self.anchors.zones {
            if self.ask(zone.clone(), RecordType::SOA).await.is_ok_and(|answer| answer.is_secure()) {
                return true;
            }
        }
        false
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Result<Answer<Record>, DnsError> {
        let resolver = self.resolver();
        let found = resolver.lookup(name.clone(), kind).await.map_err(|error| match fault(&error) {
            DnsError::Bogus(_) => DnsError::Bogus(format!("{kind} of {name}")),
            other => other,
        })?;
        let records = found.answers().to_vec();
        // Aliases on the way are among them (RFC 7673 §3.1: the whole chain).
        match DnssecSummary::from_records(records.iter()) {
            DnssecSummary::Secure => Ok(Answer::secure(records)),
            DnssecSummary::Insecure => Ok(Answer::insecure(records)),
            DnssecSummary::Bogus => Err(DnsError::Bogus(format!("{kind} of {name}"))),
        }
    }

    fn resolver(&self) -> Arc<TokioResolver> {
        if self.asked.fetch_add(1, Ordering::Relaxed) >= QUESTIONS {
            self.asked.store(0, Ordering::Relaxed);
            match build(&self.config, &self.options, Some(&self.anchors)) {
                Ok(fresh) => self.resolver.store(Arc::new(fresh)),
                Err(error) => tracing::warn!(%error, "a resolver does not begin anew"),
            }
        }
        self.resolver.load_full()
    }
}

impl Resolver for Hickory {
    fn srv<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Srv>, DnsError>> {
        Box::pin(self.services(name))
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, DnsError>> {
        Box::pin(async move {
            let found = self.both_families(name).await;
            // A DNS server calls it a failure, or says nothing of it.
            if matches!(found, Err(DnsError::NotFound | DnsError::Failed(_))) && self.is_circle(absolute(name)?).await {
                return Err(DnsError::Loop);
            }
            found
        })
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Tlsa>, DnsError>> {
        Box::pin(async move { some(self.ask(name, RecordType::TLSA).await?, tlsa) })
    }

    fn validates(&self) -> bool {
        self.validating.is_some()
    }
}

/// Those records that are of the kind.
fn some<T>(answer: Answer<Record>, read: impl Fn(&Record) -> Option<T>) -> Result<Answer<T>, DnsError> {
    let records: Vec<_> = answer.records.iter().filter_map(read).collect();
    if records.is_empty() { Err(DnsError::NotFound) } else { Ok(Answer { records, security: answer.security }) }
}

/// The addresses of both families.
fn both(
    newer: Result<Answer<IpAddr>, DnsError>,
    older: Result<Answer<IpAddr>, DnsError>,
) -> Result<Answer<IpAddr>, DnsError> {
    match (newer, older) {
        // RFC 7673 §3.2: nobody connects to what somebody may have made up.
        (Err(bogus @ DnsError::Bogus(_)), _) | (_, Err(bogus @ DnsError::Bogus(_))) => Err(bogus),
        (Ok(mut one), Ok(other)) => {
            one.records.extend(other.records);
            if other.security == Security::Secure {
                one.security = Security::Secure;
            }
            Ok(one)
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(failed @ DnsError::Failed(_)), _) | (_, Err(failed)) => Err(failed),
    }
}

fn build(
    config: &ResolverConfig,
    options: &ResolverOpts,
    anchors: Option<&Anchors>,
) -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_with_config(config.clone(), TokioRuntimeProvider::default());
    *builder.options_mut() = options.clone();
    match anchors {
        Some(anchors) => builder.with_trust_anchor(Arc::clone(&anchors.keys)).build(),
        None => builder.build(),
    }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

fn limit(options: &mut ResolverOpts) {
    options.timeout = PATIENCE;
    options.attempts = 2;
    options.positive_max_ttl = Some(LONGEST);
    options.negative_max_ttl = Some(LONGEST_NEGATIVE);
    // An alias counts among the records, with what it is worth.
    options.preserve_intermediates = true;
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

fn alias(record: &Record) -> Option<String> {
    let RData::CNAME(alias) = &record.data else { return None };
    Some(alias.to_ascii())
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

fn tlsa(record: &Record) -> Option<Tlsa> {
    let RData::TLSA(tlsa) = &record.data else { return None };
    Some(Tlsa {
        usage: tlsa.cert_usage.into(),
        selector: tlsa.selector.into(),
        matching: tlsa.matching.into(),
        data: tlsa.cert_data.clone(),
    })
}

/// What a message says. For those who try it with whatever may come.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// How many there are of any kind.
    pub records: usize,
    pub services: Vec<Srv>,
    pub addresses: Vec<IpAddr>,
    pub keys: Vec<Tlsa>,
    pub aliases: Vec<String>,
}

/// Reads a message as it comes from a server; `None` if it is none.
#[cfg(feature = "testing")]
#[must_use]
pub fn told(message: &[u8]) -> Option<Told> {
    let message = hickory_resolver::proto::op::Message::from_vec(message).ok()?;
    let records = &message.answers;
    Some(Told {
        records: records.len(),
        services: records.iter().filter_map(srv).collect(),
        addresses: records.iter().filter_map(address).collect(),
        keys: records.iter().filter_map(tlsa).collect(),
        aliases: records.iter().filter_map(alias).collect(),
    })
}

fn fault(error: &NetError) -> DnsError {
    match error {
        _ if error.is_nx_domain() => DnsError::NoSuchName,
        NetError::Dns(Refusal::NoRecordsFound(_)) => DnsError::NotFound,
        NetError::Dns(Refusal::DnssecBogus | Refusal::Nsec { proof: Proof::Bogus, .. }) => {
            DnsError::Bogus("they do not fit".to_owned())
        }
        // That there is nothing is not signed in a way that is accepted; but nothing there is.
        NetError::Dns(Refusal::Nsec { response, .. }) if response.response_code == ResponseCode::NXDomain => {
            DnsError::NoSuchName
        }
        NetError::Dns(Refusal::Nsec { .. }) => DnsError::NotFound,
        other => DnsError::Failed(other.to_string()),
    }
}
