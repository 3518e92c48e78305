//! How often somebody may guess: a bound on failed attempts from one address and on those at one account (decision 0018).
//!
//! Where more have failed, a right password is refused as well, so that guessing does not pay. Exempt is whoever is
//! known: an account that has been logged in to from this address, or by this client. So others cannot lock its owner
//! out. Nothing here asks whether an account exists, and failures look the same whoever is known.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::jid::BareJid;
use crate::net::household;

use super::credentials::Verdict;
use super::tokens::AgentId;

/// The time for which attempts are counted, in milliseconds.
const WINDOW: i64 = 60 * 60 * 1000;

/// For so long it is remembered from where an account was logged in to, in milliseconds.
const MEMORY: i64 = 30 * 24 * WINDOW;

/// Accounts, addresses and known pairs that are remembered at once, of each kind.
const MOST: usize = 65_536;

/// Who is known may fail so many times as often: what fails there most often is a client with an old password.
const TRUSTED: i64 = 10;

/// How many attempts may fail within an hour; zero is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// From one address; of IPv6, from one /56 network.
    pub address: usize,
    /// At one account, whether it exists or not.
    pub account: usize,
}

/// A password has been compared, or what was made of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub account: BareJid,
    /// Which client it is, as it says itself: an id that nobody guesses.
    pub agent: Option<AgentId>,
    pub verdict: Verdict,
}

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It counts.
    Admitted,
    /// It was wrong.
    Wrong,
    /// Too many have failed before; whether it was right is not told.
    TooMany,
}

/// The failures of the last hour.
#[derive(Debug)]
pub struct Attempts {
    /// What is counted is known by a number that strangers cannot foresee, and cannot make to be that of another.
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    addresses: HashMap<u64, Debt>,
    accounts: HashMap<u64, Debt>,
    known: HashMap<u64, Known>,
}

/// Until when failures are held against somebody: each one adds its share of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Debt(i64);

impl Debt {
    /// Whether `most` have failed within the last hour; one more may when its share of the hour is over.
    const fn is_spent(self, most: i64, now: i64) -> bool {
        most > 0 && self.0 - now > WINDOW - WINDOW / most
    }

    /// One more has failed.
    fn grow(&mut self, most: i64, now: i64) {
        if most > 0 {
            self.0 = (self.0.max(now) + WINDOW / most).min(now + WINDOW);
        }
    }
}

/// Somebody who has logged in before.
#[derive(Debug, Clone, Copy)]
struct Known {
    last: i64,
    debt: Debt,
}

impl Attempts {
    #[must_use]
    pub fn new(hasher: RandomState) -> Self {
        Self { hasher, state: Mutex::default() }
    }

    /// Judges an attempt of the peer at `address` and counts it. An address of this machine is not counted: behind it is
    /// a proxy, or a test.
    #[must_use]
    pub fn judge(&self, address: Option<IpAddr>, attempt: &Attempt, bounds: Bounds, now: Timestamp) -> Judgement {
        let address = address.map(household).filter(|address| !address.is_loopback());
        let (account, now) = (attempt.account.as_str(), now.unix_ms());
        let keys = [
            address.map(|address| self.hasher.hash_one(("from", account, address))),
            attempt.agent.as_ref().map(|agent| self.hasher.hash_one(("by", account, agent.as_str()))),
        ];
        let (from, at) = (address.map(|address| self.key("address", address)), self.key("account", account));
        let most = |count: usize| i64::try_from(count).unwrap_or(i64::MAX).min(WINDOW);
        let (per_address, per_account) = (most(bounds.address), most(bounds.account));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let owed = |table: &HashMap<u64, Debt>, key: u64| table.get(&key).copied().unwrap_or_default();
        let from_spent = from.is_some_and(|key| owed(&state.addresses, key).is_spent(per_address, now));
        let is_spent = from_spent || owed(&state.accounts, at).is_spent(per_account, now);
        let trusted = per_account.saturating_mul(TRUSTED);
        let is_known = keys.iter().flatten().any(|key| {
            let known = state.known.get(key).filter(|known| now - known.last < MEMORY);
            known.is_some_and(|known| !known.debt.is_spent(trusted, now))
        });
        match attempt.verdict {
            Verdict::Right if is_spent && !is_known => Judgement::TooMany,
            Verdict::Right => {
                state.remember(keys, now);
                Judgement::Admitted
            }
            Verdict::Wrong => {
                if let Some(from) = from {
                    grow(&mut state.addresses, from, per_address, now);
                }
                // Who has been stopped cannot guess, and one address alone must not use up what others may fail.
                if !from_spent {
                    grow(&mut state.accounts, at, per_account, now);
                }
                for key in keys.iter().flatten() {
                    if let Some(known) = state.known.get_mut(key) {
                        known.debt.grow(trusted, now);
                    }
                }
                if is_spent { Judgement::TooMany } else { Judgement::Wrong }
            }
        }
    }

