//! `deny.toml`, as far as it needs no database of advisories.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::graph::{Graph, Id, Package};
use crate::licence::allows;

/// The one registry that crates may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// All of the file: what this does not know it refuses, since nobody would look at it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    graph: Targets,
    /// Those are for cargo-deny.
    #[serde(rename = "advisories")]
    _advisories: IgnoredAny,
    pub(crate) licenses: Licenses,
    pub(crate) bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Targets {
    targets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Licenses {
    version: u8,
    include_dev: bool,
    unused_allowed_license: String,
    pub(crate) allow: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Bans {
    multiple_versions: String,
    wildcards: String,
    allow_wildcard_paths: bool,
    deny: Vec<Banned>,
    pub(crate) skip: Vec<Skipped>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
    /// Those that may need it.
    #[serde(default)]
    wrappers: Vec<String>,
}

/// A version of a crate that may be there beside another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skipped {
    #[serde(rename = "crate")]
    pub(crate) id: String,
    pub(crate) reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
}

impl Policy {
    pub(crate) fn read(text: &str) -> Self {
        toml::from_str(text).unwrap_or_else(|error| panic!("deny.toml: {error}"))
    }

    pub(crate) fn targets(&self) -> &[String] {
        &self.graph.targets
    }

    /// What is not as the file says.
    pub(crate) fn judge(&self, graph: &Graph) -> Vec<String> {
        let mut faults = self.leniences();
        let mut met = BTreeSet::new();
        for (id, package) in &graph.packages {
            faults.extend(self.licence(id, package, &mut met));
            faults.extend(source(id, package));
            faults.extend(wildcards(id, package));
        }
        let unmet = self.licenses.allow.difference(&met);
        faults.extend(unmet.map(|name| format!("no crate has the licence {name}: do not allow it")));
        faults.extend(self.bans.deny.iter().flat_map(|banned| banned.judge(graph)));
        faults.extend(self.duplicates(graph));
        faults
    }

    /// Where cargo-deny would only warn.
    fn leniences(&self) -> Vec<String> {
        let levels = [
            ("unused-allowed-license", &self.licenses.unused_allowed_license),
            ("multiple-versions", &self.bans.multiple_versions),
            ("wildcards", &self.bans.wildcards),
            ("unknown-registry", &self.sources.unknown_registry),
            ("unknown-git", &self.sources.unknown_git),
        ];
        let lenient = levels.into_iter().filter(|(_, level)| *level != "deny");
        let mut faults: Vec<String> = lenient.map(|(name, level)| format!("{name} is {level}, not deny")).collect();
        if !(self.licenses.version == 2 && self.licenses.include_dev && self.bans.allow_wildcard_paths) {
            faults.push("version, include-dev or allow-wildcard-paths is not what is judged by".to_owned());
        }
        faults
    }

    fn licence(&self, id: &Id, package: &Package, met: &mut BTreeSet<String>) -> Option<String> {
        let Some(expression) = &package.license else { return Some(format!("{id} has no licence")) };
        let outcome = allows(expression, &mut |name| {
            met.insert(name.to_owned());
            self.licenses.allow.contains(name)
        });
        match outcome {
            Some(true) => None,
            Some(false) => Some(format!("{id}: {expression} is not allowed")),
            None => Some(format!("{id}: {expression} is no expression of licences")),
        }
    }

    /// Of each crate there is one version, but for those that are skipped; and those are there beside another.
    fn duplicates(&self, graph: &Graph) -> Vec<String> {
        let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for id in graph.packages.keys() {
            versions.entry(&id.name).or_default().push(id.to_string());
        }
        let skipped = |id: &str| self.bans.skip.iter().any(|skip| skip.id == id);
        let mut faults = Vec::new();
        for ids in versions.values() {
            let counted: Vec<&str> = ids.iter().map(String::as_str).filter(|id| !skipped(id)).collect();
            if counted.len() > 1 {
                faults.push(format!("{} are there at once: skip those with a reason", counted.join(" and ")));
            }
        }
        for skip in &self.bans.skip {
            let beside = versions.values().any(|ids| ids.len() > 1 && ids.contains(&skip.id));
            if !beside {
                faults.push(format!("{} is not there beside another version: do not skip it", skip.id));
            }
            if skip.reason.trim().is_empty() {
                faults.push(format!("{} is skipped without a reason", skip.id));
            }
        }
        faults
    }
}

impl Banned {
    fn judge(&self, graph: &Graph) -> Vec<String> {
        let needing = graph.needs.iter().filter(|(_, needs)| needs.iter().any(|id| id.name == self.name));
        let needing = needing.map(|(id, _)| &id.name).filter(|name| !self.wrappers.contains(name));
        needing.map(|name| format!("{name} needs {}: {}", self.name, self.reason)).collect()
    }
}

fn source(id: &Id, package: &Package) -> Option<String> {
    match &package.source {
        None => None,
        Some(source) if source == REGISTRY => None,
        Some(source) => Some(format!("{id} comes from {source}")),
    }
}

/// Of our own crates; those of others are published, and the registry takes none with a wildcard.
fn wildcards(id: &Id, package: &Package) -> Vec<String> {
    let ours = package.dependencies.iter().filter(|_| package.source.is_none());
    let open = ours.filter(|dependency| dependency.req == "*" && dependency.path.is_none());
    open.map(|dependency| format!("{id} takes any version of {}", dependency.name)).collect()
}
