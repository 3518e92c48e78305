//! What a client wants beside authentication, in the one request that it makes (XEP-0388 §2.3).

use crate::accounts::sasl::{Mechanism, SaslError};
use crate::accounts::tokens::AgentId;
use crate::xml::Element;

use super::xep_0386_bind2::{self as bind2, BIND2_NS};
use super::xep_0388_sasl2::{self as sasl2, SASL2_NS};
use super::xep_0484_fast::{self as fast, FAST_NS, Use};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wishes {
    /// Which installation of which client it is.
    pub agent: Option<AgentId>,
    /// A resource, too.
    pub bind: Option<bind2::Wish>,
    /// It uses a token.
    pub token: Option<Use>,
    /// It wants a token that is to be used with this mechanism.
    pub new_token: Option<Mechanism>,
    /// What extensions may know.
    pub others: Vec<Element>,
}

impl Wishes {
    /// Reads what is in `<authenticate/>` beside the first message.
    ///
    /// # Errors
    /// `malformed-request`.
    pub fn of(authenticate: &Element) -> Result<Self, SaslError> {
        let mut wishes = Self::default();
        for child in authenticate.elements() {
            match (child.name(), child.ns()) {
                ("initial-response", SASL2_NS) => {}
                ("user-agent", SASL2_NS) => wishes.agent = sasl2::agent(child)?,
                ("bind", BIND2_NS) => wishes.bind = Some(bind2::Wish::of(child)),
                ("fast", FAST_NS) => wishes.token = Some(Use::of(child)?),
                ("request-token", FAST_NS) => wishes.new_token = fast::requested(child),
                _ => wishes.others.push(child.clone()),
            }
        }
        Ok(wishes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::sasl::SaslCondition;

    fn element(xml: &str) -> Element {
        Element::parse(xml, SASL2_NS).unwrap()
    }

    #[test]
    fn wishes_are_found_and_what_is_unknown_is_kept_for_extensions() {
        let wishes = Wishes::of(&element(
            "<authenticate mechanism='X'><initial-response>AAAA</initial-response>\
             <user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>X</software></user-agent>\
             <resume xmlns='urn:xmpp:sm:3' previd='a' h='1'/>\
             <bind xmlns='urn:xmpp:bind:0'><tag>X</tag><enable xmlns='urn:xmpp:sm:3'/></bind>\
             <request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>\
             <fast xmlns='urn:xmpp:fast:0' count='3' invalidate='1'/></authenticate>",
        ))
        .unwrap();
        assert_eq!(wishes.agent.unwrap().as_str(), "d4565fa7-4d72-4749-b3d3-740edbf87770");
        assert_eq!(wishes.others.iter().map(Element::name).collect::<Vec<_>>(), ["resume"]);
        let bind = wishes.bind.unwrap();
        assert_eq!((bind.tag.as_deref(), bind.features.len()), (Some("X"), 1));
        assert_eq!(wishes.new_token, Some(Mechanism::HashedToken(None)));
        assert_eq!(wishes.token, Some(Use { invalidate: true }));
        assert_eq!(
            Wishes::of(&element("<authenticate mechanism='X'><user-agent/></authenticate>")),
            Ok(Wishes::default())
        );
        for wrong in ["<user-agent id='x'/>", "<fast xmlns='urn:xmpp:fast:0' invalidate='x'/>"] {
            let wishes = Wishes::of(&element(&format!("<authenticate mechanism='X'>{wrong}</authenticate>")));
            assert_eq!(wishes.map_err(|error| error.condition), Err(SaslCondition::MalformedRequest), "{wrong}");
        }
    }
}
