//! Who may hold a connection without having authenticated: a bounded crowd in which every network
//! gets the same share, so that a flood never locks an honest login out.
//!
//! When there is no room, somebody leaves for the newcomer: of the most crowded network, of the more
//! crowded of its two stages (before and inside TLS), the oldest. So a network gets all the room that
//! nobody else asks for, silent connections never push out one that is getting on, and who wants to
//! push that out has to do a TLS handshake for each connection. A newcomer is let in only when
//! those who were asked to leave have left as far as the bounds demand it: they hold at every moment.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::net::household;

/// One in so many strangers may be leaving while the next comes in.
const LEAVING: usize = 16;

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
    /// Tells that a connection has ended or authenticated, or that there is more room.
    departed: Notify,
}

#[derive(Debug)]
struct State {
    bounds: Bounds,
    networks: HashMap<IpAddr, Crowd>,
    /// The networks by the number of their strangers.
    crowds: BTreeSet<(usize, IpAddr)>,
    /// All strangers, those aside that were asked to leave.
    strangers: usize,
    /// Those who were asked to leave and have not yet.
    leaving: HashSet<u64>,
    /// All connections.
    open: usize,
    next: u64,
}

/// The strangers of one network, each stage in the order in which they came. Dropping the sender
/// asks a connection to leave.
#[derive(Debug, Default)]
struct Crowd {
    plain: BTreeMap<u64, oneshot::Sender<()>>,
    secured: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A connection's place; dropped with the connection.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    network: IpAddr,
    id: u64,
}

/// Resolves when a stranger has to make room.
pub type Leave = oneshot::Receiver<()>;

/// Whether a newcomer finds room.
enum Room {
    Free,
    /// As soon as somebody has left.
    Soon,
    /// All connections are those of people who have authenticated.
    Never,
}

impl Admission {
    #[must_use]
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::new(bounds)), departed: Notify::new() })
    }

    /// Other bounds hold from now on. Where they are narrower nobody leaves for that
    /// alone: strangers never stay for long.
    pub fn rebound(&self, change: impl FnOnce(&mut Bounds)) {
        change(&mut self.lock().bounds);
        self.departed.notify_waiters();
    }

    /// Admits a connection from `peer`. If there is no room, a stranger is asked to leave, and it is
    /// waited for; `None` if there is none, and the connection is to be dropped.
    pub async fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<(Place, Leave)> {
        let network = household(peer);
        loop {
            // Made before the look, so that no departure after it is missed.
            let departed = self.departed.notified();
            {
                let mut state = self.lock();
                match state.make_room(network) {
                    Room::Free => {
                        let (id, leave) = state.enter(network);
                        return Some((Place { admission: Arc::clone(self), network, id }, leave));
                    }
                    Room::Never => return None,
                    Room::Soon => {}
                }
            }
            departed.await;
        }
    }

    /// Asks a stranger to leave because descriptors are short for other reasons.
    pub fn relieve(&self) {
        let mut state = self.lock();
        if let Some((_, crowded)) = state.crowds.last() {
            let crowded = *crowded;
            state.evict(crowded);
        }
    }

    /// How many connections have not authenticated, and how many there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.strangers + state.leaving.len(), state.open)
    }

    /// How many connections may be without having authenticated.
    #[must_use]
    pub fn most_strangers(&self) -> usize {
        self.lock().bounds.strangers
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(bounds: Bounds) -> Self {
        let (networks, crowds, leaving) = (HashMap::new(), BTreeSet::new(), HashSet::new());
        Self { bounds, networks, crowds, strangers: 0, leaving, open: 0, next: 0 }
    }

    /// Asks somebody to leave if it takes that to let somebody from `network` in.
    fn make_room(&mut self, network: IpAddr) -> Room {
        let bounds = self.bounds;
        let here = self.networks.get(&network).map_or(0, Crowd::len);
        let staying = self.open - self.leaving.len();
        // Room for those who are leaving, so that not everybody has to be waited for.
        let strangers = bounds.strangers - bounds.strangers / LEAVING;
        if here >= bounds.per_network {
            self.evict(network);
        } else if (self.strangers >= strangers || staying >= bounds.connections)
            && let Some((_, crowded)) = self.crowds.last()
        {
            self.evict(*crowded);
        }
        if self.strangers + self.leaving.len() < bounds.strangers && self.open < bounds.connections {
            Room::Free
        } else if self.leaving.is_empty() {
            Room::Never
        } else {
            Room::Soon
        }
    }

    fn enter(&mut self, network: IpAddr) -> (u64, Leave) {
        let (stay, leave) = oneshot::channel();
        let id = self.next;
        self.next += 1;
        self.open += 1;
        self.strangers += 1;
        self.change(network, |crowd| crowd.plain.insert(id, stay));
        (id, leave)
    }

    /// Asks the oldest of the more crowded stage to leave.
    fn evict(&mut self, network: IpAddr) {
        let oldest = self.change(network, |crowd| {
            let stage = if crowd.plain.len() >= crowd.secured.len() { &mut crowd.plain } else { &mut crowd.secured };
            stage.pop_first()
        });
        if let Some((id, _)) = oldest {
            self.strangers -= 1;
            self.leaving.insert(id);
        }
    }

    /// Whether the connection was a stranger, which it is no more.
    fn forget(&mut self, network: IpAddr, id: u64) -> bool {
        if self.leaving.remove(&id) {
            return true;
        }
        if !self.networks.contains_key(&network) {
            return false;
        }
        let found = self.change(network, |crowd| crowd.plain.remove(&id).or_else(|| crowd.secured.remove(&id)));
        if found.is_some() {
            self.strangers -= 1;
        }
        found.is_some()
    }

    /// Changes the crowd of a network and keeps the order of the crowds.
    fn change<T>(&mut self, network: IpAddr, change: impl FnOnce(&mut Crowd) -> T) -> T {
        let crowd = self.networks.entry(network).or_default();
        let before = crowd.len();
        let changed = change(crowd);
        let after = crowd.len();
        if before != after {
            self.crowds.remove(&(before, network));
            if after > 0 {
                self.crowds.insert((after, network));
            }
        }
        if after == 0 {
            self.networks.remove(&network);
        }
        changed
    }
}

