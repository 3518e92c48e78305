//! Stream features of a client stream, before and after authentication (RFC 6120 section 4.3.2).

use crate::accounts::credentials::ScramHash;
use crate::accounts::sasl::channel_binding::Bindings;
use crate::accounts::sasl::{Mechanism, SASL_NS, Variant};
use crate::hooks::{InlineOffers, StreamFeatures, StreamState};
use crate::jid::BareJid;
use crate::net::TlsVersion;
use crate::xml::Element;

use super::bind::BIND_NS;
use super::xep_0386_bind2::BIND2_NS;
use super::xep_0388_sasl2::SASL2_NS;
use super::xep_0480_upgrade::{self as upgrade, UPGRADE_NS};
use super::xep_0484_fast::FAST_NS;

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

/// Whether clients get tokens to log in with the next time (XEP-0484).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPolicy {
    Issued,
    None,
}

/// What a connection offers to a client that has not authenticated.
#[derive(Debug, Clone)]
pub struct Offer {
    pub confidentiality: Confidentiality,
    /// What this connection can do, no more.
    pub bindings: Bindings,
    pub version: Option<TlsVersion>,
    pub plain: PlainPolicy,
    /// Those for which everybody has keys.
    pub hashes: &'static [ScramHash],
    pub tokens: TokenPolicy,
    /// The accounts that the client's certificate names, as far as they would be here.
    pub certified: Vec<BareJid>,
}

impl Offer {
    /// The offer on a connection without TLS: STARTTLS.
    pub const STARTTLS: Self = Self::outside_tls(Confidentiality::None);

    /// The offer on a connection without TLS that may go on without: STARTTLS, and mechanisms that
    /// show the password to nobody.
    pub const WITHOUT_TLS: Self = Self::outside_tls(Confidentiality::Waived);

    const fn outside_tls(confidentiality: Confidentiality) -> Self {
        Self {
            confidentiality,
            bindings: Bindings::NONE,
            version: None,
            plain: PlainPolicy::Refused,
            hashes: ScramHash::OLD,
            tokens: TokenPolicy::None,
            certified: Vec::new(),
        }
    }

    /// The mechanisms, strongest first; none outside TLS, unless that is waived.
    pub fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        let secured = self.confidentiality == Confidentiality::Tls;
        Mechanism::ALL.iter().copied().filter(move |mechanism| {
            self.confidentiality != Confidentiality::None
                && match mechanism {
                    // RFC 6120 §6.3.4: to nobody who could not use it.
                    Mechanism::External => secured && !self.certified.is_empty(),
                    // Tokens are offered in a place of their own.
                    Mechanism::HashedToken(_) => false,
                    Mechanism::Scram(hash, _) if !self.hashes.contains(hash) => false,
                    Mechanism::Scram(_, Variant::Plus) => secured && !self.bindings.is_empty(),
                    Mechanism::Scram(_, Variant::Bare) => true,
                    Mechanism::Plain => secured && self.plain == PlainPolicy::Offered,
                }
        })
    }

    /// The mechanisms for who has a token.
    pub fn with_token(&self) -> impl Iterator<Item = Mechanism> {
        let offered = self.confidentiality == Confidentiality::Tls && self.tokens == TokenPolicy::Issued;
        Mechanism::ALL.iter().copied().filter(move |mechanism| match mechanism {
            Mechanism::HashedToken(None) => offered,
            Mechanism::HashedToken(Some(kind)) => offered && self.bindings.has(*kind),
            Mechanism::External | Mechanism::Scram(..) | Mechanism::Plain => false,
        })
    }

    /// The hash functions that somebody has no keys for, which a client may make (XEP-0480).
    pub fn upgrades(&self) -> impl Iterator<Item = ScramHash> {
        let secured = self.confidentiality == Confidentiality::Tls;
        ScramHash::ALL.iter().copied().filter(move |hash| secured && !self.hashes.contains(hash))
    }

    /// The features of the stream; `inline` is what may be asked for together with authentication.
    #[must_use]
    pub fn features(&self, inline: &InlineOffers) -> Features {
        let mut features = match self.confidentiality {
            Confidentiality::None => return Features::default().with(&starttls()),
            Confidentiality::Waived => Features::default().with(&Element::new("starttls", TLS_NS)),
            Confidentiality::Tls => Features::default(),
        };
        features.write(&["<mechanisms xmlns='", SASL_NS, "'>"]);
        features.write_all(self.mechanisms());
        features.write(&["</mechanisms>"]);
        // XEP-0388 §3: inside TLS only.
        if self.confidentiality == Confidentiality::Tls {
            self.write_sasl2(&mut features, inline);
        }
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

    /// XEP-0388 §2.1, XEP-0386 §3.1, XEP-0484 §3.1, XEP-0480 §2.1.
    fn write_sasl2(&self, features: &mut Features, inline: &InlineOffers) {
        features.write(&["<authentication xmlns='", SASL2_NS, "'>"]);
        features.write_all(self.mechanisms());
        features.write(&["<inline><bind xmlns='", BIND2_NS, "'><inline>"]);
        inline.write_for_binding(&mut features.0);
        features.write(&["</inline></bind>"]);
        inline.write_for_login(&mut features.0);
        if self.with_token().next().is_some() {
            features.write(&["<fast xmlns='", FAST_NS, "'>"]);
            features.write_all(self.with_token());
            features.write(&["</fast>"]);
        }
        features.write(&["</inline>"]);
        for hash in self.upgrades() {
            features.write(&["<upgrade xmlns='", UPGRADE_NS, "'>", upgrade::task(hash), "</upgrade>"]);
        }
        features.write(&["</authentication>"]);
    }
}

