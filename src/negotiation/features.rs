//! Stream features of a client stream, before and after authentication (RFC 6120 section 4.3.2).

use crate::accounts::sasl::channel_binding::Bindings;
use crate::accounts::sasl::{Mechanism, SASL_NS, Variant};
use crate::hooks::{StreamFeatures, StreamState};
use crate::xml::Element;

use super::bind::BIND_NS;

/// Namespace of STARTTLS (RFC 6120 §5.2).
pub const TLS_NS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

/// Namespace of what a peer may send on a stream (XEP-0478).
pub const STREAM_LIMITS_NS: &str = "urn:xmpp:stream-limits:0";

/// Room for the features of a stream that is being negotiated: they are written without being moved.
const ROOM: usize = 768;

const CHANNEL_BINDING_NS: &str = "urn:xmpp:sasl-cb:0";
const ROSTER_VERSIONING_NS: &str = "urn:xmpp:features:rosterver";
const PRE_APPROVAL_NS: &str = "urn:xmpp:features:pre-approval";

/// Whether the stream is confidential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidentiality {
    /// TLS is in force.
    Tls,
    /// It is not: nothing but STARTTLS is offered.
    None,
    /// It is not, and the operator has said that it need not be: for tests on one machine.
    Waived,
}

/// Whether PLAIN is offered inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainPolicy {
    Offered,
    /// A client that asks for it all the same is told `mechanism-too-weak`.
    Refused,
}

/// What a connection offers to a client that has not authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub confidentiality: Confidentiality,
    /// What this connection can do, no more.
    pub bindings: Bindings,
    pub plain: PlainPolicy,
}

impl Offer {
    /// The offer on a connection without TLS: STARTTLS.
    pub const STARTTLS: Self =
        Self { confidentiality: Confidentiality::None, bindings: Bindings::NONE, plain: PlainPolicy::Refused };

    /// The offer on a connection without TLS that may go on without: STARTTLS, and mechanisms that
    /// show the password to nobody.
    pub const WITHOUT_TLS: Self = Self { confidentiality: Confidentiality::Waived, ..Self::STARTTLS };

    /// The mechanisms, strongest first; none outside TLS, unless that is waived.
    pub fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        let secured = self.confidentiality == Confidentiality::Tls;
        Mechanism::ALL.iter().copied().filter(move |mechanism| {
            self.confidentiality != Confidentiality::None
                && match mechanism {
                    Mechanism::External => false,
                    Mechanism::Scram(_, Variant::Plus) => secured && !self.bindings.is_empty(),
                    Mechanism::Scram(_, Variant::Bare) => true,
                    Mechanism::Plain => secured && self.plain == PlainPolicy::Offered,
                }
        })
    }

    /// The features of the stream.
    #[must_use]
    pub fn features(&self) -> Features {
        let mut features = match self.confidentiality {
            Confidentiality::None => return Features::default().with(&starttls()),
            Confidentiality::Waived => Features::default().with(&Element::new("starttls", TLS_NS)),
            Confidentiality::Tls => Features::default(),
        };
        features.write(&["<mechanisms xmlns='", SASL_NS, "'>"]);
        for mechanism in self.mechanisms() {
            features.write(&["<mechanism>", mechanism.as_str(), "</mechanism>"]);
        }
        features.write(&["</mechanisms>"]);
        if !self.bindings.is_empty() {
            features.write(&["<sasl-channel-binding xmlns='", CHANNEL_BINDING_NS, "'>"]);
            // XEP-0440: the binding types that this connection can do.
            for kind in self.bindings.types() {
                features.write(&["<channel-binding type='", kind.as_str(), "'/>"]);
            }
            features.write(&["</sasl-channel-binding>"]);
        }
        features
    }
}

/// The children of `<stream:features/>`, as XML: every login writes them twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features(String);

impl Features {
    /// What a client stream offers after authentication (RFC 6120 §7.4; RFC 6121 §2.6.1, §3.4).
    #[must_use]
    pub fn authenticated() -> Self {
        let mut features = Self::default();
        for (name, ns) in [("bind", BIND_NS), ("ver", ROSTER_VERSIONING_NS), ("sub", PRE_APPROVAL_NS)] {
            features.write(&["<", name, " xmlns='", ns, "'/>"]);
        }
        features
    }

