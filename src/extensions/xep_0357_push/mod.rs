//! XEP-0357 Push Notifications, version 0.4.1: clients on phones have a service of their maker's told that something has
//! come while they are not there. `docs/push.md` is the same for people.
//!
//! Who is there is routing's to know. Here is what is worth a notification, and what the services are told.

mod publish;
mod worth;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::accounts::push::Registration;
use crate::hooks::form::{NS as FORM_NS, Submission};
use crate::hooks::{Answer, Call, Entity, Extension, Outbound, Registrar, Request, Spec};
use crate::jid::Jid;
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use self::publish::Publisher;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0357", version: "0.4.1" },
    name: "push",
    advertises: &[(Entity::Account, NS)],
    commands: &[],
    wanted: |settings| settings.push.is_some(),
    install,
};

const NS: &str = "urn:xmpp:push:0";

/// What is kept with a registration is sent with every notification: the most octets of it.
const MOST_OCTETS: usize = 4096;

fn install(at: &mut Registrar<'_>) {
    let publisher = Arc::new(Publisher::new(at));
    at.notifier(worth::is_worth, move |notice| publisher.tell(notice));
    let it = Arc::new(Registering { outbound: Arc::clone(at.outbound) });
    at.iq_set(Entity::Account, &it, Registering::enable);
    at.iq_set(Entity::Account, &it, Registering::disable);
}

struct Registering {
    outbound: Arc<dyn Outbound>,
}

impl Registering {
    /// XEP-0357 §5: as often as a client likes; the last request counts.
    async fn enable(self: Arc<Self>, call: Call<Enable>) -> Answer {
        let owner = call.owner()?;
        let Enable { service, node, options } = call.request;
        let resource = call.from.resource().unwrap_or_default().to_owned();
        let registration = Registration { service, node, options, resource };
        self.outbound.change_push(&owner, Box::new(|all| all.add(registration))).await?;
        Ok(None)
    }

    /// XEP-0357 §6.
    async fn disable(self: Arc<Self>, call: Call<Disable>) -> Answer {
        let owner = call.owner()?;
        let Disable { service, node } = call.request;
        self.outbound.change_push(&owner, Box::new(move |all| all.remove(&service, node.as_deref()))).await?;
        Ok(None)
    }
}

/// A client wants to be told.
#[derive(Debug, PartialEq, Eq)]
struct Enable {
    service: String,
    node: Option<String>,
    options: BTreeMap<String, Vec<String>>,
}

/// It does not.
#[derive(Debug, PartialEq, Eq)]
struct Disable {
    service: String,
    node: Option<String>,
}

impl Request for Enable {
    const NAME: &'static str = "enable";
    const NS: &'static str = NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        let form = element.child("x", FORM_NS).map(Submission::read).transpose()?;
        if form.as_ref().is_some_and(|form| form.about() != Some(publish::OPTIONS)) {
            return Err(StanzaError::new(Condition::BadRequest, "the form holds options of a publication"));
        }
        let (service, node) = (service(element)?, element.attribute("node").map(str::to_owned));
        let options = form.map(Submission::into_fields).unwrap_or_default();
        let size = |text: &String| text.len();
        let fields: usize =
            options.iter().map(|(var, values)| var.len() + values.iter().map(size).sum::<usize>()).sum();
        if fields + node.as_ref().map_or(0, size) > MOST_OCTETS {
            return Err(StanzaError::new(Condition::PolicyViolation, "node and options are too long"));
        }
        Ok(Self { service, node, options })
    }
}

impl Request for Disable {
    const NAME: &'static str = "disable";
    const NS: &'static str = NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        Ok(Self { service: service(element)?, node: element.attribute("node").map(str::to_owned) })
    }
}

fn service(element: &Element) -> Result<String, StanzaError> {
    let jid = element.attribute("jid").ok_or_else(|| StanzaError::new(Condition::BadRequest, "which service?"))?;
    let jid = Jid::parse(jid).map_err(|_| StanzaError::new(Condition::JidMalformed, "this is no address"))?;
    Ok(jid.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enable(attributes: &str, inside: &str) -> Result<Enable, Condition> {
        let element = Element::parse(&format!("<enable xmlns='{NS}'{attributes}>{inside}</enable>"), "").unwrap();
        Enable::parse(&element).map_err(|error| error.condition)
    }

    const FORM: &str = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
                        <value>http://jabber.org/protocol/pubsub#publish-options</value></field>\
                        <field var='secret'><value>a</value></field></x>";

    // Proves: XEP-0357 §5, §6
    #[test]
    fn requests_name_a_service() {
        let read = enable(" jid='Push.Client.example' node='n'", FORM).unwrap();
        assert_eq!((read.service.as_str(), read.node.as_deref()), ("push.client.example", Some("n")));
        assert_eq!(read.options, BTreeMap::from([("secret".to_owned(), vec!["a".to_owned()])]));
        let read = enable(" jid='push.client.example'", "").unwrap();
        assert_eq!((read.node, read.options.len()), (None, 0));
        for attributes in ["", " node='n'"] {
            assert_eq!(enable(attributes, ""), Err(Condition::BadRequest));
        }
        assert_eq!(enable(" jid='@'", ""), Err(Condition::JidMalformed));
        let other = FORM.replace("publish-options", "subscribe-options");
        for form in [other.as_str(), &FORM.replace("submit", "result")] {
            assert_eq!(enable(" jid='a'", form), Err(Condition::BadRequest), "{form}");
        }
        let long = format!(" jid='a' node='{}'", "n".repeat(MOST_OCTETS));
        assert!(enable(&long, "").is_ok());
        assert_eq!(enable(&long, FORM), Err(Condition::PolicyViolation));
        let disable = Element::parse(&format!("<disable xmlns='{NS}' jid='A'/>"), "").unwrap();
        assert_eq!(Disable::parse(&disable).unwrap(), Disable { service: "a".to_owned(), node: None });
    }
}
