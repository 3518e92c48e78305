//! Storage: what must survive, kept per owner in three shapes.
//!
//! An owner is an account (`local@domain`), later a room, or a domain itself. It has one value per [`Cell`], a value per
//! key in a [`Map`], and one append-only log of [`Entry`]. Changes are gathered in [`Writes`] and given to
//! [`Storage::submit`], which never blocks and returns a [`Receipt`]; [`Storage::durable`] waits until the receipt is
//! reached. Only then may anybody be told that the change is safe.
//!
//! Invariants:
//! - One writer applies the jobs in the order of their receipts; a job is applied completely or not at all.
//! - A receipt is reached only after its transaction is on disk (`synchronous=FULL`).
//! - After the first failed commit nothing is acknowledged any more: [`Storage::lost`] fires, and the process must end.
//!   Only a full disk is waited for: what found no room is tried again until it is written, and until then nothing is
//!   acknowledged and the queue fills, so that [`Storage::pressure`] holds.
//! - A write to an account that does not exist is dropped, as if it had come before the removal. A domain exists always.
//! - Readers see only what is durable, and never block the writer.
//!
//! This module must never know what a stanza means, nor who stores what; it imports only addresses.

#[cfg(test)]
mod conformance;
mod error;
mod handle;
mod log;
mod progress;
mod queue;
mod receipt;
mod shapes;
mod sqlite;
mod thread;
mod view;
mod writer;
mod writes;

pub use error::{CreateError, Error, Lost};
pub use handle::{Left, Options, SECRET, Stepper, Storage};
pub use log::{Direction, End, Entry, Expired, Marks, Page, Position, Queued, Range, Slot, Stored};
pub use progress::Durable;
pub use receipt::Receipt;
pub use shapes::{Cell, Map};
pub use sqlite::SCHEMA_VERSION;
#[cfg(feature = "testing")]
pub use sqlite::mend_log;
pub use view::{Look, Own, View};
pub use writes::Writes;
