//! Where the server of a domain is to be found, and in which order its targets are tried.
//!
//! RFC 6120 §3.2 (what to ask, when to fall back), RFC 2782 (priority and weight), XEP-0368 (the records
//! of direct TLS are merged with the others), RFC 7673 §3 (what signatures are good for). Pure, except for [`candidates`]
//! and [`published`], which ask a [`Resolver`]. It must never know what happens on a connection.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::federation::failure::{Failure, Fault};
use crate::federation::proof::Endpoint;
use crate::federation::trace::{Seen, Trace};
use crate::federation::trouble::Trouble;
use crate::jid::a_labels;
use crate::net::dns::{Answer, DnsError, Resolver, Security, Srv, Tlsa};

/// The port of RFC 6120 §14.7, used where no SRV record names another.
const PORT: u16 = 5269;
/// So many targets of one domain are tried at most: nobody makes us knock at a hundred doors.
const TARGETS: usize = 8;
/// So many keys of one target are looked at: each may cost the validation of a path.
const KEYS: usize = 16;

/// How long the DNS may take for one answer at most.
const ANSWER: Duration = Duration::from_secs(10);

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// With a stream header in the clear, then STARTTLS (RFC 6120 §5).
    Starttls,
    /// With TLS (XEP-0368).
    DirectTls,
}

impl Start {
    /// What is written behind a place where it is not the usual one.
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Starttls => "",
            Self::DirectTls => " (direct TLS)",
        }
    }
}

/// One host and port that may serve the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) start: Start,
    /// What the record is worth that names it.
    pub(crate) security: Security,
}

/// What a candidate is reached by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

/// Targets of equal priority, in the order in which they are tried.
pub(crate) type Group = VecDeque<Candidate>;

/// A domainpart that is an address (RFC 7622 §3.2): nothing is asked for it.
#[must_use]
pub(crate) fn literal(domain: &str) -> Option<IpAddr> {
    match domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().filter(IpAddr::is_ipv6),
        None => domain.parse().ok(),
    }
}

/// Asks for both kinds of SRV record and puts the targets in order.
///
/// Somebody waits for `patience` in all; `below` gives a random number from 0 to its argument inclusive.
pub(crate) async fn candidates(
    resolver: &dyn Resolver,
    domain: &str,
    patience: Duration,
    below: impl FnMut(u32) -> u32,
    trace: &mut Trace,
) -> Result<VecDeque<Group>, Failure> {
    if let Some(address) = literal(domain) {
        return Ok(single(Host::Address(address)));
    }
    let since = Instant::now();
    let Some(name) = a_labels(domain) else {
        let trouble = Trouble::NoName { domain: domain.to_owned() };
        let srv = Seen::Srv { name: domain.to_owned(), records: Vec::new(), security: Security::Insecure };
        trace.saw(since, None, srv, Some(trouble.clone()));
        return Err(trouble.into());
    };
    let services = services(&name);
    let [direct, plain] = &services;
    let ((direct, direct_at), (plain, plain_at)) =
        tokio::join!(in_time(patience, resolver.srv(direct)), in_time(patience, resolver.srv(plain)));
    for (service, answer, at) in [(&services[0], &direct, direct_at), (&services[1], &plain, plain_at)] {
        let (records, security, trouble) = match answer {
            Ok(answer) => (answer.records.clone(), answer.security, None),
            // There need not be any.
            Err(error) => {
                let trouble = (!error.is_absence()).then(|| Trouble::from(error));
                (Vec::new(), Security::Insecure, trouble)
            }
        };
        trace.saw_until(since, at, Seen::Srv { name: service.clone(), records, security }, trouble);
    }
    let order = order(&name, direct, plain, below);
    if let Err(failure) = &order {
        trace.blame(failure.trouble());
    }
    order
}

/// An answer of the DNS for which somebody waits who has `patience` in all, and when it came. One that takes its time leaves
/// some for others.
pub(crate) async fn in_time<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, DnsError>>,
) -> (Result<T, DnsError>, Instant) {
    let answer = timeout(ANSWER.min(patience / 3), answer).await;
    (answer.unwrap_or_else(|_| Err(DnsError::Failed("no answer".to_owned()))), Instant::now())
}

/// Where both kinds of SRV record are: for direct TLS, and for STARTTLS.
fn services(name: &str) -> [String; 2] {
    ["_xmpps-server", "_xmpp-server"].map(|service| format!("{service}._tcp.{name}"))
}

