//! Services that tell the clients of an account that something has come while they are not there (XEP-0357).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::storage::Cell;

/// What the clients of an account have asked for; where there is nothing, nobody is told.
pub const REGISTRATIONS: Cell<Registrations> = Cell::new("push");

/// A client that wants to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Who tells it: a prepared JID.
    pub service: String,
    /// What the service calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What the service wants to hear each time: the fields of a form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Vec<String>>,
    /// The resource at which it was when it asked.
    pub resource: String,
}

/// Those of an account, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Registrations(Vec<Registration>);

impl Registrations {
    /// How many there may be: whoever installs an app again and again leaves old ones behind, and those go first.
    pub const MOST: usize = 16;

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.0.iter()
    }

    /// Takes one in, in place of what has the same service and node (XEP-0357 §5).
    pub fn add(&mut self, registration: Registration) {
        self.0.retain(|it| (&it.service, &it.node) != (&registration.service, &registration.node));
        let surplus = (self.0.len() + 1).saturating_sub(Self::MOST);
        self.0.drain(..surplus);
        self.0.push(registration);
    }

    /// Takes those of a service out: all of them, or the one with this node (XEP-0357 §6).
    pub fn remove(&mut self, service: &str, node: Option<&str>) {
        self.0.retain(|it| it.service != service || (node.is_some() && it.node.as_deref() != node));
    }

    /// Takes one out, unless the client has asked for something else since.
    pub fn forget(&mut self, registration: &Registration) {
        self.0.retain(|it| it != registration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(service: &str, node: Option<&str>, resource: &str) -> Registration {
        let node = node.map(str::to_owned);
        Registration { service: service.to_owned(), node, options: BTreeMap::new(), resource: resource.to_owned() }
    }

    fn nodes(all: &Registrations) -> Vec<(&str, Option<&str>)> {
        all.iter().map(|it| (it.service.as_str(), it.node.as_deref())).collect()
    }

    // Proves: XEP-0357 §5, §6
    #[test]
    fn a_service_and_a_node_are_there_once() {
        let mut all = Registrations::default();
        let both = [("a", Some("1")), ("a", Some("2")), ("b", Some("1")), ("b", None), ("a", Some("1"))];
        for (number, (service, node)) in both.iter().enumerate() {
            all.add(registration(service, *node, &number.to_string()));
        }
        assert_eq!(nodes(&all), [("a", Some("2")), ("b", Some("1")), ("b", None), ("a", Some("1"))]);
        assert_eq!(all.iter().last().unwrap().resource, "4", "the last request counts");
        all.forget(&registration("a", Some("1"), "0"));
        assert_eq!(all.iter().count(), 4, "it has been asked for again since");
        all.forget(&registration("a", Some("1"), "4"));
        all.remove("b", Some("2"));
        all.remove("b", Some("1"));
        assert_eq!(nodes(&all), [("a", Some("2")), ("b", None)]);
        all.add(registration("b", Some("1"), "x"));
        all.remove("b", None);
        assert_eq!(nodes(&all), [("a", Some("2"))]);
        all.remove("a", Some("2"));
        assert!(all.is_empty());
    }

    #[test]
    fn the_oldest_go() {
        let mut all = Registrations::default();
        for number in 0..Registrations::MOST + 3 {
            all.add(registration("a", Some(&number.to_string()), "x"));
        }
        assert_eq!(all.iter().count(), Registrations::MOST);
        assert_eq!(all.iter().next().unwrap().node.as_deref(), Some("3"));
    }

    /// What is stored is read by later versions.
    #[test]
    fn the_stored_form_stays() {
        let text =
            r#"[{"service":"a","node":"1","options":{"secret":["x"]},"resource":"r"},{"service":"a","resource":"r"}]"#;
        let read: Registrations = serde_json::from_str(text).unwrap();
        assert_eq!(read.iter().next().unwrap().options["secret"], ["x"]);
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
