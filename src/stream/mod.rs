//! XML streams without I/O (RFC 6120 §4, §11): bytes in, events out; the gate lives here.
//!
//! Everything from outside passes one strict scan before anything else sees it: UTF-8, characters,
//! names, well-formedness, namespaces, the restrictions of XMPP, limits, addresses. What comes out is
//! a typed stanza with a canonical payload, which no receiver can read in two ways.
//!
//! - `reader`: which event comes next; `prolog` and `header` are what a stream begins with.
//! - `scan`: one element, each byte looked at once however they arrive; `record`: what it
//!   remembers; `scope`: its namespaces.
//! - `kept`: stanzas of ours, read back; `pace`: how fast others may send.
//! - `head`: the typed head of a stanza; `rewrite`: the canonical form of what is not canonical.
//!
//! Knows nothing of an async runtime, of the clock, of accounts.

mod characters;
mod error;
mod event;
mod head;
mod header;
mod kept;
mod language;
mod limits;
mod names;
mod namespace;
mod pace;
mod prolog;
mod reader;
mod record;
mod refusal;
mod rewrite;
mod scan;
mod scope;
#[cfg(test)]
mod tests;
mod value;

pub use error::{STREAMS_NS, StreamCondition, StreamError};
pub use event::{Event, Fault, Header, Rejected, Step};
pub use header::{CLOSE, HeaderFields, write_header};
pub use kept::read_back;
pub use language::Language;
pub use limits::Limits;
pub use namespace::{ContentNamespace, DIALBACK_NS};
pub use pace::{Ahead, Intake, Pace};
pub use reader::{Framing, Reader};
