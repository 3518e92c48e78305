//! The local socket on which the operator's commands reach a running server.
//!
//! One line of JSON asks, `{"operation": "account.list", "arguments": {}}`, one line answers:
//! `{"done": ...}` or `{"refused": {"kind": "usage" | "failed", "text": "..."}}`. Whoever may open the
//! socket is an operator: it belongs to the server's user alone. Also declares the operations of
//! the command line.

pub mod accounts;
mod client;
mod protocol;
mod server;
mod status;

pub use client::{CallError, Client};
pub use server::{Listener, serve};
pub use status::{STATUS, Status};

/// The socket's name in the data directory.
pub const SOCKET: &str = "admin.sock";

#[cfg(test)]
mod tests;
