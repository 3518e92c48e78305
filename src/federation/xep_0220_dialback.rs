//! XEP-0220 Server Dialback, version 1.1.1, and the keys of XEP-0185, version 1.0: what is said, and
//! which answers belong to a question. Pure.
//!
//! A stream asks (`Asked`) and answers; an answer counts only on the stream on which the question was
//! asked, for the same `from`, `to` and `id`, and once.
//! It must never know how a stream or a connection to the authoritative server is made.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use crate::hexadecimal;
use crate::jid::domainpart;
use crate::routing::Pair;
use crate::stanza::{CLIENT_NS, Condition, StanzaError};
use crate::stream::DIALBACK_NS;
use crate::xml::{Element, escape_into};

/// Namespace of the stream feature (XEP-0220 §2.4).
pub(crate) const FEATURE_NS: &str = "urn:xmpp:features:dialback";

/// What makes our keys: the same on every server that speaks for our domains.
#[derive(Clone)]
pub(crate) struct Signer(Key);

impl Signer {
    /// XEP-0185: the HMAC key is the hexadecimal text of the hash of the secret.
    #[must_use]
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(Key::new(HMAC_SHA256, hexadecimal::text(digest(&SHA256, secret).as_ref()).as_bytes()))
    }

    /// The key for stream `id` from `originating` to `receiving`.
    #[must_use]
    pub(crate) fn key(&self, receiving: &str, originating: &str, id: &str) -> String {
        hexadecimal::text(sign(&self.0, format!("{receiving} {originating} {id}").as_bytes()).as_ref())
    }

    /// Whether `key` is that key; takes the same time wherever it differs.
    #[must_use]
    pub(crate) fn verify(&self, receiving: &str, originating: &str, id: &str, key: &str) -> bool {
        let right = self.key(receiving, originating, id);
        verify_slices_are_equal(right.as_bytes(), key.as_bytes()).is_ok()
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

/// The outcome of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Valid,
    Invalid,
    /// Nobody could tell; the stream goes on (XEP-0220 §2.5).
    Error(StanzaError),
}

/// An element of dialback, with prepared domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dialback {
    /// "I speak for `from`, this is the key": asks for the right to send stanzas.
    Result {
        from: Arc<str>,
        to: Arc<str>,
        key: String,
    },
    ResultAnswer {
        from: Arc<str>,
        to: Arc<str>,
        verdict: Verdict,
    },
    /// "Is this the key for my stream `id`?": asks the authoritative server.
    Verify {
        from: Arc<str>,
        to: Arc<str>,
        id: String,
        key: String,
    },
    VerifyAnswer {
        from: Arc<str>,
        to: Arc<str>,
        id: String,
        verdict: Verdict,
    },
}

/// An element of dialback that breaks XEP-0220.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Dialback {
    /// Reads an element; `None` if it is not one of dialback.
    pub(crate) fn read(element: &Element) -> Option<Result<Self, Malformed>> {
        (element.ns() == DIALBACK_NS).then(|| Self::parse(element).ok_or(Malformed))
    }

    fn parse(element: &Element) -> Option<Self> {
        let domain = |name| domainpart(element.attribute(name)?).ok().map(|domain| Arc::<str>::from(&*domain));
        let (from, to) = (domain("from")?, domain("to")?);
        let id = || element.attribute("id").filter(|id| !id.is_empty()).map(str::to_owned);
        let key = || Some(element.text().trim().to_owned()).filter(|key| !key.is_empty());
        let verdict = element.attribute("type").map(|kind| verdict(kind, element));
        Some(match (element.name(), verdict) {
            ("result", None) => Self::Result { from, to, key: key()? },
            ("result", Some(verdict)) => Self::ResultAnswer { from, to, verdict: verdict? },
            ("verify", None) => Self::Verify { from, to, id: id()?, key: key()? },
            ("verify", Some(verdict)) => Self::VerifyAnswer { from, to, id: id()?, verdict: verdict? },
            _ => return None,
        })
    }

    /// The element as it stands on a stream; the prefix is the one that XEP-0220 §2 asks for.
    pub(crate) fn to_xml(&self) -> String {
        match self {
            Self::Result { from, to, key } => element("result", from, to, None, &Content::Key(key)),
            Self::ResultAnswer { from, to, verdict } => element("result", from, to, None, &Content::Verdict(verdict)),
            Self::Verify { from, to, id, key } => element("verify", from, to, Some(id), &Content::Key(key)),
            Self::VerifyAnswer { from, to, id, verdict } => {
                element("verify", from, to, Some(id), &Content::Verdict(verdict))
            }
        }
    }
}

