//! What the operator decides: `comity.toml`, typed.
//!
//! A file with one line, `domain = "example.org"`, is complete and safe. Each key is declared once, in
//! `sections.rs`: its type, its default and the sentences of the manual; the commented example file,
//! `comity config explain` and the suggestions in error messages are derived from that declaration.
//!
//! Must never know who uses a setting.

mod changes;
mod error;
mod example;
mod explain;
mod read;
mod section;
mod sections;
mod suggest;
mod units;
mod values;

pub use error::{ConfigError, Problem};
pub use example::{example, manual};
pub use explain::{Explained, explain};
pub use section::{Key, Section, Shape};
pub use sections::{
    Archive, Component, Config, Contact, Dns, Domain, Federation, Limits, Listen, Log, Peer, Rooms, SECTIONS, Services,
    Tls,
};
pub use units::{Period, Size};
pub use values::{
    AccountName, Addresses, ContactUri, Dnssec, DomainName, FederationMode, LocalName, NameServer, Pin, ProofKind,
    RoomCreation,
};

#[cfg(test)]
mod tests;
