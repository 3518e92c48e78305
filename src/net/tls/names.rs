//! The names that a certificate presents, and when one stands for a domain (RFC 6120 §13.7.1, RFC 9525 §6).
//!
//! Only subjectAltName counts: DNS-ID, SRV-ID (RFC 4985) and the XMPP address of RFC 6120 §13.7.1.4.
//! The subject's Common Name is never looked at.

use std::fmt;

use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::{Any, FromDer, Tag};
use x509_parser::extensions::GeneralName;

use crate::jid::a_labels;
use crate::telemetry::harmless;

const ID_ON_XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";
const ID_ON_DNS_SRV: &str = "1.3.6.1.5.5.7.8.7";

/// A name that a certificate presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// A `dNSName`, possibly with a wildcard.
    Dns(String),
    /// An `SRVName`, as in `_xmpp-server.example.org`.
    Srv(String),
    /// An XMPP address.
    XmppAddr(String),
}

/// The service in whose name a certificate is asked to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Clients connect to it.
    Client,
    /// Other servers connect to it, or it connects to them.
    Server,
}

impl fmt::Display for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::Dns(name) => ("DNS", name),
            Self::Srv(name) => ("SRV", name),
            Self::XmppAddr(name) => ("XMPP", name),
        };
        // A stranger chose the name, and it ends up in a log.
        write!(f, "{kind} {}", harmless(name))
    }
}

/// All names of a certificate; one that is not well-formed is left out.
#[must_use]
pub fn presented(certificate: &X509Certificate<'_>) -> Vec<Presented> {
    match certificate.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().filter_map(read).collect(),
        _ => Vec::new(),
    }
}

fn read(name: &GeneralName<'_>) -> Option<Presented> {
    match name {
        GeneralName::DNSName(name) if name.is_ascii() => Some(Presented::Dns((*name).to_owned())),
        GeneralName::OtherName(oid, value) => match oid.to_id_string().as_str() {
            ID_ON_DNS_SRV => other(value, Tag::Ia5String).filter(|name| name.is_ascii()).map(Presented::Srv),
            ID_ON_XMPP_ADDR => other(value, Tag::Utf8String).map(Presented::XmppAddr),
            _ => None,
        },
        _ => None,
    }
}

/// The text inside `[0] EXPLICIT`, if it is of the right type and nothing follows it.
fn other(value: &[u8], tag: Tag) -> Option<String> {
    let (rest, explicit) = Any::from_der(value).ok()?;
    if !rest.is_empty() || explicit.tag() != Tag(0) {
        return None;
    }
    let (rest, text) = Any::from_der(explicit.data).ok()?;
    if !rest.is_empty() || text.tag() != tag {
        return None;
    }
    std::str::from_utf8(text.data).ok().map(str::to_owned)
}

impl Presented {
    /// Whether this name stands for `reference`, which is in the form of [`a_labels`].
    #[must_use]
    pub fn stands_for(&self, reference: &str, service: Service) -> bool {
        let is_address = reference.parse::<std::net::Ipv4Addr>().is_ok();
        match self {
            Self::Dns(name) => !is_address && dns_matches(name, reference),
            Self::Srv(name) => {
                let label = match service {
                    Service::Client => "_xmpp-client",
                    Service::Server => "_xmpp-server",
                };
                // RFC 4985 knows no wildcard.
                !is_address
                    && name.split_once('.').is_some_and(|(first, domain)| {
                        first.eq_ignore_ascii_case(label) && domain.eq_ignore_ascii_case(reference)
                    })
            }
            // An address with localpart or resourcepart is somebody else's: `a_labels` refuses it.
            Self::XmppAddr(address) => a_labels(address).is_some_and(|domain| domain == reference),
        }
    }
}

/// RFC 9525 §6.3: a wildcard is the whole left-most label and matches exactly one label.
fn dns_matches(presented: &str, reference: &str) -> bool {
    match presented.strip_prefix("*.") {
        Some(parent) => reference.split_once('.').is_some_and(|(_, rest)| parent.eq_ignore_ascii_case(rest)),
        None => presented.eq_ignore_ascii_case(reference),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: RFC 6120 §13.7.1.2.1
    #[test]
    fn dns_names() {
        let matching = [
            ("example.org", "example.org"),
            ("EXAMPLE.org", "example.org"),
            ("*.example.org", "im.example.org"),
            ("*.Example.org", "im.example.org"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ];
        for (presented, reference) in matching {
            assert!(Presented::Dns(presented.into()).stands_for(reference, Service::Server), "{presented}");
        }
        let other = [
            ("*.example.org", "example.org"),
            ("*.example.org", "a.b.example.org"),
            ("*.*.example.org", "a.b.example.org"),
            ("*", "example"),
            ("*", "example.org"),
            ("*.", "example"),
            ("i*.example.org", "im.example.org"),
            ("*m.example.org", "im.example.org"),
            ("im.*.org", "im.example.org"),
            ("example.org.", "example.org"),
            ("example.org\0.evil.test", "example.org"),
            ("evil.test", "example.org"),
            ("127.0.0.1", "127.0.0.1"),
            ("*.0.0.1", "127.0.0.1"),
            ("", "example.org"),
        ];
        for (presented, reference) in other {
            assert!(!Presented::Dns(presented.into()).stands_for(reference, Service::Server), "{presented}");
        }
    }

    // Proves: RFC 6120 §13.7.1.2.1
    #[test]
    fn srv_names() {
        let name = |text: &str| Presented::Srv(text.into());
        assert!(name("_xmpp-server.example.org").stands_for("example.org", Service::Server));
        assert!(name("_XMPP-Server.Example.org").stands_for("example.org", Service::Server));
        assert!(name("_xmpp-client.example.org").stands_for("example.org", Service::Client));
        for wrong in [
            "_xmpp-client.example.org",
            "_xmpp-server._tcp.example.org",
            "_xmpp-server.*.org",
            "_xmpp-server.evil.test",
            "example.org",
            "_http.example.org",
        ] {
            assert!(!name(wrong).stands_for("example.org", Service::Server), "{wrong}");
        }
    }

    // Proves: RFC 6120 §13.7.1.4
    #[test]
    fn xmpp_addresses() {
        let name = |text: &str| Presented::XmppAddr(text.into());
        assert!(name("example.org").stands_for("example.org", Service::Server));
        assert!(name("bücher.example").stands_for("xn--bcher-kva.example", Service::Server));
        assert!(name("BÜCHER.example").stands_for("xn--bcher-kva.example", Service::Server));
        for wrong in ["juliet@example.org", "example.org/x", "*.example.org", "*.org", ""] {
            assert!(!name(wrong).stands_for("example.org", Service::Server), "{wrong}");
        }
    }

    #[test]
    fn a_hostile_name_is_shown_harmlessly() {
        assert_eq!(Presented::Dns("a\n\u{1b}[2J".into()).to_string(), "DNS a\\u{a}\\u{1b}[2J");
    }
}
