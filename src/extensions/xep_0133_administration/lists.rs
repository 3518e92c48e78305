//! Commands that count and list accounts (XEP-0133 §4.13 to §4.22).
//!
//! Active is who is online and does not say that he is away; everybody else who is online is idle.

use crate::hooks::form::{Field, FieldType, Form, Submission};
use crate::hooks::operation::OperationError;
use crate::hooks::{Asked, Done};
use crate::routing::operations::{ACCOUNT_LIST, Listed, ONLINE, Online};
use crate::stanza::{Condition, StanzaError};

use super::{call, form, here, refused, result, single};

/// How many addresses a list gives at most, if nobody asks for another number.
const MOST: usize = 10_000;

pub(super) fn most(title: &str) -> Form {
    let most = Field::new("max_items", FieldType::ListSingle).label("How many at most");
    form(title).field(most.open().options(&["25", "50", "75", "100", "150", "200", "none"]))
}

pub(super) async fn registered_number(asked: Asked) -> Result<Done, StanzaError> {
    number("registeredusersnum", registered_if(&asked, |_| true).await)
}

pub(super) async fn disabled_number(asked: Asked) -> Result<Done, StanzaError> {
    number("disabledusersnum", registered_if(&asked, |account| account.disabled).await)
}

pub(super) async fn online_number(asked: Asked) -> Result<Done, StanzaError> {
    number("onlineusersnum", online_if(&asked, |_| true).await)
}

pub(super) async fn active_number(asked: Asked) -> Result<Done, StanzaError> {
    number("activeusersnum", online_if(&asked, |account| account.active).await)
}

pub(super) async fn idle_number(asked: Asked) -> Result<Done, StanzaError> {
    number("idleusersnum", online_if(&asked, |account| !account.active).await)
}

pub(super) async fn registered(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    listed("registereduserjids", registered_if(&asked, |_| true).await, &submission)
}

pub(super) async fn disabled(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    listed("disableduserjids", registered_if(&asked, |account| account.disabled).await, &submission)
}

pub(super) async fn online(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    listed("onlineuserjids", online_if(&asked, |_| true).await, &submission)
}

pub(super) async fn active(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    listed("activeuserjids", online_if(&asked, |account| account.active).await, &submission)
}

/// The field is called as in the example; the XEP has no name of its own for it.
pub(super) async fn idle(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    listed("activeuserjids", online_if(&asked, |account| !account.active).await, &submission)
}

async fn registered_if(asked: &Asked, wanted: fn(&Listed) -> bool) -> Result<Vec<String>, OperationError> {
    let accounts = call(asked, &ACCOUNT_LIST, here(asked)).await?;
    Ok(accounts.into_iter().filter(wanted).map(|account| account.jid).collect())
}

async fn online_if(asked: &Asked, wanted: fn(&Online) -> bool) -> Result<Vec<String>, OperationError> {
    let accounts = call(asked, &ONLINE, here(asked)).await?;
    Ok(accounts.into_iter().filter(wanted).map(|account| account.jid).collect())
}

fn number(var: &str, accounts: Result<Vec<String>, OperationError>) -> Result<Done, StanzaError> {
    match accounts {
        Ok(accounts) => result(single(var, &accounts.len().to_string())),
        Err(error) => refused(&error),
    }
}

fn listed(
    var: &str,
    accounts: Result<Vec<String>, OperationError>,
    submission: &Submission,
) -> Result<Done, StanzaError> {
    let most = match submission.text("max_items") {
        None | Some("none") => MOST,
        Some(number) => {
            number.parse().map_err(|_| StanzaError::new(Condition::NotAcceptable, "max_items is a number or none"))?
        }
    };
    match accounts {
        Ok(mut jids) => {
            jids.truncate(most);
            result(Field::new(var, FieldType::JidMulti).values(jids))
        }
        Err(error) => refused(&error),
    }
}
