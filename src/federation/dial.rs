//! Connections to the targets of a domain, one after the other until one will do.
//!
//! Happy eyeballs (RFC 8305) among the addresses of targets of equal priority, never across priorities
//! (XEP-0495): the families alternate, the next address is tried after 250 ms or as soon as one fails.
//! Where signed records lead to a target, it is looked up which keys it has (RFC 7673). Each failure is written down. It must
//! never know what is said on a connection.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::federation::failure::{Failure, Fault};
use crate::federation::proof::Endpoint;
use crate::federation::resolve::{Candidate, Group, Host, Start, in_time, interleave, keys};
use crate::federation::trace::{Seen, Trace};
use crate::federation::trouble::Trouble;
use crate::net::dns::{DnsError, Resolver, Security};
use crate::net::{BoxFuture, Network, Transport};

/// RFC 8305 §5, "Connection Attempt Delay".
const STAGGER: Duration = Duration::from_millis(250);
/// How long one address may take at most before the next priority gets its turn.
const ATTEMPT: Duration = Duration::from_secs(5);
/// So many addresses of one target are tried at most.
const ADDRESSES: usize = 6;

/// An address, and how a stream begins there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Door {
    /// Whose address it is.
    pub(crate) host: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) start: Start,
    /// The target, if signed records lead to it and its keys.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// What all records are worth that lead to the address.
    pub(crate) security: Security,
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.address, self.start.mark())
    }
}

/// Walks through the targets of a domain.
pub(crate) struct Dialer<'a> {
    network: &'a dyn Network,
    resolver: &'a dyn Resolver,
    groups: VecDeque<Group>,
    /// The addresses of the current priority that have not been tried.
    doors: VecDeque<Door>,
    pub(crate) trace: Trace,
    /// How long somebody waits in all.
    patience: Duration,
    /// Whether more is known than that names do not exist.
    reached: bool,
    /// How the latest negotiation failed.
    negotiated: Option<Fault>,
}

struct Attempt<'a> {
    door: Door,
    since: Instant,
    connecting: BoxFuture<'a, io::Result<Transport>>,
}

impl<'a> Dialer<'a> {
    /// Somebody waits for `patience` in all: an address that does not answer leaves time for another one.
    pub(crate) fn new(
        network: &'a dyn Network,
        resolver: &'a dyn Resolver,
        groups: VecDeque<Group>,
        trace: Trace,
        patience: Duration,
    ) -> Self {
        Self { network, resolver, groups, doors: VecDeque::new(), trace, patience, reached: false, negotiated: None }
    }

    /// How long one address may take.
    fn attempt(&self) -> Duration {
        ATTEMPT.min(self.patience / 2)
    }

    /// The next connection; `None` when there is nothing left to try.
    pub(crate) async fn next(&mut self) -> Option<(Transport, Door)> {
        loop {
            if self.doors.is_empty() {
                let group = self.groups.pop_front()?;
                self.doors = self.addresses(group).await;
            }
            if let Some(connected) = self.race().await {
                self.reached = true;
                return Some(connected);
            }
        }
    }

    /// Whether there is something left to try.
    pub(crate) fn has_more(&self) -> bool {
        !self.doors.is_empty() || !self.groups.is_empty()
    }

    /// The same door once more.
    pub(crate) async fn again(&mut self, door: &Door) -> Option<Transport> {
        let since = Instant::now();
        match knock(self.network, door.address, self.attempt()).await {
            Ok(transport) => {
                self.trace.saw(since, Some(door), Seen::Connection, None);
                Some(transport)
            }
            Err(error) => {
                self.trace.saw(since, Some(door), Seen::Connection, Some(unconnected(&error)));
                None
            }
        }
    }

    /// Remembers that the connection did not do; why is in the trace.
    pub(crate) fn reject(&mut self, failure: &Failure) {
        self.negotiated = Some(failure.fault);
    }

    /// Why no connection was made.
    pub(crate) fn failure(&self) -> Failure {
        let unreached = if self.reached { Fault::Unreachable } else { Fault::NotFound };
        let fault = self.negotiated.unwrap_or(unreached);
        Failure { fault, reason: self.trace.shortened(), trouble: self.trace.last_trouble().cloned() }
    }

    async fn addresses(&mut self, group: Group) -> VecDeque<Door> {
        let since = Instant::now();
        let lookups = group.iter().map(|candidate| lookup(self.resolver, candidate, self.patience)).collect();
        let mut doors = VecDeque::new();
        for (candidate, found) in group.iter().zip(all(lookups).await) {
            let host: Arc<str> = match &candidate.host {
                Host::Name(name) => name.as_str().into(),
                Host::Address(address) => address.to_string().into(),
            };
            self.note(since, candidate, &found);
            let Target { addresses: Ok(addresses), endpoint: Ok(endpoint), security, .. } = found else { continue };
            self.reached = true;
            let endpoint = endpoint.map(Arc::new);
            doors.extend(interleave(&addresses).into_iter().take(ADDRESSES).map(|ip| Door {
                host: Arc::clone(&host),
                address: SocketAddr::new(ip, candidate.port),
                start: candidate.start,
                endpoint: endpoint.clone(),
                security,
            }));
        }
        doors
    }

