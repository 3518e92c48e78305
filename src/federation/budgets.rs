//! What other domains, and the addresses that they come from, have used of what they may, and whether they may have more.
//!
//! Pure: the time and the allowance go in, the decision comes out. Everything is bounded: whoever is not connected is
//! forgotten when there are too many, those that were heard of longest ago first. It must never know how somebody over his
//! budget is told.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::federation::policy::{Allowance, Neighbourhood};
use crate::jid::Jid;
use crate::net::household;
use crate::stanza::{IqType, Kind, MessageType, PresenceType, Stanza};
use crate::stream::{Ahead, Intake};

/// An address that has nobody connected is forgotten after so long, if there are many.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// How long recipients and requests are counted together.
const HOUR: Duration = Duration::from_secs(3600);
/// So many domains, and so many addresses, are remembered that are not connected.
const REMEMBERED: usize = 10_000;
/// A stream remembers so many recipients of its own, so that it seldom has to ask.
const NEAR: usize = 8;

/// The budgets of all.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    state: Mutex<State>,
    /// Nobody knows which recipients look the same to us.
    hasher: foldhash::fast::RandomState,
}

#[derive(Debug, Default)]
struct State {
    domains: HashMap<Arc<str>, Arc<Mutex<Ledger>>>,
    addresses: HashMap<IpAddr, Crowd>,
    /// So many of them have streams.
    connected: (usize, usize),
}

/// What one domain has used.
#[derive(Debug)]
struct Ledger {
    /// Streams that it has opened.
    streams: usize,
    /// All streams on which it speaks.
    seats: usize,
    ahead: Ahead,
    /// Up to when that is counted.
    counted: Instant,
    /// Numbers that stand for the people that it has written to since `since`, sorted.
    recipients: Vec<u32>,
    /// The requests for subscriptions that it has sent since then.
    requests: usize,
    since: Instant,
}

/// What one address has used.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    streams: usize,
    ahead: Ahead,
    counted: Instant,
}

/// A stream's part of the budget of a domain.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) remote: Arc<str>,
    budgets: Arc<Budgets>,
    address: Option<IpAddr>,
    ledger: Arc<Mutex<Ledger>>,
    near: [u32; NEAR],
    /// Whether the domain has opened the stream.
    is_opener: bool,
}

/// What a domain or an address has too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Streams of a domain.
    Streams,
    /// Streams from an address.
    Neighbours,
    /// People that it writes to.
    Recipients,
    /// Requests for subscriptions.
    Requests,
}

impl Excess {
    /// The sentence for whoever runs the other server.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Streams => "too many streams of this domain",
            Self::Neighbours => "too many streams from this address",
            Self::Recipients => "this domain writes to too many people here",
            Self::Requests => "this domain sends too many requests for subscriptions",
        }
    }
}

/// Milliseconds since `counted`, which moves on by as many.
fn elapsed(counted: &mut Instant, now: Instant) -> u64 {
    let passed = u64::try_from(now.saturating_duration_since(*counted).as_millis()).unwrap_or(u64::MAX);
    // What is left of a millisecond counts the next time.
    *counted = counted.checked_add(Duration::from_millis(passed)).unwrap_or(now);
    passed
}

/// Whether `count` more than `most`, of which 0 is none.
const fn exceeds(count: usize, most: usize) -> bool {
    most > 0 && count > most
}

impl Ledger {
    const fn new(now: Instant) -> Self {
        let ahead = Ahead::NONE;
        Self { streams: 0, seats: 0, ahead, counted: now, recipients: Vec::new(), requests: 0, since: now }
    }

    /// Whether nothing would be forgotten with it.
    fn is_idle(&self, now: Instant) -> bool {
        let is_new = self.recipients.is_empty() && self.requests == 0;
        self.seats == 0 && (is_new || self.since + HOUR <= now)
    }

    fn begin_anew(&mut self, now: Instant) {
        if self.since + HOUR <= now {
            (self.recipients, self.requests, self.since) = (Vec::new(), 0, now);
        }
    }

