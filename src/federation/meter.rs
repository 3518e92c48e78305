//! What has come on one stream, and whom it is charged to: the budgets of the domains that the peer has proven, until that is
//! too much and nothing more is read for a while.
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
    /// One for each domain that the peer has proven to speak for; the first one is charged.
    seats: Vec<Seat>,
    /// Stanzas and bytes that have come and are not charged yet.
    taken: (usize, usize),
    /// The peer has been too fast: nothing is read before this time.
    rest: Option<Instant>,
}

impl Meter {
    /// The peer, who has opened the stream from `address`, has proven to speak for `remote`.
    pub(crate) fn enter(
        &mut self,
        remote: &Arc<str>,
        address: Option<IpAddr>,
        federation: &Federation,
    ) -> Result<(), Excess> {
        if self.seats.iter().any(|seat| seat.remote == *remote) {
            return Ok(());
        }
        let settings = federation.settings();
        let terms = (&settings.policy.terms(remote).allowance, &settings.policy.address);
        // The address counts once.
        let address = address.filter(|_| self.seats.is_empty());
        self.seats.push(federation.budgets().enter(remote, address, terms, Instant::now())?);
        Ok(())
    }

    /// The same for a stream that we have opened, which is none of those of which the domain may have so many.
    pub(crate) fn join(&mut self, remote: &Arc<str>, federation: &Federation) {
        self.seats.push(federation.budgets().join(remote, Instant::now()));
    }

    /// Whether the peer has proven anything.
    pub(crate) fn is_open(&self) -> bool {
        !self.seats.is_empty()
    }

    /// What the domain may have that is charged.
    pub(crate) fn allowance(&self, policy: &Policy) -> Option<Allowance> {
        self.seats.first().map(|seat| policy.terms(&seat.remote).allowance)
    }

    /// So much more has come.
    pub(crate) fn count(&mut self, stanzas: usize, bytes: usize) {
        self.taken.0 += stanzas;
        self.taken.1 += bytes;
    }

    /// Whether a stanza may pass, as far as it goes to people of their own choice.
    pub(crate) fn judge(&mut self, stanza: &Stanza<'_>, allowance: Option<&Allowance>) -> Result<(), Excess> {
        match (self.seats.first_mut(), allowance) {
            (Some(seat), Some(allowance)) => seat.judge(stanza, allowance),
            _ => Ok(()),
        }
    }

    /// Charges what has come to the domain that was proven first, and rests if that is too much.
    pub(crate) fn charge(&mut self, listed: Option<&Listed>, federation: &Federation) {
        let taken = std::mem::take(&mut self.taken);
        let (Some(seat), Some(listed)) = (self.seats.first(), listed) else { return };
        listed.count(taken.1);
        let now = Instant::now();
        let allowance = federation.settings().policy.terms(&seat.remote).allowance;
        if let Some(wait) = seat.charge(&allowance, taken, now) {
            tracing::debug!(remote = %seat.remote, ?wait, "another server sends too fast");
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

/// Resolves at the end of a rest.
pub(crate) async fn end_of(rest: Option<Instant>) {
    if let Some(rest) = rest {
        sleep_until(rest).await;
    }
}
