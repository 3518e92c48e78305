//! Hostile peers on the ports of clients, of other servers and of components: what each one sends, the error that
//! RFC 6120 names for it, and two witnesses on the same server who notice nothing.
//!
//! A case is a line of a table in `c2s`, `s2s` or `component`; `case` judges it, `markup` is the table of what the
//! gate refuses on every port, `scene` is the server with its witnesses, `peer` a connection whose
//! bytes the test chooses, `streams` what peers see who do nothing wrong, `identities` who becomes whom, `requests`
//! what the server writes by itself. Faults that are known and not mended are the tests named `known_...`.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod c2s;
mod case;
mod component;
mod identities;
#[path = "../literals/mod.rs"]
mod literals;
mod markup;
mod peer;
mod requests;
mod s2s;
mod scene;
mod streams;
#[path = "../tree/mod.rs"]
mod tree;
