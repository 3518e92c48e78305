//! XEP-0133 Service Administration, version 1.3.1: the operations on accounts and sessions as
//! commands of administrators. What a command does is the operation's; this file knows its form.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::accounts::roster::{Item, ROSTER_NS};
use crate::hooks::form::{Field, FieldType, Form, FormType, Submission};
use crate::hooks::operation::{Operation, OperationError};
use crate::hooks::{Asked, Command, Done, Extension, Note, Registrar, Spec};
use crate::jid::Jid;
use crate::routing::operations::{
    ACCOUNT_ADD, ACCOUNT_LIST, ACCOUNT_PASSWORD, ACCOUNT_REMOVE, ACCOUNT_ROSTER, ANNOUNCE, AccountName,
    AccountPassword, Announcement, DomainOf, SESSION_END, SESSION_LIST, Secret, SessionName,
};
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

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

/// How many addresses a list gives at most, if nobody asks for another number.
const MOST: usize = 10_000;

macro_rules! command {
    ($node:literal, $name:literal, $run:ident) => {
        Command {
            node: concat!("http://jabber.org/protocol/admin#", $node),
            name: $name,
            form: None,
            run: |asked, _| Box::pin($run(asked)),
        }
    };
    ($node:literal, $name:literal, $form:ident, $run:ident) => {
        Command {
            node: concat!("http://jabber.org/protocol/admin#", $node),
            name: $name,
            form: Some(|_| Box::pin(std::future::ready(Ok($form($name))))),
            run: |asked, submission| Box::pin(async move { $run(asked, submission).await }),
        }
    };
}

const COMMANDS: &[Command] = &[
    command!("add-user", "Add a user", new_account, add_user),
    command!("delete-user", "Delete users", accounts, delete_users),
    command!("end-user-session", "End sessions of users", accounts, end_sessions),
    command!("change-user-password", "Change a user's password", password, change_password),
    command!("get-user-roster", "Show a user's roster", accounts, roster),
    command!("user-stats", "Show facts about a user", accounts, statistics),
    command!("get-registered-users-num", "Count the users", registered_number),
    command!("get-online-users-num", "Count the users who are online", online_number),
    command!("get-registered-users-list", "List the users", list, registered_list),
    command!("get-online-users-list", "List the users who are online", list, online_list),
    command!("announce", "Send an announcement to everybody who is online", announcement, announce),
];

fn form(title: &str) -> Form {
    Form::new(FormType::Form, ABOUT).title(title)
}

fn new_account(title: &str) -> Form {
    form(title)
        .field(Field::new("accountjid", FieldType::JidSingle).label("The address of the account").required())
        .field(Field::new("password", FieldType::TextPrivate).label("Its password").required())
        .field(Field::new("password-verify", FieldType::TextPrivate).label("The password again").required())
}

fn accounts(title: &str) -> Form {
    form(title).field(Field::new("accountjids", FieldType::JidMulti).label("The addresses").required())
}

fn password(title: &str) -> Form {
    form(title)
        .field(Field::new("accountjid", FieldType::JidSingle).label("The address of the account").required())
        .field(Field::new("password", FieldType::TextPrivate).label("Its new password").required())
}

fn list(title: &str) -> Form {
    let most = Field::new("max_items", FieldType::ListSingle).label("How many at most");
    form(title).field(most.options(&["25", "50", "100", "1000", "none"]))
}

fn announcement(title: &str) -> Form {
    form(title).field(Field::new("announcement", FieldType::TextMulti).label("What they are to read").required())
}

/// XEP-0133 §4.1.
async fn add_user(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let (jid, password) = (required(&submission, "accountjid")?, required(&submission, "password")?);
    if submission.text("password-verify") != Some(password) {
        return Ok(refused("the two passwords are not the same".to_owned()));
    }
    let account = AccountPassword { jid: jid.to_owned(), password: Secret(password.to_owned()) };
    Ok(ended(call(&asked, &ACCOUNT_ADD, account).await))
}

/// XEP-0133 §4.2.
async fn delete_users(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    for jid in addresses(&submission)? {
        if let Err(done) = call(&asked, &ACCOUNT_REMOVE, AccountName { jid }).await {
            return Ok(done);
        }
    }
    Ok(Done::default())
}

/// XEP-0133 §4.5.
async fn end_sessions(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    for jid in addresses(&submission)? {
        if let Err(done) = call(&asked, &SESSION_END, SessionName { jid }).await {
            return Ok(done);
        }
    }
    Ok(Done::default())
}

/// XEP-0133 §4.7.
async fn change_password(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let (jid, password) = (required(&submission, "accountjid")?, required(&submission, "password")?);
    let account = AccountPassword { jid: jid.to_owned(), password: Secret(password.to_owned()) };
    Ok(ended(call(&asked, &ACCOUNT_PASSWORD, account).await))
}

/// XEP-0133 §4.8.
async fn roster(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let mut form = Form::new(FormType::Result, ABOUT);
    for jid in addresses(&submission)? {
        let items = match call(&asked, &ACCOUNT_ROSTER, AccountName { jid: jid.clone() }).await {
            Ok(items) => items,
            Err(done) => return Ok(done),
        };
        let query = items.iter().map(Item::to_element).fold(Element::new("query", ROSTER_NS), Element::with_child);
        form = form.field(Field::new("accountjids", FieldType::JidMulti).value(&jid)).content(query);
    }
    Ok(shown(form))
}

