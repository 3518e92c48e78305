//! With which servers we talk, what proof we ask of them, and what they may cost.
//!
//! Pure: the one place where what the operator has said about other domains is decided on. It must never know how a
//! connection is made.

use std::collections::{HashMap, HashSet};

use crate::config::{Config, FederationMode, Peer};
use crate::stream::Pace;

/// What proves to us that a server speaks for its domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proofs {
    /// Only a certificate that we trust.
    #[default]
    Certificate,
    /// Dialback too, inside TLS with any certificate (XEP-0220): as safe as the DNS.
    CertificateOrDialback,
}

/// Who may talk to us and with whom we talk, and on which terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub mode: FederationMode,
    /// The domains of [`FederationMode::Listed`], prepared.
    pub listed: HashSet<String>,
    /// The domains with which we do not talk in any mode, prepared.
    pub barred: HashSet<String>,
    /// The terms of all domains but ...
    pub terms: Terms,
    /// ... these, prepared.
    pub special: HashMap<String, Terms>,
    /// What all domains behind one address may cost.
    pub address: Neighbourhood,
}

/// The terms on which we talk with a domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    pub proofs: Proofs,
    pub allowance: Allowance,
}

/// What one domain may cost; a number of 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// For what it sends, on all its streams together.
    pub pace: Pace,
    /// Streams that it has open to us.
    pub streams: usize,
    /// People to whom it sends messages and requests within an hour.
    pub recipients: usize,
    /// Requests for subscriptions that it sends within an hour.
    pub requests: usize,
}

/// The same for one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Neighbourhood {
    pub streams: usize,
    /// Connections within a minute; all of them may come at once.
    pub connects: Pace,
}

impl Policy {
    /// The policy that is configured.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let (federation, limits) = (&config.federation, &config.limits);
        let proofs = |accepts| if accepts { Proofs::CertificateOrDialback } else { Proofs::Certificate };
        let burst = limits.server_burst.duration();
        let of = |of: &Peer| Terms {
            proofs: proofs(of.accept_dialback.unwrap_or(federation.accept_dialback)),
            allowance: Allowance {
                pace: Pace::new(
                    of.stanzas_per_second.unwrap_or(limits.server_stanzas_per_second),
                    of.bytes_per_second.unwrap_or(limits.server_bytes_per_second).bytes(),
                    burst,
                ),
                streams: of.streams.unwrap_or(limits.server_streams),
                recipients: of.recipients_per_hour.unwrap_or(limits.server_recipients_per_hour),
                requests: of.requests_per_hour.unwrap_or(limits.server_requests_per_hour),
            },
        };
        let said = |wanted| config.peers.iter().filter(move |peer| peer.federate == Some(wanted)).map(|peer| &peer.name);
        Self {
            mode: federation.mode,
            listed: federation.allow.iter().chain(said(true)).map(ToString::to_string).collect(),
            barred: said(false).map(ToString::to_string).collect(),
            terms: of(&Peer::default()),
            special: config.peers.iter().map(|peer| (peer.name.to_string(), of(peer))).collect(),
            address: Neighbourhood {
                streams: limits.server_streams_per_address,
                connects: Pace::each_minute(limits.server_connects_per_minute),
            },
        }
    }

    /// Whether stanzas to and from `remote` pass.
    #[must_use]
    pub fn permits(&self, remote: &str) -> bool {
        let is_barred = || !self.barred.is_empty() && self.barred.contains(remote);
        match self.mode {
            FederationMode::Open => !is_barred(),
            FederationMode::Listed => self.listed.contains(remote) && !is_barred(),
            FederationMode::Closed => false,
        }
    }

    /// On which terms we talk with `remote`.
    #[must_use]
    pub fn terms(&self, remote: &str) -> &Terms {
        // Most servers treat all alike.
        let special = if self.special.is_empty() { None } else { self.special.get(remote) };
        special.unwrap_or(&self.terms)
    }

    /// Whether dialback alone proves that a server speaks for `remote`.
    #[must_use]
    pub fn accepts_dialback(&self, remote: &str) -> bool {
        self.terms(remote).proofs == Proofs::CertificateOrDialback
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::of(&Config::parse(&format!("domain = \"a.example\"\n{text}"), Path::new("comity.toml")).unwrap())
    }

    #[test]
    fn modes() {
        let peers = "[[peers]]\nname = \"foe.example\"\nfederate = false\n[[peers]]\nname = \"kin.example\"\n";
        for (mode, more, permitted) in [
            ("open", "", "friend foe kin stranger"),
            ("open", peers, "friend kin stranger"),
            ("listed\"\nallow = [\"friend.example\"]\n#\"", peers, "friend"),
            ("listed\"\nallow = [\"friend.example\"]\n#\"", &format!("{peers}federate = true\n"), "friend kin"),
            ("listed", &format!("{peers}federate = true\n"), "kin"),
            ("closed", peers, ""),
        ] {
            let policy = policy(&format!("[federation]\nmode = \"{mode}\"\n{more}"));
            let all = ["friend", "foe", "kin", "stranger"];
            let found: Vec<_> = all.into_iter().filter(|name| policy.permits(&format!("{name}.example"))).collect();
            assert_eq!(found.join(" "), permitted, "{mode} {more}");
        }
    }

    #[test]
    fn dialback_is_off_unless_said_otherwise() {
        assert!(!Policy::default().accepts_dialback("b.example"));
        assert!(!policy("").accepts_dialback("b.example"));
        let general = policy("[federation]\naccept_dialback = true\n[[peers]]\nname = \"b.example\"\naccept_dialback = false");
        assert!(general.accepts_dialback("c.example") && !general.accepts_dialback("b.example"));
        let special = policy("[[peers]]\nname = \"b.example\"\naccept_dialback = true");
        assert!(special.accepts_dialback("b.example") && !special.accepts_dialback("sub.b.example"));
    }

    #[test]
    fn what_is_not_said_of_a_domain_is_as_for_all() {
        let policy = policy(
            "[limits]\nserver_streams = 7\nserver_recipients_per_hour = 8\n\
             [[peers]]\nname = \"b.example\"\nstreams = 1\nstanzas_per_second = 0",
        );
        let (all, one) = (policy.terms("c.example").allowance, policy.terms("b.example").allowance);
        assert_eq!((all.streams, one.streams, one.recipients), (7, 1, 8));
        assert_eq!(all.requests, one.requests);
        assert_ne!(all.pace, one.pace);
    }
}
