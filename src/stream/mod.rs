//! XML streams without I/O (RFC 6120 §4): bytes in, events out; the gate lives here.
//!
//! Knows nothing of an async runtime, of the clock, of accounts.

mod error;

pub use error::{STREAMS_NS, StreamCondition, StreamError};