/// Judges keys (of a stream: receiving domain, originating domain, id) as a server with this secret does, for those who measure
/// how long that takes.
#[cfg(feature = "testing")]
pub fn judge_of_keys(secret: &[u8]) -> impl Fn([&str; 3], &str) -> bool + use<> {
    let signer = Signer::new(secret);
    move |[receiving, originating, id], key| signer.verify(receiving, originating, id, key)
}

/// Reads an element and writes it again: `None` if it is none of dialback, `Some(None)` if it is a broken one. For those who
/// try it with whatever may come.
#[cfg(feature = "testing")]
#[must_use]
pub fn dialback_again(element: &Element) -> Option<Option<String>> {
    Dialback::read(element).map(|read| read.ok().map(|said| said.to_xml()))
}

fn verdict(kind: &str, element: &Element) -> Option<Verdict> {
    Some(match kind {
        "valid" => Verdict::Valid,
        "invalid" => Verdict::Invalid,
        "error" => {
            let error = element.elements().find(|child| child.name() == "error");
            let condition = error.and_then(StanzaError::condition_of).unwrap_or(Condition::UndefinedCondition);
            Verdict::Error(condition.into())
        }
        _ => return None,
    })
}

enum Content<'a> {
    Key(&'a str),
    Verdict(&'a Verdict),
}

fn element(name: &str, from: &str, to: &str, id: Option<&str>, content: &Content<'_>) -> String {
    let mut out = format!("<db:{name}");
    let kind = match content {
        Content::Key(_) => None,
        Content::Verdict(Verdict::Valid) => Some("valid"),
        Content::Verdict(Verdict::Invalid) => Some("invalid"),
        Content::Verdict(Verdict::Error(_)) => Some("error"),
    };
    for (name, value) in [("from", Some(from)), ("to", Some(to)), ("id", id), ("type", kind)] {
        if let Some(value) = value {
            out.push_str(&format!(" {name}='"));
            escape_into(&mut out, value);
            out.push('\'');
        }
    }
    match content {
        Content::Key(key) => {
            out.push('>');
            escape_into(&mut out, key);
            out.push_str(&format!("</db:{name}>"));
        }
        Content::Verdict(Verdict::Error(error)) => {
            out.push('>');
            // Written as on any stream: `<error/>` inherits the content namespace.
            error.to_element().write(&mut out, CLIENT_NS);
            out.push_str(&format!("</db:{name}>"));
        }
        Content::Verdict(_) => out.push_str("/>"),
    }
    out
}

/// The one question that a stream of ours has asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// `<db:result/>`: may I send for this pair?
    Result(Pair),
    /// `<db:verify/>` for the pair and stream id.
    Verify(Pair, String),
}

impl Question {
    /// The verdict, if `said` answers this question: addresses swapped, same id (XEP-0220 §3.1).
    pub(crate) fn answered_by(&self, said: Dialback) -> Option<Verdict> {
        match (self, said) {
            (Self::Result(pair), Dialback::ResultAnswer { from, to, verdict }) => {
                (from == pair.remote && to == pair.local).then_some(verdict)
            }
            (Self::Verify(pair, asked), Dialback::VerifyAnswer { from, to, id, verdict }) => {
                (from == pair.remote && to == pair.local && id == *asked).then_some(verdict)
            }
            _ => None,
        }
    }
}