    fn key(&self, kind: &str, what: impl Hash) -> u64 {
        self.hasher.hash_one((kind, what))
    }
}

impl State {
    fn remember(&mut self, keys: [Option<u64>; 2], now: i64) {
        if self.known.len() >= MOST && keys.iter().flatten().any(|key| !self.known.contains_key(key)) {
            self.known.retain(|_, known| now - known.last < MEMORY);
            leave_half(&mut self.known, |known| known.last);
        }
        for key in keys.into_iter().flatten() {
            self.known.entry(key).or_insert(Known { last: now, debt: Debt::default() }).last = now;
        }
    }
}

/// One more has failed. Where too much is remembered, those go who have failed least.
fn grow(table: &mut HashMap<u64, Debt>, key: u64, most: i64, now: i64) {
    if table.len() >= MOST && !table.contains_key(&key) {
        table.retain(|_, debt| debt.0 > now);
        leave_half(table, |debt| debt.0);
    }
    table.entry(key).or_default().grow(most, now);
}

/// If the table is more than half full, leaves those with the greater numbers: the others would be found again one by one,
/// and each time the whole table would be looked at.
fn leave_half<T>(table: &mut HashMap<u64, T>, number: impl Fn(&T) -> i64) {
    let Some(over @ 1..) = table.len().checked_sub(MOST / 2) else { return };
    let mut numbers: Vec<i64> = table.values().map(&number).collect();
    let (_, middle, greater) = numbers.select_nth_unstable(over);
    let middle = *middle;
    // Of those in the middle as many stay as there is room for.
    let mut room = (MOST / 2).saturating_sub(greater.iter().filter(|number| **number > middle).count());
    table.retain(|_, it| {
        let number = number(it);
        let stays = number > middle || (number == middle && room > 0);
        room -= usize::from(stays && number == middle);
        stays
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { address: 3, account: 5 };
    const PHONE: &str = "d4565fa7-4d72-4749-b3d3-740edbf87770";

    fn attempts() -> Attempts {
        Attempts::new(RandomState::new())
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000_000_000 + minutes * 60_000)
    }

    fn address(number: u8) -> Option<IpAddr> {
        Some([192, 0, 2, number].into())
    }

    fn attempt(account: &str, verdict: Verdict) -> Attempt {
        Attempt { account: format!("{account}@example.org").parse().unwrap(), agent: None, verdict }
    }

    fn by_phone(account: &str, verdict: Verdict) -> Attempt {
        Attempt { agent: AgentId::parse(PHONE), ..attempt(account, verdict) }
    }

    fn right(it: &Attempts, from: Option<IpAddr>, account: &str, now: Timestamp) -> Judgement {
        it.judge(from, &attempt(account, Verdict::Right), BOUNDS, now)
    }

    fn wrong(it: &Attempts, from: Option<IpAddr>, account: &str, now: Timestamp) -> Judgement {
        it.judge(from, &attempt(account, Verdict::Wrong), BOUNDS, now)
    }

    #[test]
    fn an_address_that_fails_often_has_to_wait() {
        let it = attempts();
        for account in ["a", "b", "c"] {
            assert_eq!(wrong(&it, address(1), account, at(0)), Judgement::Wrong);
        }
        assert_eq!(wrong(&it, address(1), "d", at(0)), Judgement::TooMany);
        assert_eq!(right(&it, address(1), "d", at(0)), Judgement::TooMany, "guessing does not pay");
        assert_eq!(right(&it, address(2), "d", at(0)), Judgement::Admitted, "from elsewhere it does nothing");
        assert_eq!(right(&it, address(1), "e", at(19)), Judgement::TooMany);
        assert_eq!(right(&it, address(1), "e", at(20)), Judgement::Admitted, "one failure is forgiven");
        // It never gets to owe more than an hour.
        for _ in 0..100 {
            let _ = wrong(&it, address(1), "f", at(20));
        }
        assert_eq!(right(&it, address(1), "f", at(40)), Judgement::Admitted);
    }

    #[test]
    fn an_account_at_which_many_fail_is_closed_to_strangers_and_open_to_its_owner() {
        let it = attempts();
        assert_eq!(right(&it, address(1), "juliet", at(0)), Judgement::Admitted);
        assert_eq!(it.judge(address(2), &by_phone("juliet", Verdict::Right), BOUNDS, at(0)), Judgement::Admitted);
        for number in 10..15 {
            assert_eq!(wrong(&it, address(number), "juliet", at(1)), Judgement::Wrong);
        }
        assert_eq!(wrong(&it, address(15), "juliet", at(1)), Judgement::TooMany);
        assert_eq!(right(&it, address(16), "juliet", at(1)), Judgement::TooMany);
        assert_eq!(right(&it, address(1), "juliet", at(1)), Judgement::Admitted, "from where she was before");
        let moved = it.judge(address(17), &by_phone("juliet", Verdict::Right), BOUNDS, at(1));
        assert_eq!(moved, Judgement::Admitted, "with the client that she had before");
        assert_eq!(right(&it, address(16), "romeo", at(1)), Judgement::Admitted);
        assert_eq!(right(&it, address(18), "juliet", at(13)), Judgement::Admitted);
    }

    #[test]
    fn one_address_alone_closes_no_account() {
        let it = attempts();
        for _ in 0..100 {
            let _ = wrong(&it, address(1), "juliet", at(0));
        }
        assert_eq!(right(&it, address(2), "juliet", at(0)), Judgement::Admitted);
    }

    #[test]
    fn whoever_is_known_fails_as_everybody_does_and_not_for_ever() {
        let it = attempts();
        assert_eq!(right(&it, address(1), "juliet", at(0)), Judgement::Admitted);
        for _ in 0..3 {
            assert_eq!(wrong(&it, address(1), "juliet", at(0)), Judgement::Wrong);
        }
        // As at an account that does not exist: nobody beside her learns that this one does.
        assert_eq!(wrong(&it, address(1), "juliet", at(0)), Judgement::TooMany);
        assert_eq!(wrong(&it, address(1), "nobody", at(0)), Judgement::TooMany);
        assert_eq!(right(&it, address(1), "juliet", at(0)), Judgement::Admitted);
        for _ in 4..50 {
            let _ = wrong(&it, address(1), "juliet", at(0));
        }
        assert_eq!(right(&it, address(1), "juliet", at(0)), Judgement::TooMany);
    }

    #[test]
    fn what_is_not_bounded_and_whoever_has_no_address() {
        let (it, none) = (attempts(), Bounds { address: 0, account: 0 });
        for _ in 0..100 {
            let judged = it.judge(address(1), &attempt("juliet", Verdict::Wrong), none, at(0));
            assert_eq!(judged, Judgement::Wrong);
        }
        for here in [None, Some([127, 0, 0, 1].into())] {
            for number in 0..10 {
                assert_eq!(wrong(&it, here, &format!("{number}"), at(0)), Judgement::Wrong);
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_whoever_fails_most_is_not_forgotten() {
        let mut table = HashMap::new();
        let now = at(0).unix_ms();
        for _ in 0..3 {
            grow(&mut table, 0, 100, now);
        }
        for key in 1..200_000 {
            grow(&mut table, key, 100, now);
        }
        assert!(table.len() <= MOST, "{}", table.len());
        assert_eq!(table[&0].0 - now, 3 * WINDOW / 100);
        grow(&mut table, 1, 100, now + 2 * WINDOW);
        let mut state = State::default();
        for key in 0..200_000 {
            state.remember([Some(key), None], now + i64::try_from(key).unwrap());
        }
        assert!(state.known.len() <= MOST && state.known.contains_key(&199_999) && !state.known.contains_key(&0));
    }
}
