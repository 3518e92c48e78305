//! With which servers we talk, and what proof we ask of them.
//!
//! Pure. It must never know how a connection is made.

use std::collections::HashSet;

use crate::config::{Federation, FederationMode};

/// What proves to us that a server speaks for its domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proofs {
    /// Only a certificate that we trust.
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

    /// Whether dialback alone proves that a server speaks for its domain.
    #[must_use]
    pub fn accepts_dialback(&self) -> bool {
        self.proofs == Proofs::CertificateOrDialback
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
        assert!(!Policy::default().accepts_dialback());
        assert!(!Policy::of(&Federation::default()).accepts_dialback());
        let config = Federation { accept_dialback: true, ..Federation::default() };
        assert!(Policy::of(&config).accepts_dialback());
    }
}