    /// Whether the domain may write to the one for whom `print` stands.
    fn reaches(&mut self, print: u32, most: usize, now: Instant) -> bool {
        self.begin_anew(now);
        match self.recipients.binary_search(&print) {
            Ok(_) => true,
            Err(_) if exceeds(self.recipients.len() + 1, most) => false,
            // Without a bound nobody needs to be remembered.
            Err(_) if most == 0 => true,
            Err(at) => {
                self.recipients.insert(at, print);
                true
            }
        }
    }

    fn requests(&mut self, most: usize, now: Instant) -> bool {
        self.begin_anew(now);
        let is_over = exceeds(self.requests + 1, most);
        self.requests += usize::from(!is_over);
        !is_over
    }
}

impl State {
    /// The budget of `remote`, of which one more stream makes use.
    fn sit(&mut self, remote: &Arc<str>, is_opener: bool, now: Instant) -> Arc<Mutex<Ledger>> {
        let ledger = self.domains.get(remote).cloned();
        let ledger = ledger.unwrap_or_else(|| Arc::new(Mutex::new(Ledger::new(now))));
        {
            let mut ledger = lock(&ledger);
            self.connected.0 += usize::from(ledger.seats == 0);
            ledger.seats += 1;
            ledger.streams += usize::from(is_opener);
        }
        let (connected, _) = self.connected;
        let is_needed = |ledger: &Arc<Mutex<Ledger>>| !lock(ledger).is_idle(now);
        let age = |ledger: &Arc<Mutex<Ledger>>| {
            let ledger = lock(ledger);
            (ledger.seats == 0).then_some(ledger.since)
        };
        Self::forget_some(&mut self.domains, connected, is_needed, age);
        self.domains.insert(Arc::clone(remote), Arc::clone(&ledger));
        ledger
    }

