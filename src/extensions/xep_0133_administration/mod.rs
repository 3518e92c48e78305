//! XEP-0133 Service Administration, version 1.3.1: the operations on accounts, sessions and the service as commands of
//! administrators. What a command does is the operation's; these files know its form.

mod accounts;
mod lists;
mod service;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::hooks::form::{Field, FieldType, Form, FormType, Submission};
use crate::hooks::operation::{Operation, OperationError};
use crate::hooks::{Asked, Command, Done, Extension, Note, Registrar, Spec};
use crate::routing::operations::DomainOf;
use crate::stanza::{Condition, StanzaError};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0133", version: "1.3.1" },
    name: "administration",
    // Service discovery finds the commands themselves.
    advertises: &[],
    commands: COMMANDS,
    wanted: Extension::ALWAYS,
    install: |_: &mut Registrar<'_>| {},
};

/// What the forms are about (XEP-0133 §8.2).
const ABOUT: &str = "http://jabber.org/protocol/admin";

macro_rules! command {
    // Does its work at once.
    ($node:literal, $name:literal, $run:path) => {
        Command {
            node: concat!("http://jabber.org/protocol/admin#", $node),
            name: $name,
            form: None,
            run: |asked, _| Box::pin($run(asked)),
        }
    };
    // Asks for what is always the same.
    ($node:literal, $name:literal, $form:path, $run:path) => {
        Command {
            node: concat!("http://jabber.org/protocol/admin#", $node),
            name: $name,
            form: Some(|_| Box::pin(std::future::ready(Ok($form($name))))),
            run: |asked, submission| Box::pin(async move { $run(asked, submission).await }),
        }
    };
    // Shows what is set already.
    ($node:literal, $name:literal, shows $form:path, $run:path) => {
        Command {
            node: concat!("http://jabber.org/protocol/admin#", $node),
            name: $name,
            form: Some(|asked| Box::pin(async move { $form(asked, form($name)).await })),
            run: |asked, submission| Box::pin(async move { $run(asked, submission).await }),
        }
    };
}

const COMMANDS: &[Command] = &[
    command!("add-user", "Add a user", accounts::new_account, accounts::add),
    command!("delete-user", "Delete users", accounts::several, accounts::delete),
    command!("disable-user", "Disable users", accounts::several, accounts::disable),
    command!("reenable-user", "Enable disabled users", accounts::several, accounts::enable),
    command!("end-user-session", "End sessions of users", accounts::several, accounts::end_sessions),
    command!("change-user-password", "Change a user's password", accounts::password, accounts::change_password),
    command!("get-user-roster", "Show users' rosters", accounts::several, accounts::roster),
    command!("get-user-lastlogin", "Show when users logged in last", accounts::several, accounts::last_login),
    command!("user-stats", "Show facts about a user", accounts::one, accounts::statistics),
    command!("edit-blacklist", "Edit the blacklist", shows service::blacklist, service::edit_blacklist),
    command!("edit-whitelist", "Edit the whitelist", shows service::whitelist, service::edit_whitelist),
    command!("get-registered-users-num", "Count the users", lists::registered_number),
    command!("get-disabled-users-num", "Count the users who are disabled", lists::disabled_number),
    command!("get-online-users-num", "Count the users who are online", lists::online_number),
    command!("get-active-users-num", "Count the users who are online and there", lists::active_number),
    command!("get-idle-users-num", "Count the users who are online and away", lists::idle_number),
    command!("get-registered-users-list", "List the users", lists::most, lists::registered),
    command!("get-disabled-users-list", "List the users who are disabled", lists::most, lists::disabled),
    command!("get-online-users-list", "List the users who are online", lists::most, lists::online),
    command!("get-active-users", "List the users who are online and there", lists::most, lists::active),
    command!("get-idle-users", "List the users who are online and away", lists::most, lists::idle),
    command!("announce", "Send an announcement to everybody who is online", service::announcement, service::announce),
    command!("set-motd", "Set the message of the day", shows service::motd, service::set_motd),
    command!("edit-motd", "Edit the message of the day", shows service::motd, service::edit_motd),
    command!("delete-motd", "Delete the message of the day", service::delete_motd),
    command!("set-welcome", "Set the message for new users", shows service::welcome, service::set_welcome),
    command!("delete-welcome", "Delete the message for new users", service::delete_welcome),
    command!("edit-admin", "Edit the list of administrators", shows service::admins, service::edit_admins),
    command!("restart", "Restart the service", service::ending, service::restart),
    command!("shutdown", "Shut the service down", service::ending, service::shut_down),
];

fn form(title: &str) -> Form {
    Form::new(FormType::Form, ABOUT).title(title)
}

fn required<'a>(submission: &'a Submission, var: &str) -> Result<&'a str, StanzaError> {
    submission.text(var).ok_or_else(|| StanzaError::new(Condition::BadRequest, format!("{var} is missing")))
}

/// A text that people write in lines.
fn text(submission: &Submission, var: &str) -> Result<String, StanzaError> {
    let text = submission.all(var).join("\n");
    if text.trim().is_empty() {
        return Err(StanzaError::new(Condition::BadRequest, format!("{var} is missing")));
    }
    Ok(text)
}

/// Addresses, which people write in one line as well: so the forms leave them to the operations to judge.
fn addresses(submission: &Submission, var: &str) -> Vec<String> {
    let lines = submission.all(var).iter().flat_map(|line| line.split(','));
    lines.map(|jid| jid.trim().to_owned()).filter(|jid| !jid.is_empty()).collect()
}

fn here(asked: &Asked) -> DomainOf {
    DomainOf { domain: asked.domain.clone() }
}

/// Does the operation.
async fn call<A, O>(asked: &Asked, operation: &Operation<A, O>, arguments: A) -> Result<O, OperationError>
where
    A: Serialize,
    O: DeserializeOwned,
{
    asked.operations.call(operation, arguments).await
}

/// The end of a command that has nothing to show.
fn ended<T>(result: Result<T, OperationError>) -> Result<Done, StanzaError> {
    result.map_or_else(|error| refused(&error), |_| Ok(Done::default()))
}

/// A field with what a command has found out.
fn result(field: Field) -> Result<Done, StanzaError> {
    shown(Form::new(FormType::Result, ABOUT).field(field))
}

fn shown(form: Form) -> Result<Done, StanzaError> {
    Ok(Done { form: Some(form), note: None })
}

/// XEP-0133 §5 has an error for what is in conflict with what there is; any other command that has failed is completed
/// with a note for people (XEP-0050 §3.4).
fn refused(error: &OperationError) -> Result<Done, StanzaError> {
    match error {
        OperationError::Conflict(text) => Err(StanzaError::new(Condition::Conflict, text.clone())),
        error => noted(error.to_string()),
    }
}

fn noted(why: String) -> Result<Done, StanzaError> {
    Ok(Done { form: None, note: Some(Note::Error(why)) })
}

fn single(var: &str, value: &str) -> Field {
    Field::new(var, FieldType::TextSingle).value(value)
}
