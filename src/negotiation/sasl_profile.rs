//! The XML around SASL messages (RFC 6120 section 6.4), for both roles.

use base64::engine::general_purpose::STANDARD;
use base64::{Engine, decoded_len_estimate};
use zeroize::Zeroizing;

use crate::accounts::sasl::{SASL_NS, SaslCondition, SaslError};
use crate::xml::Element;

use super::xep_0388_sasl2 as sasl2;

/// The syntax in which SASL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// RFC 6120 §6.
    Rfc6120,
    /// XEP-0388.
    Sasl2,
}

impl Profile {
    /// `<challenge/>`.
    #[must_use]
    pub fn challenge(self, message: &[u8]) -> Element {
        match self {
            Self::Rfc6120 => challenge(message),
            Self::Sasl2 => sasl2::challenge(message),
        }
    }

    /// `<failure/>`.
    #[must_use]
    pub fn failure(self, error: SaslError) -> Element {
        match self {
            Self::Rfc6120 => error.to_element(),
            Self::Sasl2 => sasl2::failure(error),
        }
    }
}

/// What an initiating entity sends.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// `<auth/>`; `None` is a handshake without initial response.
    Auth {
        mechanism: String,
        initial: Option<Zeroizing<Vec<u8>>>,
    },
    Response(Zeroizing<Vec<u8>>),
    Abort,
}

impl Request {
    /// Reads a nonza; `None` if it is not of SASL or not for a receiving entity.
    ///
    /// # Errors
    /// `incorrect-encoding` for what is not strictly base64, `malformed-request` for child elements,
    /// `invalid-mechanism` if none is named.
    #[must_use]
    pub fn parse(element: &Element) -> Option<Result<Self, SaslError>> {
        if element.ns() != SASL_NS {
            return None;
        }
        match element.name() {
            "auth" => Some(Self::auth(element)),
            "response" => Some(data(element).map(|data| Self::Response(data.unwrap_or_default().into()))),
            "abort" => Some(Ok(Self::Abort)),
            _ => None,
        }
    }

    fn auth(element: &Element) -> Result<Self, SaslError> {
        let mechanism = element
            .attribute("mechanism")
            .ok_or_else(|| SaslError::new(SaslCondition::InvalidMechanism, "no mechanism is named"))?;
        Ok(Self::Auth { mechanism: mechanism.to_owned(), initial: data(element)?.map(Zeroizing::new) })
    }
}

/// Prints no message: it may hold a password.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auth { .. } => "Auth",
            Self::Response(_) => "Response",
            Self::Abort => "Abort",
        })
    }
}

/// The message in `<auth/>`, `<challenge/>`, `<response/>` or `<success/>`; `None` without character data.
///
/// # Errors
/// `incorrect-encoding` or `malformed-request`, as a receiving entity answers them.
pub fn data(element: &Element) -> Result<Option<Vec<u8>>, SaslError> {
    if element.elements().next().is_some() {
        return Err(SaslError::malformed("there are elements where a message belongs"));
    }
    match Zeroizing::new(element.text()).as_str() {
        "" => Ok(None),
        // RFC 6120 §6.4.2: present, but empty.
        "=" => Ok(Some(Vec::new())),
        text => match decoded(text) {
            Some(mut data) => Ok(Some(std::mem::take(&mut *data))),
            None => Err(SaslCondition::IncorrectEncoding.into()),
        },
    }
}

/// What is encoded in `text` as base64. Nothing of it is left elsewhere, also where the end is none: it is a password all the
/// same.
pub(super) fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut data = Zeroizing::new(vec![0; decoded_len_estimate(text.len())]);
    let length = STANDARD.decode_slice(text, &mut data).ok()?;
    data.truncate(length);
    Some(data)
}

/// `<auth/>` of an initiating entity; `None` sends no initial response.
#[must_use]
pub fn auth(mechanism: &str, initial: Option<&[u8]>) -> Element {
    let auth = Element::new("auth", SASL_NS).with("mechanism", mechanism);
    match initial {
        Some(b"") => auth.with_text("="),
        Some(message) => auth.with_text(&STANDARD.encode(message)),
        None => auth,
    }
}

/// `<response/>` of an initiating entity.
#[must_use]
pub fn response(message: &[u8]) -> Element {
    Element::new("response", SASL_NS).with_text(&STANDARD.encode(message))
}

