//! XEP-0114 Jabber Component Protocol, version 1.6: how somebody who has connected proves to be a
//! component (§3, the `accept` method). Pure: what the peer says goes in, what is to be written and
//! done comes out.
//!
//! It must never know of sockets, of time, of who is connected already.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::hexadecimal;
use crate::jid::domainpart;
use crate::secret::Secret;
use crate::stream::{
    CLOSE, ContentNamespace, Header, HeaderFields, STREAMS_NS, StreamCondition, StreamError, write_header,
};
use crate::xml::Element;

/// What tells a component that it is one.
pub(super) const ACCEPTED: &str = "<handshake/>";

/// What is to be done: first write, then the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) write: String,
    pub(super) next: Next,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Read,
    /// The peer is the component of this name; it has not been told.
    Proven(Arc<str>),
    /// End the connection; the reason is for the log.
    Close(Refused),
}

/// Why a peer is no component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// It does not know the secret of the component that it claims to be.
    Secret,
    Other(String),
}

/// The receiving side of one stream, until the peer is known.
pub(super) struct Handshake<'a> {
    secrets: &'a BTreeMap<Arc<str>, Secret>,
    state: State,
}

enum State {
    /// Nothing has come.
    Header,
    /// Our header has gone out: the peer claims to be `name`, on our stream `id`.
    Key { name: Arc<str>, id: String },
    /// Our header has gone out, and an error will.
    Failed,
}

impl<'a> Handshake<'a> {
    /// For a fresh connection of somebody who may be one of those whose secrets these are.
    pub(super) const fn new(secrets: &'a BTreeMap<Arc<str>, Secret>) -> Self {
        Self { secrets, state: State::Header }
    }

    /// The peer's header has come; `id` is fresh and unpredictable.
    pub(super) fn opened(&mut self, header: &Header, id: String) -> Effect {
        if !matches!(self.state, State::Header) {
            return self.refuse(&StreamError::new(StreamCondition::BadFormat, "a second stream header"));
        }
        if id.is_empty() {
            // A key for a stream id that everybody knows could be used twice.
            return self.refuse(&StreamCondition::InternalServerError.into());
        }
        let Some(to) = header.to.as_deref() else {
            return self.refuse(&StreamError::new(StreamCondition::ImproperAddressing, "which component is it?"));
        };
        let name = domainpart(to).ok().and_then(|name| self.secrets.get_key_value(&*name));
        let Some((name, _)) = name else {
            return self.refuse(&StreamError::new(StreamCondition::HostUnknown, "there is no such component here"));
        };
        let mut write = String::new();
        say_header(&mut write, Some(name), Some(&id));
        self.state = State::Key { name: Arc::clone(name), id };
        Effect { write, next: Next::Read }
    }

    /// A first-level element that is no stanza.
    pub(super) fn element(&mut self, element: &Element) -> Effect {
        if element.is("error", STREAMS_NS) {
            let reason = format!("the peer ended the stream: {}", StreamError::from_element(element));
            return Effect { write: CLOSE.to_owned(), next: Next::Close(Refused::Other(reason)) };
        }
        if !element.is("handshake", ContentNamespace::Component.as_str()) {
            return self.refuse(&StreamError::new(StreamCondition::NotAuthorized, "a handshake comes first"));
        }
        let State::Key { name, id } = &self.state else {
            return self.refuse(&StreamCondition::NotAuthorized.into());
        };
        let right = self.secrets.get(name).is_some_and(|secret| proves(&element.text(), id, secret));
        if right {
            return Effect { write: String::new(), next: Next::Proven(Arc::clone(name)) };
        }
        // One attempt is all there is: the stream ends (XEP-0114 §3).
        let refusal = self.refuse(&StreamError::new(StreamCondition::NotAuthorized, "the handshake is wrong"));
        Effect { next: Next::Close(Refused::Secret), ..refusal }
    }

    /// The stream error for what the gate or this side refuses, with a header where none was sent yet
    /// (RFC 6120 §4.9.1.2).
    pub(super) fn refuse(&mut self, error: &StreamError) -> Effect {
        let mut write = String::new();
        if matches!(self.state, State::Header) {
            say_header(&mut write, None, None);
        }
        self.state = State::Failed;
        write.push_str(&error.to_xml());
        write.push_str(CLOSE);
        Effect { write, next: Next::Close(Refused::Other(error.to_string())) }
    }
}

/// The header has no version: there are no features on these streams (RFC 6120 §4.7.5).
fn say_header(out: &mut String, name: Option<&str>, id: Option<&str>) {
    let fields = HeaderFields { from: name, id, version: None, ..HeaderFields::default() };
    write_header(out, ContentNamespace::Component, &fields);
}

/// Whether `said` is the key for our stream `id`; takes the same time wherever it differs.
fn proves(said: &str, id: &str, secret: &Secret) -> bool {
    verify_slices_are_equal(key(id, secret).as_bytes(), said.trim().as_bytes()).is_ok()
}

