//! The way back on a stream that we have opened and that goes both ways (XEP-0288): the pairs for which stanzas of the peer are
//! welcome on it, what they are charged to, and what the peer waits to hear of them.
//!
//! It must never know what goes out on the stream.

use std::sync::Arc;

use crate::federation::Federation;
use crate::federation::audit::Listed;
use crate::federation::delivery::Waiting;
use crate::federation::incoming::{PAIRS, Proven, untrusted};
use crate::federation::link::Link;
use crate::federation::meter::Meter;
use crate::federation::proof::{Proof, Role, Shown};
use crate::federation::questions::Questions;
use crate::federation::wire::Broken;
use crate::federation::xep_0220_dialback::{Dialback, Verdict};
use crate::routing::Pair;
use crate::stanza::{Condition, StanzaError};

/// What a stream has besides that goes both ways.
pub(crate) struct Back {
    /// The pair that the stream was opened for comes first.
    pub(crate) proven: Vec<Proven>,
    pub(crate) meter: Meter,
    pub(crate) questions: Questions,
}

impl Back {
    pub(crate) fn new(pair: Pair, proof: Arc<Proof>) -> Box<Self> {
        let (meter, questions) = (Meter::default(), Questions::default());
        Box::new(Self { proven: vec![Proven { pair, proof }], meter, questions })
    }

    /// The pairs that the peer has proven later, which nobody else looks after.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Pair> {
        self.proven.iter().skip(1).map(|proven| &proven.pair)
    }
}

impl Federation {
    /// Dialback on a stream of ours that goes both ways (XEP-0288 §2.2). The peer may speak for another of its domains if
    /// its certificate proves that; a key proves nothing here, because it would come for an id that the peer has chosen.
    pub(crate) fn asked(
        &self,
        link: &mut Link,
        said: Dialback,
        waiting: &Waiting,
        listed: &Listed,
    ) -> Result<(), Broken> {
        let answer = match said {
            Dialback::Result { from, to, .. } => {
                let verdict = self.also(link, Pair { local: to.clone(), remote: from.clone() }, listed);
                Dialback::ResultAnswer { from: to, to: from, verdict }
            }
            Dialback::Verify { from, to, id, key } => self.rules().verify(from, to, id, &key),
            // T-S2S-1: nobody has asked.
            Dialback::ResultAnswer { .. } | Dialback::VerifyAnswer { .. } => return Ok(()),
        };
        self.say_aside(waiting, &answer.to_xml())
    }

    /// Whether the certificate that the peer has shown proves another pair.
    fn also(&self, link: &mut Link, pair: Pair, listed: &Listed) -> Verdict {
        let rules = self.rules();
        let error = |condition, text: &str| Verdict::Error(StanzaError::new(condition, text));
        let Some(back) = &mut link.back else {
            return error(Condition::NotAuthorized, "stanzas go the other way");
        };
        if !(rules.is_local)(&pair.local) {
            return error(Condition::ItemNotFound, "this domain is not served here");
        }
        if rules.denies(&pair.remote) {
            return error(Condition::PolicyViolation, "this server does not federate with that domain");
        }
        if back.proven.iter().any(|proven| proven.pair == pair) {
            return Verdict::Valid;
        }
        if back.proven.len() >= PAIRS {
            return error(Condition::ResourceConstraint, "too many domains on one stream");
        }
        let chain = link.wire.transport().peer_certificates();
        match self.links().prove(Shown { chain: &chain, role: Role::Server }, &pair.remote, &[]) {
            Ok(proof) => {
                let proof = Arc::new(proof);
                listed.prove(&pair, Some(&proof));
                self.reached(&pair);
                back.meter.join(&pair.remote, self);
                back.proven.push(Proven { pair, proof });
                Verdict::Valid
            }
            Err(reason) => Verdict::Error(untrusted(&reason)),
        }
    }
}
