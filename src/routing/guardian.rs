//! When what is known of the people of another domain is in doubt, and what is done about it: the rules of the guardian of
//! presence.
//!
//! A server that was killed does not say who has gone with it, and what broke with a stream is not said again. So from the
//! moment at which a domain is lost until it is reached again, whatever it has said is in doubt; then everybody is asked for
//! anew, and who is not heard of in time is gone. A domain that stays away for [`PATIENCE`] has nobody available.
//!
//! Pure: what happened and the time go in, what is to be done comes out. It must never know of stanzas.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::hooks::PeerChange;

use super::remote::Pair;

/// Nobody counts as available at a domain that was lost for so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// How long people have to be heard of when their presence is asked for anew.
const GRACE: Duration = Duration::from_secs(15);
/// Everybody at a domain is asked for once in this time, however often it is lost.
const SPACING: Duration = Duration::from_secs(10);
/// A domain that was lost is asked for a sign of life after so long, then more and more seldom.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);
/// So many pairs of domains may be in doubt.
const PAIRS: usize = 10_000;

/// What is to be done about a pair of domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Whatever is known is in doubt from here on.
    Doubt,
    /// Whoever depends on it is to know.
    Tell(PeerChange),
    /// The other server is to be asked for a sign of life.
    Ask,
    /// The presence of everybody is to be asked for, and ours to be said, anew.
    Renew,
    /// Those who are still in doubt are gone.
    Sweep,
}

/// All pairs of domains that are in doubt, or were a moment ago.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pairs: HashMap<Pair, Phase>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Lost {
        since: Instant,
        /// When a sign of life is asked for, and how long after that again.
        ask: Instant,
        pause: Duration,
        /// Nobody there counts as available any more.
        is_swept: bool,
        renewed: Option<Instant>,
    },
    /// It is there again; everybody is asked for at this time.
    Reached { at: Instant, since: Instant, is_swept: bool, renewed: Option<Instant> },
    /// Everybody was asked for.
    Renewed { at: Instant },
    /// There is no doubt; what is left is when everybody was asked for.
    Settled { renewed: Instant },
}

impl Rules {
    /// A stream broke.
    pub(super) fn lost(&mut self, pair: &Pair, now: Instant) -> Vec<Act> {
        let acts = self.out_of_reach(pair, now);
        // Whoever was heard of since the domain was lost may have gone with this one.
        if acts.is_empty() { vec![Act::Doubt] } else { acts }
    }

    /// None could be had: what is said on others goes on counting.
    pub(super) fn out_of_reach(&mut self, pair: &Pair, now: Instant) -> Vec<Act> {
        let lost = |since, is_swept, renewed| Phase::Lost { since, ask: now + FIRST, pause: FIRST, is_swept, renewed };
        let Some(phase) = self.pairs.get_mut(pair) else {
            if !self.has_room() {
                return Vec::new();
            }
            self.pairs.insert(pair.clone(), lost(now, false, None));
            return vec![Act::Doubt, Act::Tell(PeerChange::Lost)];
        };
        match *phase {
            Phase::Lost { .. } => Vec::new(),
            // Nobody was told that it is back.
            Phase::Reached { since, is_swept, renewed, .. } => {
                *phase = lost(since, is_swept, renewed);
                Vec::new()
            }
            Phase::Renewed { at: renewed } | Phase::Settled { renewed } => {
                *phase = lost(now, false, Some(renewed));
                vec![Act::Doubt, Act::Tell(PeerChange::Lost)]
            }
        }
    }

    /// A stream was established, by whichever side, or the other server has answered on one; whether there is something to do now or later.
    pub(super) fn reached(&mut self, pair: &Pair, now: Instant) -> bool {
        let Some(phase) = self.pairs.get_mut(pair) else { return false };
        let Phase::Lost { since, is_swept, renewed, .. } = *phase else { return false };
        let at = renewed.map_or(now, |renewed| now.max(renewed + SPACING));
        *phase = Phase::Reached { at, since, is_swept, renewed };
        true
    }

    /// Whether a pair was lost and not reached since.
    pub(super) fn is_lost(&self, pair: &Pair) -> bool {
        matches!(self.pairs.get(pair), Some(Phase::Lost { .. }))
    }

