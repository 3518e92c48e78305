//! What the server implements, as documents: a table for people and a description of the project for
//! programs (DOAP, XEP-0453). Both are derived from what the extensions declare; what is no extension is
//! listed here.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use comity::extensions::ALL;
use comity::hooks::Entity;

/// Specifications that are built into the server itself: their versions, and what of them there is.
const BUILT_IN: &[(&str, &str, &str)] = &[
    ("XEP-0004", "2.13.2", "data-forms"),
    ("XEP-0059", "1.0", "result-set-management"),
    ("XEP-0068", "1.3.0", "field-standardization"),
    ("XEP-0082", "1.1.1", "date-and-time"),
    ("XEP-0114", "1.6", "components"),
    ("XEP-0122", "1.0.2", "data-forms-validation"),
    ("XEP-0128", "1.0.1", "service-discovery-extensions"),
    ("XEP-0178", "1.2", "sasl-external"),
    ("XEP-0185", "1.0", "dialback-keys"),
    ("XEP-0203", "2.0", "delayed-delivery"),
    ("XEP-0220", "1.1.1", "dialback"),
    ("XEP-0288", "1.0.1", "bidirectional-streams"),
    ("XEP-0297", "1.0", "stanza-forwarding"),
    ("XEP-0334", "1.0.0", "message-processing-hints"),
    ("XEP-0368", "1.1.0", "direct-tls"),
    ("XEP-0386", "1.1.0", "bind-2"),
    ("XEP-0388", "1.0.4", "sasl-2"),
    ("XEP-0440", "1.0.0", "channel-binding-types"),
    ("XEP-0474", "0.5.0", "sasl-downgrade-protection"),
    ("XEP-0480", "0.2.0", "sasl-upgrade-tasks"),
    ("XEP-0484", "0.2.0", "fast-authentication-tokens"),
    ("XEP-0509", "0.2.0", "authentication-pipelining"),
    ("XEP-0515", "0.1.0", "tls-downgrade-protection"),
];

/// Of these not everything is there, and why.
const PARTIAL: &[(&str, &str)] = &[
    ("XEP-0114", "Components connect to the server, not the server to them."),
    ("XEP-0115", "The capabilities of the server; those of others are of no use to it yet."),
    (
        "XEP-0334",
        "Hints about storage count for the archive and for offline messages, those about copies for message carbons.",
    ),
    ("XEP-0377", "Reports reach the log and the administrators; none is passed on."),
    ("XEP-0388", "For clients; the tasks are those of XEP-0480."),
    ("XEP-0390", "The capabilities of the server; those of others are of no use to it yet."),
    ("XEP-0480", "For SCRAM-SHA-512, while some account of the domain has no keys for it."),
    ("XEP-0484", "Early data of TLS is not taken."),
    ("XEP-0509", "For clients; other servers are offered no SASL2."),
];

/// The core.
const RFCS: [&str; 8] = ["rfc6120", "rfc6121", "rfc6698", "rfc7590", "rfc7622", "rfc7671", "rfc7673", "rfc7712"];

/// One specification.
struct Row {
    version: &'static str,
    name: &'static str,
    /// What service discovery shows, by who has it.
    features: Vec<(Entity, &'static str)>,
}

#[test]
fn the_generated_lists_are_fresh() {
    for (name, fresh) in [("docs/specifications.md", table()), ("docs/doap.xml", doap())] {
        let path = tree::root().join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &fresh).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, fresh, "{name} is stale; run make generate");
    }
}

#[test]
fn what_is_listed_is_in_the_sources() {
    let rows = rows();
    let unknown: Vec<&str> = PARTIAL.iter().map(|(name, _)| *name).filter(|name| !rows.contains_key(name)).collect();
    assert!(unknown.is_empty(), "these are partial and not there: {unknown:?}");
    let sources: String = tree::files(&tree::root().join("src"), ".rs").into_iter().map(|file| file.text).collect();
    let missing: Vec<&str> = BUILT_IN.iter().map(|(name, ..)| *name).filter(|name| !sources.contains(name)).collect();
    assert!(missing.is_empty(), "no source file speaks of these: {missing:?}");
    let declared: BTreeSet<&str> = ALL.iter().map(|extension| extension.spec.name).collect();
    let twice: Vec<&str> = BUILT_IN.iter().map(|(name, ..)| *name).filter(|name| declared.contains(name)).collect();
    assert!(twice.is_empty(), "these are extensions and need not be listed here: {twice:?}");
}

