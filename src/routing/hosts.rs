//! Which domains are served here, and by what.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::jid::{BareJid, Jid};

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

    /// The first of the local domains.
    pub(super) fn name(&self) -> &str {
        self.local.keys().next().map_or("", |name| name)
    }

    /// The shared name of a local domain.
    pub(super) fn local(&self, domain: &str) -> Option<&Arc<str>> {
        self.local.get_key_value(domain).map(|(name, _)| name)
    }

    /// Spells the address of one of our own accounts as the account is called: some characters that
    /// an address may have are no part of a name here ([`crate::jid::account_localpart`]).
    pub(super) fn respell(&self, address: &mut Option<Jid>) {
        let Some(jid) = address else { return };
        let Some(local) = jid.local().filter(|local| !local.is_ascii()) else { return };
        if self.of(jid.domain()) == Host::Remote {
            return;
        }
        let Ok(account) = BareJid::account(local, jid.domain()) else { return };
        let spelled = match jid.resource() {
            None => Some(account.into()),
            Some(resource) => account.with_resource(resource).ok(),
        };
        *address = spelled;
    }

    /// Where the state of `account` lives; asked before any of it is touched.
    #[expect(clippy::unused_self, reason = "the seam for several nodes; today every account is here")]
    pub(super) const fn owner(&self, _account: &BareJid) -> Place {
        Place::Here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_accounts_have_one_spelling() {
        let hosts = Hosts::new([Arc::from("verona.example")]);
        let respelled = |text: &str| {
            let mut address = Some(text.parse().unwrap());
            hosts.respell(&mut address);
            address.unwrap().to_string()
        };
        // A zero width joiner behind a virama is allowed (RFC 5892 appendix A.2).
        let joined = "\u{915}\u{94D}\u{200D}\u{937}";
        assert_eq!(respelled(&format!("{joined}@verona.example/x")), "\u{915}\u{94D}\u{937}@verona.example/x");
        assert_eq!(respelled(&format!("{joined}@mantua.example")), format!("{joined}@mantua.example"));
        assert_eq!(respelled("romeo@verona.example"), "romeo@verona.example");
    }
}
