//! Commands about accounts and their sessions (XEP-0133 §4.1 to §4.10).

use crate::accounts::roster::{Item, ROSTER_NS};
use crate::hooks::form::{Field, FieldType, Form, FormType, Submission};
use crate::hooks::operation::{Nothing, Operation};
use crate::hooks::{Asked, Done};
use crate::jid::Jid;
use crate::routing::operations::{
    ACCOUNT_ADD, ACCOUNT_DISABLE, ACCOUNT_ENABLE, ACCOUNT_FACTS, ACCOUNT_PASSWORD, ACCOUNT_REMOVE, ACCOUNT_ROSTER,
    AccountName, AccountPassword, NewAccount, SESSION_END, SessionName,
};
use crate::secret::Secret;
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::{ABOUT, addresses, call, ended, form, noted, refused, required, shown, single};

pub(super) fn new_account(title: &str) -> Form {
    form(title)
        .field(
            Field::new("accountjid", FieldType::JidSingle).unchecked().label("The address of the account").required(),
        )
        .field(Field::new("password", FieldType::TextPrivate).label("Its password").required())
        .field(Field::new("password-verify", FieldType::TextPrivate).label("The password again").required())
}

pub(super) fn several(title: &str) -> Form {
    form(title).field(Field::new("accountjids", FieldType::JidMulti).unchecked().label("The addresses").required())
}

/// Some clients know this command with the field of the others.
pub(super) fn one(title: &str) -> Form {
    form(title)
        .field(Field::new("accountjid", FieldType::JidSingle).unchecked().label("The address of the account"))
        .field(
            Field::new("accountjids", FieldType::JidMulti).unchecked().label("The same, if your client wants it here"),
        )
}

pub(super) fn password(title: &str) -> Form {
    form(title)
        .field(
            Field::new("accountjid", FieldType::JidSingle).unchecked().label("The address of the account").required(),
        )
        .field(Field::new("password", FieldType::TextPrivate).label("Its new password").required())
}

/// XEP-0133 §4.1.
pub(super) async fn add(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let (jid, password) = (required(&submission, "accountjid")?, required(&submission, "password")?);
    if submission.text("password-verify") != Some(password) {
        return noted("the two passwords are not the same".to_owned());
    }
    let password = Secret::new(password.to_owned());
    let account = NewAccount { jid: account(jid), password, admin: false, reuse: false };
    ended(call(&asked, &ACCOUNT_ADD, account).await)
}

/// XEP-0133 §4.2.
pub(super) async fn delete(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    each(&asked, &submission, &ACCOUNT_REMOVE).await
}

/// XEP-0133 §4.3.
pub(super) async fn disable(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    each(&asked, &submission, &ACCOUNT_DISABLE).await
}

/// XEP-0133 §4.4.
pub(super) async fn enable(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    each(&asked, &submission, &ACCOUNT_ENABLE).await
}

/// Does it to each of the accounts; those for which it does not work do not keep it from the others.
async fn each(
    asked: &Asked,
    submission: &Submission,
    operation: &Operation<AccountName, Nothing>,
) -> Result<Done, StanzaError> {
    let mut failures = Vec::new();
    for jid in accounts(submission)? {
        if let Err(error) = asked.operations.call(operation, AccountName { jid: jid.clone() }).await {
            failures.push(format!("{jid}: {error}"));
        }
    }
    if failures.is_empty() { Ok(Done::default()) } else { noted(failures.join("; ")) }
}

/// XEP-0133 §4.5.
pub(super) async fn end_sessions(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    required(&submission, "accountjids")?;
    for jid in addresses(&submission, "accountjids") {
        if let Err(error) = call(&asked, &SESSION_END, SessionName { jid }).await {
            return refused(&error);
        }
    }
    Ok(Done::default())
}

/// XEP-0133 §4.7.
pub(super) async fn change_password(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let (jid, password) = (required(&submission, "accountjid")?, required(&submission, "password")?);
    let account = AccountPassword { jid: account(jid), password: Secret::new(password.to_owned()) };
    ended(call(&asked, &ACCOUNT_PASSWORD, account).await)
}

/// XEP-0133 §4.8.
pub(super) async fn roster(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let jids = accounts(&submission)?;
    let mut form = Form::new(FormType::Result, ABOUT)
        .field(Field::new("accountjids", FieldType::JidMulti).values(jids.iter().cloned()));
    for jid in jids {
        let items = match call(&asked, &ACCOUNT_ROSTER, AccountName { jid }).await {
            Ok(items) => items,
            Err(error) => return refused(&error),
        };
        let query = items.iter().map(Item::to_element).fold(Element::new("query", ROSTER_NS), Element::with_child);
        form = form.content(query);
    }
    shown(form)
}

/// XEP-0133 §4.9. Of somebody who has never logged in there is no time.
pub(super) async fn last_login(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let jids = accounts(&submission)?;
    let mut logins = Vec::new();
    for jid in &jids {
        match call(&asked, &ACCOUNT_FACTS, AccountName { jid: jid.clone() }).await {
            Ok(facts) => logins.push(facts.last_login.map(|time| time.to_string()).unwrap_or_default()),
            Err(error) => return refused(&error),
        }
    }
    let kind = if jids.len() == 1 { FieldType::TextSingle } else { FieldType::TextMulti };
    let form = Form::new(FormType::Result, ABOUT)
        .field(Field::new("accountjids", FieldType::JidMulti).values(jids))
        .field(Field::new("lastlogin", kind).values(logins));
    shown(form)
}

/// XEP-0133 §4.10.
pub(super) async fn statistics(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let named = submission.text("accountjid").map(account);
    let named = named.map_or_else(|| accounts(&submission), |jid| Ok(vec![jid]))?;
    let [jid] = <[String; 1]>::try_from(named)
        .map_err(|_| StanzaError::new(Condition::NotAcceptable, "facts about one user at a time"))?;
    let facts = match call(&asked, &ACCOUNT_FACTS, AccountName { jid }).await {
        Ok(facts) => facts,
        Err(error) => return refused(&error),
    };
    let form = Form::new(FormType::Result, ABOUT)
        .field(single("rostersize", &facts.contacts.to_string()))
        .field(Field::new("onlineresources", FieldType::TextMulti).values(facts.resources));
    shown(form)
}

/// The accounts that a command is about.
fn accounts(submission: &Submission) -> Result<Vec<String>, StanzaError> {
    let mut accounts: Vec<String> = Vec::new();
    for jid in addresses(submission, "accountjids").iter().map(|jid| account(jid)) {
        if !accounts.contains(&jid) {
            accounts.push(jid);
        }
    }
    if accounts.is_empty() {
        return Err(StanzaError::new(Condition::BadRequest, "accountjids is missing"));
    }
    Ok(accounts)
}

/// The account that an address belongs to: some clients know their contacts by resource. What is no address is left for
/// the operation to refuse.
fn account(jid: &str) -> String {
    Jid::parse(jid).map_or_else(|_| jid.to_owned(), |jid| jid.bare_str().to_owned())
}
