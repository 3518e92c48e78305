//! What is in the release, for people and for programs that look for crates with known faults.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::graph::{Graph, Id, Package};
use crate::licence::spdx;
use crate::tree;

/// What the release is made of.
pub(crate) struct Release {
    /// What is in the program.
    program: Graph,
    /// That, and what runs while it is built: macros and scripts.
    whole: Graph,
}

impl Release {
    pub(crate) fn read(targets: &[String]) -> Self {
        let select = |edges| Graph::read(targets, &["--package", "comity", "--edges", edges]);
        Self { program: select("normal,no-proc-macro"), whole: select("normal,build") }
    }

    /// Crates of others in the program.
    pub(crate) fn program(&self) -> Vec<(&Id, &Package)> {
        self.program.packages.iter().filter(|(_, package)| package.source.is_some()).collect()
    }

    /// Crates of others that are not in the program.
    fn building(&self) -> Vec<(&Id, &Package)> {
        let others = self.whole.packages.iter().filter(|(_, package)| package.source.is_some());
        others.filter(|(id, _)| !self.program.packages.contains_key(*id)).collect()
    }

    pub(crate) fn page(&self) -> String {
        let (program, building) = (self.program(), self.building());
        let unsafe_lines = |packages: &[(&Id, &Package)]| -> Vec<usize> {
            packages.iter().map(|(_, package)| lines_with_unsafe(folder(package))).collect()
        };
        let (counts, others) = (unsafe_lines(&program), unsafe_lines(&building));
        let touched = counts.iter().filter(|count| **count > 0).count();
        let foreign: Vec<String> =
            program.iter().filter(|(_, package)| package.links.is_some()).map(|(id, _)| format!("`{id}`")).collect();
        let mut out = format!(
            "# Crates of others\n\n\
             This page is generated: `make generate` writes it, and a test ([dependencies](../../tests/dependencies/main.rs)) fails when \
             it is stale. The same list for programs is [comity.cdx.json](../../packaging/comity.cdx.json) (CycloneDX). What may enter \
             is in [security.md](../security.md#what-others-wrote).\n\n\
             **{} crates** are in the release program (Linux on x86-64), **{touched}** of them with the word `unsafe` in their sources. \
             {} more are macros and scripts that run while it is built. Our own crates forbid `unsafe`.\n\n\
             What is counted: lines of files `*.rs` below a crate's `src` or beside its manifest, as the registry has them, with the word \
             `unsafe` in front of any `//`. That is more than what is built, since parts for other systems and tests count, and it \
             says nothing of the libraries in C that {} bring or wrap.\n",
            program.len(),
            building.len(),
            foreign.join(", "),
        );
        for (title, packages, counts) in
            [("In the program", program, counts), ("Only while it is built", building, others)]
        {
            let _ =
                write!(out, "\n## {title}\n\n| crate | version | licence | lines with `unsafe` |\n|---|---|---|---|\n");
            for ((id, package), count) in packages.into_iter().zip(counts) {
                let _ = writeln!(out, "| {} | {} | {} | {count} |", id.name, id.version, licence(package));
            }
        }
        out
    }

    /// A bill of materials in the form of `CycloneDX` 1.5, without number and date: the same crates are the same octets.
    pub(crate) fn bill(&self, lock: &str) -> String {
        let sums = checksums(lock);
        let (ours, us) = self.program.packages.iter().find(|(id, _)| id.name == "comity").expect("our crate");
        let component = |id: &Id, package: &Package, scope: &str| {
            json!({
                "type": "library",
                "bom-ref": reference(id),
                "name": id.name,
                "version": id.version,
                "scope": scope,
                "hashes": [{ "alg": "SHA-256", "content": sums[id] }],
                "licenses": [{ "expression": licence(package) }],
                "purl": reference(id),
            })
        };
        let mut components: Vec<Value> =
            self.program().into_iter().map(|(id, package)| component(id, package, "required")).collect();
        components.extend(self.building().into_iter().map(|(id, package)| component(id, package, "excluded")));
        let dependencies: Vec<Value> = self
            .whole
            .needs
            .iter()
            .map(|(id, needs)| {
                let needs: Vec<String> = needs.iter().map(reference).collect();
                json!({ "ref": reference(id), "dependsOn": needs })
            })
            .collect();
        let bill = json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "bom-ref": reference(ours),
                    "name": ours.name,
                    "version": ours.version,
                    "licenses": [{ "expression": licence(us) }],
                    "purl": reference(ours),
                },
            },
            "components": components,
            "dependencies": dependencies,
        });
        serde_json::to_string_pretty(&bill).expect("a bill is JSON") + "\n"
    }
}

/// How programs name a crate.
fn reference(id: &Id) -> String {
    format!("pkg:cargo/{}@{}", id.name, id.version.replace('+', "%2B"))
}

fn licence(package: &Package) -> String {
    package.license.as_deref().map_or_else(|| "none".to_owned(), spdx)
}

/// What `Cargo.lock` says that the octets of a crate are.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock = toml::from_str(lock).expect("Cargo.lock");
    let sums = lock.package.into_iter().filter_map(|it| Some((Id::new(&it.name, &it.version), it.checksum?)));
    sums.collect()
}

fn folder(package: &Package) -> &Path {
    package.manifest_path.parent().expect("a manifest is in a folder")
}

/// How many lines of a crate have the word in their code.
fn lines_with_unsafe(folder: &Path) -> usize {
    let mut files = tree::files(folder, ".rs");
    files.retain(|file| file.path.starts_with("src/") || !file.path.contains('/'));
    files.iter().flat_map(|file| file.text.lines()).filter(|line| has_unsafe(line)).count()
}

pub(crate) fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
}
