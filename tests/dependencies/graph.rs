//! The crates that are built and who needs whom, as cargo resolves them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use crate::tree;

/// A crate in one of its versions.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Id {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// What a crate says of itself.
#[derive(Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// The registry or repository that it comes from; nothing for our own.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    /// The library in another language that it brings.
    pub(crate) links: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a crate asks for.
#[derive(Clone, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) req: String,
    /// Where it lies, if it is one of ours.
    pub(crate) path: Option<PathBuf>,
}

/// Crates, and which others each of them needs.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) packages: BTreeMap<Id, Package>,
    pub(crate) needs: BTreeMap<Id, BTreeSet<Id>>,
}

impl Graph {
    /// The crates that `cargo tree` finds with these arguments. `cargo metadata` describes them; its own list has more, since it does
    /// not leave out what belongs to features that are off.
    pub(crate) fn read(targets: &[String], selection: &[&str]) -> Self {
        let platforms = targets.iter().flat_map(|target| ["--filter-platform", target]);
        let said = cargo(["metadata", "--format-version", "1"].into_iter().chain(platforms));
        let known: Metadata = serde_json::from_str(&said).expect("what cargo metadata says");
        let known: BTreeMap<Id, Package> =
            known.packages.into_iter().map(|package| (Id::new(&package.name, &package.version), package)).collect();
        let targets = targets.iter().flat_map(|target| ["--target", target]);
        let form = ["tree", "--prefix", "depth", "--format", " {p}"];
        let mut graph = Self::default();
        graph.follow(&cargo(form.into_iter().chain(targets).chain(selection.iter().copied())));
        let described = |id: &Id| known.get(id).unwrap_or_else(|| panic!("cargo metadata does not know {id}")).clone();
        graph.packages = graph.needs.keys().map(|id| (id.clone(), described(id))).collect();
        graph
    }

    /// Lines with how deep a crate lies, its name and its version, each below the one that needs it.
    pub(crate) fn follow(&mut self, lines: &str) {
        let mut above: Vec<Id> = Vec::new();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let mut words = line.split_whitespace();
            let (Some(depth), Some(name), Some(version)) = (words.next(), words.next(), words.next()) else {
                panic!("{line}: a depth, a name and a version")
            };
            let id = Id::new(name, version.trim_start_matches('v'));
            above.truncate(depth.parse().expect("a depth"));
            if let Some(needing) = above.last() {
                self.needs.entry(needing.clone()).or_default().insert(id.clone());
            }
            self.needs.entry(id.clone()).or_default();
            above.push(id);
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// What cargo says, from `Cargo.lock` and what is on this machine.
fn cargo<'a>(arguments: impl Iterator<Item = &'a str>) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(tree::root()).args(arguments).args(["--locked", "--offline"]);
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes text")
}