    /// Writes down what was found out about a target.
    fn note(&mut self, since: Instant, candidate: &Candidate, found: &Target) {
        let Host::Name(name) = &candidate.host else { return };
        let (addresses, trouble) = match &found.addresses {
            Ok(addresses) => (addresses.clone(), None),
            Err(error) => {
                self.reached |= !error.is_absence();
                (Vec::new(), Some(Trouble::from(error)))
            }
        };
        let (at, security) = (found.addresses_at, found.signed);
        self.trace.saw_until(since, at, Seen::Addresses { host: name.clone(), addresses, security }, trouble);
        let Some(at) = found.keys_at else { return };
        let (records, trouble) = match &found.endpoint {
            Ok(endpoint) => (endpoint.iter().flat_map(|it| &it.keys).map(ToString::to_string).collect(), None),
            Err(error) => {
                self.reached = true;
                (Vec::new(), Some(Trouble::from(error)))
            }
        };
        let name = format!("_{}._tcp.{name}", candidate.port);
        self.trace.saw_until(found.addresses_at, at, Seen::Tlsa { name, records }, trouble);
    }

    /// Tries the doors, each a little after the one before; the others stay for later when one opens.
    async fn race(&mut self) -> Option<(Transport, Door)> {
        let (network, attempt) = (self.network, self.attempt());
        let mut racing: Vec<Attempt<'a>> = Vec::new();
        let mut turn = Instant::now();
        loop {
            if (racing.is_empty() || turn <= Instant::now())
                && let Some(door) = self.doors.pop_front()
            {
                let connecting = Box::pin(knock(network, door.address, attempt));
                let since = Instant::now();
                racing.push(Attempt { door, since, connecting });
                turn = since + STAGGER;
            }
            if racing.is_empty() {
                return None;
            }
            tokio::select! {
                biased;
                (door, since, connected) = first(&mut racing) => match connected {
                    Ok(transport) => {
                        self.trace.saw(since, Some(&door), Seen::Connection, None);
                        for attempt in racing.into_iter().rev() {
                            self.doors.push_front(attempt.door);
                        }
                        return Some((transport, door));
                    }
                    Err(error) => {
                        self.reached = true;
                        self.trace.saw(since, Some(&door), Seen::Connection, Some(unconnected(&error)));
                        turn = Instant::now();
                    }
                },
                () = sleep_until(turn), if !self.doors.is_empty() => {}
            }
        }
    }
}

async fn knock(network: &dyn Network, address: SocketAddr, attempt: Duration) -> io::Result<Transport> {
    match timeout(attempt, network.connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
    }
}

/// Why there is no connection.
fn unconnected(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::Refused,
        io::ErrorKind::TimedOut => Trouble::NoAnswer,
        _ => Trouble::NotConnected { why: error.to_string() },
    }
}

/// What was found out about a target, and when.
struct Target {
    addresses: Result<Vec<IpAddr>, DnsError>,
    addresses_at: Instant,
    /// What the records of the addresses are worth.
    signed: Security,
    /// Where signed records lead to it: the target with its keys. Without an answer about those nobody may connect to it.
    endpoint: Result<Option<Endpoint>, DnsError>,
    keys_at: Option<Instant>,
    /// What all records are worth.
    security: Security,
}

fn lookup<'b>(resolver: &'b dyn Resolver, candidate: &'b Candidate, patience: Duration) -> BoxFuture<'b, Target> {
    Box::pin(async move {
        let name = match &candidate.host {
            Host::Name(name) => name,
            Host::Address(address) => {
                let (addresses, addresses_at, security) = (Ok(vec![*address]), Instant::now(), candidate.security);
                let (endpoint, keys_at) = (Ok(None), None);
                return Target { addresses, addresses_at, signed: security, endpoint, keys_at, security };
            }
        };
        let (found, addresses_at) = in_time(patience, resolver.addresses(name)).await;
        let signed = found.as_ref().map_or(Security::Insecure, |found| found.security);
        let endpoint = |keys| Endpoint { host: name.clone(), port: candidate.port, keys };
        let (endpoint, keys_at) = match (&found, candidate.security, signed) {
            // RFC 7673 §3.2: if the addresses are not signed, neither are keys looked up.
            (Ok(_), Security::Secure, Security::Secure) => {
                let (keys, at) = in_time(patience, keys(resolver, name, candidate.port)).await;
                (keys.map(|keys| Some(endpoint(keys))), Some(at))
            }
            // RFC 7673 §4.1: the name counts all the same.
            (Ok(_), Security::Secure, Security::Insecure) => (Ok(Some(endpoint(Vec::new()))), None),
            _ => (Ok(None), None),
        };
        let is_secure = matches!(endpoint, Ok(Some(_))) && signed == Security::Secure;
        let security = if is_secure { Security::Secure } else { Security::Insecure };
        Target { addresses: found.map(|found| found.records), addresses_at, signed, endpoint, keys_at, security }
    })
}

/// The first attempt that comes to an end.
async fn first(racing: &mut Vec<Attempt<'_>>) -> (Door, Instant, io::Result<Transport>) {
    std::future::poll_fn(|cx| {
        for (at, attempt) in racing.iter_mut().enumerate() {
            if let Poll::Ready(connected) = attempt.connecting.as_mut().poll(cx) {
                let Attempt { door, since, .. } = racing.remove(at);
                return Poll::Ready((door, since, connected));
            }
        }
        Poll::Pending
    })
    .await
}

/// All results, in order.
async fn all<T>(mut futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *result = Some(value),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    results.into_iter().flatten().collect()
}