    /// What is due, in the order of the names.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Pair, Act)> {
        let mut due = Vec::new();
        for (pair, phase) in &mut self.pairs {
            let mut act = |act| due.push((pair.clone(), act));
            match phase {
                Phase::Lost { since, ask, pause, is_swept, .. } => {
                    if *ask <= now {
                        *pause = (*pause * 2).min(LONGEST);
                        *ask = now + *pause;
                        act(Act::Ask);
                    }
                    if !*is_swept && *since + PATIENCE <= now {
                        *is_swept = true;
                        act(Act::Sweep);
                    }
                }
                Phase::Reached { at, .. } if *at <= now => {
                    *phase = Phase::Renewed { at: now };
                    act(Act::Tell(PeerChange::Back));
                    act(Act::Renew);
                }
                Phase::Renewed { at } if *at + GRACE <= now => {
                    *phase = Phase::Settled { renewed: *at };
                    act(Act::Sweep);
                }
                Phase::Reached { .. } | Phase::Renewed { .. } | Phase::Settled { .. } => {}
            }
        }
        self.pairs.retain(|_, phase| !matches!(phase, Phase::Settled { renewed } if *renewed + SPACING <= now));
        // Stable, so that the acts of one pair stay as they are.
        due.sort_by(|(one, _), (other, _)| (&one.remote, &one.local).cmp(&(&other.remote, &other.local)));
        due
    }

    /// When to look again, if ever.
    pub(super) fn next(&self) -> Option<Instant> {
        let at = |phase: &Phase| match *phase {
            Phase::Lost { ask, is_swept: true, .. } => ask,
            Phase::Lost { since, ask, .. } => ask.min(since + PATIENCE),
            Phase::Reached { at, .. } => at,
            Phase::Renewed { at } => at + GRACE,
            Phase::Settled { renewed } => renewed + SPACING,
        };
        self.pairs.values().map(at).min()
    }

    /// Everybody has been asked for, which may have taken a while.
    pub(super) fn renewed(&mut self, pair: &Pair, now: Instant) {
        if let Some(Phase::Renewed { at }) = self.pairs.get_mut(pair) {
            *at = now;
        }
    }

    /// Whether one more pair may be in doubt; otherwise the one goes that was lost first.
    fn has_room(&mut self) -> bool {
        if self.pairs.len() < PAIRS {
            return true;
        }
        let lost = self.pairs.iter().filter_map(|(pair, phase)| match phase {
            Phase::Lost { since, .. } => Some((*since, pair)),
            _ => None,
        });
        let first = lost.min_by_key(|(since, _)| *since).map(|(_, pair)| pair.clone());
        first.is_some_and(|pair| self.pairs.remove(&pair).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(remote: &str) -> Pair {
        Pair { local: "here.example".into(), remote: remote.into() }
    }

    /// What is due at the times in seconds, as text.
    fn play(rules: &mut Rules, start: Instant, seconds: impl IntoIterator<Item = u64>) -> Vec<String> {
        let at = |second| start + Duration::from_secs(second);
        let due = seconds.into_iter().flat_map(|second| {
            let acts = rules.due(at(second)).into_iter();
            acts.map(move |(_, act)| format!("{second} {act:?}")).collect::<Vec<_>>()
        });
        due.collect()
    }

    #[test]
    fn who_is_back_is_asked_and_who_says_nothing_is_gone() {
        let (mut rules, start, there) = (Rules::default(), Instant::now(), pair("there.example"));
        assert!(!rules.reached(&there, start), "it was never lost");
        assert_eq!(rules.lost(&there, start), [Act::Doubt, Act::Tell(PeerChange::Lost)]);
        assert_eq!(rules.out_of_reach(&there, start), []);
        assert_eq!(play(&mut rules, start, [1]), [""; 0]);
        assert_eq!(rules.next(), Some(start + FIRST));
        assert_eq!(play(&mut rules, start, [2, 3]), ["2 Ask"]);
        assert!(rules.reached(&there, start + Duration::from_secs(4)));
        assert!(!rules.reached(&there, start + Duration::from_secs(4)));
        assert_eq!(play(&mut rules, start, [4, 18, 19]), ["4 Tell(Back)", "4 Renew", "19 Sweep"]);
        assert_eq!(rules.next(), None);
    }

    #[test]
    fn it_is_asked_for_more_and_more_seldom_and_has_nobody_after_a_while() {
        let (mut rules, start, there) = (Rules::default(), Instant::now(), pair("there.example"));
        rules.lost(&there, start);
        let acts = play(&mut rules, start, 0..1200);
        let asks = ["2 Ask", "6 Ask", "14 Ask", "30 Ask", "62 Ask", "126 Ask", "254 Ask", "300 Sweep", "510 Ask"];
        assert_eq!(acts[..9], asks);
        assert_eq!(acts[9..], ["810 Ask", "1110 Ask"]);
    }

    #[test]
    fn however_often_it_is_lost_everybody_is_asked_for_now_and_then() {
        let (mut rules, start, there) = (Rules::default(), Instant::now(), pair("there.example"));
        let mut acts = Vec::new();
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            rules.lost(&there, now);
            rules.reached(&there, now);
            acts.extend(play(&mut rules, start, [second]));
        }
        let renewed: Vec<_> = acts.iter().filter(|act| act.ends_with("Renew")).map(String::as_str).collect();
        assert_eq!(renewed, ["0 Renew", "10 Renew", "20 Renew", "30 Renew", "40 Renew", "50 Renew"]);
    }

    #[test]
    fn whoever_is_lost_again_is_told_so_once() {
        let (mut rules, start, there) = (Rules::default(), Instant::now(), pair("there.example"));
        rules.lost(&there, start);
        rules.reached(&there, start);
        assert_eq!(rules.lost(&there, start), [Act::Doubt], "nobody has heard that it was back");
        assert_eq!(rules.lost(&there, start), [Act::Doubt], "there may have been two streams");
        rules.reached(&there, start);
        assert_eq!(play(&mut rules, start, [0]), ["0 Tell(Back)", "0 Renew"]);
        assert_eq!(rules.lost(&there, start), [Act::Doubt, Act::Tell(PeerChange::Lost)]);
        assert_eq!(play(&mut rules, start, [20]), ["20 Ask"], "nobody is gone who has not been asked");
    }

    #[test]
    fn pairs_in_doubt_are_bounded() {
        let (mut rules, start) = (Rules::default(), Instant::now());
        for number in 0..PAIRS + 5 {
            rules.lost(&pair(&number.to_string()), start + Duration::from_millis(number as u64));
        }
        assert_eq!(rules.pairs.len(), PAIRS);
        assert!(!rules.reached(&pair("4"), start) && rules.reached(&pair("5"), start));
    }
}
