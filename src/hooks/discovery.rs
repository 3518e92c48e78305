//! What the domain and its accounts say about themselves to service discovery (XEP-0030), put together
//! from what is installed and wanted.

use crate::live::Live;
use crate::xml::Element;

use super::catalogue::{Switched, wanted};
use super::extension::Entity;
use super::form::Form;

/// Namespace of what an entity is and can do (XEP-0030 §3).
pub const INFO_NS: &str = "http://jabber.org/protocol/disco#info";

/// The software, as people and programs are told.
pub const SOFTWARE: &str = "Comity";

/// What kind of thing an entity is (XEP-0030 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub category: &'static str,
    pub kind: &'static str,
    /// In English.
    pub name: Option<&'static str>,
}

impl Identity {
    #[must_use]
    pub fn to_element(&self) -> Element {
        let identity = Element::new("identity", INFO_NS).with("category", self.category).with("type", self.kind);
        match self.name {
            // The stream says it too, but a hash is made of what is written here (XEP-0390 §4.1).
            Some(name) => identity.with("name", name).with("xml:lang", "en"),
            None => identity,
        }
    }
}

/// What an entity says about itself, known once everything is installed. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct About(Live<Known>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    info: Element,
    /// Other names for it.
    nodes: Vec<String>,
}

impl Default for About {
    fn default() -> Self {
        Self(Live::new(Known { info: Element::new("query", INFO_NS), nodes: Vec::new() }))
    }
}

impl About {
    /// The answer to `disco#info` without a node, or with a node that is another name for the same;
    /// `None` for other nodes.
    #[must_use]
    pub fn info(&self, node: Option<&str>) -> Option<Element> {
        let known = self.0.load();
        match node {
            None => Some(known.info.clone()),
            Some(node) => known.nodes.iter().any(|name| name == node).then(|| known.info.clone().with("node", node)),
        }
    }

    pub(super) fn replace(&self, known: Known) {
        self.0.replace(known);
    }
}

type Said<T> = Vec<Switched<(Entity, T)>>;
/// Gives a form, if there is anything to tell.
type Told = Box<dyn Fn() -> Option<Form> + Send + Sync>;
/// Gives a node that is another name for an entity, made from its `disco#info`.
type Alias = Box<dyn Fn(&Element) -> String + Send + Sync>;

/// What extensions say about the entities.
#[derive(Default)]
pub(super) struct Statements {
    pub(super) identities: Said<Identity>,
    pub(super) forms: Said<Told>,
    pub(super) aliases: Said<Alias>,
}

impl Statements {
    /// What is known of `entity`, which has these features, if everybody is asked who is wanted.
    pub(super) fn about(&self, entity: Entity, features: &[&str]) -> Known {
        let mut info = Element::new("query", INFO_NS);
        of(&self.identities, entity).for_each(|identity| info.push(identity.to_element()));
        features.iter().for_each(|feature| info.push(Element::new("feature", INFO_NS).with("var", feature)));
        // XEP-0128 §3.
        of(&self.forms, entity).filter_map(|form| form()).for_each(|form| info.push(form.to_element()));
        let nodes = of(&self.aliases, entity).map(|alias| alias(&info)).collect();
        Known { info, nodes }
    }
}

fn of<T>(said: &[Switched<(Entity, T)>], entity: Entity) -> impl Iterator<Item = &T> {
    wanted(said).filter(move |(who, _)| *who == entity).map(|(_, it)| it)
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::Switch;
    use super::*;
    use crate::hooks::form::FormType;

    #[test]
    fn an_entity_is_what_was_said_of_it() {
        let mut said = Statements::default();
        let (on, who) = (Switch::new(true), Entity::Domain);
        let about = About::default();
        assert_eq!(about.info(None).unwrap().to_xml(""), format!("<query xmlns='{INFO_NS}'/>"));
        let server = Identity { category: "server", kind: "im", name: Some("x") };
        let account = Identity { category: "account", kind: "registered", name: None };
        said.identities.push(Switched::new(&on, (who, server)));
        said.identities.push(Switched::new(&on, (Entity::Account, account)));
        said.identities.push(Switched::new(&Switch::new(false), (who, account)));
        let form = || Some(Form::new(FormType::Result, "urn:example"));
        said.forms.push(Switched::new(&on, (who, Box::new(form))));
        said.forms.push(Switched::new(&on, (who, Box::new(|| None))));
        let alias = |info: &Element| format!("of {} children", info.elements().count());
        said.aliases.push(Switched::new(&on, (who, Box::new(alias))));
        about.replace(said.about(who, &["a", "b"]));
        let expected = |node: &str| {
            format!(
                "<query xmlns='{INFO_NS}'{node}><identity category='server' type='im' name='x' xml:lang='en'/>\
                 <feature var='a'/><feature var='b'/><x xmlns='jabber:x:data' type='result'>\
                 <field var='FORM_TYPE' type='hidden'><value>urn:example</value></field></x></query>"
            )
        };
        assert_eq!(about.info(None).unwrap().to_xml(""), expected(""));
        assert_eq!(about.info(Some("of 4 children")).unwrap().to_xml(""), expected(" node='of 4 children'"));
        assert_eq!(about.info(Some("of 5 children")), None);
        about.replace(said.about(Entity::Account, &[]));
        let account = format!("<query xmlns='{INFO_NS}'>{}</query>", account.to_element().to_xml(INFO_NS));
        assert_eq!(about.info(None).unwrap().to_xml(""), account);
    }
}