    /// Adds a feature at the end.
    #[must_use]
    pub fn with(mut self, feature: &Element) -> Self {
        feature.write(&mut self.0, "");
        self
    }

    /// Adds what extensions offer on such a stream.
    #[must_use]
    pub fn with_extensions(mut self, offered: &StreamFeatures, stream: StreamState) -> Self {
        offered.write(stream, &mut self.0);
        self
    }

    fn write(&mut self, parts: &[&str]) {
        if self.0.is_empty() {
            self.0.reserve(ROOM);
        }
        parts.iter().for_each(|part| self.0.push_str(part));
    }

    /// Appends `<stream:features/>` with the prefix that every header declares.
    pub fn write_to(&self, out: &mut String) {
        ["<stream:features>", &self.0, "</stream:features>"].iter().for_each(|part| out.push_str(part));
    }
}

/// `<starttls/>` as a feature that must be negotiated (RFC 6120 §5.4.1).
#[must_use]
pub fn starttls() -> Element {
    Element::new("starttls", TLS_NS).with_child(Element::new("required", TLS_NS))
}

/// `<proceed/>` (RFC 6120 §5.4.2.3).
#[must_use]
pub fn proceed() -> Element {
    Element::new("proceed", TLS_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(bindings: Bindings, plain: PlainPolicy) -> Offer {
        Offer { confidentiality: Confidentiality::Tls, bindings, plain }
    }

    fn xml(features: &Features) -> String {
        let mut out = String::new();
        features.write_to(&mut out);
        out
    }

    // Proves: RFC 6120 §5.3.1, §5.4.1, §6.3.4, §13.8.3
    #[test]
    fn outside_tls_there_is_only_starttls() {
        assert_eq!(
            xml(&Offer::STARTTLS.features()),
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
             </stream:features>"
        );
        let odd = Offer { plain: PlainPolicy::Offered, ..Offer::STARTTLS };
        assert_eq!(odd.mechanisms().count(), 0);
    }

    // Proves: RFC 6120 §5.3.1, §13.8.3
    #[test]
    fn where_tls_is_waived_no_password_is_asked_for() {
        assert_eq!(
            xml(&Offer::WITHOUT_TLS.features()),
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\
             <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism>\
             <mechanism>SCRAM-SHA-1</mechanism></mechanisms></stream:features>"
        );
        let odd = Offer { plain: PlainPolicy::Offered, ..Offer::WITHOUT_TLS };
        assert_eq!(odd.features(), Offer::WITHOUT_TLS.features());
    }

    // Proves: XEP-0440
    // Proves: RFC 6120 §6.3.3, §6.4.1, §13.8.1
    #[test]
    fn exactly_what_the_connection_can_do_is_offered() {
        let end_point = Bindings { exporter: None, end_point: Some(vec![1; 32]) };
        assert_eq!(
            xml(&offer(end_point.clone(), PlainPolicy::Offered).features()),
            "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
             <mechanism>SCRAM-SHA-256-PLUS</mechanism><mechanism>SCRAM-SHA-1-PLUS</mechanism>\
             <mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism>\
             </mechanisms><sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>\
             <channel-binding type='tls-server-end-point'/></sasl-channel-binding></stream:features>"
        );
        let both = Bindings { exporter: Some([2; 32]), ..end_point };
        assert!(
            xml(&offer(both, PlainPolicy::Refused).features())
                .contains("<channel-binding type='tls-exporter'/><channel-binding type='tls-server-end-point'/>")
        );
        assert_eq!(
            xml(&offer(Bindings::NONE, PlainPolicy::Refused).features()),
            "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
             <mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism></mechanisms></stream:features>"
        );
    }

    // Proves: RFC 6120 §5.3.3, §6.4.6, §7.4, RFC 6121 §2.6.1, §3.4
    #[test]
    fn after_authentication_a_resource_is_to_be_bound() {
        let features = Features::authenticated().with(&Element::new("sm", "urn:xmpp:sm:3"));
        assert_eq!(
            xml(&features),
            "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
             <ver xmlns='urn:xmpp:features:rosterver'/><sub xmlns='urn:xmpp:features:pre-approval'/>\
             <sm xmlns='urn:xmpp:sm:3'/></stream:features>"
        );
        assert_eq!(proceed().to_xml(""), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    }
}
