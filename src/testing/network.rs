//! A network in memory: names, addresses, connections.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::written::dialled;
use crate::net::dns::{Answer, DnsError, Resolver, Srv, Tlsa};
use crate::net::{BoxFuture, Network, Transport};

/// Bytes that a connection holds in each direction.
const PIPE: usize = 64 * 1024;

/// Names and listeners of a simulated network.
#[derive(Debug, Default)]
pub struct Net {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    services: BTreeMap<String, Vec<Srv>>,
    hosts: BTreeMap<String, Vec<IpAddr>>,
    keys: BTreeMap<String, Vec<Tlsa>>,
    /// Names below these are signed, or their signatures are wrong.
    signed: Vec<String>,
    tampered: Vec<String>,
    listeners: BTreeMap<SocketAddr, mpsc::UnboundedSender<DuplexStream>>,
}

impl Net {
    /// An empty network.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Publishes an SRV record.
    pub fn publish(&self, name: &str, record: Srv) {
        self.lock().services.entry(name.to_owned()).or_default().push(record);
    }

    /// Forgets the SRV records of `name`.
    pub fn withdraw(&self, name: &str) {
        self.lock().services.remove(name);
    }

    /// Publishes an address.
    pub fn publish_host(&self, name: &str, address: IpAddr) {
        self.lock().hosts.entry(name.to_owned()).or_default().push(address);
    }

    /// Publishes a TLSA record.
    pub fn publish_key(&self, name: &str, record: Tlsa) {
        self.lock().keys.entry(name.to_owned()).or_default().push(record);
    }

    /// Signs everything at and below `name`.
    pub fn sign(&self, name: &str) {
        self.lock().signed.push(name.to_owned());
    }

    /// Makes the signatures wrong of everything at and below `name`.
    pub fn tamper(&self, name: &str) {
        self.lock().tampered.push(name.to_owned());
    }

    /// Listens on an address; who connects comes out of the channel.
    pub fn listen(&self, address: SocketAddr) -> mpsc::UnboundedReceiver<DuplexStream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listeners.insert(address, sender);
        receiver
    }

    /// Refuses connections from now on.
    pub fn silence(&self, address: SocketAddr) {
        self.lock().listeners.remove(&address);
    }

    /// Connects, as anybody may.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn dial(&self, address: SocketAddr) -> io::Result<DuplexStream> {
        let state = self.lock();
        let listener = state.listeners.get(&address).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (ours, theirs) = tokio::io::duplex(PIPE);
        listener.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(ours)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for Net {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Transport>> {
        let connected = self.dial(address).map(|io| dialled(io, address));
        Box::pin(std::future::ready(connected))
    }
}

impl State {
    /// What the DNS answers with these records.
    fn answer<T: Clone>(&self, table: &BTreeMap<String, Vec<T>>, name: &str) -> Result<Answer<T>, DnsError> {
        let name = name.trim_end_matches('.');
        let lies_in =
            |zone: &String| name.strip_suffix(zone.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if self.tampered.iter().any(lies_in) {
            return Err(DnsError::Bogus(name.to_owned()));
        }
        let records = table.get(name).cloned().ok_or(DnsError::NotFound)?;
        Ok(if self.signed.iter().any(lies_in) { Answer::secure(records) } else { Answer::insecure(records) })
    }
}

impl Resolver for Net {
    fn srv<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Srv>, DnsError>> {
        let state = self.lock();
        Box::pin(std::future::ready(state.answer(&state.services, name)))
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, DnsError>> {
        let state = self.lock();
        Box::pin(std::future::ready(state.answer(&state.hosts, name)))
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Tlsa>, DnsError>> {
        let state = self.lock();
        Box::pin(std::future::ready(state.answer(&state.keys, name)))
    }

    fn validates(&self) -> bool {
        !self.lock().signed.is_empty()
    }
}
