//! XEP-0388 Extensible SASL Profile, version 1.0.4: the second syntax of the login machine. There is no restart of the
//! stream, and together with its first message a client says what else it wants.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::accounts::clients::Names;
use crate::accounts::sasl::{SASL_NS, SaslCondition, SaslError};
use crate::accounts::tokens::AgentId;
use crate::xml::{Element, escape_into};

use super::sasl_profile::{Request, decoded};

/// Namespace of the profile.
pub const SASL2_NS: &str = "urn:xmpp:sasl:2";

/// Reads a nonza; `None` if it is not of SASL2, or of a task that was not given.
///
/// # Errors
/// Those of [`Request::parse`].
#[must_use]
pub fn parse(element: &Element) -> Option<Result<Request, SaslError>> {
    if element.ns() != SASL2_NS {
        return None;
    }
    match element.name() {
        "authenticate" => Some(authenticate(element)),
        "response" => Some(message(element).map(Request::Response)),
        "abort" => Some(Ok(Request::Abort)),
        _ => None,
    }
}

fn authenticate(element: &Element) -> Result<Request, SaslError> {
    let mechanism = element
        .attribute("mechanism")
        .ok_or_else(|| SaslError::new(SaslCondition::InvalidMechanism, "no mechanism is named"))?;
    let mut messages = element.elements().filter(|child| child.is("initial-response", SASL2_NS));
    let initial = messages.next().map(message).transpose()?;
    if messages.next().is_some() {
        return Err(SaslError::malformed("there are several initial responses"));
    }
    Ok(Request::Auth { mechanism: mechanism.to_owned(), initial })
}

/// XEP-0388 §2.2: an empty element is an empty message.
fn message(element: &Element) -> Result<Zeroizing<Vec<u8>>, SaslError> {
    if element.elements().next().is_some() {
        return Err(SaslError::malformed("there are elements where a message belongs"));
    }
    let text = Zeroizing::new(element.text());
    decoded(text.trim_ascii()).ok_or_else(|| SaslCondition::IncorrectEncoding.into())
}

/// Which installation of which client it is, if `<user-agent/>` says so (XEP-0388 §2.3).
///
/// # Errors
/// `malformed-request`.
pub fn agent(element: &Element) -> Result<Option<AgentId>, SaslError> {
    let parse = |id| AgentId::parse(id).ok_or_else(|| SaslError::malformed("the id of the user agent is no UUID"));
    element.attribute("id").map(parse).transpose()
}

/// What the client calls itself (XEP-0388 §2.3).
#[must_use]
pub fn names(agent: &Element) -> Names {
    let name = |name| agent.child(name, SASL2_NS).and_then(|child| Names::kept(&child.text()));
    Names { software: name("software"), device: name("device") }
}

/// `<challenge/>`.
#[must_use]
pub fn challenge(message: &[u8]) -> Element {
    let challenge = Element::new("challenge", SASL2_NS);
    if message.is_empty() { challenge } else { challenge.with_text(&STANDARD.encode(message)) }
}

/// `<failure/>` (XEP-0388 §2.6.2): the conditions are those of RFC 6120.
#[must_use]
pub fn failure(error: SaslError) -> Element {
    let failure = Element::new("failure", SASL2_NS).with_child(Element::new(error.condition.as_str(), SASL_NS));
    match error.text {
        Some(text) => failure.with_child(Element::new("text", SASL2_NS).with_text(text)),
        None => failure,
    }
}

/// `<continue/>` (XEP-0388 §2.6.3): the mechanism is through with `message`, and the client has `task` to do.
#[must_use]
pub fn go_on(message: Option<&[u8]>, task: &str) -> Element {
    let mut go_on = Element::new("continue", SASL2_NS);
    if let Some(message) = message {
        go_on.push(Element::new("additional-data", SASL2_NS).with_text(&STANDARD.encode(message)));
    }
    let task = Element::new("task", SASL2_NS).with_text(task);
    go_on.with_child(Element::new("tasks", SASL2_NS).with_child(task))
}

/// `<task-data/>`.
#[must_use]
pub fn task_data(child: Element) -> Element {
    Element::new("task-data", SASL2_NS).with_child(child)
}

