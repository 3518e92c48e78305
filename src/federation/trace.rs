//! What is seen on the way to another server, step by step: written down whenever a stream is opened, shortened for the
//! sender when there is none, and shown as it is to an operator who asks for it.
//!
//! It must never decide anything.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::federation::dial::Door;
use crate::federation::outgoing::Event;
use crate::federation::resolve::Start;
use crate::federation::trouble::{Phase, Trouble};
use crate::federation::xep_0220_dialback::{FEATURE_NS, Verdict};
use crate::negotiation::features::TLS_NS;
use crate::net::dns::{Security, Srv};
use crate::net::tls::names::presented;
use crate::net::{TlsFacts, Transport};
use crate::telemetry::harmless;

/// So many different reasons are told to a sender.
const REASONS: usize = 4;

/// One thing that was tried, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When it began, in milliseconds after the first one, and how long it took.
    pub at_ms: u64,
    pub took_ms: u64,
    /// Where, if it was done at one address.
    pub place: Option<Place>,
    #[serde(flatten)]
    pub seen: Seen,
    pub trouble: Option<Trouble>,
}

/// An address, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The target of the SRV record, or the domain.
    pub host: String,
    pub address: SocketAddr,
    pub start: Start,
}

/// What a step has brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Seen {
    /// The SRV records of `name`; none where there are none, or nobody knows.
    Srv {
        name: String,
        records: Vec<Srv>,
        security: Security,
    },
    Addresses {
        host: String,
        addresses: Vec<IpAddr>,
        security: Security,
    },
    /// Which keys a signed DNS names for a target.
    Tlsa {
        name: String,
        records: Vec<String>,
    },
    Connection,
    /// The header of a stream, if one has come.
    Header {
        greeting: Option<Greeting>,
    },
    /// The names of what is offered, among them the mechanisms of SASL.
    Features {
        offered: Vec<String>,
    },
    Starttls,
    Tls(Box<Encryption>),
    External,
    Dialback,
    /// The answer to a question about a key (XEP-0220 §2.2.2).
    Verification {
        answer: Option<String>,
    },
}

/// What a stream header says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    pub from: Option<String>,
    pub to: Option<String>,
    pub id: Option<String>,
    pub version: Option<String>,
}

/// How a stream is encrypted, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    pub version: Option<String>,
    pub cipher: Option<String>,
    /// The certificate of the other server and those that it shows with it.
    pub chain: Vec<Shown>,
}

/// A certificate that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub subject: String,
    pub issuer: String,
    pub names: Vec<String>,
    pub not_before: String,
    pub not_after: String,
    pub is_authority: bool,
}

/// How much is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What the sender of a stanza may have to be told.
    Brief,
    /// What the operator may want to know.
    Full,
}

/// Writes it down.
#[derive(Debug)]
pub(crate) struct Trace {
    depth: Depth,
    began: Instant,
    steps: Vec<Step>,
}

impl Trace {
    pub(crate) fn new(depth: Depth) -> Self {
        Self { depth, began: Instant::now(), steps: Vec::new() }
    }

    /// What began at `since` is over.
    pub(crate) fn saw(&mut self, since: Instant, door: Option<&Door>, seen: Seen, trouble: Option<Trouble>) {
        let place = door.map(|door| Place { host: door.host.to_string(), address: door.address, start: door.start });
        let (at_ms, took_ms) = (ms(since.saturating_duration_since(self.began)), ms(since.elapsed()));
        self.steps.push(Step { at_ms, took_ms, place, seen, trouble });
    }

    /// An answer of the DNS to what was asked at `since` has come at `until`.
    pub(crate) fn saw_until(&mut self, since: Instant, until: Instant, seen: Seen, trouble: Option<Trouble>) {
        self.saw(since, None, seen, trouble);
        if let Some(last) = self.steps.last_mut() {
            last.took_ms = ms(until.saturating_duration_since(since));
        }
    }

    /// The last step has shown this as well, unless it has shown another thing.
    pub(crate) fn blame(&mut self, trouble: Trouble) {
        if let Some(last) = self.steps.last_mut() {
            last.trouble.get_or_insert(trouble);
        }
    }

    /// What an event on a stream shows.
    pub(crate) fn seen(&self, phase: Phase, event: &Event, is_verification: bool, transport: &Transport) -> Seen {
        match (phase, event) {
            (Phase::Header, Event::Open(header)) if self.depth == Depth::Full => {
                let version = header.version.map(|(major, minor)| format!("{major}.{minor}"));
                let (from, to, id) = (header.from.clone(), header.to.clone(), header.id.clone());
                Seen::Header { greeting: Some(Greeting { from, to, id, version }) }
            }
            (Phase::Header, _) => Seen::Header { greeting: None },
            (Phase::Features, Event::Element(features)) => {
                let mut offered = Vec::new();
                for feature in features.elements() {
                    offered.push(feature.name().to_owned());
                    let mechanisms = feature.elements().filter(|inner| inner.name() == "mechanism");
                    offered.extend(mechanisms.map(|mechanism| harmless(mechanism.text().trim()).into_owned()));
                    let has_errors =
                        feature.ns() == FEATURE_NS && feature.elements().any(|inner| inner.name() == "errors");
                    offered.extend(has_errors.then(|| "errors".to_owned()));
                    let is_required =
                        feature.ns() == TLS_NS && feature.elements().any(|inner| inner.name() == "required");
                    offered.extend(is_required.then(|| "required".to_owned()));
                }
                Seen::Features { offered }
            }
            (Phase::Features, _) => Seen::Features { offered: Vec::new() },
            (Phase::Starttls, _) => Seen::Starttls,
            (Phase::Tls, Event::Secured { .. }) if self.depth == Depth::Full => {
                Seen::Tls(Box::new(encryption(transport.tls(), &transport.peer_certificates())))
            }
            (Phase::Tls, _) => Seen::Tls(Box::default()),
            (Phase::External, _) => Seen::External,
            (Phase::Dialback, _) if is_verification => Seen::Verification { answer: None },
            (Phase::Dialback, _) => Seen::Dialback,
        }
    }

