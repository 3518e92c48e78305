//! What others wrote that is built with us: where it may come from, under which licences, and what there is.
//!
//! The rules are in `deny.toml`, which cargo-deny reads as well (`make advisories`).

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod graph;
mod licence;
mod papers;
mod policy;
#[path = "../tree/mod.rs"]
mod tree;

use graph::{Dependency, Graph, Id, Package};
use papers::Release;
use policy::Policy;

fn document(path: &str) -> String {
    std::fs::read_to_string(tree::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn policy() -> Policy {
    Policy::read(&document("deny.toml"))
}

/// Everything that is built here, tests and tools too.
fn everything(policy: &Policy) -> Graph {
    Graph::read(policy.targets(), &["--workspace", "--edges", "normal,build,dev"])
}

#[test]
fn what_is_built_is_allowed() {
    let policy = policy();
    let graph = everything(&policy);
    assert!(graph.packages.len() > 100, "{} crates", graph.packages.len());
    let faults = policy.judge(&graph);
    assert!(faults.is_empty(), "deny.toml does not allow:\n{}", faults.join("\n"));
}

#[test]
fn the_generated_lists_of_crates_are_fresh() {
    let release = Release::read(policy().targets());
    let fresh = [
        ("docs/security/dependencies.md", release.page()),
        ("packaging/comity.cdx.json", release.bill(&document("Cargo.lock"))),
    ];
    for (name, fresh) in fresh {
        let path = tree::root().join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &fresh).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == fresh, "{name} is stale; run make generate");
    }
}

#[test]
fn our_own_crates_forbid_unsafe() {
    let ours = everything(&policy()).packages;
    let ours: Vec<_> = ours.values().filter(|package| package.source.is_none()).collect();
    assert_eq!(ours.len(), 3, "our crates");
    for package in ours {
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("a manifest");
        let manifest: toml::Table = toml::from_str(&manifest).expect("a manifest");
        let lint = manifest.get("lints").and_then(|lints| lints.get("rust")?.get("unsafe_code")?.as_str());
        assert_eq!(lint, Some("forbid"), "{}", package.name);
    }
}

// -- the tests of this test

/// What is wrong when a crate is there that has not been, needed by us.
fn faults_with(change: impl FnOnce(&mut Package)) -> Vec<String> {
    let policy = policy();
    let mut graph = everything(&policy);
    let mut package = Package {
        name: "made-up".to_owned(),
        version: "1.0.0".to_owned(),
        license: Some("MIT OR Apache-2.0".to_owned()),
        source: graph.packages.values().find_map(|package| package.source.clone()),
        manifest_path: "Cargo.toml".into(),
        links: None,
        dependencies: Vec::new(),
    };
    change(&mut package);
    let id = Id::new(&package.name, &package.version);
    let (_, needs) = graph.needs.iter_mut().find(|(id, _)| id.name == "comity").expect("our crate");
    needs.insert(id.clone());
    graph.packages.insert(id, package);
    policy.judge(&graph)
}

#[test]
fn what_is_not_allowed_is_found() {
    assert_eq!(faults_with(|_| {}), Vec::<String>::new());
    assert_eq!(
        faults_with(|package| package.license = Some("GPL-3.0-only AND MIT".to_owned())),
        ["made-up@1.0.0: GPL-3.0-only AND MIT is not allowed"]
    );
    assert_eq!(faults_with(|package| package.license = None), ["made-up@1.0.0 has no licence"]);
    assert_eq!(
        faults_with(|package| package.license = Some("MIT AND".to_owned())),
        ["made-up@1.0.0: MIT AND is no expression of licences"]
    );
    assert_eq!(
        faults_with(|package| package.source = Some("git+https://git.example/made-up".to_owned())),
        ["made-up@1.0.0 comes from git+https://git.example/made-up"]
    );
    assert_eq!(
        faults_with(|package| package.name = "openssl".to_owned()),
        ["comity needs openssl: one TLS library: rustls"]
    );
    let second = faults_with(|package| package.name = "tokio".to_owned());
    assert!(matches!(&second[..], [one] if one.starts_with("tokio@1.0.0 and tokio@")), "{second:?}");
    let open = faults_with(|package| {
        package.source = None;
        package.dependencies = vec![Dependency { name: "tokio".to_owned(), req: "*".to_owned(), path: None }];
    });
    assert_eq!(open, ["made-up@1.0.0 takes any version of tokio"]);
}

#[test]
fn a_rule_that_nobody_needs_is_found() {
    let mut policy = policy();
    let graph = everything(&policy);
    policy.licenses.allow.insert("GPL-3.0-only".to_owned());
    policy.bans.skip[0].reason = " ".to_owned();
    policy.bans.skip.push(policy::Skipped { id: "tokio@1.0.0".to_owned(), reason: "it is not there".to_owned() });
    let skipped = &policy.bans.skip[0].id;
    let expected = [
        "no crate has the licence GPL-3.0-only: do not allow it".to_owned(),
        format!("{skipped} is skipped without a reason"),
        "tokio@1.0.0 is not there beside another version: do not skip it".to_owned(),
    ];
    assert_eq!(policy.judge(&graph), expected);
}

#[test]
fn a_rule_that_is_only_a_warning_is_found() {
    let policy = Policy::read(&document("deny.toml").replace("unknown-git = \"deny\"", "unknown-git = \"warn\""));
    assert_eq!(policy.judge(&everything(&policy)), ["unknown-git is warn, not deny"]);
}

#[test]
fn licences_are_read_as_spdx_has_them() {
    let allows = |expression: &str| licence::allows(expression, &mut |name| ["A", "B WITH C"].contains(&name));
    for (expression, outcome) in [
        ("A", Some(true)),
        ("X", Some(false)),
        ("X/A", Some(true)),
        ("X / A", Some(true)),
        ("A AND X", Some(false)),
        ("A AND X OR A", Some(true)),
        ("A AND (X OR A)", Some(true)),
        ("X OR (A AND X)", Some(false)),
        ("B", Some(false)),
        ("B WITH C", Some(true)),
        ("", None),
        ("(A", None),
        ("A A", None),
        ("A OR", None),
        ("B WITH", None),
    ] {
        assert_eq!(allows(expression), outcome, "{expression}");
    }
}

#[test]
fn unsafe_is_a_word_of_code() {
    for (line, counts) in [
        ("unsafe { f() }", true),
        ("pub unsafe fn f()", true),
        ("#![forbid(unsafe_code)]", false),
        ("f(); // unsafe", false),
        ("an_unsafe", false),
    ] {
        assert_eq!(papers::has_unsafe(line), counts, "{line}");
    }
}

#[test]
fn who_needs_whom_is_read_from_the_depths() {
    let mut graph = Graph::default();
    graph.follow("0 a v1.0.0\n1 b v2.0.0\n2 c v3.0.0 (proc-macro)\n1 c v3.0.0 (*)\n\n0 d v4.0.0\n");
    let read: Vec<String> = graph
        .needs
        .iter()
        .map(|(id, needs)| format!("{id}: {}", needs.iter().map(Id::to_string).collect::<Vec<_>>().join(" ")))
        .collect();
    assert_eq!(read, ["a@1.0.0: b@2.0.0 c@3.0.0", "b@2.0.0: c@3.0.0", "c@3.0.0: ", "d@4.0.0: "]);
}
