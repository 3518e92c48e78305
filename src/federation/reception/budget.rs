//! What a stream that another server opened may cost: it waits for its turn, is charged to the budgets of its domain and its
//! address, and rests when that is too much.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{End, Reception};
use crate::federation::audit::Direction;
use crate::federation::budgets::{Excess, Seat};
use crate::federation::incoming::Proven;
use crate::federation::policy::{Allowance, Policy};
use crate::federation::resolve::Start;
use crate::stanza::Stanza;
use crate::stream::{StreamCondition, StreamError};

/// How long a peer that is too fast is not read, at most.
const REST: Duration = Duration::from_secs(60);

impl Reception {
    /// Waits until it is the turn of somebody from this address, then has the peer authenticate.
    pub(super) async fn begin(&mut self, start: Start) -> Option<End> {
        if let Some(address) = self.address() {
            let settings = self.federation.settings();
            let (neighbours, patience) = (settings.policy.address, settings.deadline);
            drop(settings);
            match self.federation.budgets().connect(address, &neighbours, patience / 2, Instant::now()) {
                Ok(Duration::ZERO) => {}
                Ok(wait) => sleep(wait).await,
                Err(excess) if start == Start::DirectTls => return Some(End::Told(excess.as_str().to_owned())),
                Err(excess) => return Some(refused(StreamCondition::PolicyViolation, excess)),
            }
        }
        self.authenticate(start).await
    }

    fn address(&self) -> Option<IpAddr> {
        Some(self.wire.transport().peer()?.ip())
    }

    /// What has just been proven is charged to the budget of its domain, and the stream is on the list of all.
    pub(super) fn take_seats(&mut self) -> Result<(), Excess> {
        let address = self.address();
        if self.listed.is_none() && self.rules.is_authenticated() {
            let (transport, now) = (self.wire.transport(), self.federation.ways().clock.now());
            self.listed = Some(self.federation.audit().list(Direction::In, transport, now));
        }
        for Proven { pair, .. } in self.rules.proven().get(self.known..).unwrap_or_default() {
            if self.shares.of(&pair.remote).is_some() {
                continue;
            }
            let settings = self.federation.settings();
            let allowance = settings.policy.terms(&pair.remote).allowance;
            // The address counts once.
            let address = address.filter(|_| self.shares.all.is_empty());
            let terms = (&allowance, &settings.policy.address);
            let seat = self.federation.budgets().enter(&pair.remote, address, terms, Instant::now())?;
            self.shares.all.push(Share { seat, allowance, intake: (0, 0) });
        }
        Ok(())
    }

    /// Charges what has come to the domains that it came from, and has the stream rest if that is too much for one of them.
    pub(super) fn charge(&mut self) {
        let Some(listed) = &self.listed else { return };
        let now = Instant::now();
        let (bytes, wait) = self.shares.charge(now);
        listed.count(bytes);
        if let Some(wait) = wait {
            let wait = wait.min(REST);
            listed.hold_back(wait);
            self.rest = Some(now + wait);
        }
    }
}

/// What the domains of one stream are charged with, the one that was proven first before the others.
#[derive(Default)]
pub(super) struct Shares {
    all: Vec<Share>,
    /// Bytes that belong to no stanza: they are the first one's.
    loose: usize,
}

/// What one domain is charged with.
pub(super) struct Share {
    seat: Seat,
    allowance: Allowance,
    /// Stanzas and bytes that have come and are not charged yet.
    intake: (usize, usize),
}

impl Shares {
    /// The operator may have allowed more or less meanwhile.
    pub(super) fn renew(&mut self, policy: &Policy) {
        for share in &mut self.all {
            share.allowance = policy.terms(&share.seat.remote).allowance;
        }
    }

    /// The share of a domain.
    pub(super) fn of(&mut self, remote: &str) -> Option<&mut Share> {
        self.all.iter_mut().find(|share| *share.seat.remote == *remote)
    }

    /// Bytes have come that are part of no stanza.
    pub(super) fn take(&mut self, bytes: usize) {
        self.loose += bytes;
    }

    /// Charges all; gives how many bytes that were, and for how long nothing more is to be read.
    fn charge(&mut self, now: Instant) -> (usize, Option<Duration>) {
        let (mut all, mut longest) = (0, None);
        if let Some(first) = self.all.first_mut() {
            first.intake.1 += std::mem::take(&mut self.loose);
        }
        for Share { seat, allowance, intake } in self.all.iter_mut().filter(|share| share.intake != (0, 0)) {
            let intake = std::mem::take(intake);
            all += intake.1;
            if let Some(wait) = seat.charge(allowance, intake, now) {
                tracing::debug!(remote = %seat.remote, ?wait, "another server sends too fast");
                longest = longest.max(Some(wait));
            }
        }
        (all, longest)
    }
}

impl Share {
    /// A stanza has come that is so long.
    pub(super) fn take(&mut self, bytes: usize) {
        self.intake.0 += 1;
        self.intake.1 += bytes;
    }

    /// Whether it may pass.
    pub(super) fn judge(&mut self, stanza: &Stanza<'_>) -> Result<(), Excess> {
        self.seat.judge(stanza, &self.allowance)
    }
}

/// What ends a stream that is too much.
pub(super) fn refused(condition: StreamCondition, excess: Excess) -> End {
    End::Refused(StreamError::new(condition, excess.as_str()))
}

/// Resolves when it has been rested for long enough.
pub(super) async fn rested(rest: Option<Instant>) {
    if let Some(rest) = rest {
        sleep_until(rest).await;
    }
}
