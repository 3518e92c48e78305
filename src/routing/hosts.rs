//! Which domains are served here, and by what.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::jid::BareJid;

/// Who serves a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// Accounts of this server.
    Accounts,
    /// Another server, reached by federation.
    Remote,
}

/// Where the state of an account lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In this process.
    Here,
}

/// The table of local domains.
#[derive(Debug)]
pub(super) struct Hosts {
    local: BTreeMap<Arc<str>, Host>,
}

impl Hosts {
    pub(super) fn new(domains: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { local: domains.into_iter().map(|domain| (domain, Host::Accounts)).collect() }
    }

    /// Who serves `domain`: everything that is not served here is remote.
    pub(super) fn of(&self, domain: &str) -> Host {
        self.local.get(domain).copied().unwrap_or(Host::Remote)
    }

    /// The shared name of a local domain.
    pub(super) fn local(&self, domain: &str) -> Option<&Arc<str>> {
        self.local.get_key_value(domain).map(|(name, _)| name)
    }

    /// Where the state of `account` lives; asked before any of it is touched.
    #[expect(clippy::unused_self, reason = "the seam for several nodes; today every account is here")]
    pub(super) const fn owner(&self, _account: &BareJid) -> Place {
        Place::Here
    }
}
