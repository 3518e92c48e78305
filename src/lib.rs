//! Comity, a federated presence and instant-messaging server.
//!
//! The module list, top floor first: a module imports only from floors below its own.
//! `docs/architecture.md` holds the floor table and what each module must never know.

// -- floor 9: the operator
pub mod cli;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
// -- floor 8: composition
pub mod server;
// -- floor 7: the outside world
pub mod admin;
pub mod listeners;
// -- floor 6: protocol work; neighbours, blind to each other
pub mod components;
pub mod extensions;
pub mod federation;
pub mod session;
// -- floor 5: rules
pub mod negotiation;
pub mod routing;
// -- floor 4: the extension API
pub mod hooks;
// -- floor 3: people
pub mod accounts;
// -- floor 2: two libraries, blind to each other
pub mod storage;
pub mod stream;
// -- floor 1: vocabulary
pub mod stanza;
// -- floor 0: ground
pub mod clock;
pub mod config;
pub mod crash;
pub mod erasure;
pub mod fnv;
pub mod hexadecimal;
pub mod jid;
pub mod live;
pub mod net;
pub mod panics;
pub mod random;
pub mod secret;
pub mod telemetry;
pub mod xml;
