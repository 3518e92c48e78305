//! Ad-hoc commands (XEP-0050): what people may have a server do, declared by extensions.

use std::pin::Pin;
use std::sync::Arc;

use crate::jid::Jid;
use crate::stanza::StanzaError;

use super::form::{Form, Submission};
use super::operation::Operations;

/// Namespace of commands, and the node under which service discovery lists them (XEP-0050 §2.2).
pub const COMMANDS_NS: &str = "http://jabber.org/protocol/commands";

/// A command: asked for at once, or after one form has been filled in.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// As service discovery knows it.
    pub node: &'static str,
    /// For people.
    pub name: &'static str,
    /// What it asks for; a command without does its work at once.
    pub form: Option<Ask>,
    pub run: Run,
}

/// Makes the form, which may show what is set already.
pub type Ask = fn(Asked) -> Pin<Box<dyn Future<Output = Result<Form, StanzaError>> + Send>>;

/// Does the work.
pub type Run = fn(Asked, Submission) -> Pin<Box<dyn Future<Output = Result<Done, StanzaError>> + Send>>;

/// Who wants a command to be done, and what it may use.
#[derive(Clone)]
pub struct Asked {
    pub from: Jid,
    /// The domain that the command is for.
    pub domain: String,
    pub operations: Arc<Operations>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// Facts.
    pub form: Option<Form>,
    /// A word about it, for people.
    pub note: Option<Note>,
}

/// XEP-0050 §3.4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    Info(String),
    Error(String),
}