/// The hash of stream id and secret in hexadecimal digits.
fn key(id: &str, secret: &Secret) -> String {
    // There is no copy of both together.
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(id.as_bytes());
    hash.update(secret.reveal().as_bytes());
    hexadecimal::text(hash.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT_NS: &str = ContentNamespace::Component.as_str();

    fn secrets() -> BTreeMap<Arc<str>, Secret> {
        let secret = |text: &str| text.parse().unwrap();
        [("irc.example".into(), secret("sesame")), ("bots.example".into(), secret("barley"))].into()
    }

    fn header(to: Option<&str>) -> Header {
        Header { to: to.map(str::to_owned), ..Header::default() }
    }

    fn handshake(text: &str) -> Element {
        Element::new("handshake", COMPONENT_NS).with_text(text)
    }

    /// The condition of the error that ends a stream.
    fn condition(effect: &Effect) -> &str {
        assert!(matches!(effect.next, Next::Close(_)), "{effect:?}");
        assert!(effect.write.ends_with("</stream:error></stream:stream>"), "{effect:?}");
        let (_, rest) = effect.write.split_once("<stream:error><").unwrap();
        rest.split_once(' ').unwrap().0
    }

    // Proves: XEP-0114 §3
    #[test]
    fn who_knows_the_secret_is_the_component() {
        let secrets = secrets();
        for (name, secret) in [("irc.example", "sesame"), ("bots.example", "barley")] {
            let mut rules = Handshake::new(&secrets);
            let opened = rules.opened(&header(Some(name)), "3BF96D32".to_owned());
            assert_eq!(opened.next, Next::Read);
            assert!(opened.write.contains(&format!("from='{name}' id='3BF96D32'>")), "{}", opened.write);
            assert!(
                opened.write.contains("xmlns='jabber:component:accept'") && !opened.write.contains("version='1.0'>")
            );
            let proven = rules.element(&handshake(&key("3BF96D32", &secret.parse().unwrap())));
            assert_eq!(proven, Effect { write: String::new(), next: Next::Proven(name.into()) });
        }
    }

    #[test]
    fn the_key_is_the_hash_of_id_and_secret() {
        // As `printf abc | sha1sum` has it.
        assert_eq!(key("a", &"bc".parse().unwrap()), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(proves(" a9993e364706816aba3e25717850c26c9cd0d89d\n", "a", &"bc".parse().unwrap()));
        assert!(!proves("A9993E364706816ABA3E25717850C26C9CD0D89D", "a", &"bc".parse().unwrap()));
    }

    // Proves: XEP-0114 §3
    #[test]
    fn a_wrong_key_ends_the_stream() {
        let secrets = secrets();
        let right = key("other", &"sesame".parse().unwrap());
        let of_another = key("id", &"barley".parse().unwrap());
        for wrong in ["", "sesame", &right, &of_another] {
            let mut rules = Handshake::new(&secrets);
            rules.opened(&header(Some("irc.example")), "id".to_owned());
            let refused = rules.element(&handshake(wrong));
            assert_eq!((condition(&refused), &refused.next), ("not-authorized", &Next::Close(Refused::Secret)));
            // There is no second attempt.
            let right = rules.element(&handshake(&key("id", &"sesame".parse().unwrap())));
            assert_eq!(condition(&right), "not-authorized");
        }
    }

    // Proves: XEP-0114 §3, RFC 6120 §4.9.1.2
    #[test]
    fn a_header_for_nobody_is_answered_with_header_and_error() {
        let secrets = secrets();
        for (to, wanted) in [
            (Some("nobody.example"), "host-unknown"),
            (Some("irc.example/x"), "host-unknown"),
            (Some("a@irc.example"), "host-unknown"),
            (Some(""), "host-unknown"),
            (None, "improper-addressing"),
        ] {
            let refused = Handshake::new(&secrets).opened(&header(to), "id".to_owned());
            assert!(refused.write.starts_with("<?xml version='1.0'?><stream:stream "), "{}", refused.write);
            assert_eq!(condition(&refused), wanted, "{to:?}");
        }
        let refused = Handshake::new(&secrets).opened(&header(Some("irc.example")), String::new());
        assert_eq!(condition(&refused), "internal-server-error");
    }

    // Proves: XEP-0114 §3
    #[test]
    fn nothing_comes_before_the_handshake() {
        let secrets = secrets();
        let mut rules = Handshake::new(&secrets);
        rules.opened(&header(Some("irc.example")), "id".to_owned());
        let other = Element::new("handshake", "urn:example");
        assert_eq!(condition(&rules.element(&other)), "not-authorized");
        let mut rules = Handshake::new(&secrets);
        rules.opened(&header(Some("irc.example")), "id".to_owned());
        assert_eq!(condition(&rules.opened(&header(Some("irc.example")), "id".to_owned())), "bad-format");
    }
}