/// Every XEP, by its number.
fn rows() -> BTreeMap<&'static str, Row> {
    let built_in = BUILT_IN.iter().map(|&(spec, version, name)| (spec, Row { version, name, features: Vec::new() }));
    let extensions = ALL.iter().filter(|extension| extension.spec.name.starts_with("XEP-")).map(|extension| {
        let row =
            Row { version: extension.spec.version, name: extension.name, features: extension.advertises.to_vec() };
        (extension.spec.name, row)
    });
    built_in.chain(extensions).collect()
}

fn note(spec: &str) -> Option<&'static str> {
    PARTIAL.iter().find(|(name, _)| *name == spec).map(|(_, note)| *note)
}

fn url(spec: &str) -> String {
    format!("https://xmpp.org/extensions/{}.html", spec.to_lowercase())
}

fn table() -> String {
    let mut out = String::from(
        "# What is implemented\n\n\
         RFC 6120 (streams), RFC 6121 (messages, presence, rosters), RFC 7590 (TLS), RFC 7622 (addresses), RFC 6698, RFC 7671, RFC 7673 and RFC 7712 (DANE), and of the extensions:\n\n\
         | Specification | Version | What it is | Found in service discovery |\n|---|---|---|---|\n",
    );
    for (spec, row) in rows() {
        let features: Vec<String> = row
            .features
            .iter()
            .map(|(entity, feature)| {
                let who = match entity {
                    Entity::Domain => "server",
                    Entity::Account => "account",
                    Entity::Rooms => "room service",
                    Entity::Room => "room",
                };
                format!("{who}: `{feature}`")
            })
            .collect();
        let name = row.name.replace('-', " ");
        let name = note(spec).map_or_else(|| name.clone(), |note| format!("{name}. {note}"));
        writeln!(out, "| [{spec}]({}) | {} | {name} | {} |", url(spec), row.version, features.join("<br>"))
            .expect("a string takes everything");
    }
    out.push_str(
        "\nPrograms read [doap.xml](doap.xml) (XEP-0453).\n\n\
         Both files are generated from the sources: `cargo test` fails when they are stale, and `make generate` writes them again.\n",
    );
    out
}

fn doap() -> String {
    let mut out = format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n\
         <rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'\n\
         \x20        xmlns='http://usefulinc.com/ns/doap#'\n\
         \x20        xmlns:xmpp='https://linkmauve.fr/ns/xmpp-doap#'>\n\
         \x20 <Project>\n\
         \x20   <name>Comity</name>\n\
         \x20   <shortdesc xml:lang='en'>{}</shortdesc>\n\
         \x20   <homepage rdf:resource='{}'/>\n\
         \x20   <programming-language>Rust</programming-language>\n\
         \x20   <os>Linux</os>\n\
         \x20   <category rdf:resource='https://linkmauve.fr/ns/xmpp-doap#category-server'/>\n",
        env!("CARGO_PKG_DESCRIPTION"),
        env!("CARGO_PKG_HOMEPAGE"),
    );
    for rfc in RFCS {
        writeln!(out, "    <implements rdf:resource='https://xmpp.org/rfcs/{rfc}.html'/>").expect("a string takes it");
    }
    for (spec, row) in rows() {
        let status = if note(spec).is_some() { "partial" } else { "complete" };
        let note = note(spec)
            .map_or_else(String::new, |note| format!("        <xmpp:note xml:lang='en'>{note}</xmpp:note>\n"));
        write!(
            out,
            "    <implements>\n      <xmpp:SupportedXep>\n        <xmpp:xep rdf:resource='{}'/>\n        \
             <xmpp:status>{status}</xmpp:status>\n        <xmpp:version>{}</xmpp:version>\n{note}      \
             </xmpp:SupportedXep>\n    </implements>\n",
            url(spec),
            row.version,
        )
        .expect("a string takes everything");
    }
    out.push_str("  </Project>\n</rdf:RDF>\n");
    out
}
