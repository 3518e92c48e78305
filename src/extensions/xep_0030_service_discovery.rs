//! XEP-0030 Service Discovery, version 2.5.0: what the domain and its accounts are and can do,
//! answered from what the installed extensions declare.

use std::future::ready;
use std::sync::Arc;

use crate::hooks::{
    Answer, COMMANDS_NS, Call, Catalogue, Command, Entity, Extension, Registrar, Relation, Request, Spec,
};
use crate::jid::Jid;
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
    commands: &[],
    install,
};

fn install(at: &mut Registrar<'_>) {
    for entity in [Entity::Domain, Entity::Account] {
        let it = Arc::new(Discovery { entity, catalogue: at.catalogue.clone(), outbound: Arc::clone(at.outbound) });
        at.iq_get(entity, &it, |it, call: Call<Info>| ready(it.info(&call)));
        at.iq_get(entity, &it, |it, call: Call<Items>| ready(it.items(&call)));
    }
    at.for_strangers::<Items>();
}

struct Discovery {
    entity: Entity,
    catalogue: Catalogue,
    outbound: Arc<dyn crate::hooks::Outbound>,
}

impl Discovery {
    fn info(&self, call: &Call<Info>) -> Answer {
        if let Some(node) = &call.request.0 {
            return self.command_info(node, &call.from);
        }
        let (category, kind) = match self.entity {
            Entity::Domain => ("server", "im"),
            Entity::Account => ("account", "registered"),
        };
        let identity = Element::new("identity", Info::NS).with("category", category).with("type", kind);
        let mut answer = Element::new(Info::NAME, Info::NS).with_child(identity);
        for feature in self.catalogue.features(self.entity) {
            answer.push(Element::new("feature", Info::NS).with("var", feature));
        }
        Ok(Some(answer))
    }

    /// XEP-0030 §8: whoever receives an account's presence may see its available resources.
    fn items(&self, call: &Call<Items>) -> Answer {
        let mut answer = Element::new(Items::NAME, Items::NS);
        if self.entity == Entity::Account && call.relation == Relation::Stranger {
            // XEP-0030 §8: nothing, whether or not there is such an account and such a node.
            call.request.0.iter().for_each(|node| answer.set("node", node));
            return Ok(Some(answer));
        }
        if let Some(node) = &call.request.0 {
            if node != COMMANDS_NS {
                return Err(Condition::ItemNotFound.into());
            }
            answer.set("node", node);
            for command in self.commands_for(&call.from) {
                let item = Element::new("item", Items::NS).with("jid", call.to.as_str());
                answer.push(item.with("node", command.node).with("name", command.name));
            }
            return Ok(Some(answer));
        }
        if self.entity == Entity::Account {
            for resource in self.outbound.resources(&call.to.to_bare()) {
                answer.push(Element::new("item", Items::NS).with("jid", resource.as_str()));
            }
        }
        Ok(Some(answer))
    }

    /// The commands that somebody may use: those who may not, do not see them (XEP-0050 §5).
    fn commands_for(&self, from: &Jid) -> impl Iterator<Item = &'static Command> + use<'_> {
        // Those of the configuration are accounts of this server, which nobody else can speak for.
        let is_admin = self.catalogue.settings().load().admins.contains(&from.to_bare());
        self.catalogue.commands().filter(move |_| is_admin)
    }

    /// What a command is (XEP-0050 §2.2), or the list of them.
    fn command_info(&self, node: &str, from: &Jid) -> Answer {
        let (name, kind, features): (_, _, &[&str]) = match self.commands_for(from).find(|it| it.node == node) {
            Some(command) => (command.name, "command-node", &[COMMANDS_NS, crate::hooks::form::NS]),
            None if node == COMMANDS_NS => ("Commands", "command-list", &[COMMANDS_NS]),
            None => return Err(Condition::ItemNotFound.into()),
        };
        let identity = Element::new("identity", Info::NS).with("category", "automation").with("type", kind);
        let answer = Element::new(Info::NAME, Info::NS).with("node", node).with_child(identity.with("name", name));
        let feature = |var: &&str| Element::new("feature", Info::NS).with("var", var);
        Ok(Some(features.iter().map(feature).fold(answer, Element::with_child)))
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
