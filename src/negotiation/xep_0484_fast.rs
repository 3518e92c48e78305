//! XEP-0484 Fast Authentication Streamlining Tokens, version 0.2.0: the words. What a token is, is in
//! [`tokens`](crate::accounts::tokens).
//!
//! Early data of TLS is not taken, so there is nothing that could be replayed, and `count` says nothing.

use crate::accounts::sasl::{Mechanism, SaslError};
use crate::accounts::tokens::Issued;
use crate::xml::Element;

/// Namespace of tokens.
pub const FAST_NS: &str = "urn:xmpp:fast:0";

/// How a client uses its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// For the last time.
    pub invalidate: bool,
}

impl Use {
    /// Reads `<fast/>`.
    ///
    /// # Errors
    /// `malformed-request`.
    pub fn of(fast: &Element) -> Result<Self, SaslError> {
        // The two spellings of each truth value (XML Schema part 2 §3.2.2).
        match fast.attribute("invalidate").map(str::trim) {
            None | Some("false" | "0") => Ok(Self { invalidate: false }),
            Some("true" | "1") => Ok(Self { invalidate: true }),
            Some(_) => Err(SaslError::malformed("invalidate is true or false")),
        }
    }
}

/// The mechanism that a new token is wanted for, if it takes tokens.
#[must_use]
pub fn requested(request: &Element) -> Option<Mechanism> {
    let mechanism = request.attribute("mechanism").and_then(Mechanism::parse);
    mechanism.filter(|mechanism| matches!(mechanism, Mechanism::HashedToken(_)))
}

/// `<token/>`.
#[must_use]
pub fn token(issued: &Issued) -> Element {
    Element::new("token", FAST_NS).with("expiry", &issued.expires.to_string()).with("token", &issued.token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    // Proves: XEP-0484 §3.2, §3.3
    #[test]
    fn words_of_both_sides() {
        let read = |xml: &str| requested(&Element::parse(xml, FAST_NS).unwrap()).map(Mechanism::as_str);
        for mechanism in ["HT-SHA-256-EXPR", "HT-SHA-256-ENDP", "HT-SHA-256-NONE"] {
            assert_eq!(read(&format!("<request-token mechanism='{mechanism}'/>")), Some(mechanism));
        }
        for other in ["PLAIN", "HT-SHA-512-NONE", "HT-SHA-256-UNIQ", ""] {
            assert_eq!(read(&format!("<request-token mechanism='{other}'/>")), None);
        }
        let issued = Issued { token: "abc".to_owned(), expires: Timestamp::from_unix_ms(1_584_023_775_000) };
        assert_eq!(
            token(&issued).to_xml(""),
            "<token xmlns='urn:xmpp:fast:0' expiry='2020-03-12T14:36:15.000Z' token='abc'/>"
        );
    }
}
