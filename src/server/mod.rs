//! The composition root: the only module that sees everything.

mod components;
mod doctor;
mod interop;
mod made;
pub mod memory;
mod node;
mod peers;
mod reload;
mod retention;
mod rooms;
mod settings;
mod sockets;
pub mod status;
mod tls;
mod token_secret;

pub use components::{SecretError, service_warnings};
pub use doctor::{EXAMINE, Examine, examine_alone};
pub use interop::{INTEROP, Report};
pub use made::{Made, resolver};
pub use node::{Node, Parts, StartError};
pub use peers::{PEERS, STREAMS};
pub use reload::{RELOAD, Reload, Reloaded};
pub use sockets::{Bound, Server};
pub use tls::warnings;
pub use token_secret::{TokenSecretError, token_secret};

#[cfg(test)]
mod tests;
