//! XEP-0049 Private XML Storage, version 1.2: what the clients of an account keep here for themselves, by the name and
//! namespace of the element. It is kept as it was written and given out as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::hooks::{Answer, Call, Entity, Extension, Registrar, Request, Spec};
use crate::stanza::{CLIENT_NS, Condition, StanzaError};
use crate::storage::{Error, Map, Storage, Writes};
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0049", version: "1.2" },
    name: "private-storage",
    advertises: &[(Entity::Domain, NS), (Entity::Account, NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

const NS: &str = "jabber:iq:private";

/// Elements as XML, by their name and namespace as [`key`] writes them. Several of one name are one text.
const KEPT: Map<String> = Map::new("private");

/// Octets that an account may keep, and different elements.
const MOST: usize = 512 * 1024;
const MOST_ELEMENTS: usize = 1000;

fn install(at: &mut Registrar<'_>) {
    let it = Arc::new(at.storage.clone());
    at.iq_get(Entity::Account, &it, show);
    at.iq_set(Entity::Account, &it, keep);
    // Whose storage it is and whether there is such an account is all the same.
    at.for_strangers::<Query>();
}

/// XEP-0049 §2.3: what was never kept is empty.
async fn show(storage: Arc<Storage>, call: Call<Query>) -> Answer {
    // XEP-0049 §5: this is nobody else's business.
    let owner = call.owner()?;
    let mut asked = call.request.0.into_iter();
    let (Some(wanted), None) = (asked.next(), asked.next()) else {
        return Err(StanzaError::new(Condition::NotAcceptable, "one element at a time can be asked for"));
    };
    let kept = KEPT.get(&storage, &owner, &key(&wanted)).await.map_err(|error| failed(&error))?;
    let kept = kept.and_then(|kept| Element::parse(&enclosed(&kept), "").ok());
    let nothing = || Element::new(Query::NAME, NS).with_child(Element::new(wanted.name(), wanted.ns()));
    Ok(Some(kept.unwrap_or_else(nothing)))
}

/// XEP-0049 §2.3: the answer waits until everything is safe.
async fn keep(storage: Arc<Storage>, call: Call<Query>) -> Answer {
    let owner = call.owner()?;
    let mut changes: BTreeMap<String, String> = BTreeMap::new();
    for element in &call.request.0 {
        let text = changes.entry(key(element)).or_default();
        if !is_blank(element) {
            element.write(text, NS);
        }
    }
    let kept = KEPT.all(&storage, &owner).await.map_err(|error| failed(&error))?;
    let stays = kept.iter().filter(|(key, _)| !changes.contains_key(key)).map(|(key, text)| (key, text));
    let comes = changes.iter().filter(|(_, text)| !text.is_empty());
    let (count, size) =
        stays.chain(comes).fold((0, 0), |(count, size), (key, text)| (count + 1, size + key.len() + text.len()));
    if count > MOST_ELEMENTS || size > MOST {
        return Err(StanzaError::new(Condition::ResourceConstraint, format!("an account may keep {MOST} bytes here")));
    }
    let mut writes = Writes::new();
    for (key, text) in &changes {
        if text.is_empty() {
            KEPT.delete(&mut writes, &owner, key);
        } else {
            KEPT.put(&mut writes, &owner, key, text).map_err(|error| failed(&error))?;
        }
    }
    storage.keep(writes).await.map_err(|error| failed(&error))?;
    Ok(None)
}

fn failed(error: &Error) -> StanzaError {
    tracing::error!(%error, "private storage could not be read or written");
    Condition::InternalServerError.into()
}

/// The name of an element, which has no space, and its namespace.
fn key(element: &Element) -> String {
    format!("{} {}", element.name(), element.ns())
}

/// Whether it says no more than what was never kept.
fn is_blank(element: &Element) -> bool {
    element.nodes().is_empty() && element.attributes().next().is_none()
}

/// Elements as they are shown.
fn enclosed(kept: &str) -> String {
    format!("<{} xmlns='{NS}'>{kept}</{}>", Query::NAME, Query::NAME)
}

/// What is to be kept, or the names of what is asked for.
struct Query(Vec<Element>);

impl Request for Query {
    const NAME: &'static str = "query";
    const NS: &'static str = NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        let elements: Vec<Element> = element.elements().cloned().collect();
        // XEP-0049 §2.3, §3: there is one, and it has a namespace of its own.
        let homeless = |element: &Element| ["", NS, CLIENT_NS].contains(&element.ns());
        if elements.is_empty() || elements.iter().any(homeless) {
            let text = "there has to be an element with a namespace of its own";
            return Err(StanzaError::new(Condition::NotAcceptable, text));
        }
        Ok(Self(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Client, World};

    async fn answer(client: &mut Client, request: &str) -> String {
        client.send(request).await;
        client.next().await.unwrap().to_xml(CLIENT_NS)
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_an_end_to_it() {
        let mut world = World::new();
        let mut romeo = world.login(&"romeo@verona.example/orchard".parse().unwrap()).await.unwrap();
        let put = |name: &str, octets: usize| {
            let text = "x".repeat(octets);
            format!("<iq type='set' id='1'><query xmlns='{NS}'><{name} xmlns='x'>{text}</{name}></query></iq>")
        };
        let part = MOST / 4;
        for name in ["a", "b", "c"] {
            assert!(answer(&mut romeo, &put(name, part)).await.contains("type='result'"));
        }
        assert!(answer(&mut romeo, &put("d", part)).await.contains("resource-constraint"));
        // What takes the place of something else is no more than that.
        assert!(answer(&mut romeo, &put("a", part)).await.contains("type='result'"));
        assert!(answer(&mut romeo, &put("b", 0)).await.contains("type='result'"));
        assert!(answer(&mut romeo, &put("d", part)).await.contains("type='result'"));
        let asked = format!("<iq type='get' id='2'><query xmlns='{NS}'><b xmlns='x'/></query></iq>");
        assert!(answer(&mut romeo, &asked).await.contains("<b xmlns='x'/></query>"));
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_an_end_to_small_ones() {
        let mut world = World::new();
        let mut romeo = world.login(&"romeo@verona.example/orchard".parse().unwrap()).await.unwrap();
        let many = |count: usize| {
            let elements: String = (0..count).map(|number| format!("<a{number} xmlns='x' y=''/>")).collect();
            format!("<iq type='set' id='1'><query xmlns='{NS}'>{elements}</query></iq>")
        };
        assert!(answer(&mut romeo, &many(MOST_ELEMENTS + 1)).await.contains("resource-constraint"));
        assert!(answer(&mut romeo, &many(MOST_ELEMENTS)).await.contains("type='result'"));
    }
}
