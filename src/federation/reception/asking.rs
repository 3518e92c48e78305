//! Whoever is asked beside a stream that another server opened whether it speaks for a domain: the DNS, and the server that
//! the DNS names.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::Reception;
use crate::federation::Federation;
use crate::federation::incoming::{Denial, Verification, untrusted};
use crate::federation::proof::{Endpoint, Proof, Role, Shown};
use crate::federation::resolve::published;
use crate::federation::xep_0220_dialback::Verdict;
use crate::routing::Pair;
use crate::stanza::{Condition, StanzaError};

/// How long the DNS may take to name the servers of a domain; the peer waits for its features meanwhile.
const LOOK_UP: Duration = Duration::from_secs(10);

/// What others have said who were asked beside the stream.
pub(super) enum Answered {
    /// The DNS: which servers a domain has.
    LookedUp(Arc<str>, Vec<Endpoint>),
    /// Whoever could vouch for a pair.
    Verified(Pair, Result<Proof, Denial>),
}

impl Reception {
    /// Asks the DNS about a domain, beside the stream.
    pub(super) fn look_up(&mut self, domain: Arc<str>) {
        let federation = Arc::clone(&self.federation);
        self.asking.spawn(async move {
            let servers = federation.published(&domain).await;
            Answered::LookedUp(domain, servers)
        });
    }

    /// Has somebody vouch for a pair, beside the stream.
    pub(super) fn verify(&mut self, Verification { pair, id, key }: Verification) {
        let federation = Arc::clone(&self.federation);
        let chain = self.wire.transport().peer_certificates();
        self.asking.spawn(async move {
            let outcome = federation.vouch(&pair, &chain, id, key).await;
            Answered::Verified(pair, outcome)
        });
    }
}

impl Federation {
    /// Which servers a signed DNS names for a domain, if that is known in time: whoever comes when many are asking waits.
    async fn published(&self, domain: &str) -> Vec<Endpoint> {
        let resolver = self.ways().resolver.get();
        let published = async {
            let _turn = self.look_ups().acquire().await.ok()?;
            Some(published(&**resolver, domain).await)
        };
        timeout(LOOK_UP, published).await.ok().flatten().unwrap_or_default()
    }

    /// Finds somebody who vouches for a pair: a signed DNS that names the certificate (RFC 7712), or else the server that
    /// the DNS names for `pair.remote`, which is asked about the key (XEP-0220 §2.1.2).
    async fn vouch(
        &self,
        pair: &Pair,
        chain: &[CertificateDer<'static>],
        id: String,
        key: Option<String>,
    ) -> Result<Proof, Denial> {
        let servers = self.published(&pair.remote).await;
        let shown = Shown { chain, role: Role::Client };
        let reason = match self.links().prove(shown, &pair.remote, &servers) {
            Ok(proof) => return Ok(proof),
            Err(reason) => reason,
        };
        let Some(key) = key else { return Err(Denial::Error(untrusted(&reason))) };
        let Ok(_permit) = self.call_backs().try_acquire() else {
            let error = StanzaError::new(Condition::ResourceConstraint, "too many keys to verify");
            return Err(Denial::Error(error));
        };
        match self.links().verify(pair, id, key).await {
            Ok((Verdict::Valid, asked)) => Ok(Proof::dialback(asked)),
            Ok((Verdict::Invalid, _)) => Err(Denial::Invalid),
            // XEP-0220 §2.5: an error in step 3 is told as this one.
            Ok((Verdict::Error(_), _)) => Err(Denial::Error(Condition::RemoteServerNotFound.into())),
            Err(failure) => Err(Denial::Error(failure.stanza_error())),
        }
    }
}