/// XEP-0133 §4.10.
async fn statistics(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let [jid] = <[String; 1]>::try_from(addresses(&submission)?)
        .map_err(|_| StanzaError::new(Condition::NotAcceptable, "facts about one user at a time"))?;
    let contacts = match call(&asked, &ACCOUNT_ROSTER, AccountName { jid: jid.clone() }).await {
        Ok(items) => items.len(),
        Err(done) => return Ok(done),
    };
    let sessions = match online(&asked).await {
        Ok(sessions) => sessions,
        Err(done) => return Ok(done),
    };
    let own = sessions.iter().filter(|session| session.bare_str() == jid);
    let resources = own.filter_map(|session| session.resource().map(str::to_owned));
    let form = Form::new(FormType::Result, ABOUT)
        .field(Field::new("rostersize", FieldType::TextSingle).value(&contacts.to_string()))
        .field(Field::new("onlineresources", FieldType::TextMulti).values(resources));
    Ok(shown(form))
}

/// XEP-0133 §4.13.
async fn registered_number(asked: Asked) -> Result<Done, StanzaError> {
    Ok(match registered(&asked).await {
        Ok(accounts) => number("registeredusersnum", accounts.len()),
        Err(done) => done,
    })
}

/// XEP-0133 §4.15.
async fn online_number(asked: Asked) -> Result<Done, StanzaError> {
    Ok(match online(&asked).await {
        Ok(sessions) => number("onlineusersnum", users(&sessions).len()),
        Err(done) => done,
    })
}

/// XEP-0133 §4.18.
async fn registered_list(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    Ok(match registered(&asked).await {
        Ok(accounts) => listed("registereduserjids", accounts, &submission),
        Err(done) => done,
    })
}

/// XEP-0133 §4.20.
async fn online_list(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    Ok(match online(&asked).await {
        Ok(sessions) => listed("onlineuserjids", users(&sessions), &submission),
        Err(done) => done,
    })
}

/// XEP-0133 §4.23.
async fn announce(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    required(&submission, "announcement")?;
    let text = submission.all("announcement").join("\n");
    let announcement = Announcement { domain: asked.domain.clone(), text };
    Ok(ended(call(&asked, &ANNOUNCE, announcement).await))
}

async fn registered(asked: &Asked) -> Result<Vec<String>, Done> {
    call(asked, &ACCOUNT_LIST, DomainOf { domain: asked.domain.clone() }).await
}

async fn online(asked: &Asked) -> Result<Vec<Jid>, Done> {
    let sessions = call(asked, &SESSION_LIST, DomainOf { domain: asked.domain.clone() }).await?;
    Ok(sessions.iter().filter_map(|session| Jid::parse(session).ok()).collect())
}

/// The accounts of the sessions, each once.
fn users(sessions: &[Jid]) -> Vec<String> {
    let mut users: Vec<_> = sessions.iter().map(|session| session.bare_str().to_owned()).collect();
    users.sort_unstable();
    users.dedup();
    users
}

fn number(var: &str, number: usize) -> Done {
    let form = Form::new(FormType::Result, ABOUT);
    shown(form.field(Field::new(var, FieldType::TextSingle).value(&number.to_string())))
}

fn listed(var: &str, mut jids: Vec<String>, submission: &Submission) -> Done {
    jids.truncate(submission.text("max_items").and_then(|most| most.parse().ok()).unwrap_or(MOST));
    shown(Form::new(FormType::Result, ABOUT).field(Field::new(var, FieldType::JidMulti).values(jids)))
}

fn required<'a>(submission: &'a Submission, var: &str) -> Result<&'a str, StanzaError> {
    submission.text(var).ok_or_else(|| StanzaError::new(Condition::BadRequest, format!("{var} is missing")))
}

/// The addresses of accounts or sessions, which people write in one line as well.
fn addresses(submission: &Submission) -> Result<Vec<String>, StanzaError> {
    required(submission, "accountjids")?;
    let lines = submission.all("accountjids").iter().flat_map(|line| line.split(','));
    Ok(lines.map(|jid| jid.trim().to_owned()).filter(|jid| !jid.is_empty()).collect())
}

/// Does the operation; if it fails, the command has ended with a word about it.
async fn call<A, O>(asked: &Asked, operation: &Operation<A, O>, arguments: A) -> Result<O, Done>
where
    A: Serialize,
    O: DeserializeOwned,
{
    asked.operations.call(operation, arguments).await.map_err(|error: OperationError| refused(error.to_string()))
}

fn ended<T>(result: Result<T, Done>) -> Done {
    result.err().unwrap_or_default()
}

fn shown(form: Form) -> Done {
    Done { form: Some(form), note: None }
}

/// XEP-0050 §3.6: a command that has failed is completed with an error note.
fn refused(why: String) -> Done {
    Done { form: None, note: Some(Note::Error(why)) }
}
