//! What the operator decides about federation, and the ways to the outside that it uses.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::federation::policy::Policy;
use crate::federation::proof::{Evidence, Key, Kind, Pins, Proof};
use crate::hooks::StreamFeatures;
use crate::live::Live;
use crate::net::Network;
use crate::net::dns::Resolver;
use crate::net::tls::{ClientTls, ServerTls, Trust};
use crate::storage::Storage;
use crate::stream::Limits;
use crate::xml::Element;

/// Decisions of the operator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The domains served here, prepared; the first answers streams that ask for none. They never change.
    pub domains: Vec<String>,
    pub policy: Policy,
    /// Keys that alone prove their domains.
    pub pins: Pins,
    /// Whether stanzas may go both ways on one stream (XEP-0288).
    pub bidi: bool,
    /// From the DNS to the end of authentication, for one stream that we open.
    pub connect_timeout: Duration,
    /// A stream without stanzas is closed after this time.
    pub idle_timeout: Duration,
    /// How long a message that storage keeps waits for a domain that cannot be reached.
    pub expiry: Duration,
    /// What may wait for one pair of domains.
    pub queue_bytes: usize,
    /// What may wait for all of them.
    pub queue_bytes_total: usize,
    /// For peers that have proven who they are.
    pub limits: Limits,
    /// How long a peer has to authenticate.
    pub deadline: Duration,
}

impl Settings {
    /// How long another server may be silent on a stream of its own: it knows whether it has more to say, so
    /// it goes first.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.idle_timeout * 2
    }

    /// Whether a stream may go on that stands on this proof; on none, if we speak to whoever is there. The operator may have
    /// changed his mind since it was opened.
    pub(crate) fn accepts(&self, remote: &str, proof: Option<&Proof>) -> bool {
        let kind = proof.map_or(Kind::Dialback, Proof::kind);
        let is_pinned =
            |keys: &[Key]| matches!(proof.map(Proof::evidence), Some(Evidence::Pin(key)) if keys.contains(key));
        self.policy.accepts(remote, kind) && self.pins.of(remote).is_none_or(is_pinned)
    }
}

/// The ways to the outside.
pub struct Ways {
    pub network: Arc<dyn Network>,
    pub resolver: Live<Arc<dyn Resolver>>,
    pub server_tls: Arc<ServerTls>,
    pub client_tls: Arc<ClientTls>,
    pub trust: Live<Trust>,
    /// What extensions offer on the streams that others open.
    pub stream_features: StreamFeatures,
    pub clock: Clock,
    /// Has what is kept until it is delivered.
    pub storage: Storage,
    /// What a domain is asked to learn whether it has handled everything before (XEP-0199).
    pub probe: Element,
    /// Says that a domain had a stanza already at some time (XEP-0203), in canonical XML.
    pub delay: fn(&str, Timestamp) -> String,
    /// What dialback keys are made from: the same on all servers of our domains (XEP-0185).
    pub secret: [u8; 32],
}