/// `<challenge/>`.
#[must_use]
pub fn challenge(message: &[u8]) -> Element {
    let challenge = Element::new("challenge", SASL_NS);
    if message.is_empty() { challenge } else { challenge.with_text(&STANDARD.encode(message)) }
}

/// `<success/>`, with additional data if the mechanism has some.
#[must_use]
pub fn success(message: Option<&[u8]>) -> Element {
    let success = Element::new("success", SASL_NS);
    match message {
        Some(b"") => success.with_text("="),
        Some(message) => success.with_text(&STANDARD.encode(message)),
        None => success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(xml: &str) -> Option<Result<Request, SaslCondition>> {
        let element = Element::parse(xml, SASL_NS).unwrap();
        Request::parse(&element).map(|result| result.map_err(|error| error.condition))
    }

    fn with_data(mechanism: &str, initial: Option<&[u8]>) -> Option<Result<Request, SaslCondition>> {
        let initial = initial.map(|message| message.to_vec().into());
        Some(Ok(Request::Auth { mechanism: mechanism.to_owned(), initial }))
    }

    // Proves: RFC 6120 §6.3.5, §6.4.2, §13.9.1
    #[test]
    fn requests_are_read_strictly() {
        use SaslCondition::{IncorrectEncoding, InvalidMechanism, MalformedRequest};
        for (xml, outcome) in [
            ("<auth mechanism='PLAIN'>AGE=</auth>", with_data("PLAIN", Some(b"\0a"))),
            ("<auth mechanism='PLAIN'>=</auth>", with_data("PLAIN", Some(b""))),
            ("<auth mechanism='PLAIN'/>", with_data("PLAIN", None)),
            ("<auth mechanism=''/>", with_data("", None)),
            ("<auth>AGE=</auth>", Some(Err(InvalidMechanism))),
            ("<auth mechanism='PLAIN'>AGE</auth>", Some(Err(IncorrectEncoding))),
            ("<auth mechanism='PLAIN'>AGF=</auth>", Some(Err(IncorrectEncoding))),
            ("<auth mechanism='PLAIN'>AG E=</auth>", Some(Err(IncorrectEncoding))),
            ("<auth mechanism='PLAIN'>AGE=\n</auth>", Some(Err(IncorrectEncoding))),
            ("<auth mechanism='PLAIN'>AGE=AGE=</auth>", Some(Err(IncorrectEncoding))),
            ("<auth mechanism='PLAIN'>AG-_</auth>", Some(Err(IncorrectEncoding))),
            ("<auth mechanism='PLAIN'>==</auth>", Some(Err(IncorrectEncoding))),
            ("<auth mechanism='PLAIN'>=AAA</auth>", Some(Err(IncorrectEncoding))),
            ("<auth mechanism='PLAIN'><x/></auth>", Some(Err(MalformedRequest))),
            ("<response/>", Some(Ok(Request::Response(Vec::new().into())))),
            ("<response>=</response>", Some(Ok(Request::Response(Vec::new().into())))),
            ("<response>AAAA</response>", Some(Ok(Request::Response(vec![0; 3].into())))),
            ("<response>ä</response>", Some(Err(IncorrectEncoding))),
            ("<response><auth/></response>", Some(Err(MalformedRequest))),
            ("<abort/>", Some(Ok(Request::Abort))),
            ("<success/>", None),
            ("<auth xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>", None),
        ] {
            assert_eq!(parse(xml), outcome, "{xml}");
        }
    }

    // Proves: RFC 6120 §6.4.6
    #[test]
    fn what_is_written_can_be_read() {
        for message in [None, Some(&b""[..]), Some(b"n,,n=a,r=b")] {
            assert_eq!(data(&auth("X", message)), Ok(message.map(<[u8]>::to_vec)));
            assert_eq!(data(&success(message)), Ok(message.map(<[u8]>::to_vec)));
        }
        assert_eq!(challenge(b"").to_xml(""), "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        assert_eq!(data(&challenge(b"x")), data(&response(b"x")));
        assert_eq!(format!("{:?}", parse("<auth mechanism='PLAIN'>AGE=</auth>")), "Some(Ok(Auth))");
    }
}
