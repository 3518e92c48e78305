//! Who may hold a connection without having authenticated: a bounded crowd, the oldest of the most
//! crowded network leaves first, so that a flood never locks an honest login out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections that have not authenticated.
    pub strangers: usize,
    /// Those of one network: an IPv4 address or an IPv6 /56.
    pub per_network: usize,
    /// All connections, by the descriptors that there are; some are kept back for everything else.
    pub connections: usize,
}

/// Counts connections and asks strangers to leave.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
    bounds: Bounds,
}

#[derive(Debug, Default)]
struct State {
    /// Strangers in the order in which they came.
    strangers: BTreeMap<u64, Stranger>,
    networks: HashMap<IpAddr, usize>,
    next: u64,
    /// All connections, those included that were asked to leave and have not yet.
    open: usize,
}

#[derive(Debug)]
struct Stranger {
    network: IpAddr,
    /// Dropped to ask the connection to leave.
    #[expect(dead_code, reason = "dropping it is the message")]
    stay: oneshot::Sender<()>,
}

/// A connection's place; dropped with the connection.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    id: u64,
}

/// Resolves when a stranger has to make room.
pub type Leave = oneshot::Receiver<()>;

impl Admission {
    #[must_use]
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), bounds })
    }

    /// Admits a connection from `peer`, asking another stranger to leave if there is no room;
    /// `None` if even that gives none, and the connection is to be dropped at once.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<(Place, Leave)> {
        let network = network(peer);
        let mut state = self.lock();
        let here = state.networks.get(&network).copied().unwrap_or_default();
        if here >= self.bounds.per_network {
            state.evict(Some(network));
        } else if state.strangers.len() >= self.bounds.strangers || state.open >= self.bounds.connections {
            let crowded = state.networks.iter().max_by_key(|(_, count)| **count).map(|(network, _)| *network);
            state.evict(crowded);
        }
        // Those who were asked to leave still hold a descriptor; a quarter more is the end.
        if state.open >= self.bounds.connections.saturating_add(self.bounds.connections / 4) {
            return None;
        }
        let (stay, leave) = oneshot::channel();
        let id = state.next;
        state.next += 1;
        state.open += 1;
        state.strangers.insert(id, Stranger { network, stay });
        *state.networks.entry(network).or_default() += 1;
        Some((Place { admission: Arc::clone(self), id }, leave))
    }

    /// How many connections have not authenticated, and how many there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.strangers.len(), state.open)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Asks the oldest stranger of `network` to leave, or the oldest of all.
    fn evict(&mut self, network: Option<IpAddr>) {
        let of = |stranger: &Stranger| network.is_none_or(|network| stranger.network == network);
        if let Some(id) = self.strangers.iter().find(|(_, stranger)| of(stranger)).map(|(id, _)| *id) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u64) {
        let Some(stranger) = self.strangers.remove(&id) else { return };
        if let Some(count) = self.networks.get_mut(&stranger.network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&stranger.network);
            }
        }
    }
}

impl Place {
    /// The peer has authenticated: it is no stranger any more.
    pub fn known(&self) {
        self.admission.lock().forget(self.id);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.forget(self.id);
        state.open -= 1;
    }
}

/// What counts as one network: nobody has many IPv4 addresses, and a /56 is one household.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(std::net::Ipv6Addr::new(a, b, c, d & 0xff00, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(strangers: usize, per_network: usize) -> Arc<Admission> {
        Admission::new(Bounds { strangers, per_network, connections: 100 })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn must_leave(leave: &mut Leave) -> bool {
        matches!(leave.try_recv(), Err(oneshot::error::TryRecvError::Closed))
    }

    #[test]
    fn the_oldest_of_the_most_crowded_network_leaves() {
        let admission = admission(3, 10);
        let (_honest, mut honest) = admission.admit(address(1)).unwrap();
        let (_flood1, mut first) = admission.admit(address(2)).unwrap();
        let (_flood2, mut second) = admission.admit(address(2)).unwrap();
        let (_flood3, mut third) = admission.admit(address(2)).unwrap();
        assert!(must_leave(&mut first));
        assert!(!must_leave(&mut honest) && !must_leave(&mut second) && !must_leave(&mut third));
        assert_eq!(admission.counts(), (3, 4));
    }

    #[test]
    fn one_network_has_its_own_bound() {
        let admission = admission(10, 2);
        let (_a, mut first) = admission.admit(address(1)).unwrap();
        let (_b, _second) = admission.admit(address(1)).unwrap();
        let (_c, _other) = admission.admit(address(2)).unwrap();
        assert!(!must_leave(&mut first));
        let (_d, _third) = admission.admit(address(1)).unwrap();
        assert!(must_leave(&mut first));
    }

    #[test]
    fn who_has_authenticated_stays() {
        let admission = admission(1, 10);
        let (known, mut first) = admission.admit(address(1)).unwrap();
        known.known();
        let (_b, mut second) = admission.admit(address(1)).unwrap();
        let (_c, _third) = admission.admit(address(1)).unwrap();
        assert!(must_leave(&mut second));
        assert_eq!(admission.counts(), (1, 3));
        drop(known);
        assert_eq!(admission.counts(), (1, 2));
        // The sender is gone since `known`, which a session that has logged in no longer looks at.
        assert!(must_leave(&mut first));
    }

    #[test]
    fn an_ipv6_household_is_one_network() {
        let one = network("2001:db8:1:2ff::1".parse().unwrap());
        assert_eq!(one, network("2001:db8:1:201:ffff::2".parse().unwrap()));
        assert_ne!(one, network("2001:db8:1:301::1".parse().unwrap()));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), address(1));
    }
}
