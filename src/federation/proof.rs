//! What proves that a peer speaks for a domain, how strong that is, and on what it rests.
//!
//! RFC 6120 §13.7 and RFC 9525 (certificates), RFC 6698, RFC 7671 and RFC 7673 (keys in a signed DNS), RFC 7712 (the same
//! for whoever connects to us), XEP-0220 (dialback), and keys that the operator has pinned. One component for both
//! directions, for policy and for whoever looks at streams.
//!
//! Pure: what a peer has shown, a domain and the grounds go in, a [`Proof`] or the [`Reason`] why there is none comes out.
//! `domain` is always the one of the stream (`to` for the side that connected, `from` for the other); another name counts
//! only where signed DNS records lead to it. The usage asked of a certificate is that of a server in both directions,
//! because authorities no longer issue certificates for clients to servers. Revocation is not looked at.
//! It must never know how anything arrived or what is done with the judgement.

mod dane;
mod pin;
mod pkix;
mod reason;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

pub use pin::{Key, Pins};
pub use reason::Reason;

use self::reason::Date;
use crate::net::dns::{Security, Tlsa};
use crate::net::tls::Trust;
use crate::net::tls::names::Presented;

/// That a peer speaks for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    evidence: Evidence,
}

/// In which way it is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A trusted authority says so in a certificate.
    Pkix,
    /// The domain says so in a signed DNS.
    Dane,
    /// The operator of this server says so.
    Pin,
    /// Whoever the DNS names for the domain says so.
    Dialback,
}

/// What has to go wrong before somebody else passes for the domain, the easiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// Somebody forges an answer of the DNS, or is on the way to the server that it names.
    Unsigned,
    /// Somebody is on the way to that server.
    Signed,
    /// The peer is deceived about us, and gives somebody a key that is meant for us: it says so itself, over a connection on
    /// which it is proven.
    Vouched,
    /// One of the trusted authorities is deceived.
    Authority,
    /// Somebody gets at the keys of the domain's zone, or of one above it.
    Zone,
    /// The peer's own key gets lost.
    Key,
}

/// On what a proof rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    Pkix {
        /// The name in the certificate that stands for the domain.
        name: Presented,
        /// It is the name of a host instead, to which signed SRV records of the domain lead.
        host: Option<String>,
        /// When the first certificate of the path ends; the stream has to be proven anew then
        /// (RFC 6120 §13.7.2.3).
        until: SystemTime,
    },
    Dane {
        /// The record that fits.
        record: Tlsa,
        /// Where it is published.
        host: String,
        port: u16,
        /// As above, where certificates count at all.
        until: Option<SystemTime>,
    },
    Pin(Key),
    Dialback(Asked),
}

/// Who has been asked about a dialback key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its address.
    pub server: String,
    /// What the DNS records are worth that lead there.
    pub security: Security,
    /// How it has proven itself, if it has.
    pub proof: Option<Box<Proof>>,
}

/// What a peer has shown, its own certificate first, and in which role.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub chain: &'a [CertificateDer<'a>],
    pub role: Role,
}

/// Which side of TLS the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    /// A certificate that is limited to the purpose of clients, as private authorities issue them, is in its place here.
    Client,
}

/// A server to which signed SRV records of the domain lead, and what a signed DNS says about its keys (RFC 7673 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    /// Empty if nothing was published.
    pub keys: Vec<Tlsa>,
}

/// What counts here and now.
#[derive(Debug, Clone, Copy)]
pub struct Grounds<'a> {
    pub now: SystemTime,
    pub trust: &'a Trust,
    pub pins: &'a Pins,
    /// The one that we have connected to, or, for whoever has connected to us, all of the domain.
    pub endpoints: &'a [Endpoint],
    /// The kinds of proof that count for the domain: whoever has two shows the one that does.
    pub accepted: &'a [Kind],
}

