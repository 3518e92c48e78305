//! Comity, a federated presence and instant-messaging server.
//!
//! The module list, top floor first: a module imports only from floors below its own.
//! `docs/architecture.md` holds the floor table and what each module must never know.

// -- floor 2: two libraries, blind to each other
pub mod storage;
pub mod stream;
// -- floor 1: vocabulary
pub mod stanza;
// -- floor 0: ground
pub mod jid;
pub mod xml;
