//! The documents lead somewhere: every relative link resolves, and from the README it is two
//! clicks to the subscription state machine.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod tree;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use tree::File;

#[test]
fn every_relative_link_resolves() {
    let documents = tree::files(tree::root(), ".md");
    let dead: Vec<String> = documents
        .iter()
        .flat_map(|document| links(&document.text).into_iter().map(move |link| (document, link)))
        .filter(|(document, link)| !resolves(document, link))
        .map(|(document, link)| format!("{}: {link}", document.path))
        .collect();
    assert!(dead.is_empty(), "these links lead nowhere:\n{}", dead.join("\n"));
}

#[test]
fn the_subscription_state_machine_is_two_clicks_from_the_readme() {
    let first = clicks("README.md");
    assert!(first.contains(Path::new("docs/architecture.md")), "README.md links docs/architecture.md");
    let second = clicks("docs/architecture.md");
    let machine = Path::new("src/accounts/subscription.rs");
    assert!(second.contains(machine), "docs/architecture.md links {}", machine.display());
    assert!(tree::root().join(machine).is_file(), "{} exists", machine.display());
}

#[test]
fn links_are_read_as_markdown_has_them() {
    let text = "[a](b.md) and ![c](d.png \"title\"), `[e](f.md)`\n```\n[g](h.md)\n```\n[i](https://j.example)[k]( l.md#m )\n[n]: o.md\n";
    assert_eq!(links(text), ["b.md", "d.png", "l.md#m", "o.md"]);
    assert_eq!(anchor("Where the rules are, in `src`?"), "where-the-rules-are-in-src");
}

/// The files to which a document links, by their paths from the root.
fn clicks(path: &str) -> BTreeSet<PathBuf> {
    let text = std::fs::read_to_string(tree::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    links(&text).iter().filter_map(|link| target(path, link)).collect()
}

/// Whether the file exists and, for a place in a document, the heading too.
fn resolves(document: &File, link: &str) -> bool {
    let Some(path) = target(&document.path, link) else { return false };
    let file = tree::root().join(&path);
    match link.split_once('#') {
        Some((_, place)) if path.extension().is_some_and(|ending| ending == "md") => {
            std::fs::read_to_string(file).is_ok_and(|text| headings(&text).contains(place))
        }
        _ => file.exists(),
    }
}

/// Where a link leads, from the root; nothing if it leaves the repository.
fn target(document: &str, link: &str) -> Option<PathBuf> {
    let file = link.split('#').next().filter(|file| !file.is_empty());
    let joined = match file {
        Some(file) => Path::new(document).parent()?.join(file),
        None => PathBuf::from(document),
    };
    let mut path = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if path.pop() => {}
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// The relative links of a document: `[text](target)` and `[text]: target`, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // What stands between back-quotes is every other piece.
        let plain: String = line.split('`').step_by(2).collect();
        let inline = plain.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let reference = plain.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
        let targets = inline.chain(reference).filter_map(|target| target.split_whitespace().next());
        found.extend(targets.filter(|target| is_relative(target)).map(str::to_owned));
    }
    found
}

fn is_relative(target: &str) -> bool {
    !["http://", "https://", "mailto:", "xmpp:"].iter().any(|scheme| target.starts_with(scheme))
}

/// The anchors that a document's headings get.
fn headings(text: &str) -> BTreeSet<String> {
    prose(text).filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// The lines outside of fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}
