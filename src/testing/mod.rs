//! A whole federation in memory: servers, named clients, wire transcripts, simulated time.
//!
//! Built for tests only. Everything but the sockets is what runs in production: TLS, SASL, streams,
//! routing, federation, storage (in memory).

mod cells;
mod chance;
mod client;
mod network;
mod panics;
mod pattern;
mod stepping;
mod transcript;
mod world;
mod written;

pub use cells::{Row, cells};
pub use chance::Chance;
pub use client::{Client, Raw};
pub use network::Net;
pub use panics::panics;
pub use pattern::mismatch;
pub use stepping::writing;
pub use transcript::run;
pub use world::{Options, PASSWORD, World};
pub use written::{Document, Side, documents, served, served_from};
