//! XEP-0050 Ad-Hoc Commands, version 1.3.0: lets people have done what extensions declare. A command
//! has at most one form, so nothing has to be remembered between its two steps.
//!
//! All commands so far are the administrators'. They are done for the domain; whoever asks their own
//! account for them means its domain.

use std::sync::Arc;

use crate::hooks::form::Submission;
use crate::hooks::operation::Operations;
use crate::hooks::{
    Answer, Asked, COMMANDS_NS, Call, Catalogue, Done, Entity, Extension, Note, Registrar, Relation, Request, Spec,
    form,
};
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0050", version: "1.3.0" },
    name: "commands",
    advertises: &[(Entity::Domain, Execution::NS), (Entity::Account, Execution::NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

fn install(at: &mut Registrar<'_>) {
    let it = Arc::new(Commands { catalogue: at.catalogue.clone(), operations: Arc::clone(at.operations) });
    at.iq_set(Entity::Domain, &it, execute);
    at.iq_set(Entity::Account, &it, execute);
}

struct Commands {
    catalogue: Catalogue,
    operations: Arc<Operations>,
}

/// XEP-0050 §2.4.
async fn execute(it: Arc<Commands>, call: Call<Execution>) -> Answer {
    let Execution { node, action, form, session } = call.request;
    let command = it.catalogue.commands().find(|command| command.node == node);
    let command = command.ok_or(Condition::ItemNotFound)?;
    // Of a domain, everybody but its accounts is a stranger.
    let own = match call.to.local() {
        None => call.relation != Relation::Stranger,
        Some(_) => call.relation == Relation::Owner,
    };
    if !own || !it.catalogue.settings().load().admins.contains(&call.from.to_bare()) {
        return Err(Condition::Forbidden.into());
    }
    let asked = Asked { from: call.from, domain: call.to.domain().to_owned(), operations: Arc::clone(&it.operations) };
    let mut answer = Element::new(Execution::NAME, Execution::NS).with("node", &node).with("sessionid", &session);
    if action == Action::Cancel {
        return Ok(Some(answer.with("status", "canceled")));
    }
    let submission = match (command.form, form) {
        (Some(ask), None) => {
            let form = ask(asked).await?;
            let actions = Element::new("actions", Execution::NS)
                .with("execute", "complete")
                .with_child(Element::new("complete", Execution::NS));
            return Ok(Some(answer.with("status", "executing").with_child(actions).with_child(form.to_element())));
        }
        (Some(ask), Some(submission)) => {
            let checked = ask(asked.clone()).await?.check(&submission);
            checked.map_err(|error| error.with_detail(Element::new("bad-payload", Execution::NS)))?;
            submission
        }
        (None, _) => Submission::default(),
    };
    let Done { form, note } = (command.run)(asked, submission).await?;
    answer.set("status", "completed");
    if let Some(form) = form {
        answer.push(form.to_element());
    }
    if let Some(note) = note {
        answer.push(written(&note));
    }
    Ok(Some(answer))
}

/// XEP-0050 §4.3.
fn written(note: &Note) -> Element {
    let (kind, text) = match note {
        Note::Info(text) => ("info", text),
        Note::Error(text) => ("error", text),
    };
    Element::new("note", Execution::NS).with("type", kind).with_text(text)
}

/// What a client wants of a command.
struct Execution {
    node: String,
    action: Action,
    /// What it has filled in.
    form: Option<Submission>,
    /// Means something to the client alone.
    session: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Whatever comes next.
    Go,
    Cancel,
}

impl Request for Execution {
    const NAME: &'static str = "command";
    const NS: &'static str = COMMANDS_NS;

    /// XEP-0050 §4.1, with the errors of §4.4.
    fn parse(element: &Element) -> Result<Self, StanzaError> {
        let node = element.attribute("node").ok_or(Condition::BadRequest)?.to_owned();
        let action = match element.attribute("action") {
            None | Some("execute" | "complete") => Action::Go,
            Some("cancel") => Action::Cancel,
            // There are no further stages.
            Some("next" | "prev") => return Err(bad("bad-action")),
            Some(_) => return Err(bad("malformed-action")),
        };
        let form = match element.child("x", form::NS) {
            Some(form) if action == Action::Go => Some(Submission::read(form).map_err(|_| bad("bad-payload"))?),
            _ => None,
        };
        let session = element.attribute("sessionid").filter(|id| !id.is_empty()).unwrap_or("1").to_owned();
        Ok(Self { node, action, form, session })
    }
}

fn bad(what: &str) -> StanzaError {
    StanzaError::from(Condition::BadRequest).with_detail(Element::new(what, Execution::NS))
}
