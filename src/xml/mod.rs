//! XML as the server itself reads and writes it: small trees of payloads that the gate in
//! `stream` has already proved well-formed, and the one place where text is escaped.
//!
//! Knows nothing of XMPP.

mod element;
mod escape;
mod spelled;

pub(crate) use element::XML_NS;
pub use element::{Element, Malformed, Node};
pub use escape::{escape_into, escaped};
pub(crate) use spelled::spelled;
