//! XEP-0030 Service Discovery, version 2.5.0: what the domain and its accounts are and can do,
//! answered from what the installed extensions declare.

use std::future::ready;
use std::sync::Arc;

use crate::hooks::{Answer, Call, Entity, Extension, Registrar, Relation, Request, Spec};
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0030", version: "2.5.0" },
    name: "service-discovery",
    advertises: &[
        (Entity::Domain, Info::NS),
        (Entity::Domain, Items::NS),
        (Entity::Account, Info::NS),
        (Entity::Account, Items::NS),
    ],
    wanted: Extension::ALWAYS,
    install,
};

fn install(at: &mut Registrar<'_>) {
    for entity in [Entity::Domain, Entity::Account] {
        let it = Arc::new(Discovery { entity, features: at.features(entity), outbound: Arc::clone(at.outbound) });
        at.iq_get(entity, &it, |it, call: Call<Info>| ready(it.info(&call)));
        at.iq_get(entity, &it, |it, call: Call<Items>| ready(it.items(&call)));
    }
}

struct Discovery {
    entity: Entity,
    features: Vec<&'static str>,
    outbound: Arc<dyn crate::hooks::Outbound>,
}

impl Discovery {
    fn info(&self, call: &Call<Info>) -> Answer {
        if call.request.0.is_some() {
            return Err(Condition::ItemNotFound.into());
        }
        let (category, kind) = match self.entity {
            Entity::Domain => ("server", "im"),
            Entity::Account => ("account", "registered"),
        };
        let identity = Element::new("identity", Info::NS).with("category", category).with("type", kind);
        let mut answer = Element::new(Info::NAME, Info::NS).with_child(identity);
        for feature in &self.features {
            answer.push(Element::new("feature", Info::NS).with("var", feature));
        }
        Ok(Some(answer))
    }

    /// XEP-0030 §8: whoever receives an account's presence may see its available resources.
    fn items(&self, call: &Call<Items>) -> Answer {
        if call.request.0.is_some() {
            return Err(Condition::ItemNotFound.into());
        }
        let mut answer = Element::new(Items::NAME, Items::NS);
        if self.entity == Entity::Account && call.relation != Relation::Stranger {
            for resource in self.outbound.resources(&call.to.to_bare()) {
                answer.push(Element::new("item", Items::NS).with("jid", resource.as_str()));
            }
        }
        Ok(Some(answer))
    }
}

/// `disco#info`, with the node that is asked for.
struct Info(Option<String>);

/// `disco#items`, with the node that is asked for.
struct Items(Option<String>);

impl Request for Info {
    const NAME: &'static str = "query";
    const NS: &'static str = "http://jabber.org/protocol/disco#info";

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        Ok(Self(element.attribute("node").map(str::to_owned)))
    }
}

impl Request for Items {
    const NAME: &'static str = "query";
    const NS: &'static str = "http://jabber.org/protocol/disco#items";

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        Ok(Self(element.attribute("node").map(str::to_owned)))
    }
}
