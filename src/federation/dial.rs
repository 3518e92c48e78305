//! Connections to the targets of a domain, one after the other until one will do.
//!
//! Happy eyeballs (RFC 8305) among the addresses of targets of equal priority, never across priorities
//! (XEP-0495): the families alternate, the next address is tried after 250 ms or as soon as one fails.
//! Where signed records lead to a target, it is looked up which keys it has (RFC 7673). Each failure is remembered in words. It must never know what is said on a connection.

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
use crate::federation::resolve::{Candidate, Group, Host, Start, interleave, keys};
use crate::net::dns::{DnsError, Resolver, Security};
use crate::net::{BoxFuture, Network, Transport};

/// RFC 8305 §5, "Connection Attempt Delay".
const STAGGER: Duration = Duration::from_millis(250);
/// How long one address may take before the next priority gets its turn.
const ATTEMPT: Duration = Duration::from_secs(5);
/// So many addresses of one target are tried at most.
const ADDRESSES: usize = 6;

/// An address, and how a stream begins there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) start: Start,
    /// The target, if signed records lead to it and its keys.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// What all records are worth that lead to the address.
    pub(crate) security: Security,
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.address, if self.start == Start::DirectTls { " (direct TLS)" } else { "" })
    }
}

/// Walks through the targets of a domain.
pub(crate) struct Dialer<'a> {
    network: &'a dyn Network,
    resolver: &'a dyn Resolver,
    groups: VecDeque<Group>,
    /// The addresses of the current priority that have not been tried.
    doors: VecDeque<Door>,
    faults: Vec<String>,
    /// Whether more is known than that names do not exist.
    reached: bool,
    /// How the latest negotiation failed.
    negotiated: Option<Fault>,
}

struct Attempt<'a> {
    door: Door,
    connecting: BoxFuture<'a, io::Result<Transport>>,
}

impl<'a> Dialer<'a> {
    pub(crate) fn new(network: &'a dyn Network, resolver: &'a dyn Resolver, groups: VecDeque<Group>) -> Self {
        Self { network, resolver, groups, doors: VecDeque::new(), faults: Vec::new(), reached: false, negotiated: None }
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

    /// The same door once more.
    pub(crate) async fn again(&mut self, door: &Door) -> Option<Transport> {
        match knock(self.network, door.address).await {
            Ok(transport) => Some(transport),
            Err(error) => {
                self.faults.push(format!("{door}: {error}"));
                None
            }
        }
    }

    /// Remembers why the connection to `door` did not do.
    pub(crate) fn reject(&mut self, door: &Door, failure: &Failure) {
        self.negotiated = Some(failure.fault);
        self.faults.push(format!("{door}: {failure}"));
    }

    /// What is known so far, to be put behind another reason.
    pub(crate) fn so_far(&self) -> String {
        self.faults.iter().map(|fault| format!("; {fault}")).collect()
    }

    /// Why no connection was made.
    pub(crate) fn failure(self) -> Failure {
        let reason = self.faults.join("; ");
        let unreached = if self.reached { Fault::Unreachable } else { Fault::NotFound };
        Failure::new(self.negotiated.unwrap_or(unreached), reason)
    }

    async fn addresses(&mut self, group: Group) -> VecDeque<Door> {
        let lookups = group.iter().map(|candidate| lookup(self.resolver, candidate)).collect();
        let mut doors = VecDeque::new();
        for (candidate, answer) in group.iter().zip(all(lookups).await) {
            match answer {
                Ok(Place { addresses, endpoint, security }) => {
                    self.reached = true;
                    let endpoint = endpoint.map(Arc::new);
                    doors.extend(interleave(&addresses).into_iter().take(ADDRESSES).map(|ip| Door {
                        address: SocketAddr::new(ip, candidate.port),
                        start: candidate.start,
                        endpoint: endpoint.clone(),
                        security,
                    }));
                }
                Err(error) => {
                    self.reached |= error != DnsError::NotFound;
                    if let Host::Name(name) = &candidate.host {
                        self.faults.push(format!("{name}: {error}"));
                    }
                }
            }
        }
        doors
    }

    /// Tries the doors, each a little after the one before; the others stay for later when one opens.
    async fn race(&mut self) -> Option<(Transport, Door)> {
        let network = self.network;
        let mut racing: Vec<Attempt<'a>> = Vec::new();
        let mut turn = Instant::now();
        loop {
            if (racing.is_empty() || turn <= Instant::now())
                && let Some(door) = self.doors.pop_front()
            {
                let connecting = Box::pin(knock(network, door.address));
                racing.push(Attempt { door, connecting });
                turn = Instant::now() + STAGGER;
            }
            if racing.is_empty() {
                return None;
            }
            tokio::select! {
                biased;
                (door, connected) = first(&mut racing) => match connected {
                    Ok(transport) => {
                        for attempt in racing.into_iter().rev() {
                            self.doors.push_front(attempt.door);
                        }
                        return Some((transport, door));
                    }
                    Err(error) => {
                        self.reached = true;
                        self.faults.push(format!("{door}: {error}"));
                        turn = Instant::now();
                    }
                },
                () = sleep_until(turn), if !self.doors.is_empty() => {}
            }
        }
    }
}

async fn knock(network: &dyn Network, address: SocketAddr) -> io::Result<Transport> {
    match timeout(ATTEMPT, network.connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
    }
}

/// Where a target is.
struct Place {
    addresses: Vec<IpAddr>,
    endpoint: Option<Endpoint>,
    security: Security,
}

fn lookup<'b>(resolver: &'b dyn Resolver, candidate: &'b Candidate) -> BoxFuture<'b, Result<Place, DnsError>> {
    Box::pin(async move {
        let name = match &candidate.host {
            Host::Name(name) => name,
            Host::Address(address) => {
                return Ok(Place { addresses: vec![*address], endpoint: None, security: candidate.security });
            }
        };
        let found = resolver.addresses(name).await?;
        let endpoint = match (candidate.security, found.security) {
            // RFC 7673 §3.2: if the addresses are not signed, neither are keys looked up.
            (Security::Secure, Security::Secure) => {
                let keys = keys(resolver, name, candidate.port).await?;
                Some(Endpoint { host: name.clone(), port: candidate.port, keys })
            }
            // RFC 7673 §4.1: the name counts all the same.
            (Security::Secure, Security::Insecure) => {
                Some(Endpoint { host: name.clone(), port: candidate.port, keys: Vec::new() })
            }
            (Security::Insecure, _) => None,
        };
        let is_secure = endpoint.is_some() && found.is_secure();
        let security = if is_secure { Security::Secure } else { Security::Insecure };
        Ok(Place { addresses: found.records, endpoint, security })
    })
}

/// The first attempt that comes to an end.
async fn first(racing: &mut Vec<Attempt<'_>>) -> (Door, io::Result<Transport>) {
    std::future::poll_fn(|cx| {
        for (at, attempt) in racing.iter_mut().enumerate() {
            if let Poll::Ready(connected) = attempt.connecting.as_mut().poll(cx) {
                return Poll::Ready((racing.remove(at).door, connected));
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
