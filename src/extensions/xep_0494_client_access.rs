//! XEP-0494 Client Access Management, version 0.1.0: people see which clients have access to their account, and take it from
//! them.
//!
//! What can be taken is taken at once: the client's sessions end, and its tokens are worth nothing any more. Whoever knows the
//! password comes back with it, so the answer says that another one is needed then; with that all sessions and all tokens end.

use std::sync::Arc;
use std::time::Duration;

use crate::accounts::clients::{self, Known};
use crate::accounts::tokens::Holder;
use crate::clock::{Clock, Timestamp};
use crate::hooks::{Answer, Call, Entity, Extension, Outbound, Registrar, Request, Seated, Settings, Spec};
use crate::jid::BareJid;
use crate::live::Live;
use crate::stanza::{Condition, StanzaError};
use crate::storage::{Error, Storage};
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0494", version: "0.1.0" },
    name: "client-access",
    advertises: &[(Entity::Account, NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

const NS: &str = "urn:xmpp:cam:0";

/// How long a client that takes its own access has to read that it was done.
const FAREWELL: Duration = Duration::from_millis(500);

fn install(at: &mut Registrar<'_>) {
    let it = Arc::new(Access {
        outbound: Arc::clone(at.outbound),
        storage: at.storage.clone(),
        clock: at.clock.clone(),
        settings: at.settings.clone(),
    });
    at.iq_get(Entity::Account, &it, Access::list);
    at.iq_set(Entity::Account, &it, Access::revoke);
}

struct Access {
    outbound: Arc<dyn Outbound>,
    storage: Storage,
    clock: Clock,
    settings: Live<Settings>,
}

impl Access {
    /// XEP-0494 §3.1.
    async fn list(self: Arc<Self>, call: Call<List>) -> Answer {
        let account = call.owner()?;
        let (known, mut seated) = (self.known(&account).await?, self.outbound.seats(&account));
        let mut list = Element::new("clients", NS);
        for known in known {
            let (its, others): (Vec<_>, Vec<_>) = seated.into_iter().partition(|seat| seat.number == known.number());
            seated = others;
            list.push(client(&known, &its));
        }
        // Who has not said which client he is is known by his session alone.
        seated.sort_by(|one, other| one.jid.cmp(&other.jid));
        seated.dedup_by_key(|seat| seat.number);
        seated.iter().for_each(|seat| list.push(session(seat)));
        Ok(Some(list))
    }

    /// XEP-0494 §3.2.
    async fn revoke(self: Arc<Self>, call: Call<Revoke>) -> Answer {
        let account = call.owner()?;
        let Revoke(number) = call.request;
        let (known, seated) = (self.known(&account).await?, self.outbound.seats(&account));
        let known = known.into_iter().find(|known| known.number() == number);
        let its: Vec<&Seated> = seated.iter().filter(|seat| seat.number == number).collect();
        if known.is_none() && its.is_empty() {
            return Err(Condition::ItemNotFound.into());
        }
        if let Some(known) = &known {
            let holder = Holder { account: &account, agent: &known.agent };
            clients::revoke(&self.storage, holder).await.map_err(|error| failed(&error))?;
        }
        if its.iter().any(|seat| seat.jid == call.from) {
            let (outbound, account) = (Arc::clone(&self.outbound), account.clone());
            tokio::spawn(async move {
                tokio::time::sleep(FAREWELL).await;
                outbound.unseat(&account, number).await;
            });
        } else {
            self.outbound.unseat(&account, number).await;
        }
        tracing::info!(%account, "access of a client was revoked by its owner");
        match known {
            // Who has not said which client he is has presented the password.
            Some(Known { client, .. }) if !client.password && !client.certificate => Ok(None),
            Some(Known { client, .. }) if !client.password => Err(StanzaError::new(
                Condition::ServiceUnavailable,
                "this client has a certificate, which is still good",
            )),
            _ => Err(StanzaError::from(Condition::ServiceUnavailable)
                .with_detail(Element::new("password-reset-required", NS))),
        }
    }

    async fn known(&self, account: &BareJid) -> Result<Vec<Known>, StanzaError> {
        let (account, now) = (account.clone(), self.clock.now());
        let retention = self.settings.load().client_retention;
        let known = self.storage.read(move |view| clients::known(view, &account, (now, retention))).await;
        known.map_err(|error| failed(&error))
    }
}

fn failed(error: &Error) -> StanzaError {
    tracing::error!(%error, "the clients of an account could not be read or changed");
    Condition::InternalServerError.into()
}

/// A client that has said which one it is; `its` are its sessions.
fn client(known: &Known, its: &[Seated]) -> Element {
    let last = its.iter().filter_map(|seat| seat.last).chain([known.last]).max();
    let mut auth = Element::new("auth", NS);
    for (has, name) in [(known.client.password, "password"), (known.token, "fast")] {
        if has {
            auth.push(Element::new(name, NS));
        }
    }
    let seen = (Some(known.client.first), last);
    let mut client = entry(known.number(), !its.is_empty(), seen, auth);
    let mut agent = Element::new("user-agent", NS);
    for (text, name) in [(&known.client.software, "software"), (&known.client.device, "device")] {
        if let Some(text) = text {
            agent.push(Element::new(name, NS).with_text(text));
        }
    }
    client.push(agent);
    client
}

/// A session of which nobody knows more.
fn session(seat: &Seated) -> Element {
    let auth = Element::new("auth", NS).with_child(Element::new("password", NS));
    entry(seat.number, true, (None, seat.last), auth).with_child(Element::new("user-agent", NS))
}

fn entry(
    number: u64,
    connected: bool,
    (first, last): (Option<Timestamp>, Option<Timestamp>),
    auth: Element,
) -> Element {
    let connected = if connected { "true" } else { "false" };
    let mut entry = Element::new("client", NS).with("connected", connected).with("id", &format!("{number:016x}"));
    entry.set("type", "session");
    for (at, name) in [(first, "first-seen"), (last, "last-seen")] {
        if let Some(at) = at {
            entry.push(Element::new(name, NS).with_text(&at.to_string()));
        }
    }
    entry.push(auth);
    entry.with_child(Element::new("permission", NS).with("status", "unrestricted"))
}

/// The question for the list.
struct List;

impl Request for List {
    const NAME: &'static str = "list";
    const NS: &'static str = NS;

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}

/// The number of a client that is to have no access.
struct Revoke(u64);

impl Request for Revoke {
    const NAME: &'static str = "revoke";
    const NS: &'static str = NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        let id = element.attribute("id").ok_or(Condition::BadRequest)?;
        let number = u64::from_str_radix(id, 16).ok().filter(|number| format!("{number:016x}") == id);
        number.map(Self).ok_or_else(|| Condition::ItemNotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_called_by_what_the_list_calls_them() {
        let read = |id: &str| {
            let revoke = Element::new("revoke", NS).with("id", id);
            Revoke::parse(&revoke).map(|Revoke(number)| number).map_err(|error| error.condition)
        };
        assert_eq!(read("00000000000000ff"), Ok(255));
        for wrong in ["", "ff", "00000000000000FF", "+0000000000000ff", "x0000000000000ff", "000000000000000ff"] {
            assert_eq!(read(wrong), Err(Condition::ItemNotFound), "{wrong}");
        }
        let without = Revoke::parse(&Element::new("revoke", NS)).map_err(|error| error.condition);
        assert_eq!(without.err(), Some(Condition::BadRequest));
    }
}
