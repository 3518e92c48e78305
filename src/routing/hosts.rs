//! Which domains are served here, and by what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use crate::jid::{BareJid, Jid};

use super::service::Service;

/// Who serves a domain.
#[derive(Clone, Copy)]
pub(super) enum Host<'a> {
    /// Accounts of this server.
    Accounts,
    /// Something on this server that has no accounts.
    Service(&'a dyn Service),
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
pub(super) struct Hosts {
    accounts: BTreeSet<Arc<str>>,
    services: OnceLock<Services>,
}

type Services = BTreeMap<Arc<str>, Arc<dyn Service>>;

impl Hosts {
    pub(super) fn new(domains: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { accounts: domains.into_iter().collect(), services: OnceLock::new() }
    }

    /// Gives further domains to services. Only the first call counts.
    pub(super) fn serve(&self, services: Services) {
        self.services.get_or_init(|| services);
    }

    /// Who serves `domain`: everything that is not served here is remote.
    pub(super) fn of(&self, domain: &str) -> Host<'_> {
        if self.has_accounts(domain) {
            return Host::Accounts;
        }
        let service = self.services.get().and_then(|services| services.get(domain));
        service.map_or(Host::Remote, |service| Host::Service(&**service))
    }

    /// Whether `domain` is one whose accounts are here.
    pub(super) fn has_accounts(&self, domain: &str) -> bool {
        self.accounts.contains(domain)
    }

    /// Everything that serves a domain without accounts.
    pub(super) fn services(&self) -> impl Iterator<Item = &dyn Service> {
        self.services.get().into_iter().flat_map(BTreeMap::values).map(|service| &**service)
    }

    /// The first of the local domains.
    pub(super) fn name(&self) -> &str {
        self.accounts.first().map_or("", |name| name)
    }

    /// The domains whose accounts are here.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.accounts.iter()
    }

    /// Every local domain.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<str>> {
        self.accounts.iter().chain(self.services.get().into_iter().flat_map(BTreeMap::keys))
    }

    /// The shared name of a local domain.
    pub(super) fn local(&self, domain: &str) -> Option<&Arc<str>> {
        let service = || self.services.get()?.get_key_value(domain).map(|(name, _)| name);
        self.accounts.get(domain).or_else(service)
    }

    /// Spells the address of one of our own accounts as the account is called: some characters that
    /// an address may have are no part of a name here ([`crate::jid::account_localpart`]).
    pub(super) fn respell(&self, address: &mut Option<Jid>) {
        let Some(jid) = address else { return };
        let Some(local) = jid.local().filter(|local| !local.is_ascii()) else { return };
        if !self.has_accounts(jid.domain()) {
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

    // Proves: RFC 6120 §4.9.1.3
    #[test]
    fn the_server_has_the_name_of_its_first_domain() {
        let hosts = Hosts::new(["verona.example", "mantua.example"].map(Arc::from));
        assert_eq!(hosts.name(), "mantua.example");
    }

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
