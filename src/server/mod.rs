//! The composition root: the only module that sees everything.

mod node;
pub mod operations;
mod retention;
mod sockets;
mod tls;

pub use node::{Node, Parts, StartError};
pub use sockets::{Bound, Server};
pub use tls::{CertificateError, identities, trust};
