//! XEP-0220 §2.2 on a stream that another server opened: pairs that are to be proven, and keys that are said to be ours.

use std::sync::Arc;

use super::{Effect, Incoming, Layer, Next, Rules, Way, refuse, write};
use crate::federation::proof::{Proof, Reason, Role};
use crate::federation::xep_0220_dialback::{Dialback, Verdict};
use crate::routing::Pair;
use crate::stanza::{Condition, StanzaError};
use crate::stream::{CLOSE, StreamCondition, StreamError};

/// So many pairs one stream may prove.
pub(crate) const PAIRS: usize = 64;
/// So many keys may be under verification on one stream at a time.
pub(super) const PENDING: usize = 4;

/// A pair that the certificate alone does not prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verification {
    pub(crate) pair: Pair,
    /// Of the stream on which it is to be proven.
    pub(crate) id: String,
    /// What the authoritative server of `pair.remote` is asked about, if its word counts.
    pub(crate) key: Option<String>,
}

/// Why a pair is not proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The authoritative server says that the key is wrong.
    Invalid,
    /// Nobody could tell.
    Error(StanzaError),
}

impl Incoming {
    pub(super) fn dialback(&mut self, said: Dialback) -> Effect {
        match said {
            Dialback::Result { from, to, key } => self.asked(Pair { local: to, remote: from }, key),
            Dialback::Verify { from, to, id, key } => self.verify(from, to, id, &key),
            // T-S2S-1: nothing is ever asked on a stream that the peer opened.
            Dialback::ResultAnswer { .. } | Dialback::VerifyAnswer { .. } => {
                refuse(&StreamError::new(StreamCondition::PolicyViolation, "a dialback answer that nobody asked for"))
            }
        }
    }

    /// `<db:result/>`: the peer wants to send for `pair` (XEP-0220 §2.2.1).
    fn asked(&mut self, pair: Pair, key: String) -> Effect {
        let error = |condition, text: &str| Verdict::Error(StanzaError::new(condition, text));
        let verdict = if self.layer == Layer::Plain {
            error(Condition::PolicyViolation, "TLS comes first")
        } else if !(self.rules.is_local)(&pair.local) {
            error(Condition::ItemNotFound, "this domain is not served here")
        } else if self.rules.denies(&pair.remote) {
            error(Condition::PolicyViolation, "this server does not federate with that domain")
        } else if self.has_proven(&pair) {
            Verdict::Valid
        } else if self.proven.len() >= PAIRS || self.pending.len() >= PENDING || self.pending.contains(&pair) {
            error(Condition::ResourceConstraint, "too many domains on one stream")
        } else {
            match (self.proves(&pair.remote), self.id.clone()) {
                // The certificate says more than a key could.
                (Ok(proof), _) => {
                    self.prove(pair.clone(), proof);
                    Verdict::Valid
                }
                (Err(reason), Some(id)) if self.may_be_verified(&pair.remote, &reason) => {
                    self.pending.push(pair.clone());
                    let key = Some(key).filter(|_| self.rules.accepts_dialback(&pair.remote));
                    return Effect { write: String::new(), next: Next::Verify(Verification { pair, id, key }) };
                }
                (Err(why), _) => Verdict::Error(untrusted(&why)),
            }
        };
        write(answer(&pair, verdict))
    }

    /// Whether anybody else's word counts where the certificate proves nothing.
    fn may_be_verified(&self, remote: &str, reason: &Reason) -> bool {
        let is_shown = *reason != Reason::NoCertificate && (self.rules.dns_is_signed)();
        !is_final(reason) && (is_shown || self.rules.accepts_dialback(remote))
    }

    /// Somebody has vouched for the pair, or nobody could.
    pub(crate) fn verified(&mut self, pair: &Pair, outcome: Result<Proof, Denial>) -> Effect {
        let Some(at) = self.pending.iter().position(|pending| pending == pair) else {
            return write(String::new());
        };
        self.pending.swap_remove(at);
        let verdict = match outcome {
            Ok(proof) => {
                self.prove(pair.clone(), proof);
                Verdict::Valid
            }
            Err(Denial::Error(error)) => Verdict::Error(error),
            Err(Denial::Invalid) => {
                self.failure = Some((Way::Dialback, "invalid key"));
                // XEP-0220 §2.2.1: others on this stream may be as they should.
                if self.is_authenticated() {
                    let error = StanzaError::new(Condition::Forbidden, "the key is invalid");
                    return write(answer(pair, Verdict::Error(error)));
                }
                let write = answer(pair, Verdict::Invalid) + CLOSE;
                return Effect { write, next: Next::Close(format!("the dialback key of {} is invalid", pair.remote)) };
            }
        };
        write(answer(pair, verdict))
    }

    /// `<db:verify/>`: is this key ours? (XEP-0220 §2.2.2)
    fn verify(&self, from: Arc<str>, to: Arc<str>, id: String, key: &str) -> Effect {
        if self.layer == Layer::Plain {
            let verdict = Verdict::Error(StanzaError::new(Condition::PolicyViolation, "TLS comes first"));
            return write(Dialback::VerifyAnswer { from: to, to: from, id, verdict }.to_xml());
        }
        write(self.rules.verify(from, to, id, key).to_xml())
    }
}

impl Rules {
    /// What whoever asks is told about a key that is said to be ours.
    pub(crate) fn verify(&self, from: Arc<str>, to: Arc<str>, id: String, key: &str) -> Dialback {
        let verdict = if !(self.is_local)(&to) {
            Verdict::Error(StanzaError::new(Condition::ItemNotFound, "this domain is not served here"))
        } else if self.secret.verify(&from, &to, &id, key) {
            Verdict::Valid
        } else {
            let Self { claims, secret, .. } = self;
            claims.note(&Pair { local: to.clone(), remote: from.clone() }, key, secret);
            Verdict::Invalid
        };
        Dialback::VerifyAnswer { from: to, to: from, id, verdict }
    }
}

/// Whether nobody else's word counts any more.
pub(super) const fn is_final(reason: &Reason) -> bool {
    reason.is_contradiction(Role::Client)
}

/// What a peer is told whose certificate proves nothing, where that is what is asked for.
pub(crate) fn untrusted(reason: &Reason) -> StanzaError {
    StanzaError::new(Condition::NotAuthorized, format!("a trusted certificate is needed: {reason}"))
}

fn answer(pair: &Pair, verdict: Verdict) -> String {
    Dialback::ResultAnswer { from: pair.local.clone(), to: pair.remote.clone(), verdict }.to_xml()
}