/// The children of `<stream:features/>`, as XML: every login writes them twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features(String);

impl Features {
    /// What a client stream offers after authentication (RFC 6120 §7.4; RFC 6121 §2.6.1, §3.4).
    #[must_use]
    pub fn authenticated() -> Self {
        Self::of(&[("bind", BIND_NS), ("ver", ROSTER_VERSIONING_NS), ("sub", PRE_APPROVAL_NS)])
    }

    /// The same where a resource has been bound already.
    #[must_use]
    pub fn bound() -> Self {
        Self::of(&[("ver", ROSTER_VERSIONING_NS), ("sub", PRE_APPROVAL_NS)])
    }

    fn of(empty: &[(&str, &str)]) -> Self {
        let mut features = Self::default();
        empty.iter().for_each(|(name, ns)| features.write(&["<", name, " xmlns='", ns, "'/>"]));
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

    /// As XML, one after the other.
    #[must_use]
    pub fn xml(&self) -> &str {
        &self.0
    }

    fn write_all(&mut self, mechanisms: impl Iterator<Item = Mechanism>) {
        mechanisms.for_each(|mechanism| self.write(&["<mechanism>", mechanism.as_str(), "</mechanism>"]));
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
        Offer { confidentiality: Confidentiality::Tls, bindings, plain, ..Offer::STARTTLS }
    }

    fn features(offer: &Offer) -> String {
        xml(&offer.features(&InlineOffers::default()))
    }

    /// The feature of SASL2 with these mechanisms.
    fn sasl2(mechanisms: &str, fast: &str) -> String {
        format!(
            "<authentication xmlns='urn:xmpp:sasl:2'>{mechanisms}<inline><bind xmlns='urn:xmpp:bind:0'><inline></inline>\
             </bind>{fast}</inline><upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade></authentication>"
        )
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
            features(&Offer::STARTTLS),
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
             </stream:features>"
        );
        let odd = Offer { plain: PlainPolicy::Offered, ..Offer::STARTTLS };
        assert_eq!(odd.mechanisms().count() + odd.with_token().count(), 0);
    }

    // Proves: RFC 6120 §5.3.1, §13.8.3
    #[test]
    fn where_tls_is_waived_no_password_is_asked_for() {
        assert_eq!(
            features(&Offer::WITHOUT_TLS),
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\
             <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism>\
             <mechanism>SCRAM-SHA-1</mechanism></mechanisms></stream:features>"
        );
        let odd = Offer { plain: PlainPolicy::Offered, tokens: TokenPolicy::Issued, ..Offer::WITHOUT_TLS };
        assert_eq!(features(&odd), features(&Offer::WITHOUT_TLS));
    }

