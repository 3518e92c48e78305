//! Whatever may come from strangers, tried: each target is a function that takes octets, does with them what the server would,
//! and fails where something does not hold. `README.md` says how they are run.
//!
//! - `targets`: one file is one of them.
//! - `gate`: what the gate makes of octets, for the targets behind it.
//! - `readers`: what other readers of XML find in a document; `found`: what that is.
//! - `seeds`: what fuzzing begins with; `tally`: how much of it has been compared.

mod found;
mod gate;
mod readers;
pub mod seeds;
pub mod tally;
mod targets;

/// Something that is tried.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Which inputs are worth to be made up, where most others would try nothing.
    pub wants: Option<fn(&[u8]) -> bool>,
    /// The file with its seeds.
    seeds: &'static str,
    /// What stands before an element of the examples in specifications, so that it can be a seed; `None` if none can.
    pub examples: Option<&'static str>,
}

/// All of them, in the order of their names.
pub const TARGETS: [Target; 15] = [
    Target { name: "config", run: targets::config::run, wants: None, seeds: "config", examples: None },
    Target { name: "dialback", run: targets::dialback::run, wants: None, seeds: "dialback", examples: None },
    Target {
        name: "differential",
        run: targets::differential::run,
        wants: Some(targets::differential::is_let_in),
        seeds: "gate",
        examples: Some("c"),
    },
    Target { name: "dns", run: targets::dns::run, wants: None, seeds: "dns", examples: None },
    Target { name: "forms", run: targets::forms::run, wants: None, seeds: "forms", examples: Some("") },
    Target { name: "gate", run: targets::gate::run, wants: None, seeds: "gate", examples: Some("c") },
    Target { name: "jid", run: targets::jid::run, wants: None, seeds: "jid", examples: None },
    Target { name: "login", run: targets::login::run, wants: None, seeds: "login", examples: None },
    Target { name: "muc", run: targets::muc::run, wants: None, seeds: "muc", examples: Some("") },
    Target { name: "roster", run: targets::roster::run, wants: None, seeds: "roster", examples: Some("") },
    Target { name: "sasl", run: targets::sasl::run, wants: None, seeds: "sasl", examples: None },
    Target { name: "stanza", run: targets::stanza::run, wants: None, seeds: "stanza", examples: Some("") },
    Target { name: "storage", run: targets::storage::run, wants: None, seeds: "storage", examples: None },
    Target { name: "stream", run: targets::stream::run, wants: None, seeds: "gate", examples: Some("c") },
    Target { name: "tree", run: targets::tree::run, wants: None, seeds: "tree", examples: Some("") },
];

impl Target {
    pub fn called(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }
}
