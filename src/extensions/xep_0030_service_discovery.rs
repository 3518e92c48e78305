//! XEP-0030 Service Discovery, version 2.5.0: what the domain and its accounts are and can do, and what
//! there is below them, answered from what the installed extensions declare.

use std::future::ready;
use std::sync::Arc;

use crate::hooks::discovery::{About, INFO_NS, Identity, SOFTWARE};
use crate::hooks::{
    Answer, COMMANDS_NS, Call, Catalogue, Command, Entity, Extension, Outbound, Registrar, Relation, Request, Spec,
    form,
};
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
        (Entity::Rooms, Info::NS),
        (Entity::Rooms, Items::NS),
        (Entity::Room, Info::NS),
        (Entity::Room, Items::NS),
    ],
    wanted: Extension::ALWAYS,
    commands: &[],
    install,
};

/// For rooms, which answer for themselves.
pub(super) mod api {
    pub(in crate::extensions) const ITEMS_NS: &str = "http://jabber.org/protocol/disco#items";
}

fn install(at: &mut Registrar<'_>) {
    at.identity(Entity::Domain, Identity { category: "server", kind: "im", name: Some(SOFTWARE) });
    at.identity(Entity::Account, Identity { category: "account", kind: "registered", name: None });
    for entity in [Entity::Domain, Entity::Account] {
        let (catalogue, outbound) = (at.catalogue.clone(), Arc::clone(at.outbound));
        let it = Arc::new(Discovery { entity, catalogue, outbound });
        at.iq_get(entity, &it, |it, call: Call<Info>| ready(it.info(&call)));
        at.iq_get(entity, &it, |it, call: Call<Items>| ready(it.items(&call)));
    }
    at.for_strangers::<Items>();
}

struct Discovery {
    entity: Entity,
    catalogue: Catalogue,
    outbound: Arc<dyn Outbound>,
}

impl Discovery {
    /// XEP-0030 §3; strangers do not get here, nor does anybody who asks for an account that is not there (§8).
    fn info(&self, call: &Call<Info>) -> Answer {
        let answer = match call.request.0.as_deref() {
            None => self.about(call).and_then(|about| about.info(None)),
            Some(node) => self.node_info(node, call),
        };
        answer.map(Some).ok_or_else(|| Condition::ItemNotFound.into())
    }

    /// XEP-0030 §4.
    fn items(&self, call: &Call<Items>) -> Answer {
        let mut answer = Element::new(Items::NAME, Items::NS);
        let node = call.request.0.as_deref();
        node.iter().for_each(|node| answer.set("node", node));
        if self.entity == Entity::Account && call.relation == Relation::Stranger {
            // XEP-0030 §8: nothing, whether or not there is such an account and such a node.
            return Ok(Some(answer));
        }
        let item = |jid: &str| Element::new("item", Items::NS).with("jid", jid);
        match node {
            Some(COMMANDS_NS) => {
                for command in self.commands_for(call) {
                    answer.push(item(call.to.as_str()).with("node", command.node).with("name", command.name));
                }
            }
            Some(node) if self.node_info(node, call).is_none() => return Err(Condition::ItemNotFound.into()),
            // What is there and has nothing below it says so (§7).
            Some(_) => {}
            None => match self.entity {
                Entity::Domain => {
                    for service in self.outbound.services(call.to.domain()) {
                        let item = item(service.jid.as_str());
                        answer.push(service.name.iter().fold(item, |item, name| item.with("name", name)));
                    }
                }
                // §8: whoever receives an account's presence may see its available resources.
                // Rooms answer for themselves.
                Entity::Rooms | Entity::Room => {}
                Entity::Account => {
                    let resources = self.outbound.resources(&call.to.to_bare());
                    resources.iter().for_each(|resource| answer.push(item(resource.as_str())));
                }
            },
        }
        Ok(Some(answer))
    }

    fn node_info<R>(&self, node: &str, call: &Call<R>) -> Option<Element> {
        let info = self.about(call).and_then(|about| about.info(Some(node)));
        info.or_else(|| self.command_info(node, call))
    }

    fn about<R>(&self, call: &Call<R>) -> Option<&About> {
        match self.entity {
            Entity::Domain => Some(self.catalogue.about_domains()),
            Entity::Account => self.catalogue.about_accounts(call.to.domain()),
            Entity::Rooms | Entity::Room => None,
        }
    }

    /// The commands that somebody may use here: those who may not, do not see them (XEP-0050 §5).
    fn commands_for<R>(&self, call: &Call<R>) -> impl Iterator<Item = &'static Command> + use<'_, R> {
        let own = self.entity == Entity::Domain || call.relation == Relation::Owner;
        // Those of the configuration are accounts of this server, which nobody else can speak for.
        let shown = own && self.catalogue.settings().load().admins.contains(&call.from.to_bare());
        self.catalogue.commands().filter(move |_| shown)
    }

    /// What a command is (XEP-0050 §2.2), or the list of them.
    fn command_info<R>(&self, node: &str, call: &Call<R>) -> Option<Element> {
        let (name, kind, features): (_, _, &[&str]) = match self.commands_for(call).find(|it| it.node == node) {
            Some(command) => (command.name, "command-node", &[COMMANDS_NS, form::NS]),
            None if node == COMMANDS_NS => ("Commands", "command-list", &[COMMANDS_NS]),
            None => return None,
        };
        let identity = Identity { category: "automation", kind, name: Some(name) };
        let answer = Element::new(Info::NAME, Info::NS).with("node", node).with_child(identity.to_element());
        let feature = |var: &&str| Element::new("feature", Info::NS).with("var", var);
        Some(features.iter().map(feature).fold(answer, Element::with_child))
    }
}

/// `disco#info`, with the node that is asked for.
struct Info(Option<String>);

/// `disco#items`, with the node that is asked for.
struct Items(Option<String>);

impl Request for Info {
    const NAME: &'static str = "query";
    const NS: &'static str = INFO_NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        Ok(Self(element.attribute("node").map(str::to_owned)))
    }
}

impl Request for Items {
    const NAME: &'static str = "query";
    const NS: &'static str = api::ITEMS_NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        Ok(Self(element.attribute("node").map(str::to_owned)))
    }
}
