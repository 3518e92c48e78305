//! What a stream that another server opens may cost before anything has come on it: a connection is welcome or is not, and what
//! it proves has a place in the budgets of its domain and its address.

use std::net::IpAddr;

use tokio::time::Instant;

use super::{End, Reception};
use crate::federation::Federation;
use crate::federation::audit::Direction;
use crate::federation::budgets::Excess;
use crate::federation::incoming::Proven;
use crate::stream::{StreamCondition, StreamError};

impl Federation {
    /// Whether somebody may connect from `address` once more; if so it counts. To be asked before anything is done for the
    /// connection: whoever is not welcome must cost next to nothing.
    #[must_use]
    pub fn welcomes(&self, address: IpAddr) -> bool {
        let neighbours = self.settings().policy.address;
        let is_welcome = self.budgets().connect(address, &neighbours, Instant::now());
        if !is_welcome {
            tracing::debug!(%address, "too many connections from this address");
        }
        is_welcome
    }
}

impl Reception {
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
