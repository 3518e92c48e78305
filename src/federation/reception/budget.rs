//! What a stream that another server opened may cost before anything has come on it: it waits for its turn, and has its place
//! in the budgets of its domain and its address.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{End, Reception};
use crate::federation::audit::Direction;
use crate::federation::budgets::Excess;
use crate::federation::incoming::Proven;
use crate::federation::resolve::Start;
use crate::stream::{StreamCondition, StreamError};

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
            self.meter.enter(&pair.remote, address, &self.federation)?;
        }
        Ok(())
    }
}

/// What ends a stream that is too much.
pub(super) fn refused(condition: StreamCondition, excess: Excess) -> End {
    End::Refused(StreamError::new(condition, excess.as_str()))
}
