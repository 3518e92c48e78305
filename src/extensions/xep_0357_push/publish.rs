//! Telling a service: one request at a time for each client; what comes meanwhile is told together in the next one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::accounts::push::{REGISTRATIONS, Registration};
use crate::hooks::form::{Field, FieldType, Form, FormType};
use crate::hooks::{Notice, Outbound, PushSettings, Registrar, Reply, Settings};
use crate::jid::{BareJid, Jid};
use crate::live::Live;
use crate::stanza::{CLIENT_NS, Condition, IqType, Kind, Stanza, StanzaError};
use crate::storage::Storage;
use crate::xml::Element;

use super::NS;
use super::worth::told;

/// Namespace of what is published (XEP-0060).
const PUBSUB_NS: &str = "http://jabber.org/protocol/pubsub";

/// What the form is about that goes with a publication (XEP-0060 §7.1.5).
pub(super) const OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";

/// What the form is about that says what has come.
const SUMMARY: &str = "urn:xmpp:push:summary";

/// In place of a text that a service is not to know. Without any, the apps of some phones show nothing.
const TEXT: &str = "New message";

/// How long a service has to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before the next attempt, if one has failed; after the last one it is left to the next message.
const PAUSES: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(1800)];

/// Sends notifications.
pub(super) struct Publisher {
    outbound: Arc<dyn Outbound>,
    storage: Storage,
    settings: Live<Settings>,
    /// The clients that are being told, with what has come meanwhile.
    under_way: Mutex<HashMap<Client, Option<Summary>>>,
}

/// The account, the service and what that calls the client.
type Client = (BareJid, String, Option<String>);

/// What has come.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Summary {
    messages: usize,
    sender: Option<Jid>,
    text: Option<String>,
}

impl Summary {
    /// More has come.
    fn and(self, newer: Self) -> Self {
        Self { messages: newer.messages.max(self.messages + 1), ..newer }
    }
}

/// What has become of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Told,
    /// The service has nothing to do with this client any more.
    Over,
    /// It could not be reached, or cannot do it now.
    Later,
}

impl Publisher {
    pub(super) fn new(at: &Registrar<'_>) -> Self {
        let (storage, settings) = (at.storage.clone(), at.settings.clone());
        Self { outbound: Arc::clone(at.outbound), storage, settings, under_way: Mutex::default() }
    }

    /// Tells the services of absent clients, in tasks of their own.
    pub(super) fn tell(self: &Arc<Self>, notice: &Notice<'_, '_>) {
        // Where nothing runs any more, the server ends.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (sender, text) = told(notice.stanza);
        let summary = Summary { messages: notice.waiting.max(1), sender, text };
        for registration in &notice.absent {
            let client = client(notice.account, registration);
            match self.lock().entry(client.clone()) {
                Entry::Occupied(mut entry) => {
                    let before = entry.get_mut().take();
                    let all = before.map_or_else(|| summary.clone(), |before| before.and(summary.clone()));
                    entry.insert(Some(all));
                }
                Entry::Vacant(entry) => {
                    entry.insert(None);
                    runtime.spawn(Arc::clone(self).publish(client, registration.clone(), summary.clone()));
                }
            }
        }
    }

    /// Tells one service until there is nothing more to tell it.
    async fn publish(self: Arc<Self>, client: Client, mut registration: Registration, mut summary: Summary) {
        let mut pauses = PAUSES.iter();
        loop {
            let outcome = self.attempt(&client.0, &registration, &summary).await;
            let newer = match outcome {
                Outcome::Told => {
                    pauses = PAUSES.iter();
                    let Some(newer) = self.next(&client) else { return };
                    newer
                }
                Outcome::Over => {
                    self.lock().remove(&client);
                    return self.disable(&client.0, registration).await;
                }
                Outcome::Later => {
                    let Some(pause) = pauses.next() else {
                        tracing::info!(service = %registration.service, "a push service could not be told");
                        self.lock().remove(&client);
                        return;
                    };
                    sleep(*pause).await;
                    let newer = self.lock().get_mut(&client).and_then(Option::take);
                    newer.map_or_else(|| summary.clone(), |newer| summary.clone().and(newer))
                }
            };
            summary = newer;
            // XEP-0357 §6: not a word once the client does not want it any more.
            let Some(current) = self.current(&client).await else {
                self.lock().remove(&client);
                return;
            };
            registration = current;
        }
    }

