//! With which servers we talk, and what proof we ask of them.
//!
//! Pure. It must never know how a connection is made.

use std::collections::HashSet;

use crate::config::{Federation, FederationMode};
use crate::federation::proof::Kind;

/// What proves to us that a server speaks for its domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proofs {
    /// Only its own key: one that an authority, the domain or the operator names.
    #[default]
    Certificate,
    /// Dialback too, inside TLS with any certificate (XEP-0220): as safe as the DNS.
    CertificateOrDialback,
}

/// Who may talk to us and with whom we talk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub mode: FederationMode,
    /// The domains of [`FederationMode::Listed`], prepared.
    pub listed: HashSet<String>,
    pub proofs: Proofs,
}

impl Policy {
    /// The policy that is configured.
    #[must_use]
    pub fn of(config: &Federation) -> Self {
        let proofs = if config.accept_dialback { Proofs::CertificateOrDialback } else { Proofs::Certificate };
        let listed = config.allow.iter().map(|domain| domain.as_str().to_owned()).collect();
        Self { mode: config.mode, listed, proofs }
    }

    /// Whether stanzas to and from `remote` pass.
    #[must_use]
    pub fn permits(&self, remote: &str) -> bool {
        match self.mode {
            FederationMode::Open => true,
            FederationMode::Listed => self.listed.contains(remote),
            FederationMode::Closed => false,
        }
    }

    /// Whether a proof of this kind is enough for `remote`.
    #[must_use]
    pub fn accepts(&self, _remote: &str, kind: Kind) -> bool {
        match kind {
            Kind::Pkix | Kind::Dane | Kind::Pin => true,
            Kind::Dialback => self.proofs == Proofs::CertificateOrDialback,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        let listed = HashSet::from(["friend.example".to_owned()]);
        let policy = |mode| Policy { mode, listed: listed.clone(), proofs: Proofs::Certificate };
        for (mode, friend, stranger) in [
            (FederationMode::Open, true, true),
            (FederationMode::Listed, true, false),
            (FederationMode::Closed, false, false),
        ] {
            assert_eq!(policy(mode).permits("friend.example"), friend);
            assert_eq!(policy(mode).permits("stranger.example"), stranger);
        }
    }

    #[test]
    fn dialback_is_off_unless_said_otherwise() {
        let accepts = |policy: Policy| policy.accepts("there.example", Kind::Dialback);
        assert!(!accepts(Policy::default()));
        assert!(!accepts(Policy::of(&Federation::default())));
        let config = Federation { accept_dialback: true, ..Federation::default() };
        assert!(accepts(Policy::of(&config)));
        assert!(Policy::default().accepts("there.example", Kind::Pkix));
    }
}
