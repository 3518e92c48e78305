//! The federation doctor: goes all the ways to a domain, with the code that opens streams to send something, and says what
//! is wrong with them.
//!
//! It must never do anything that an honest server would not do.

mod advice;
mod findings;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::federation::Federation;
use crate::federation::dial::{Dialer, Door};
use crate::federation::driving::farewell;
use crate::federation::link::{Errand, Handshake, Links, Opened, below};
use crate::federation::outgoing::{Aim, Traffic, Ways};
use crate::federation::resolve::candidates;
use crate::federation::trace::{Depth, Step, Trace};
use crate::federation::trouble::Trouble;
use crate::federation::xep_0220_dialback::Verdict as Answer;
use crate::random;
use crate::routing::Pair;
use crate::stream::CLOSE;

/// An examination takes so many times the time for one stream at most.
const TIMES: u32 = 4;
/// How long a server may take to say what it knows of a key.
const QUESTION: Duration = Duration::from_secs(10);

/// What an examination has brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The domain that asked.
    pub local: String,
    pub remote: String,
    /// Whether a stanza would arrive.
    pub reached: bool,
    /// What its sender would be told otherwise.
    pub error: Option<String>,
    pub findings: Vec<Finding>,
    pub steps: Vec<Step>,
}

/// What is to be said about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub verdict: Verdict,
    /// In one word, for scripts.
    pub kind: String,
    /// Where it was found.
    pub places: Vec<String>,
    pub text: String,
    /// What to change.
    pub advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Fine,
    /// It works, but not at every address, or not as it is meant to.
    Warning,
    Wrong,
}

/// Whether a server of ours runs that another one can ask about our key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouching {
    Possible,
    Impossible,
}

impl Federation {
    /// Examines how `pair.remote` is reached from `pair.local`.
    pub async fn examine(&self, pair: &Pair, vouching: Vouching) -> Diagnosis {
        let ways = match vouching {
            Vouching::Possible => Ways::ExternalThenDialback,
            Vouching::Impossible => Ways::External,
        };
        let (trace, reached) = self.links().examine(pair, ways).await;
        let error = trace.shortened();
        let mut diagnosis = Diagnosis {
            local: pair.local.to_string(),
            remote: pair.remote.to_string(),
            reached,
            error: (!reached).then_some(error),
            findings: Vec::new(),
            steps: trace.into_steps(),
        };
        let shown = self.ways().server_tls.identities();
        let is_for_servers_only = shown.for_domain(&pair.local).is_some_and(|identity| identity.is_for_servers_only());
        diagnosis.findings = findings::of(&diagnosis, is_for_servers_only);
        if !self.settings().policy.permits(&pair.remote) {
            diagnosis.findings.insert(0, findings::forbidden(&pair.remote));
            diagnosis.reached = false;
        }
        diagnosis
    }
}

impl Links {
    /// Goes all the ways; whether one of them leads to a stream that carries stanzas.
    async fn examine(&self, pair: &Pair, ways: Ways) -> (Trace, bool) {
        let patience = self.settings.load().connect_timeout;
        let began = Instant::now();
        let resolver = self.ways.resolver.get();
        let mut trace = Trace::new(Depth::Full);
        let Ok(groups) = candidates(&**resolver, &pair.remote, patience, below, &mut trace).await else {
            return (trace, false);
        };
        let mut dialer = Dialer::new(&*self.ways.network, &**resolver, groups, trace, patience);
        let mut reached = false;
        let visited = timeout_at(began + patience * TIMES, self.visit(&mut dialer, pair, ways, &mut reached)).await;
        if visited.is_err() {
            tracing::debug!(remote = %pair.remote, "an examination was cut short");
        }
        (dialer.trace, reached)
    }

    async fn visit(&self, dialer: &mut Dialer<'_>, pair: &Pair, ways: Ways, reached: &mut bool) {
        let patience = self.settings.load().connect_timeout;
        while let Some((transport, door)) = dialer.next().await {
            // Nobody would take what the other server sends.
            let (traffic, handshake) = (Traffic::OneWay, Handshake::Full);
            let errand = Errand { pair, aim: &Aim::Deliver, traffic, ways, handshake };
            let limit = Instant::now() + patience;
            if let Some(Opened::Ready(link)) = self.enter(dialer, transport, &door, &errand, limit).await {
                *reached = true;
                farewell(*link, CLOSE).await;
            }
            if dialer.trace.has_offered(&door, "dialback") {
                self.ask(dialer, &door, pair, patience.min(QUESTION)).await;
            }
        }
    }

    /// Asks about a key that nobody has made, as a server does of which somebody claims to be the domain.
    async fn ask(&self, dialer: &mut Dialer<'_>, door: &Door, pair: &Pair, patience: Duration) {
        // There never was such a stream, and the key is as long as one is (XEP-0185).
        let aim = Aim::Verify { id: random::token(), key: [random::token(), random::token()].concat() };
        let (ways, handshake) = (Ways::ExternalThenDialback, Handshake::Full);
        let errand = Errand { pair, aim: &aim, traffic: Traffic::OneWay, ways, handshake };
        let Some(transport) = dialer.again(door).await else { return };
        let limit = Instant::now() + patience;
        if let Some(Opened::Answered(Answer::Valid, _)) = self.enter(dialer, transport, door, &errand, limit).await {
            dialer.trace.blame(Trouble::VouchesForAnything);
        }
    }
}
