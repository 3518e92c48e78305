//! The way out of the process: byte streams, TLS and name resolution.
//!
//! Floor 0. It must never know what is said over a stream: no stanzas, no accounts, no policy.

pub mod dns;
mod household;
pub mod network;
pub mod tls;
pub mod transport;

pub use dns::{Answer, DnsError, Hickory, Resolver, Srv};
pub use household::household;
pub use network::{Network, System};
pub use transport::{TlsFacts, TlsVersion, Transport};

use std::future::Future;
use std::pin::Pin;

/// A future behind a pointer, for the traits of this module that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