/// Judges what a peer has shown.
///
/// # Errors
/// Why it proves nothing.
pub fn prove(shown: Shown<'_>, domain: &str, grounds: &Grounds<'_>) -> Result<Proof, Reason> {
    let evidence = match grounds.pins.of(domain) {
        // Who pins keys says that nothing else counts.
        Some(pinned) => Evidence::Pin(pin::fitting(shown, pinned)?),
        None => match shown.role {
            // RFC 7673 §4.2: with usable records, they and nothing else.
            Role::Server if dane::is_usable(grounds.endpoints) => dane::fitting(shown, domain, grounds)?,
            Role::Server => pkix::path_and_name(shown, domain, grounds)?,
            // RFC 7712 §2: any proof will do. Whoever connects may be another machine than those that the records name.
            Role::Client => match pkix::path_and_name(shown, domain, grounds) {
                Ok(path) if grounds.accepted.contains(&Kind::Pkix) => path,
                Err(Reason::NoCertificate) => return Err(Reason::NoCertificate),
                _ if dane::is_usable(grounds.endpoints) => dane::fitting(shown, domain, grounds)?,
                judged => judged?,
            },
        },
    };
    Ok(Proof { evidence })
}

impl From<Evidence> for Proof {
    fn from(evidence: Evidence) -> Self {
        Self { evidence }
    }
}

impl Proof {
    /// By dialback: the server that was asked has said that the key is right.
    #[must_use]
    pub const fn dialback(asked: Asked) -> Self {
        Self { evidence: Evidence::Dialback(asked) }
    }

    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.evidence {
            Evidence::Pkix { .. } => Kind::Pkix,
            Evidence::Dane { .. } => Kind::Dane,
            Evidence::Pin(_) => Kind::Pin,
            Evidence::Dialback(_) => Kind::Dialback,
        }
    }

    #[must_use]
    pub fn strength(&self) -> Strength {
        match &self.evidence {
            Evidence::Pkix { .. } => Strength::Authority,
            Evidence::Dane { .. } => Strength::Zone,
            Evidence::Pin(_) => Strength::Key,
            Evidence::Dialback(Asked { proof: Some(proof), .. }) => Strength::Vouched.min(proof.strength()),
            Evidence::Dialback(Asked { security: Security::Secure, .. }) => Strength::Signed,
            Evidence::Dialback(_) => Strength::Unsigned,
        }
    }

    /// When the stream has to be proven anew, if certificates say so.
    #[must_use]
    pub fn until(&self) -> Option<SystemTime> {
        match &self.evidence {
            Evidence::Pkix { until, .. } => Some(*until),
            Evidence::Dane { until, .. } => *until,
            Evidence::Pin(_) | Evidence::Dialback(_) => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pkix => "certificate",
            Self::Dane => "DANE",
            Self::Pin => "pinned key",
            Self::Dialback => "dialback",
        })
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "as good as an unsigned DNS and the way to the server",
            Self::Signed => "as good as the way to the server",
            Self::Vouched => "as good as the peer's care about whom it talks to",
            Self::Authority => "as good as the trusted authorities",
            Self::Zone => "as good as the signed DNS",
            Self::Key => "as good as the peer's own key",
        })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.evidence {
            Evidence::Pkix { name, host: None, until } => {
                write!(f, "proven by the certificate for {name}, until {}", Date(*until))
            }
            Evidence::Pkix { name, host: Some(host), until } => {
                write!(
                    f,
                    "proven by the certificate for {name}, to which signed SRV records lead ({host}), until {}",
                    Date(*until)
                )
            }
            Evidence::Dane { record, host, port, .. } => {
                write!(f, "proven by the signed record _{port}._tcp.{host} TLSA {record}")
            }
            Evidence::Pin(key) => write!(f, "proven by the pinned key {key}"),
            Evidence::Dialback(Asked { server, security, proof }) => {
                let dns = if *security == Security::Secure { "signed" } else { "unsigned" };
                write!(f, "proven by dialback: {server}, found by {dns} DNS records, says so, ")?;
                match proof {
                    Some(proof) => write!(f, "itself {proof}"),
                    None => f.write_str("itself not proven"),
                }
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.host, self.port)
    }
}
