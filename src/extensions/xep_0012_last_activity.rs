//! XEP-0012 Last Activity, version 2.0: for how long the server has been running, and how long ago somebody was
//! available last. Accounts answer only those who may see their presence (XEP-0012 §8).

use std::future::ready;
use std::sync::Arc;

use crate::accounts::activity::{LAST_SEEN, LastSeen};
use crate::clock::{Clock, Timestamp};
use crate::hooks::{Answer, Call, Entity, Extension, Outbound, Registrar, Relation, Request, Spec};
use crate::stanza::{Condition, StanzaError};
use crate::storage::Storage;
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0012", version: "2.0" },
    name: "last-activity",
    advertises: &[(Entity::Domain, Query::NS), (Entity::Account, Query::NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

fn install(at: &mut Registrar<'_>) {
    let it = Arc::new(LastActivity {
        storage: at.storage.clone(),
        clock: at.clock.clone(),
        started: at.clock.now(),
        outbound: Arc::clone(at.outbound),
    });
    at.iq_get(Entity::Domain, &it, |it, _: Call<Query>| ready(Ok(Some(it.ago(it.started, None)))));
    at.iq_get(Entity::Account, &it, of_account);
    // All strangers get the same error, whether or not there is such an account.
    at.for_strangers::<Query>();
}

struct LastActivity {
    storage: Storage,
    clock: Clock,
    started: Timestamp,
    outbound: Arc<dyn Outbound>,
}

impl LastActivity {
    fn ago(&self, then: Timestamp, status: Option<&str>) -> Element {
        let seconds = self.clock.now().since(then).as_secs().to_string();
        let answer = Element::new(Query::NAME, Query::NS).with("seconds", &seconds);
        status.into_iter().fold(answer, Element::with_text)
    }
}

/// XEP-0012 §3.
async fn of_account(it: Arc<LastActivity>, call: Call<Query>) -> Answer {
    if call.relation == Relation::Stranger {
        return Err(Condition::Forbidden.into());
    }
    let account = call.to.to_bare();
    // Who is connected and not available does not want to be seen.
    if !it.outbound.resources(&account).is_empty() {
        return Ok(Some(it.ago(it.clock.now(), None)));
    }
    let seen = LAST_SEEN.get(&it.storage, &account).await.map_err(|error| {
        tracing::error!(%error, "the last activity of an account could not be read");
        StanzaError::from(Condition::InternalServerError)
    })?;
    let LastSeen { at, status } = seen.ok_or(Condition::ItemNotFound)?;
    Ok(Some(it.ago(at, status.as_deref())))
}

/// The question.
struct Query;

impl Request for Query {
    const NAME: &'static str = "query";
    const NS: &'static str = "jabber:iq:last";

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}