/// What a signed DNS says about the server at a port of a host to which signed SRV records lead (RFC 7673 §3.3).
///
/// # Errors
/// Nobody can say; then nobody may connect to it (RFC 7673 §3.4).
pub(crate) async fn keys(resolver: &dyn Resolver, host: &str, port: u16) -> Result<Vec<Tlsa>, DnsError> {
    match resolver.tlsa(&format!("_{port}._tcp.{host}")).await {
        Ok(answer) if answer.is_secure() => Ok(answer.records.into_iter().take(KEYS).collect()),
        Ok(_) => Ok(Vec::new()),
        Err(error) if error.is_absence() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// All servers of a domain to which signed SRV records lead, with their keys: what proves the domain of whoever connects to
/// us (RFC 7712 §5.1). What cannot be found out proves nothing.
pub(crate) async fn published(resolver: &dyn Resolver, domain: &str) -> Vec<Endpoint> {
    let Some(name) = a_labels(domain).filter(|_| literal(domain).is_none() && resolver.validates()) else {
        return Vec::new();
    };
    let [direct, plain] = services(&name);
    let (direct, plain) = tokio::join!(resolver.srv(&direct), resolver.srv(&plain));
    let mut endpoints = Vec::new();
    let secure = [direct, plain].into_iter().flatten().filter(Answer::is_secure);
    for record in secure.flatten().filter(is_target).take(TARGETS) {
        // Who has no such record is no proof, but its name may be.
        let keys = keys(resolver, &record.target, record.port).await.unwrap_or_default();
        let endpoint = Endpoint { host: record.target, port: record.port, keys };
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    endpoints
}

/// RFC 2782: the root as target says that the service is not there.
fn is_target(record: &Srv) -> bool {
    record.target != "." && !record.target.is_empty()
}

/// Merges the answers to both questions (XEP-0368) and decides about the fallback (RFC 6120 §3.2.2).
pub(crate) fn order(
    name: &str,
    direct: Result<Answer<Srv>, DnsError>,
    plain: Result<Answer<Srv>, DnsError>,
    below: impl FnMut(u32) -> u32,
) -> Result<VecDeque<Group>, Failure> {
    let answered = direct.is_ok() || plain.is_ok();
    let failed =
        [&direct, &plain].into_iter().find_map(|answer| answer.as_ref().err().filter(|error| !error.is_absence()));
    let failed = failed.map(Trouble::from);
    let bogus = [&direct, &plain].into_iter().find_map(|answer| {
        answer.as_ref().err().filter(|error| matches!(error, DnsError::Bogus(_))).map(Trouble::from)
    });
    let offered: Vec<_> = [(Start::DirectTls, direct), (Start::Starttls, plain)]
        .into_iter()
        .filter_map(|(start, answer)| Some((start, answer.ok()?)))
        .flat_map(|(start, answer)| {
            let security = answer.security;
            answer.into_iter().map(move |record| (start, security, record))
        })
        .filter(|(.., record)| is_target(record))
        // RFC 7673 §3.1: where one answer has been tampered with, only what is signed counts.
        .filter(|(_, security, _)| bogus.is_none() || *security == Security::Secure)
        .collect();
    if !offered.is_empty() {
        return Ok(sorted(offered, below));
    }
    if let Some(trouble) = bogus {
        return Err(trouble.into());
    }
    match (answered, failed) {
        // One kind of record says "no service", the other is not known.
        (true, Some(trouble)) => Err(trouble.into_failure(Fault::Unreachable)),
        (true, None) => Err(Trouble::NoService { domain: name.to_owned() }.into()),
        // RFC 6120 §3.2.1: "does not receive a response" is both, no such record and no answer.
        (false, _) => Ok(single(Host::Name(name.to_owned()))),
    }
}

fn single(host: Host) -> VecDeque<Group> {
    let security = Security::Insecure;
    [Group::from([Candidate { host, port: PORT, start: Start::Starttls, security }])].into()
}

/// RFC 2782: lowest priority first; within a priority a random draw by weight. Signatures change nothing about it
/// (RFC 7673 §3.1).
fn sorted(mut offered: Vec<(Start, Security, Srv)>, mut below: impl FnMut(u32) -> u32) -> VecDeque<Group> {
    offered.sort_by_key(|(.., record)| record.priority);
    let mut groups = VecDeque::new();
    let mut left = TARGETS;
    for same in offered.chunk_by(|(.., one), (.., other)| one.priority == other.priority) {
        let mut group = drawn(same.to_vec(), &mut below);
        group.truncate(left);
        left -= group.len();
        if !group.is_empty() {
            groups.push_back(group);
        }
    }
    groups
}

/// RFC 2782, "Weight": those of weight 0 first, running sums, a number from 0 to the sum inclusive
/// takes the first record whose running sum reaches it; again with the rest.
fn drawn(mut records: Vec<(Start, Security, Srv)>, below: &mut impl FnMut(u32) -> u32) -> Group {
    records.sort_by_key(|(.., record)| record.weight != 0);
    let mut group = Group::new();
    while !records.is_empty() {
        let total = records.iter().map(|(.., record)| u32::from(record.weight)).sum();
        let wanted = below(total);
        let mut running = 0;
        let chosen = records.iter().position(|(.., record)| {
            running += u32::from(record.weight);
            running >= wanted
        });
        let (start, security, record) = records.remove(chosen.unwrap_or(0));
        let host = literal(&record.target).map_or(Host::Name(record.target), Host::Address);
        group.push_back(Candidate { host, port: record.port, start, security });
    }
    group
}

/// RFC 8305 §4: the families alternate, IPv6 begins; the order within a family stays.
#[must_use]
pub(crate) fn interleave(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut newer = addresses.iter().filter(|address| address.is_ipv6());
    let mut older = addresses.iter().filter(|address| address.is_ipv4());
    let mut mixed = Vec::with_capacity(addresses.len());
    while mixed.len() < addresses.len() {
        mixed.extend(newer.next());
        mixed.extend(older.next());
    }
    mixed
}