/// `<success/>` (XEP-0388 §2.6.1) for the client at `jid`; `results` is XML: what came of what it wanted.
#[must_use]
pub fn success(message: Option<&[u8]>, jid: &str, results: &str) -> String {
    // There may be a token in it, and what is moved stays behind.
    let mut out = String::with_capacity(512 + results.len() + 6 * jid.len());
    push(&mut out, &["<success xmlns='", SASL2_NS, "'>"]);
    if let Some(message) = message {
        push(&mut out, &["<additional-data>", STANDARD.encode(message).as_str(), "</additional-data>"]);
    }
    out.push_str("<authorization-identifier>");
    escape_into(&mut out, jid);
    push(&mut out, &["</authorization-identifier>", results, "</success>"]);
    out
}

fn push(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(xml: &str) -> Element {
        Element::parse(xml, SASL2_NS).unwrap()
    }

    // Proves: XEP-0388 §2.2, §2.3
    #[test]
    fn requests_are_read_strictly() {
        use SaslCondition::{IncorrectEncoding, InvalidMechanism, MalformedRequest};
        let auth = |initial: Option<&[u8]>| {
            let initial = initial.map(|message| message.to_vec().into());
            Some(Ok(Request::Auth { mechanism: "PLAIN".to_owned(), initial }))
        };
        for (xml, outcome) in [
            ("<authenticate mechanism='PLAIN'/>", auth(None)),
            ("<authenticate mechanism='PLAIN'><initial-response/></authenticate>", auth(Some(b""))),
            (
                "<authenticate mechanism='PLAIN'><initial-response>AGE=</initial-response></authenticate>",
                auth(Some(b"\0a")),
            ),
            (
                "<authenticate mechanism='PLAIN'><initial-response>\n AGE=\n</initial-response></authenticate>",
                auth(Some(b"\0a")),
            ),
            (
                "<authenticate mechanism='PLAIN'><initial-response>=</initial-response></authenticate>",
                Some(Err(IncorrectEncoding)),
            ),
            (
                "<authenticate mechanism='PLAIN'><initial-response>AG E=</initial-response></authenticate>",
                Some(Err(IncorrectEncoding)),
            ),
            (
                "<authenticate mechanism='PLAIN'><initial-response><x/></initial-response></authenticate>",
                Some(Err(MalformedRequest)),
            ),
            (
                "<authenticate mechanism='PLAIN'><initial-response/><initial-response/></authenticate>",
                Some(Err(MalformedRequest)),
            ),
            ("<authenticate/>", Some(Err(InvalidMechanism))),
            ("<response>AAAA</response>", Some(Ok(Request::Response(vec![0; 3].into())))),
            ("<response/>", Some(Ok(Request::Response(Vec::new().into())))),
            ("<response>AAA</response>", Some(Err(IncorrectEncoding))),
            ("<abort><text>enough</text></abort>", Some(Ok(Request::Abort))),
            ("<next task='X'/>", None),
            ("<success/>", None),
            ("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", None),
        ] {
            assert_eq!(parse(&element(xml)).map(|it| it.map_err(|error| error.condition)), outcome, "{xml}");
        }
    }

    // Proves: XEP-0388 §2.6.1, §2.6.2
    #[test]
    fn answers_are_those_of_the_examples() {
        assert_eq!(
            success(Some(b"v=msVHs/BzIOHDqXeVH7EmmDu9id8="), "user@example.org", ""),
            "<success xmlns='urn:xmpp:sasl:2'>\
             <additional-data>dj1tc1ZIcy9CeklPSERxWGVWSDdFbW1EdTlpZDg9</additional-data>\
             <authorization-identifier>user@example.org</authorization-identifier></success>"
        );
        assert_eq!(
            success(None, "a@b/<c>", "<x xmlns='y'/>"),
            "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>a@b/&lt;c&gt;</authorization-identifier>\
             <x xmlns='y'/></success>"
        );
        assert_eq!(
            failure(SaslError::new(SaslCondition::Aborted, "why")).to_xml(""),
            "<failure xmlns='urn:xmpp:sasl:2'><aborted xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/><text>why</text></failure>"
        );
        assert_eq!(
            go_on(Some(b"v=msVHs/BzIOHDqXeVH7EmmDu9id8="), "UPGR-SCRAM-SHA-256").to_xml(""),
            "<continue xmlns='urn:xmpp:sasl:2'>\
             <additional-data>dj1tc1ZIcy9CeklPSERxWGVWSDdFbW1EdTlpZDg9</additional-data>\
             <tasks><task>UPGR-SCRAM-SHA-256</task></tasks></continue>"
        );
        assert_eq!(challenge(b"").to_xml(""), "<challenge xmlns='urn:xmpp:sasl:2'/>");
        assert_eq!(challenge(b"x").to_xml(""), "<challenge xmlns='urn:xmpp:sasl:2'>eA==</challenge>");
    }
}
