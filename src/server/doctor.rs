//! The federation doctor as an operation, and without a server that runs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::config::Config;
use crate::extensions;
use crate::federation::doctor::{Diagnosis, Vouching};
use crate::federation::{self, Federation};
use crate::hooks::StreamFeatures;
use crate::hooks::operation::{NameTaken, Operation, OperationError, Operations, Role};
use crate::jid::domainpart;
use crate::live::Live;
use crate::net::System;
use crate::net::tls::{ClientTls, ServerTls};
use crate::random;
use crate::routing::Pair;
use crate::storage::Storage;
use crate::xml::Element;

use super::made::Made;
use super::settings::Settings;

/// Examines how another domain is reached.
pub const EXAMINE: Operation<Examine, Diagnosis> = Operation::new("examine", Role::Operator);

/// Which domain, and from which of ours: the first one, if nothing is said.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Examine {
    pub domain: String,
    pub from: Option<String>,
}

/// Registers the operation.
///
/// # Errors
/// The name is taken.
pub(super) fn register(federation: &Arc<Federation>, operations: &mut Operations) -> Result<(), NameTaken> {
    let federation = Arc::clone(federation);
    operations.register(&EXAMINE, move |asked: Examine| {
        let federation = Arc::clone(&federation);
        async move {
            let pair = asked.pair(&federation.domains())?;
            Ok(federation.examine(&pair, Vouching::Possible).await)
        }
    })
}

/// The same with `config`, where no server runs: nobody could vouch for a dialback key.
///
/// # Errors
/// `Usage` where the question or the configuration is to blame.
pub async fn examine_alone(config: &Config, asked: &Examine) -> Result<Diagnosis, OperationError> {
    let settings = Settings::of(config);
    let pair = asked.pair(&settings.domains)?;
    let Made { identities, trust, resolver, .. } = Made::of(config, None)?;
    let failed = |error: &dyn std::fmt::Display| OperationError::Failed(error.to_string());
    let federation = Federation::new(
        settings.federation.clone(),
        federation::Ways {
            network: Arc::new(System),
            resolver: Live::new(resolver),
            server_tls: Arc::new(ServerTls::new(Arc::clone(&identities)).map_err(|error| failed(&error))?),
            client_tls: Arc::new(ClientTls::new(identities).map_err(|error| failed(&error))?),
            trust: Live::new(trust),
            stream_features: StreamFeatures::default(),
            clock: Clock::system(),
            // Nothing is sent.
            storage: Storage::open_in_memory().map_err(|error| failed(&error))?,
            probe: Element::new("ping", extensions::PING_NS),
            delay: extensions::delay,
            secret: random::octets(),
        },
    );
    Ok(federation.examine(&pair, Vouching::Impossible).await)
}

impl Examine {
    pub(super) fn pair(&self, ours: &[String]) -> Result<Pair, OperationError> {
        let usage = |text: String| OperationError::Usage(text);
        let prepared = |domain: &str| {
            domainpart(domain).map(|domain| domain.into_owned()).map_err(|_| usage(format!("{domain:?} is no domain")))
        };
        let remote = prepared(&self.domain)?;
        if ours.contains(&remote) {
            return Err(usage(format!("{remote} is served here; to check it: comity check")));
        }
        let local = match (&self.from, ours.first()) {
            (Some(from), _) => prepared(from)?,
            (None, Some(first)) => first.clone(),
            (None, None) => return Err(usage("no domain is served here".to_owned())),
        };
        if !ours.contains(&local) {
            return Err(usage(format!("{local} is not served here")));
        }
        Ok(Pair { local: local.into(), remote: remote.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_examined_and_by_whom() {
        let ours = ["a.example".to_owned(), "b.example".to_owned()];
        let pair = |domain: &str, from: Option<&str>| {
            let asked = Examine { domain: domain.to_owned(), from: from.map(str::to_owned) };
            asked.pair(&ours).map(|pair| (pair.local.to_string(), pair.remote.to_string()))
        };
        let named = |local: &str, remote: &str| Ok((local.to_owned(), remote.to_owned()));
        assert_eq!(pair("Other.Example", None), named("a.example", "other.example"));
        assert_eq!(pair("other.example", Some("b.example")), named("b.example", "other.example"));
        for (domain, from) in [("b.example", None), ("x y", None), ("other.example", Some("c.example"))] {
            assert!(matches!(pair(domain, from), Err(OperationError::Usage(_))), "{domain}");
        }
    }
}
