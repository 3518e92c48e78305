//! What client sessions work with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::accounts::attempts::{Attempt, Attempts, Bounds, Judgement};
use crate::accounts::credentials::{Decoy, ScramHash};
use crate::accounts::tokens::TokenKey;
use crate::clock::Clock;
use crate::hooks::{InlineOffers, StreamFeatures};
use crate::jid::BareJid;
use crate::live::Live;
use crate::net::tls::ServerTls;
use crate::routing::Router;
use crate::storage::Storage;
use crate::stream::{Limits, Pace};

/// What every client session needs.
pub struct Context {
    pub router: Arc<Router>,
    pub storage: Storage,
    pub clock: Clock,
    pub tls: Arc<ServerTls>,
    /// Answers for accounts that do not exist.
    pub decoy: Decoy,
    /// What tokens are derived with.
    pub tokens: TokenKey,
    /// For which hash functions every account of a domain has keys.
    pub hashes: Arc<[(String, &'static [ScramHash])]>,
    pub settings: Live<Settings>,
    /// What extensions offer.
    pub stream_features: StreamFeatures,
    pub inline_offers: InlineOffers,
    /// How many passwords are compared at once: each takes milliseconds of one processor.
    pub comparisons: Arc<Semaphore>,
    /// Which attempts have failed.
    pub attempts: Attempts,
}

impl Context {
    pub(super) fn hashes(&self, domain: &BareJid) -> &'static [ScramHash] {
        let known = self.hashes.iter().find(|(known, _)| known == domain.as_str());
        known.map_or(ScramHash::OLD, |(_, hashes)| hashes)
    }

    /// Judges what somebody at `peer` has tried to log in with.
    pub(super) fn judge(&self, peer: Option<SocketAddr>, attempt: &Attempt) -> Judgement {
        let address = peer.map(|peer| peer.ip());
        self.attempts.judge(address, attempt, self.settings.load().failures, self.clock.now())
    }
}

/// What the operator has set for client sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What a client may send once it has authenticated.
    pub limits: Limits,
    /// How fast it may send.
    pub pace: Pace,
    /// Whether it may authenticate without TLS: for tests on one machine.
    pub without_tls: bool,
    /// How long a connection has to authenticate.
    pub deadline: Duration,
    /// How long a token is good for (XEP-0484); none are given if that is no time at all.
    pub token_lifetime: Duration,
    /// For how long clients are remembered (XEP-0494).
    pub client_retention: Duration,
    /// How many attempts may fail.
    pub failures: Bounds,
}