    /// A key was asked about.
    pub(crate) fn answered(&mut self, verdict: &Verdict) {
        if let Some(Step { seen: Seen::Verification { answer }, .. }) = self.steps.last_mut() {
            *answer = Some(match verdict {
                Verdict::Valid => "valid".to_owned(),
                Verdict::Invalid => "invalid".to_owned(),
                Verdict::Error(error) => error.condition.as_str().to_owned(),
            });
        }
    }

    /// Whether a stream at `door` has offered `feature`.
    pub(crate) fn has_offered(&self, door: &Door, feature: &str) -> bool {
        self.steps.iter().any(|step| {
            step.place.as_ref().is_some_and(|place| place.address == door.address && place.start == door.start)
                && matches!(&step.seen, Seen::Features { offered } if offered.iter().any(|name| name == feature))
        })
    }

    /// The last thing that went wrong.
    pub(crate) fn last_trouble(&self) -> Option<&Trouble> {
        self.steps.iter().rev().find_map(|step| step.trouble.as_ref())
    }

    /// What went wrong, in the words for the sender: each reason once, with the names of those where it was found. Their addresses
    /// are for the operator.
    pub(crate) fn shortened(&self) -> String {
        let mut reasons: Vec<String> = complaints(&self.steps, Step::whose_it_was)
            .into_iter()
            .map(|Complaint { text, places, .. }| format!("{}: {text}", places.join(", ")))
            .collect();
        if !reasons.is_empty()
            && let Some(name) = without_records(&self.steps)
        {
            reasons.insert(0, format!("{name}: there is no SRV record"));
        }
        let more = reasons.len().saturating_sub(REASONS);
        reasons.truncate(REASONS);
        if more > 0 {
            reasons.push(format!("and {more} more"));
        }
        reasons.join("; ")
    }

    /// Whether the addresses of some target are known.
    pub(crate) fn knows_addresses(&self) -> bool {
        self.steps.iter().any(|step| matches!(&step.seen, Seen::Addresses { addresses, .. } if !addresses.is_empty()))
    }

    /// All that was seen.
    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}

/// One thing that has gone wrong, in one place or in several.
pub(crate) struct Complaint<'a> {
    pub(crate) text: String,
    pub(crate) places: Vec<String>,
    /// The first step that shows it.
    pub(crate) step: &'a Step,
    pub(crate) trouble: &'a Trouble,
}

/// What has gone wrong, each thing once, in the places that `place` tells.
pub(crate) fn complaints(steps: &[Step], place: impl Fn(&Step) -> String) -> Vec<Complaint<'_>> {
    let mut complaints: Vec<Complaint<'_>> = Vec::new();
    for step in steps {
        let Some(trouble) = &step.trouble else { continue };
        let (place, text) = (place(step), trouble.to_string());
        match complaints.iter_mut().find(|known| known.text == text) {
            Some(known) if known.places.contains(&place) => {}
            Some(known) => known.places.push(place),
            None => complaints.push(Complaint { text, places: vec![place], step, trouble }),
        }
    }
    complaints
}

/// The name at which a domain that exists has no SRV records.
pub(crate) fn without_records(steps: &[Step]) -> Option<&str> {
    let mut missing = None;
    for step in steps {
        match (&step.seen, &step.trouble) {
            (Seen::Srv { name, records, .. }, None) if records.is_empty() => missing = Some(name.as_str()),
            (Seen::Srv { .. }, _) | (Seen::Addresses { .. }, Some(Trouble::NoSuchName)) => return None,
            _ => {}
        }
    }
    missing
}

impl Step {
    /// The place without its address.
    fn whose_it_was(&self) -> String {
        match &self.place {
            Some(Place { host, address, start }) => format!("{host}:{}{}", address.port(), start.mark()),
            None => self.where_it_was(),
        }
    }

    /// The place as a person writes it.
    #[must_use]
    pub fn where_it_was(&self) -> String {
        match (&self.place, &self.seen) {
            (Some(place), _) => place.to_string(),
            (None, Seen::Srv { name, .. } | Seen::Addresses { host: name, .. } | Seen::Tlsa { name, .. }) => {
                name.clone()
            }
            (None, _) => "?".to_owned(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.address, self.start.mark())
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn encryption(facts: Option<TlsFacts>, chain: &[CertificateDer<'_>]) -> Encryption {
    Encryption {
        version: facts.as_ref().map(|facts| facts.version.to_string()),
        cipher: facts.as_ref().map(|facts| facts.cipher.to_owned()),
        chain: chain.iter().filter_map(shown).collect(),
    }
}

/// What a person wants to know of a certificate; strangers chose the words, and they end up on a terminal.
fn shown(certificate: &CertificateDer<'_>) -> Option<Shown> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Shown {
        subject: harmless(&parsed.subject().to_string()).into_owned(),
        issuer: harmless(&parsed.issuer().to_string()).into_owned(),
        names: presented(&parsed).iter().map(ToString::to_string).collect(),
        not_before: parsed.validity().not_before.to_string(),
        not_after: parsed.validity().not_after.to_string(),
        is_authority: parsed.is_ca(),
    })
}
