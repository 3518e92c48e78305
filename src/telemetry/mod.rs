//! What the server says about itself: logs as text or JSON on standard error.
//!
//! Logs never hold passwords, keys or bodies of stanzas. Must never know who emits an event.

mod authentication;
mod harmless;
mod settings;
mod subscriber;

pub use authentication::authentication_failure;
pub use harmless::{harmless, is_harmful};
pub use settings::{Filter, Format};
pub use subscriber::{InitError, Log, init};
