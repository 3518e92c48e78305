//! The composition root: the only module that sees everything.

mod node;
mod retention;
mod sockets;
pub mod status;
mod tls;

pub use node::{Node, Parts, StartError};
pub use sockets::{Bound, Server};
pub use tls::{CertificateError, identities, trust};

#[cfg(test)]
mod tests;