impl Crowd {
    fn len(&self) -> usize {
        self.plain.len() + self.secured.len()
    }
}

impl Place {
    /// The peer has negotiated TLS, which cost it something.
    pub fn secured(&self) {
        self.admission.lock().change(self.network, |crowd| {
            if let Some(stay) = crowd.plain.remove(&self.id) {
                crowd.secured.insert(self.id, stay);
            }
        });
    }

    /// The peer has authenticated: it is no stranger any more.
    pub fn known(&self) {
        if self.admission.lock().forget(self.network, self.id) {
            self.admission.departed.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.forget(self.network, self.id);
        state.open -= 1;
        drop(state);
        self.admission.departed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn admission(strangers: usize, per_network: usize, connections: usize) -> Arc<Admission> {
        Admission::new(Bounds { strangers, per_network, connections })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// What a connection does: it leaves when it is asked to.
    struct Connection {
        place: Option<Place>,
        leave: Leave,
    }

    impl Connection {
        fn is_asked_to_leave(&mut self) -> bool {
            matches!(self.leave.try_recv(), Err(TryRecvError::Closed))
        }
    }

    /// Lets somebody in who needs not wait.
    fn admit(admission: &Arc<Admission>, last: u8) -> Connection {
        match poll_admit(admission, last) {
            Some(Some((place, leave))) => Connection { place: Some(place), leave },
            other => panic!("not let in: {other:?}"),
        }
    }

    /// Nothing if the newcomer has to wait.
    fn poll_admit(admission: &Arc<Admission>, last: u8) -> Option<Option<(Place, Leave)>> {
        use std::task::{Context, Poll, Waker};
        let admitted = std::pin::pin!(admission.admit(address(last)));
        match admitted.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(admitted) => Some(admitted),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_oldest_of_the_most_crowded_network_leaves() {
        let admission = admission(3, 10, 100);
        let mut honest = admit(&admission, 1);
        let mut flood = [admit(&admission, 2), admit(&admission, 2)];
        assert!(poll_admit(&admission, 2).is_none(), "one has to leave first");
        assert!(flood[0].is_asked_to_leave());
        assert_eq!(admission.counts(), (3, 3));
        flood[0].place = None;
        let mut third = admit(&admission, 2);
        assert!(!honest.is_asked_to_leave() && !flood[1].is_asked_to_leave() && !third.is_asked_to_leave());
        assert_eq!(admission.counts(), (3, 3));
    }

    #[test]
    fn a_departure_is_noticed_by_who_waits() {
        let admission = admission(1, 10, 100);
        let mut first = admit(&admission, 1);
        let woken = Arc::new(Woken::default());
        let waker = std::task::Waker::from(Arc::clone(&woken));
        let mut context = std::task::Context::from_waker(&waker);
        let mut second = std::pin::pin!(admission.admit(address(2)));
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(first.is_asked_to_leave());
        first.place = None;
        assert!(woken.0.load(std::sync::atomic::Ordering::SeqCst));
        assert!(matches!(second.as_mut().poll(&mut context), std::task::Poll::Ready(Some(_))));
    }

    #[test]
    fn who_waits_comes_in_when_there_may_be_more() {
        let admission = admission(1, 10, 100);
        let mut first = admit(&admission, 1);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut second = std::pin::pin!(admission.admit(address(2)));
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(first.is_asked_to_leave());
        admission.rebound(|bounds| bounds.strangers = 2);
        assert!(matches!(second.as_mut().poll(&mut context), std::task::Poll::Ready(Some(_))));
        admission.rebound(|bounds| bounds.strangers = 1);
        assert!(poll_admit(&admission, 3).is_none(), "nobody comes in where there are too many");
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[test]
    fn silence_never_pushes_out_who_gets_on() {
        let admission = admission(64, 4, 100);
        let mut honest = admit(&admission, 1);
        honest.place.as_ref().unwrap().secured();
        let mut flood: Vec<_> = (0..20).map(|_| admit(&admission, 1)).collect();
        assert!(!honest.is_asked_to_leave());
        let gone = flood.iter_mut().filter_map(|it| it.is_asked_to_leave().then_some(())).count();
        assert_eq!(gone, 17);
        assert!(flood.iter_mut().rev().take(3).all(|it| !it.is_asked_to_leave()));
    }

    #[test]
    fn who_is_in_tls_does_not_keep_newcomers_out() {
        let admission = admission(64, 4, 100);
        let mut inside: Vec<_> = (0..4).map(|_| admit(&admission, 1)).collect();
        inside.iter().for_each(|it| it.place.as_ref().unwrap().secured());
        let mut newcomer = admit(&admission, 1);
        assert!(inside[0].is_asked_to_leave());
        let mut another = admit(&admission, 1);
        assert!(inside[1].is_asked_to_leave());
        assert!(!newcomer.is_asked_to_leave() && !another.is_asked_to_leave());
    }

    // Proves: RFC 6120 §13.12
    #[test]
    fn one_network_has_its_own_bound() {
        let admission = admission(40, 2, 100);
        let mut first = admit(&admission, 1);
        let _second = admit(&admission, 1);
        let _other = admit(&admission, 2);
        assert!(!first.is_asked_to_leave());
        let _third = admit(&admission, 1);
        assert!(first.is_asked_to_leave());
    }

    #[test]
    fn who_has_authenticated_stays() {
        let admission = admission(1, 10, 100);
        let known = admit(&admission, 1);
        known.place.as_ref().unwrap().known();
        let mut stranger = admit(&admission, 1);
        assert!(poll_admit(&admission, 1).is_none());
        assert!(stranger.is_asked_to_leave());
        assert_eq!(admission.counts(), (1, 2));
        drop((known, stranger));
        assert_eq!(admission.counts(), (0, 0));
    }

    #[test]
    fn who_authenticates_while_asked_to_leave_makes_room_too() {
        let admission = admission(1, 10, 100);
        let lucky = admit(&admission, 1);
        assert!(poll_admit(&admission, 1).is_none());
        lucky.place.as_ref().unwrap().known();
        let _next = admit(&admission, 1);
        assert_eq!(admission.counts(), (1, 2));
    }

    #[test]
    fn descriptors_are_never_exceeded() {
        let admission = admission(64, 64, 2);
        let (first, second) = (admit(&admission, 1), admit(&admission, 1));
        first.place.as_ref().unwrap().known();
        assert!(poll_admit(&admission, 2).is_none(), "the stranger has to leave first");
        drop(second);
        let third = admit(&admission, 2);
        third.place.as_ref().unwrap().known();
        assert!(matches!(poll_admit(&admission, 3), Some(None)), "nobody is left who could leave");
    }

    #[test]
    fn a_shortage_is_relieved_by_strangers_only() {
        let admission = admission(64, 64, 100);
        let known = admit(&admission, 1);
        known.place.as_ref().unwrap().known();
        admission.relieve();
        let mut stranger = admit(&admission, 2);
        admission.relieve();
        assert!(stranger.is_asked_to_leave());
        assert_eq!(admission.counts(), (1, 2));
    }
}
