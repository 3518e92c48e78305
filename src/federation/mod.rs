//! Other servers (RFC 6120 §3 to §6, XEP-0178, XEP-0220, XEP-0288, XEP-0368).
//!
//! Two things are kept apart. A *queue* (`queue`, `delivery`) belongs to a pair of domains: it keeps
//! order, and answers what cannot be sent; `schedule` says when it is tried again. A *link* is one stream: `outgoing` are
//! the rules of those that we open, `link` drives them, and `driving` has what waits go out on them; `incoming` are the
//! rules of those that others open, `reception` drives them, `counting` says how far they have come, and `recent` what of it
//! may come once more; where stanzas go both ways nothing is counted, and `questions` wait until an answer is true. Where a
//! domain is comes from `resolve` and `dial`; whether a certificate proves it from `proof`; whether a key does from
//! `xep_0220_dialback`; whether we want to talk to it from `policy`.
//!
//! What is seen on the way to another server is written down in a `trace`, what is in the way is a `trouble`, and `doctor`
//! walks all the ways to a domain and says what is wrong with them; `tester` says it to whoever makes the other server.
//!
//! - Nothing passes before TLS, and nothing before the pair of domains is proven on that very stream.
//! - Every stanza given to [`Federation`] is handed to a peer, in order, or answered with an error; one that storage
//!   keeps is not done with before the peer has confirmed it.
//! - The rules are pure; only `dial`, `wire`, `link`, `reception`, `driving`, `gathering`, `lanes` and `delivery` touch sockets or time.
//!
//! It must never know sessions, extensions, or what a stanza means: it hands over to one trait,
//! [`Inbound`].

mod admission;
mod audit;
mod back;
mod budgets;
mod claims;
mod counting;
mod delivery;
mod dial;
pub mod doctor;
mod driving;
mod failure;
mod gathering;
mod history;
mod inbound;
mod incoming;
mod lanes;
mod link;
mod memory;
mod meter;
mod outgoing;
mod policy;
pub mod proof;
mod questions;
mod queue;
mod recent;
mod reception;
mod resolve;
mod schedule;
mod settings;
mod state;
pub mod tester;
mod trace;
mod trouble;
mod wire;
mod xep_0220_dialback;
mod xep_0288_bidi;

pub use audit::{Direction, ProvenPair, Stream};
pub use counting::Note;
pub use history::{Event, Peer, Standing};
pub use inbound::{Inbound, Told};
pub use memory::{Domain, Memory};
pub use policy::{Allowance, Neighbourhood, Policy, Proofs, Terms};
pub use reception::Reception;
pub use resolve::Start;
pub use settings::{Settings, Ways};
pub use state::Federation;
pub use trace::{Encryption, Greeting, Place, Seen, Shown, Step};
pub use trouble::{CertificateFault, Phase, Trouble};
#[cfg(feature = "testing")]
pub use xep_0220_dialback::{dialback_again, judge_of_keys};

#[cfg(test)]
mod tests;
