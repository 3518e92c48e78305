//! What a stream that another server opened may cost: it waits for its turn, is charged to the budgets of its domain and its
//! address, and rests when that is too much.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{End, Reception};
use crate::federation::audit::Direction;
use crate::federation::budgets::Excess;
use crate::federation::incoming::Proven;
use crate::federation::resolve::Start;
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
            if self.seats.iter().any(|seat| seat.remote == pair.remote) {
                continue;
            }
            let settings = self.federation.settings();
            let terms = (&settings.policy.terms(&pair.remote).allowance, &settings.policy.address);
            // The address counts once.
            let address = address.filter(|_| self.seats.is_empty());
            self.seats.push(self.federation.budgets().enter(&pair.remote, address, terms, Instant::now())?);
        }
        Ok(())
    }

    /// Charges what has come to the domain that was proven first, and has it rest if that is too much.
    pub(super) fn charge(&mut self) {
        let intake = std::mem::take(&mut self.intake);
        let (Some(seat), Some(listed)) = (self.seats.first(), &self.listed) else { return };
        listed.count(intake.1);
        let now = Instant::now();
        let allowance = self.federation.settings().policy.terms(&seat.remote).allowance;
        if let Some(wait) = seat.charge(&allowance, intake, now) {
            tracing::debug!(remote = %seat.remote, ?wait, "another server sends too fast");
            let wait = wait.min(REST);
            listed.hold_back(wait);
            self.rest = Some(now + wait);
        }
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