    /// What has come since the last attempt; if nothing has, the client is told everything.
    fn next(&self, client: &Client) -> Option<Summary> {
        let mut under_way = self.lock();
        let newer = under_way.get_mut(client).and_then(Option::take);
        if newer.is_none() {
            under_way.remove(client);
        }
        newer
    }

    async fn attempt(&self, account: &BareJid, registration: &Registration, summary: &Summary) -> Outcome {
        let Ok(service) = registration.service.parse::<Jid>() else { return Outcome::Over };
        let Some(settings) = self.settings.load().push else { return Outcome::Told };
        let request = publication(registration, &summary.form(settings));
        // From the account: what its own user asks for is not done in the name of the domain.
        let iq = Stanza::new(Kind::Iq(IqType::Set)).from(Jid::from(account.clone())).to(service).payload(request);
        outcome(&self.outbound.request(iq, PATIENCE).await)
    }

    /// XEP-0357 §7.1: the service has said that this client is not there any more.
    async fn disable(&self, account: &BareJid, registration: Registration) {
        tracing::debug!(%account, service = %registration.service, "a push service refuses; it is not told any more");
        let change = self.outbound.change_push(account, Box::new(move |all| all.forget(&registration)));
        if let Err(error) = change.await {
            tracing::debug!(?error, "the account of a refused notification is gone");
        }
    }