    // Proves: XEP-0440, XEP-0388 §2.1
    // Proves: RFC 6120 §6.3.3, §6.4.1, §13.8.1
    #[test]
    fn exactly_what_the_connection_can_do_is_offered() {
        let end_point = Bindings { exporter: None, end_point: Some(vec![1; 32]) };
        let mechanisms = "<mechanism>SCRAM-SHA-256-PLUS</mechanism><mechanism>SCRAM-SHA-1-PLUS</mechanism>\
             <mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism>";
        assert_eq!(
            features(&offer(end_point.clone(), PlainPolicy::Offered)),
            format!(
                "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{mechanisms}</mechanisms>{}\
                 <sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-server-end-point'/>\
                 </sasl-channel-binding></stream:features>",
                sasl2(mechanisms, "")
            )
        );
        let both = Bindings { exporter: Some([2; 32].into()), ..end_point };
        assert!(
            features(&offer(both, PlainPolicy::Refused))
                .contains("<channel-binding type='tls-exporter'/><channel-binding type='tls-server-end-point'/>")
        );
        let mechanisms = "<mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism>";
        assert_eq!(
            features(&offer(Bindings::NONE, PlainPolicy::Refused)),
            format!(
                "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{mechanisms}</mechanisms>{}\
                 </stream:features>",
                sasl2(mechanisms, "")
            )
        );
    }

    #[test]
    fn a_hash_for_which_somebody_has_no_keys_is_not_offered() {
        let names = |hashes| {
            let offer = Offer {
                hashes,
                ..offer(Bindings { exporter: Some([2; 32].into()), end_point: None }, PlainPolicy::Refused)
            };
            offer.mechanisms().map(Mechanism::as_str).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(ScramHash::OLD), "SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1");
        assert_eq!(
            names(ScramHash::ALL),
            "SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1"
        );
    }

    // Proves: RFC 6120 §6.3.4
    #[test]
    fn who_has_shown_a_certificate_is_offered_to_use_it_first() {
        let certified = vec![BareJid::parse("juliet@example.org").unwrap()];
        let offer = Offer { certified, ..offer(Bindings::NONE, PlainPolicy::Refused) };
        let names = |offer: &Offer| offer.mechanisms().map(Mechanism::as_str).collect::<Vec<_>>().join(" ");
        assert_eq!(names(&offer), "EXTERNAL SCRAM-SHA-256 SCRAM-SHA-1");
        assert!(!names(&Offer { confidentiality: Confidentiality::Waived, ..offer }).contains("EXTERNAL"));
    }

    // Proves: XEP-0484 §3.1
    #[test]
    fn tokens_are_offered_with_the_bindings_that_the_connection_can_do() {
        let fast = |bindings| {
            let offer = Offer { tokens: TokenPolicy::Issued, ..offer(bindings, PlainPolicy::Refused) };
            features(&offer)
                .split_once("<fast xmlns='urn:xmpp:fast:0'>")
                .unwrap()
                .1
                .split_once("</fast>")
                .unwrap()
                .0
                .to_owned()
        };
        assert_eq!(fast(Bindings::NONE), "<mechanism>HT-SHA-256-NONE</mechanism>");
        assert_eq!(
            fast(Bindings { exporter: Some([2; 32].into()), end_point: Some(vec![1; 32]) }),
            "<mechanism>HT-SHA-256-EXPR</mechanism><mechanism>HT-SHA-256-ENDP</mechanism>\
             <mechanism>HT-SHA-256-NONE</mechanism>"
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
        assert_eq!(
            xml(&Features::bound()),
            "<stream:features><ver xmlns='urn:xmpp:features:rosterver'/><sub xmlns='urn:xmpp:features:pre-approval'/>\
             </stream:features>"
        );
        assert_eq!(proceed().to_xml(""), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    }
}
