//! Listeners: accept, admit, hand over.
//!
//! Knows nothing of stanzas and of extensions.

mod accept;
pub mod admission;
pub mod c2s;
pub mod component;
pub mod s2s;

pub use accept::{accept, anybody};