    /// What the client wants now, if it does.
    async fn current(&self, client: &Client) -> Option<Registration> {
        let (account, service, node) = client;
        let all = REGISTRATIONS.get(&self.storage, account).await.ok()??;
        all.iter().find(|it| (&it.service, &it.node) == (service, node)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Client, Option<Summary>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(account: &BareJid, registration: &Registration) -> Client {
    (account.clone(), registration.service.clone(), registration.node.clone())
}

impl Summary {
    /// XEP-0357 §9: no more than the operator allows.
    fn form(&self, settings: PushSettings) -> Element {
        let count = Field::new("message-count", FieldType::TextSingle).value(&self.messages.to_string());
        let mut form = Form::new(FormType::Submit, SUMMARY).field(count);
        if let Some(sender) = self.sender.as_ref().filter(|_| settings.sender) {
            form = form.field(Field::new("last-message-sender", FieldType::JidSingle).value(sender.as_str()));
        }
        let text = self.text.as_deref().filter(|_| settings.body).unwrap_or(TEXT);
        form.field(Field::new("last-message-body", FieldType::TextSingle).value(text)).to_element()
    }
}

/// XEP-0357 §7: what a service is sent.
fn publication(registration: &Registration, summary: &Element) -> Element {
    let notification = Element::new("notification", NS).with_child(summary.clone());
    let item = Element::new("item", PUBSUB_NS).with_child(notification);
    let mut publish = Element::new("publish", PUBSUB_NS);
    if let Some(node) = &registration.node {
        publish.set("node", node);
    }
    let pubsub = Element::new("pubsub", PUBSUB_NS).with_child(publish.with_child(item));
    if registration.options.is_empty() {
        return pubsub;
    }
    let fields = registration.options.iter().map(|(var, values)| {
        let kind = if values.len() > 1 { FieldType::TextMulti } else { FieldType::TextSingle };
        Field::new(var, kind).values(values.iter().cloned())
    });
    let form = fields.fold(Form::new(FormType::Submit, OPTIONS), Form::field);
    pubsub.with_child(Element::new("publish-options", PUBSUB_NS).with_child(form.to_element()))
}

/// XEP-0357 §7.1: only the service itself ends it, and only by saying that it will never take this. That it is not reached,
/// or its server is not, says nothing about the client.
fn outcome(reply: &Reply) -> Outcome {
    let Reply::Answered(answer) = reply else { return Outcome::Later };
    if answer.kind == Kind::Iq(IqType::Result) {
        return Outcome::Told;
    }
    let elements = answer.payload.elements();
    let error = elements.iter().find(|element| element.is("error", CLIENT_NS));
    match error.and_then(StanzaError::condition_of) {
        Some(
            Condition::BadRequest
            | Condition::FeatureNotImplemented
            | Condition::Forbidden
            | Condition::Gone
            | Condition::ItemNotFound
            | Condition::JidMalformed
            | Condition::NotAcceptable
            | Condition::NotAuthorized
            | Condition::RegistrationRequired
            | Condition::SubscriptionRequired
            | Condition::UnexpectedRequest,
        ) => Outcome::Over,
        // The others are also said by this server, or by the one of the service, on its behalf.
        _ => Outcome::Later,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn registration(node: Option<&str>, options: &[(&str, &[&str])]) -> Registration {
        let options = options.iter().map(|(var, values)| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            ((*var).to_owned(), values)
        });
        let (service, node, resource) = ("push.example".to_owned(), node.map(str::to_owned), "x".to_owned());
        Registration { service, node, options: options.collect::<BTreeMap<_, _>>(), resource }
    }

    fn summary(text: Option<&str>) -> Summary {
        let sender = Jid::parse("juliet@capulet.example/balcony").unwrap();
        Summary { messages: 2, sender: Some(sender), text: text.map(str::to_owned) }
    }

    // Proves: XEP-0357 §7, §9
    #[test]
    fn a_service_is_told_no_more_than_the_operator_allows() {
        let form = |sender, body, text| summary(text).form(PushSettings { sender, body }).to_xml("jabber:x:data");
        let start = "<x type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:push:summary</value></field>\
                     <field var='message-count' type='text-single'><value>2</value></field>";
        let sender =
            "<field var='last-message-sender' type='jid-single'><value>juliet@capulet.example/balcony</value></field>";
        let body =
            |text: &str| format!("<field var='last-message-body' type='text-single'><value>{text}</value></field></x>");
        let text = Some("secret");
        assert_eq!(form(false, false, text), format!("{start}{}", body("New message")));
        assert_eq!(form(true, false, text), format!("{start}{sender}{}", body("New message")));
        assert_eq!(form(false, true, text), format!("{start}{}", body("secret")));
        assert_eq!(form(true, true, None), format!("{start}{sender}{}", body("New message")));
    }

    // Proves: XEP-0357 §7
    #[test]
    fn what_a_service_is_sent() {
        let summary = Element::new("x", "jabber:x:data");
        let published = |registration: &Registration| publication(registration, &summary).to_xml("");
        let start = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish";
        let item =
            "><item><notification xmlns='urn:xmpp:push:0'><x xmlns='jabber:x:data'/></notification></item></publish>";
        assert_eq!(published(&registration(None, &[])), format!("{start}{item}</pubsub>"));
        assert_eq!(
            published(&registration(Some("n"), &[("a", &["1", "2"]), ("secret", &["x"])])),
            format!(
                "{start} node='n'{item}<publish-options><x xmlns='jabber:x:data' type='submit'>\
                 <field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value>\
                 </field><field var='a' type='text-multi'><value>1</value><value>2</value></field>\
                 <field var='secret' type='text-single'><value>x</value></field></x></publish-options></pubsub>"
            )
        );
    }

    // Proves: XEP-0357 §7.1
    #[test]
    fn only_a_service_that_refuses_ends_it() {
        assert_eq!(outcome(&Reply::Silent), Outcome::Later);
        let request = Stanza::new(Kind::Iq(IqType::Set)).id("1");
        assert_eq!(outcome(&Reply::Answered(request.result().into_owned())), Outcome::Told);
        let mut over = Vec::new();
        for condition in Condition::ALL {
            let answer = request.error(&StanzaError::from(*condition)).unwrap();
            if outcome(&Reply::Answered(answer)) == Outcome::Over {
                over.push(condition.as_str());
            }
        }
        // What this server says itself is not among them.
        for own in ["remote-server-not-found", "remote-server-timeout", "resource-constraint", "internal-server-error"]
        {
            assert!(!over.contains(&own), "{own}");
        }
        assert!(["item-not-found", "forbidden", "gone"].iter().all(|it| over.contains(it)), "{over:?}");
    }

    #[test]
    fn what_comes_meanwhile_is_told_together() {
        let newer = |messages| Summary { messages, sender: None, text: Some("b".to_owned()) };
        assert_eq!(summary(Some("a")).and(newer(1)), newer(3));
        assert_eq!(summary(Some("a")).and(newer(7)), newer(7));
    }
}