    /// Makes room in `all` if there is too much that nobody needs.
    fn forget_some<K, V>(
        all: &mut HashMap<K, V>,
        connected: usize,
        is_needed: impl Fn(&V) -> bool,
        age: impl Fn(&V) -> Option<Instant>,
    ) where
        K: Clone + Eq + std::hash::Hash + Ord,
    {
        if all.len() < connected + REMEMBERED {
            return;
        }
        all.retain(|_, it| is_needed(it));
        if all.len() < connected + REMEMBERED - REMEMBERED / 4 {
            return;
        }
        let mut idle: Vec<(Instant, K)> = all.iter().filter_map(|(key, it)| Some((age(it)?, key.clone()))).collect();
        idle.sort_unstable();
        // A quarter at a time, so that the search is rare.
        for (_, key) in idle.into_iter().take(REMEMBERED / 4) {
            all.remove(&key);
        }
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Budgets {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody has connected from `address`. Gives whether he may; if not it is not counted, so that whoever goes on trying
    /// gets in as often as whoever waits.
    pub(crate) fn connect(&self, address: IpAddr, allowance: &Neighbourhood, now: Instant) -> bool {
        let mut state = self.lock();
        let (_, connected) = state.connected;
        let is_fresh = |crowd: &Crowd| crowd.streams > 0 || crowd.counted + FORGOTTEN > now;
        let age = |crowd: &Crowd| (crowd.streams == 0).then_some(crowd.counted);
        State::forget_some(&mut state.addresses, connected, is_fresh, age);
        let fresh = Crowd { streams: 0, ahead: Ahead::NONE, counted: now };
        let crowd = state.addresses.entry(household(address)).or_insert(fresh);
        let before = *crowd;
        let intake = Intake { elapsed: elapsed(&mut crowd.counted, now), stanzas: 1, bytes: 0 };
        let is_over = crowd.ahead.charge(&allowance.connects, intake).is_some();
        if is_over {
            *crowd = before;
        }
        !is_over
    }

    /// A stream that somebody has opened has proven that it speaks for `remote`.
    pub(crate) fn enter(
        self: &Arc<Self>,
        remote: &Arc<str>,
        address: Option<IpAddr>,
        (domain, neighbours): (&Allowance, &Neighbourhood),
        now: Instant,
    ) -> Result<Seat, Excess> {
        let address = address.map(household);
        let mut state = self.lock();
        let state = &mut *state;
        let ledger = state.domains.get(remote).cloned();
        let streams = ledger.as_ref().map_or(0, |ledger| lock(ledger).streams);
        if exceeds(streams + 1, domain.streams) {
            return Err(Excess::Streams);
        }
        if let Some(address) = address {
            let fresh = Crowd { streams: 0, ahead: Ahead::NONE, counted: now };
            let crowd = state.addresses.entry(address).or_insert(fresh);
            if exceeds(crowd.streams + 1, neighbours.streams) {
                return Err(Excess::Neighbours);
            }
            state.connected.1 += usize::from(crowd.streams == 0);
            crowd.streams += 1;
        }
        let ledger = state.sit(remote, true, now);
        Ok(self.seat(remote, address, ledger, true))
    }

    /// A stream that we have opened, and on which `remote` speaks as well.
    pub(crate) fn join(self: &Arc<Self>, remote: &Arc<str>, now: Instant) -> Seat {
        let ledger = self.lock().sit(remote, false, now);
        self.seat(remote, None, ledger, false)
    }

    /// What each domain has in memory here, in bytes and streams, and the bytes of all addresses.
    pub(crate) fn memory(&self) -> (Vec<(Arc<str>, usize, usize)>, usize) {
        let (domains, addresses) = {
            let state = self.lock();
            let domains: Vec<_> =
                state.domains.iter().map(|(name, ledger)| (Arc::clone(name), Arc::clone(ledger))).collect();
            (domains, state.addresses.len() * size_of::<(IpAddr, Crowd)>())
        };
        let held = |(name, ledger): (Arc<str>, Arc<Mutex<Ledger>>)| {
            let ledger = lock(&ledger);
            let entry = size_of::<(Arc<str>, Arc<()>)>() + size_of::<Mutex<Ledger>>() + name.len();
            let bytes = entry + ledger.recipients.capacity() * size_of::<u32>();
            (name, bytes, ledger.seats)
        };
        (domains.into_iter().map(held).collect(), addresses)
    }

    fn seat(
        self: &Arc<Self>,
        remote: &Arc<str>,
        address: Option<IpAddr>,
        ledger: Arc<Mutex<Ledger>>,
        is_opener: bool,
    ) -> Seat {
        Seat { remote: Arc::clone(remote), budgets: Arc::clone(self), address, ledger, near: [0; NEAR], is_opener }
    }
}

impl Seat {
    /// Counts what one wake-up has taken in; gives how long to read nothing more.
    pub(crate) fn charge(
        &self,
        allowance: &Allowance,
        (stanzas, bytes): (usize, usize),
        now: Instant,
    ) -> Option<Duration> {
        let mut ledger = lock(&self.ledger);
        let elapsed = elapsed(&mut ledger.counted, now);
        ledger.ahead.charge(&allowance.pace, Intake { elapsed, stanzas, bytes })
    }

    /// Whether a stanza may pass, as far as it goes to people of their own choice.
    pub(crate) fn judge(&mut self, stanza: &Stanza<'_>, allowance: &Allowance) -> Result<(), Excess> {
        let is_request = match stanza.kind {
            Kind::Message(MessageType::Error) | Kind::Iq(IqType::Result | IqType::Error) => return Ok(()),
            Kind::Message(_) | Kind::Iq(_) => false,
            Kind::Presence(PresenceType::Subscribe) => true,
            Kind::Presence(_) => return Ok(()),
        };
        let Some(to) = stanza.to.as_ref().filter(|to| to.local().is_some()) else { return Ok(()) };
        self.reach(to, allowance)?;
        let may_ask = || lock(&self.ledger).requests(allowance.requests, Instant::now());
        if is_request && !may_ask() { Err(Excess::Requests) } else { Ok(()) }
    }

    fn reach(&mut self, to: &Jid, allowance: &Allowance) -> Result<(), Excess> {
        // 32 bits are enough to tell some thousand people apart.
        let print = u32::try_from(self.budgets.hasher.hash_one(to.bare_str()) >> 32).unwrap_or_default() | 1;
        let place = print as usize / 2 % NEAR;
        if self.near.get(place) == Some(&print) {
            return Ok(());
        }
        if !lock(&self.ledger).reaches(print, allowance.recipients, Instant::now()) {
            return Err(Excess::Recipients);
        }
        if let Some(near) = self.near.get_mut(place) {
            *near = print;
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.budgets.lock();
        let state = &mut *state;
        let mut ledger = lock(&self.ledger);
        ledger.streams -= usize::from(self.is_opener);
        ledger.seats -= 1;
        state.connected.0 -= usize::from(ledger.seats == 0);
        if let Some(crowd) = self.address.and_then(|address| state.addresses.get_mut(&address)) {
            crowd.streams -= 1;
            state.connected.1 -= usize::from(crowd.streams == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Pace;

    fn allowance() -> Allowance {
        Allowance { pace: Pace::new(10, 1000, Duration::from_secs(1)), streams: 2, recipients: 3, requests: 2 }
    }

    fn neighbours() -> Neighbourhood {
        Neighbourhood { streams: 3, connects: Pace::each_minute(2) }
    }

    fn enter(budgets: &Arc<Budgets>, remote: &str, last: u8) -> Result<Seat, Excess> {
        let address = IpAddr::from([192, 0, 2, last]);
        budgets.enter(&remote.into(), Some(address), (&allowance(), &neighbours()), Instant::now())
    }

    fn stanza(kind: Kind, to: &str) -> Stanza<'static> {
        Stanza::new(kind).to(to.parse::<Jid>().unwrap())
    }

    #[test]
    fn streams_of_a_domain_and_of_an_address_are_counted_while_they_last() {
        let budgets = Arc::default();
        let one = enter(&budgets, "a.example", 1).unwrap();
        let _two = enter(&budgets, "a.example", 2).unwrap();
        assert_eq!(enter(&budgets, "a.example", 3).unwrap_err(), Excess::Streams);
        let _others = [enter(&budgets, "b.example", 1).unwrap(), enter(&budgets, "c.example", 1).unwrap()];
        assert_eq!(enter(&budgets, "d.example", 1).unwrap_err(), Excess::Neighbours);
        drop(one);
        assert!(enter(&budgets, "a.example", 1).is_ok());
    }

    #[test]
    fn a_stream_that_we_have_opened_is_charged_and_is_none_of_theirs() {
        let (budgets, now) = (Arc::<Budgets>::default(), Instant::now());
        let ours = budgets.join(&"a.example".into(), now);
        let theirs = [enter(&budgets, "a.example", 1).unwrap(), enter(&budgets, "a.example", 2).unwrap()];
        assert_eq!(ours.charge(&allowance(), (10, 0), now), None);
        assert!(theirs[0].charge(&allowance(), (1, 0), now).is_some());
        drop(theirs);
        assert_eq!(budgets.lock().connected, (1, 0));
        drop(ours);
        assert_eq!(budgets.lock().connected, (0, 0));
    }

    #[test]
    fn all_streams_of_a_domain_share_its_pace() {
        let (budgets, now) = (Arc::default(), Instant::now());
        let (one, two) = (enter(&budgets, "a.example", 1).unwrap(), enter(&budgets, "a.example", 2).unwrap());
        let other = enter(&budgets, "b.example", 3).unwrap();
        assert_eq!(one.charge(&allowance(), (10, 100), now), None);
        let wait = two.charge(&allowance(), (1, 10), now).unwrap();
        assert!((90..=100).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(other.charge(&allowance(), (10, 1000), now), None);
        // Many short moments count as much as a long one.
        for step in 1..2000 {
            one.charge(&allowance(), (0, 0), now + Duration::from_micros(step * 500));
        }
        assert_eq!(two.charge(&allowance(), (9, 0), now + Duration::from_millis(1010)), None);
    }

    #[test]
    fn whoever_was_reached_stays_in_reach() {
        let budgets = Arc::default();
        let mut seat = enter(&budgets, "a.example", 1).unwrap();
        let chat = Kind::Message(MessageType::Chat);
        for to in ["a@x.example", "b@x.example/1", "b@x.example/2", "c@x.example", "a@x.example"] {
            assert_eq!(seat.judge(&stanza(chat, to), &allowance()), Ok(()), "{to}");
        }
        let mut other = enter(&budgets, "a.example", 1).unwrap();
        for (kind, to, outcome) in [
            (chat, "d@x.example", Err(Excess::Recipients)),
            (Kind::Iq(IqType::Get), "d@x.example", Err(Excess::Recipients)),
            (Kind::Iq(IqType::Result), "d@x.example", Ok(())),
            (Kind::Message(MessageType::Error), "d@x.example", Ok(())),
            (Kind::Presence(PresenceType::Available), "d@x.example", Ok(())),
            (Kind::Presence(PresenceType::Subscribe), "d@x.example", Err(Excess::Recipients)),
            (Kind::Iq(IqType::Get), "x.example", Ok(())),
            (chat, "c@x.example", Ok(())),
        ] {
            assert_eq!(other.judge(&stanza(kind, to), &allowance()), outcome, "{kind:?} {to}");
        }
    }

    #[test]
    fn requests_are_counted_by_the_hour() {
        let budgets = Arc::default();
        let mut seat = enter(&budgets, "a.example", 1).unwrap();
        let request = stanza(Kind::Presence(PresenceType::Subscribe), "a@x.example");
        for outcome in [Ok(()), Ok(()), Err(Excess::Requests)] {
            assert_eq!(seat.judge(&request, &allowance()), outcome);
        }
        let mut ledger = lock(&seat.ledger);
        let later = ledger.since + HOUR;
        assert!(ledger.requests(2, later) && ledger.reaches(1, 1, later) && !ledger.reaches(2, 1, later));
    }

    #[test]
    fn whoever_connects_too_often_is_turned_away() {
        let (budgets, now) = (Budgets::default(), Instant::now());
        let connect = |address: &str, seconds| {
            budgets.connect(address.parse().unwrap(), &neighbours(), now + Duration::from_secs(seconds))
        };
        let one = |seconds| connect("192.0.2.1", seconds);
        assert_eq!([one(0), one(0), one(0), one(0)], [true, true, false, false]);
        assert!(connect("192.0.2.2", 0), "others have nothing to do with it");
        // Two a minute, however often he has tried meanwhile.
        assert_eq!([one(29), one(30), one(30), one(59), one(60), one(61)], [false, true, false, false, true, false]);
        // After a pause all at once, and no more than that.
        assert_eq!([one(600), one(600), one(600)], [true, true, false]);
        // A customer with IPv6 is one address.
        let six = ["2001:db8::1", "2001:db8:0:ff::1", "2001:db8::2", "2001:db8:0:100::1"].map(|it| connect(it, 0));
        assert_eq!(six, [true, true, false, true]);
    }

    #[test]
    fn zero_connections_a_minute_are_no_limit() {
        let (budgets, now) = (Budgets::default(), Instant::now());
        let allowance = Neighbourhood { streams: 0, connects: Pace::each_minute(0) };
        assert!((0..10_000).all(|_| budgets.connect(IpAddr::from([192, 0, 2, 1]), &allowance, now)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (budgets, now) = (Arc::new(Budgets::default()), Instant::now());
        let stays = enter(&budgets, "stays.example", 1).unwrap();
        for number in 0..REMEMBERED + 10 {
            let seat = enter(&budgets, &format!("{number}.example"), 2).unwrap();
            lock(&seat.ledger).requests(2, now);
            let octets = u32::try_from(number).unwrap().to_be_bytes();
            assert!(budgets.connect(IpAddr::from(octets), &neighbours(), now));
        }
        let state = budgets.lock();
        assert!(state.domains.len() <= REMEMBERED + 2 && state.addresses.len() <= REMEMBERED + 2);
        assert!(state.domains.contains_key(&stays.remote));
    }
}
