//! What is different in another configuration, and how much of it a running server can use.

use toml::Value;

use crate::config::section::Shape;
use crate::config::{Config, Domain, Peer, SECTIONS};

impl Config {
    /// The keys that have another value in `other`, in the order of the manual; those of a domain with its
    /// place in `other`. A domain that only one of the two has is a change of `domains`, whatever is different in a
    /// component is one of `components`, and so it is with `peers`.
    #[must_use]
    pub fn changes(&self, other: &Self) -> Vec<String> {
        // Every configuration that was read can be written.
        let (Ok(ours), Ok(theirs)) = (Value::try_from(self), Value::try_from(other)) else { return Vec::new() };
        let mut changes = Vec::new();
        for section in SECTIONS {
            match section.shape {
                Shape::Once => {
                    let within = |all: &Value, key: &str| match section.name {
                        "" => all.get(key).cloned(),
                        name => all.get(name).and_then(|section| section.get(key)).cloned(),
                    };
                    // Whether the one domain stands at the top or in `[[domains]]` makes no difference.
                    let keys = section.keys.iter().filter(|key| !(section.name.is_empty() && key.name == "domain"));
                    let changed = keys.filter(|key| within(&ours, key.name) != within(&theirs, key.name));
                    changes.extend(changed.map(|key| section.path(key)));
                }
                Shape::Repeated if section.name == Domain::SECTION.name => {
                    changes.extend(self.changes_of_domains(other));
                }
                Shape::Repeated if section.name == Peer::SECTION.name => {
                    changes.extend((self.peers != other.peers).then(|| section.name.to_owned()));
                }
                // Whole: a secret looks the same whatever it is.
                Shape::Repeated => {
                    changes.extend((self.components != other.components).then(|| section.name.to_owned()));
                }
            }
        }
        changes
    }

    fn changes_of_domains(&self, other: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        let both = |domain: &&Domain| self.domain_called(domain).is_some();
        if self.domains.len() != other.domains.len() || !other.domains.iter().all(|domain| both(&domain)) {
            changes.push("domains".to_owned());
        }
        for (at, theirs) in other.domains.iter().enumerate() {
            let Some(ours) = self.domain_called(theirs) else { continue };
            // Every configuration that was read can be written.
            let (Ok(ours), Ok(theirs)) = (Value::try_from(ours), Value::try_from(theirs)) else { continue };
            let changed = Domain::SECTION.keys.iter().filter(|key| ours.get(key.name) != theirs.get(key.name));
            changes.extend(changed.map(|key| format!("domains[{}].{}", at + 1, key.name)));
        }
        changes
    }

    fn domain_called(&self, other: &Domain) -> Option<&Domain> {
        self.domains.iter().find(|domain| domain.name == other.name)
    }

    /// As much of it as a server can use that began with `running`: the rest needs a restart.
    #[must_use]
    pub fn for_running(&self, running: &Self) -> Self {
        let mut usable = self.clone();
        usable.data_dir.clone_from(&running.data_dir);
        usable.listen.clone_from(&running.listen);
        usable.components.clone_from(&running.components);
        usable.services.clone_from(&running.services);
        usable.log.format = running.log.format;
        usable.domain.clone_from(&running.domain);
        let domains = running.domains.iter();
        usable.domains = domains.map(|domain| self.domain_called(domain).unwrap_or(domain).clone()).collect();
        // Nobody here has an account of a domain that is not served yet.
        let served = |domain: &str| running.domains.iter().any(|it| it.name.as_str() == domain);
        usable.admins.retain(|admin| served(admin.jid().domain()));
        usable
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn read(text: &str) -> Config {
        Config::parse(text, Path::new("comity.toml")).unwrap()
    }

    #[test]
    fn every_key_that_differs_is_named() {
        let old = read("domain = \"a.example\"\n");
        let new = read(
            "domain = \"a.example\"\ndata_dir = \"x\"\nadmins = [\"me@a.example\"]\n[listen]\nc2s = []\n\
             [dns]\nservers = [\"192.0.2.1\"]\n[federation]\nmode = \"closed\"\n[limits]\nroster_items = 1\n\
             [log]\nlevel = \"warn\"\nformat = \"json\"\n",
        );
        let all = [
            "data_dir",
            "admins",
            "listen.c2s",
            "dns.servers",
            "federation.mode",
            "limits.roster_items",
            "log.level",
            "log.format",
        ];
        assert_eq!(old.changes(&new), all);
        assert!(new.changes(&new).is_empty());
        let usable = new.for_running(&old);
        assert_eq!(usable.changes(&new), ["data_dir", "listen.c2s", "log.format"]);
        assert_eq!(
            old.changes(&usable),
            ["admins", "dns.servers", "federation.mode", "limits.roster_items", "log.level"]
        );
    }

    #[test]
    fn components_need_a_restart() {
        let with = |secret: &str| {
            read(&format!("domain = \"a.example\"\n[[components]]\nname = \"b.example\"\nsecret = \"{secret}\"\n"))
        };
        let (none, old, new) = (read("domain = \"a.example\"\n"), with("x"), with("y"));
        assert_eq!(none.changes(&new), ["components"]);
        assert_eq!(old.changes(&new), ["components"]);
        assert!(new.changes(&new).is_empty());
        assert_eq!(new.for_running(&old).components, old.components);
    }

    #[test]
    fn names_of_services_need_a_restart() {
        let with = |name: &str| read(&format!("domain = \"a.example\"\n[services]\nrooms = [\"{name}\"]\n"));
        let (old, new) = (with("rooms.a.example"), with("chat.a.example"));
        assert_eq!(old.changes(&new), ["services.rooms"]);
        assert_eq!(new.for_running(&old).services, old.services);
    }

    #[test]
    fn what_holds_for_one_other_domain_is_used_at_once() {
        let with = |more: &str| read(&format!("domain = \"a.example\"\n[[peers]]\nname = \"b.example\"\n{more}"));
        let (old, new) = (with(""), with("federate = false\n"));
        assert_eq!(old.changes(&new), ["peers"]);
        assert!(new.changes(&new).is_empty());
        assert_eq!(new.for_running(&old).peers, new.peers);
    }

    #[test]
    fn domains_are_told_apart_by_their_names() {
        let one = read("domain = \"a.example\"\n");
        let listed = read("[[domains]]\nname = \"a.example\"\n");
        assert!(one.changes(&listed).is_empty());
        let two = read(
            "admins = [\"me@b.example\", \"me@a.example\"]\n[[domains]]\nname = \"b.example\"\n\
             [[domains]]\nname = \"a.example\"\ncertificate = \"c\"\nkey = \"k\"\narchive_enabled = false\n",
        );
        let own = ["domains[2].certificate", "domains[2].key", "domains[2].archive_enabled"];
        assert_eq!(one.changes(&two), ["admins", "domains", own[0], own[1], own[2]]);
        let usable = two.for_running(&one);
        let own = own.map(|key| key.replace("[2]", "[1]"));
        assert_eq!(one.changes(&usable), ["admins", own[0].as_str(), own[1].as_str(), own[2].as_str()]);
        assert_eq!(usable.admins.len(), 1);
        assert_eq!(usable.changes(&two), ["admins", "domains"]);
        assert_eq!(one.for_running(&two).domains.len(), 2);
    }
}
