//! With which servers we talk, what proof we ask of them, and what they may cost.
//!
//! Pure: the one place where what the operator has said about other domains is decided on. It must never know how a
//! connection is made.

use std::collections::{HashMap, HashSet};

use crate::config::{Config, FederationMode, Peer, ProofKind};
use crate::federation::proof::Kind;
use crate::stream::Pace;

/// What proves to us that a server speaks for its domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proofs {
    /// Only its own key: one that an authority, the domain or the operator names.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What proves that a server speaks for it.
    pub proofs: Vec<Kind>,
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

impl Proofs {
    /// What that means for each kind of proof.
    #[must_use]
    pub fn kinds(self) -> Vec<Kind> {
        let mut kinds = vec![Kind::Pkix, Kind::Dane, Kind::Pin];
        if self == Self::CertificateOrDialback {
            kinds.push(Kind::Dialback);
        }
        kinds
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self { proofs: Proofs::default().kinds(), allowance: Allowance::default() }
    }
}

impl Policy {
    /// The policy that is configured.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let (federation, limits) = (&config.federation, &config.limits);
        let general = if federation.accept_dialback { Proofs::CertificateOrDialback } else { Proofs::Certificate };
        let burst = limits.server_burst.duration();
        let of = |of: &Peer| Terms {
            proofs: of.proofs.as_ref().map_or_else(|| general.kinds(), |it| it.iter().map(|it| kind(*it)).collect()),
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
        let said =
            |wanted| config.peers.iter().filter(move |peer| peer.federate == Some(wanted)).map(|peer| &peer.name);
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

    /// Whether a proof of this kind is enough for `remote`.
    #[must_use]
    pub fn accepts(&self, remote: &str, kind: Kind) -> bool {
        self.terms(remote).proofs.contains(&kind)
    }
}

const fn kind(said: ProofKind) -> Kind {
    match said {
        ProofKind::Pkix => Kind::Pkix,
        ProofKind::Dane => Kind::Dane,
        ProofKind::Pin => Kind::Pin,
        ProofKind::Dialback => Kind::Dialback,
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
        let listed = "listed\"\nallow = [\"friend.example\"]\n#\"";
        for (mode, more, permitted) in [
            ("open", "", "friend foe kin stranger"),
            ("open", peers, "friend kin stranger"),
            (listed, peers, "friend"),
            (listed, &format!("{peers}federate = true\n"), "friend kin"),
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
        let accepts = |policy: &Policy, remote| policy.accepts(remote, Kind::Dialback);
        assert!(!accepts(&Policy::default(), "b.example") && !accepts(&policy(""), "b.example"));
        let general = "[federation]\naccept_dialback = true\n[[peers]]\nname = \"b.example\"\n";
        let general = policy(&format!("{general}proofs = [\"dane\"]"));
        assert!(accepts(&general, "c.example") && !accepts(&general, "b.example"));
        let special = policy("[[peers]]\nname = \"b.example\"\nproofs = [\"pkix\", \"dialback\"]");
        assert!(accepts(&special, "b.example") && !accepts(&special, "sub.b.example"));
    }

    #[test]
    fn a_domain_may_be_asked_for_more() {
        let policy = policy("[[peers]]\nname = \"b.example\"\nproofs = [\"dane\", \"pin\"]");
        for (remote, accepted) in [("b.example", [false, true, true, false]), ("c.example", [true, true, true, false])]
        {
            let kinds = [Kind::Pkix, Kind::Dane, Kind::Pin, Kind::Dialback];
            assert_eq!(kinds.map(|kind| policy.accepts(remote, kind)), accepted, "{remote}");
        }
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
