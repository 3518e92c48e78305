//! Stream errors (RFC 6120 §4.9).

use crate::xml::{Element, spelled};

/// Namespace of the defined conditions (RFC 6120 §4.9.2).
const NS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

/// Namespace of `<stream:stream/>`, `<stream:features/>` and `<stream:error/>` (RFC 6120 §4.8.1).
pub const STREAMS_NS: &str = "http://etherx.jabber.org/streams";

spelled! {
    /// A defined condition (RFC 6120 §4.9.3).
    pub StreamCondition {
    BadFormat = "bad-format", BadNamespacePrefix = "bad-namespace-prefix", Conflict = "conflict",
    ConnectionTimeout = "connection-timeout", HostGone = "host-gone", HostUnknown = "host-unknown",
    ImproperAddressing = "improper-addressing", InternalServerError = "internal-server-error", InvalidFrom = "invalid-from",
    InvalidNamespace = "invalid-namespace", InvalidXml = "invalid-xml", NotAuthorized = "not-authorized",
    NotWellFormed = "not-well-formed", PolicyViolation = "policy-violation",
    RemoteConnectionFailed = "remote-connection-failed", Reset = "reset", ResourceConstraint = "resource-constraint",
    RestrictedXml = "restricted-xml", SeeOtherHost = "see-other-host", SystemShutdown = "system-shutdown",
    UndefinedCondition = "undefined-condition", UnsupportedEncoding = "unsupported-encoding",
    UnsupportedFeature = "unsupported-feature", UnsupportedStanzaType = "unsupported-stanza-type",
    UnsupportedVersion = "unsupported-version",
    }
}

/// A stream error: it always ends the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    pub condition: StreamCondition,
    /// In English, for the operator of the other side.
    pub text: Option<String>,
    /// An application-specific condition (RFC 6120 §4.9.4).
    pub detail: Option<Box<Element>>,
}

impl StreamError {
    #[must_use]
    pub fn new(condition: StreamCondition, text: impl Into<String>) -> Self {
        Self { condition, text: Some(text.into()), detail: None }
    }

    /// `<stream:error/>` with the prefix that every header declares.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut out = String::from("<stream:error>");
        Element::new(self.condition.as_str(), NS).write(&mut out, "");
        if let Some(text) = &self.text {
            Element::new("text", NS).with("xml:lang", "en").with_text(text).write(&mut out, "");
        }
        if let Some(detail) = &self.detail {
            detail.write(&mut out, "");
        }
        out.push_str("</stream:error>");
        out
    }

    /// Says more exactly what is wrong (RFC 6120 §4.9.4).
    #[must_use]
    pub fn with_detail(mut self, detail: Element) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    /// Reads the `<stream:error/>` that a peer sent; an unknown condition is `undefined-condition`.
    #[must_use]
    pub fn from_element(error: &Element) -> Self {
        let condition = error
            .elements()
            .filter(|child| child.ns() == NS)
            .find_map(|child| StreamCondition::parse(child.name()))
            .unwrap_or(StreamCondition::UndefinedCondition);
        let text = error.child("text", NS).map(Element::text);
        let detail = error.elements().find(|child| child.ns() != NS).cloned().map(Box::new);
        Self { condition, text, detail }
    }
}

impl From<StreamCondition> for StreamError {
    fn from(condition: StreamCondition) -> Self {
        Self { condition, text: None, detail: None }
    }
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.condition.as_str())?;
        self.text.as_ref().map_or(Ok(()), |text| write!(f, " ({text})"))
    }
}

impl std::error::Error for StreamError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inside: &str) -> StreamError {
        StreamError::from_element(&Element::parse(&format!("<error>{inside}</error>"), STREAMS_NS).unwrap())
    }

    // Proves: RFC 6120 §4.9.2
    #[test]
    fn an_error_names_a_condition_and_perhaps_more() {
        for condition in StreamCondition::ALL {
            let bare = StreamError::from(*condition);
            let expected = format!("<stream:error><{} xmlns='{NS}'/></stream:error>", condition.as_str());
            assert_eq!(bare.to_xml(), expected);
            assert_eq!(read(&format!("<{} xmlns='{NS}'/>", condition.as_str())), bare);
        }
        let more = StreamError::new(StreamCondition::BadFormat, "why").with_detail(Element::new("x", "urn:example"));
        assert_eq!(
            more.to_xml(),
            format!(
                "<stream:error><bad-format xmlns='{NS}'/><text xmlns='{NS}' xml:lang='en'>why</text>\
                 <x xmlns='urn:example'/></stream:error>"
            )
        );
        for unknown in ["", "<new-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>", "<bad-format xmlns='x'/>"] {
            assert_eq!(read(unknown).condition, StreamCondition::UndefinedCondition, "{unknown}");
        }
    }
}
