//! What has come on one stream, and who pays for it: the domains that the peer has proven, each for itself, until that is too
//! much for one of them and nothing more is read for a while.
//!
//! It must never know who has opened the stream, or what is said on it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::federation::Federation;
use crate::federation::audit::Listed;
use crate::federation::budgets::{Excess, Seat};
use crate::federation::policy::{Allowance, Policy};
use crate::stanza::Stanza;

/// How long a peer that is too fast is not read, at most.
const REST: Duration = Duration::from_secs(60);

/// The meter of one stream.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// What the domains are charged with, the one that was proven first before the others.
    shares: Vec<Share>,
    /// Bytes that belong to no stanza: they are the first one's.
    loose: usize,
    /// The peer has been too fast: nothing is read before this time.
    rest: Option<Instant>,
}

/// What one domain is charged with.
#[derive(Debug)]
pub(crate) struct Share {
    seat: Seat,
    allowance: Allowance,
    /// Stanzas and bytes that have come and are not charged yet.
    intake: (usize, usize),
}

impl Meter {
    /// The peer, who has opened the stream from `address`, has proven to speak for `remote`.
    pub(crate) fn enter(
        &mut self,
        remote: &Arc<str>,
        address: Option<IpAddr>,
        federation: &Federation,
    ) -> Result<(), Excess> {
        if self.of(remote).is_some() {
            return Ok(());
        }
        let settings = federation.settings();
        let allowance = settings.policy.terms(remote).allowance;
        // The address counts once.
        let address = address.filter(|_| self.shares.is_empty());
        let terms = (&allowance, &settings.policy.address);
        let seat = federation.budgets().enter(remote, address, terms, Instant::now())?;
        self.shares.push(Share { seat, allowance, intake: (0, 0) });
        Ok(())
    }

    /// The same for a stream that we have opened, which is none of those of which the domain may have so many.
    pub(crate) fn join(&mut self, remote: &Arc<str>, federation: &Federation) {
        if self.of(remote).is_none() {
            let allowance = federation.settings().policy.terms(remote).allowance;
            let seat = federation.budgets().join(remote, Instant::now());
            self.shares.push(Share { seat, allowance, intake: (0, 0) });
        }
    }

    /// Whether the peer has proven anything.
    pub(crate) fn is_open(&self) -> bool {
        !self.shares.is_empty()
    }

    /// The operator may have allowed more or less meanwhile.
    pub(crate) fn renew(&mut self, policy: &Policy) {
        for share in &mut self.shares {
            share.allowance = policy.terms(&share.seat.remote).allowance;
        }
    }

    /// The share of a domain.
    pub(crate) fn of(&mut self, remote: &str) -> Option<&mut Share> {
        self.shares.iter_mut().find(|share| *share.seat.remote == *remote)
    }

    /// Bytes have come that are part of no stanza.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.loose += bytes;
    }

    /// Charges what has come to the domains that it came from, and rests if that is too much for one of them.
    pub(crate) fn charge(&mut self, listed: Option<&Listed>) {
        let Some(listed) = listed else { return };
        let (mut all, mut longest, now) = (0, None, Instant::now());
        if let Some(first) = self.shares.first_mut() {
            first.intake.1 += std::mem::take(&mut self.loose);
        }
        for Share { seat, allowance, intake } in self.shares.iter_mut().filter(|share| share.intake != (0, 0)) {
            let intake = std::mem::take(intake);
            all += intake.1;
            if let Some(wait) = seat.charge(allowance, intake, now) {
                tracing::debug!(remote = %seat.remote, ?wait, "another server sends too fast");
                longest = longest.max(Some(wait));
            }
        }
        listed.count(all);
        if let Some(wait) = longest {
            let wait = wait.min(REST);
            listed.hold_back(wait);
            self.rest = Some(now + wait);
        }
    }

    /// Until when nothing is read, if so.
    pub(crate) fn rest(&self) -> Option<Instant> {
        self.rest
    }

    /// It has been rested for long enough.
    pub(crate) fn rested(&mut self) {
        self.rest = None;
    }
}

impl Share {
    /// A stanza has come that is so long.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.intake.0 += 1;
        self.intake.1 += bytes;
    }

    /// Whether it may pass.
    pub(crate) fn judge(&mut self, stanza: &Stanza<'_>) -> Result<(), Excess> {
        self.seat.judge(stanza, &self.allowance)
    }
}

/// Resolves at the end of a rest.
pub(crate) async fn end_of(rest: Option<Instant>) {
    if let Some(rest) = rest {
        sleep_until(rest).await;
    }
}
