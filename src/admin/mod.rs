//! The local socket on which the operator's commands reach a running server.
//!
//! One line of JSON asks, `{"operation": "account.list", "arguments": {}}`, one line answers:
//! `{"done": ...}` or `{"refused": {"kind": "usage" | "failed", "text": "..."}}`. Whoever may open the
//! socket is an operator: it belongs to the server's user alone. Renders operations; knows none of
//! what they do.

mod client;
mod protocol;
mod server;

pub use client::{CallError, Client};
pub use server::{Listener, serve};

/// The socket's name in the data directory.
pub const SOCKET: &str = "admin.sock";

#[cfg(test)]
mod tests;
