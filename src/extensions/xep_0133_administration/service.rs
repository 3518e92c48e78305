//! Commands about the service as a whole (XEP-0133 §4.11, §4.12, §4.23 to §4.31).

use crate::hooks::form::{Field, FieldType, Form, Submission};
use crate::hooks::operation::{Nothing, Operation, OperationError};
use crate::hooks::{Asked, Done};
use crate::routing::List;
use crate::routing::operations::{
    ADMIN_EDIT, ADMIN_LIST, ANNOUNCE, AdminList, Announcement, DomainOf, LIST_EDIT, LIST_SHOW, ListOf, MOTD_DELETE,
    MOTD_EDIT, MOTD_SET, MOTD_SHOW, NewList, SERVICE_STOP, Stop, Then, WELCOME_DELETE, WELCOME_SET, WELCOME_SHOW,
};
use crate::stanza::{Condition, StanzaError};

use super::{addresses, call, ended, form, here, text};

/// The longest time that an end may be put off.
const LONGEST: u64 = 24 * 3600;

pub(super) fn announcement(title: &str) -> Form {
    form(title).field(Field::new("announcement", FieldType::TextMulti).label("What they are to read").required())
}

/// XEP-0133 §4.23.
pub(super) async fn announce(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let announcement = Announcement { domain: asked.domain.clone(), text: text(&submission, "announcement")? };
    ended(call(&asked, &ANNOUNCE, announcement).await)
}

pub(super) async fn blacklist(asked: Asked, form: Form) -> Result<Form, StanzaError> {
    let field =
        Field::new("blacklistjids", FieldType::JidMulti).unchecked().label("Who may not communicate with this service");
    list(&asked, List::Black, form, field).await
}

pub(super) async fn whitelist(asked: Asked, form: Form) -> Result<Form, StanzaError> {
    let label = "Who may communicate with this service, if not everybody";
    list(&asked, List::White, form, Field::new("whitelistjids", FieldType::JidMulti).unchecked().label(label)).await
}

async fn list(asked: &Asked, list: List, form: Form, field: Field) -> Result<Form, StanzaError> {
    let shown = asked.operations.call(&LIST_SHOW, ListOf { domain: asked.domain.clone(), list }).await;
    Ok(form.field(field.values(shown.map_err(unreadable)?)))
}

/// XEP-0133 §4.11.
pub(super) async fn edit_blacklist(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let jids = addresses(&submission, "blacklistjids");
    let list = NewList { domain: asked.domain.clone(), list: List::Black, jids };
    ended(call(&asked, &LIST_EDIT, list).await)
}

/// XEP-0133 §4.12.
pub(super) async fn edit_whitelist(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let jids = addresses(&submission, "whitelistjids");
    let list = NewList { domain: asked.domain.clone(), list: List::White, jids };
    ended(call(&asked, &LIST_EDIT, list).await)
}

pub(super) async fn motd(asked: Asked, form: Form) -> Result<Form, StanzaError> {
    let field = Field::new("motd", FieldType::TextMulti).label("The message of the day").required();
    notice(&asked, &MOTD_SHOW, form, field).await
}

pub(super) async fn welcome(asked: Asked, form: Form) -> Result<Form, StanzaError> {
    let label = "What users read when they log in for the first time";
    notice(&asked, &WELCOME_SHOW, form, Field::new("welcome", FieldType::TextMulti).label(label).required()).await
}

async fn notice(
    asked: &Asked,
    show: &Operation<DomainOf, Option<String>>,
    form: Form,
    field: Field,
) -> Result<Form, StanzaError> {
    let text = asked.operations.call(show, here(asked)).await.map_err(unreadable)?.unwrap_or_default();
    Ok(form.field(field.values(text.lines().map(str::to_owned))))
}

/// XEP-0133 §4.24.
pub(super) async fn set_motd(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    set(&asked, &MOTD_SET, text(&submission, "motd")?).await
}

/// XEP-0133 §4.25.
pub(super) async fn edit_motd(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    set(&asked, &MOTD_EDIT, text(&submission, "motd")?).await
}

/// XEP-0133 §4.26.
pub(super) async fn delete_motd(asked: Asked) -> Result<Done, StanzaError> {
    ended(call(&asked, &MOTD_DELETE, here(&asked)).await)
}

/// XEP-0133 §4.27.
pub(super) async fn set_welcome(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    set(&asked, &WELCOME_SET, text(&submission, "welcome")?).await
}

/// XEP-0133 §4.28.
pub(super) async fn delete_welcome(asked: Asked) -> Result<Done, StanzaError> {
    ended(call(&asked, &WELCOME_DELETE, here(&asked)).await)
}

async fn set(asked: &Asked, operation: &Operation<Announcement, Nothing>, text: String) -> Result<Done, StanzaError> {
    ended(call(asked, operation, Announcement { domain: asked.domain.clone(), text }).await)
}

pub(super) async fn admins(asked: Asked, form: Form) -> Result<Form, StanzaError> {
    let admins = asked.operations.call(&ADMIN_LIST, Nothing {}).await.map_err(unreadable)?;
    let label = "The administrators; those of the configuration cannot be removed here";
    Ok(form.field(Field::new("adminjids", FieldType::JidMulti).unchecked().label(label).values(admins)))
}

/// XEP-0133 §4.29.
pub(super) async fn edit_admins(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    let jids = addresses(&submission, "adminjids");
    ended(call(&asked, &ADMIN_EDIT, AdminList { jids }).await)
}

pub(super) fn ending(title: &str) -> Form {
    let delay = Field::new("delay", FieldType::ListSingle).label("In how many seconds").required();
    let announcement = Field::new("announcement", FieldType::TextMulti).label("What everybody who is online reads");
    form(title).field(delay.options(&["0", "30", "60", "90", "120", "180", "240", "300"])).field(announcement)
}

/// XEP-0133 §4.30.
pub(super) async fn restart(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    stop(&asked, &submission, Then::Start).await
}

/// XEP-0133 §4.31.
pub(super) async fn shut_down(asked: Asked, submission: Submission) -> Result<Done, StanzaError> {
    stop(&asked, &submission, Then::Nothing).await
}

async fn stop(asked: &Asked, submission: &Submission, then: Then) -> Result<Done, StanzaError> {
    let after = submission.text("delay").and_then(|delay| delay.parse().ok()).filter(|delay| *delay <= LONGEST);
    let after = after.ok_or_else(|| StanzaError::new(Condition::NotAcceptable, "delay is a number of seconds"))?;
    let announcement = Some(submission.all("announcement").join("\n")).filter(|text| !text.trim().is_empty());
    ended(call(asked, &SERVICE_STOP, Stop { after, then, announcement }).await)
}

fn unreadable(error: OperationError) -> StanzaError {
    StanzaError::new(Condition::InternalServerError, error.to_string())
}
