//! The schemas of `schemas/`: there is one for every namespace in which the server writes, each
//! takes what is right and refuses what is wrong, and `tools/validate` fails where it has to.
//!
//! `schemas/README.md` says what they are for, and how the lines of `schemas/examples/` are read.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod literals;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use comity::testing::{Side, documents};
use literals::{Literals, is_test, namespaces_in};
use tree::File;

/// Namespaces in which the server writes nothing, and why they are in the sources all the same.
const NOT_WRITTEN: [(&str, &str); 36] = [
    ("http://jabber.org/network/serverinfo", "the FORM_TYPE of a form"),
    ("http://jabber.org/protocol/admin", "the FORM_TYPE of forms"),
    ("http://jabber.org/protocol/admin#", "the nodes of commands"),
    (
        "http://jabber.org/protocol/chatstates",
        "says what is not worth keeping for later, what is copied and what may wait",
    ),
    ("http://jabber.org/protocol/muc", "is read where somebody enters a room; the name of a feature"),
    ("http://jabber.org/protocol/muc#register", "the FORM_TYPE of forms"),
    ("http://jabber.org/protocol/muc#request", "the FORM_TYPE of forms"),
    ("http://jabber.org/protocol/muc#roomconfig", "the FORM_TYPE of a form"),
    ("http://jabber.org/protocol/muc#roominfo", "the FORM_TYPE of a form"),
    ("http://jabber.org/protocol/muc#self-ping-optimization", "the name of a feature"),
    ("http://jabber.org/protocol/muc#stable_id", "the name of a feature"),
    ("http://jabber.org/protocol/muc#traffic", "the node of a question"),
    ("http://jabber.org/protocol/pubsub#event", "says what may wait for a client that nobody looks at"),
    ("http://jabber.org/protocol/pubsub#publish-options", "the FORM_TYPE of a form"),
    ("jabber:x:conference", "says what is archived and copied"),
    ("jabber:x:encrypted", "says what is archived"),
    ("urn:ietf:params:xml:ns:xmpp-framing", "is read; streams over WebSocket are not served yet"),
    ("urn:xmpp:call-invites:0", "says what is archived"),
    ("urn:xmpp:carbons:rules:0", "the name of a feature"),
    ("urn:xmpp:channel-search:0:anonymity", "says who sees addresses"),
    ("urn:xmpp:channel-search:0:order", "the names of orders"),
    ("urn:xmpp:channel-search:0:search-params", "the FORM_TYPE of a form"),
    ("urn:xmpp:chat-markers:0", "says what is archived and copied"),
    ("urn:xmpp:eme:0", "says what is archived"),
    ("urn:xmpp:hints", "says what is archived and copied"),
    ("urn:xmpp:jingle-message:0", "says what is archived"),
    ("urn:xmpp:mam:2#extended", "the name of a feature"),
    ("urn:xmpp:mam:2#groupchat-field", "the name of a feature"),
    ("urn:xmpp:message-correct:0", "says what is archived"),
    ("urn:xmpp:message-retract:1#tombstone", "the name of a feature"),
    ("urn:xmpp:omemo:2", "says what is archived"),
    ("urn:xmpp:openpgp:0", "says what is archived"),
    ("urn:xmpp:push:summary", "the FORM_TYPE of a form"),
    ("urn:xmpp:reactions:0", "says what is archived"),
    ("urn:xmpp:receipts", "says what is archived and copied"),
    ("urn:xmpp:reporting:1", "is read with requests to block somebody"),
];

/// Schemas that no specification is the source of.
const OURS: [&str; 5] = ["all", "others", "rfc-6121-stanzas", "types", "xml"];

// -- the tests

#[test]
fn every_namespace_in_which_the_server_writes_has_a_schema() {
    let described: BTreeSet<String> = schemas().iter().filter_map(|schema| target(&schema.text)).collect();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in tree::files(&tree::root().join("src"), ".rs").iter().filter(|file| !is_test(&file.path)) {
        for namespace in Literals::of(file).iter().flat_map(|text| namespaces_in(text)) {
            used.entry(namespace).or_default().insert(file.path.clone());
        }
    }
    let is_excused = |namespace: &str| NOT_WRITTEN.iter().any(|(known, _)| *known == namespace);
    let unknown: Vec<_> =
        used.iter().filter(|(namespace, _)| !described.contains(*namespace) && !is_excused(namespace)).collect();
    assert!(
        unknown.is_empty(),
        "write schemas/*.xsd for these, or if the server writes nothing in them tell why in NOT_WRITTEN:\n{unknown:#?}"
    );
    let settled: Vec<_> =
        NOT_WRITTEN.iter().filter(|(known, _)| !used.contains_key(*known) || described.contains(*known)).collect();
    assert!(settled.is_empty(), "take these off the list NOT_WRITTEN: {settled:#?}");
}

#[test]
fn the_schemas_are_complete_and_in_order() {
    let all = schemas();
    let text_of = |stem: &str| all.iter().find(|schema| stem_of(schema) == stem).map(|schema| schema.text.as_str());
    let driver = text_of("all").expect("schemas/all.xsd");
    let mut seen = BTreeSet::new();
    for schema in &all {
        let stem = stem_of(schema);
        match target(&schema.text) {
            Some(namespace) => {
                let import = format!("<xs:import namespace='{namespace}' schemaLocation='{}'/>", schema.path);
                assert!(driver.contains(&import), "schemas/all.xsd lacks {import}");
                assert!(seen.insert(namespace), "{}: another schema describes that namespace", schema.path);
            }
            None => assert!(OURS.contains(&stem), "{}: no targetNamespace", schema.path),
        }
        let is_spec = ["rfc-", "xep-"].iter().any(|kind| {
            let rest = stem.strip_prefix(kind).unwrap_or_default();
            rest.bytes().take_while(u8::is_ascii_digit).count() == 4
        });
        assert!(is_spec || OURS.contains(&stem), "{}: name it after the specification", schema.path);
    }
    assert_eq!(driver.matches("<xs:import").count(), seen.len(), "schemas/all.xsd imports what is not there");
}

#[test]
fn right_documents_are_accepted_and_wrong_ones_refused() {
    let mut faults = Vec::new();
    let examples: Vec<Example> = example_files().iter().flat_map(|file| examples_in(file, &mut faults)).collect();
    for schema in schemas().iter().filter(|schema| target(&schema.text).is_some()) {
        let of = |wrong: bool| {
            let own = examples.iter().filter(|it| it.file.trim_end_matches(".txt") == stem_of(schema));
            own.filter(|it| it.wrong.is_some() == wrong).count()
        };
        if !["xml", "others"].contains(&stem_of(schema)) && (of(false) == 0 || of(true) == 0) {
            faults.push(format!("schemas/examples/ has no right and wrong example for {}", schema.path));
        }
    }
    let folder = Folder::new("examples");
    let names: Vec<PathBuf> =
        examples.iter().enumerate().map(|(at, it)| folder.put(&format!("{at}.xml"), &it.document)).collect();
    let said = xmllint(&names);
    for (example, name) in examples.iter().zip(&names) {
        let name = name.display().to_string();
        let own: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix(&name)).collect();
        let is_valid = own.contains(&" validates");
        let fault = match &example.wrong {
            None if is_valid => continue,
            None => "is right but was refused",
            Some(_) if is_valid => "is wrong but was accepted",
            Some(why) if own.iter().any(|line| line.contains(why.as_str())) => continue,
            Some(_) => "was refused for another reason",
        };
        faults.push(format!("{}:{} {fault}:\n    {}", example.file, example.line, own.join("\n    ")));
    }
    assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), if examples.is_empty() { &said } else { "" });
}

#[test]
fn the_validation_of_what_was_written_can_fail() {
    let stream = |written: &str| {
        let recorded = documents(stream_of("client", written).as_bytes(), Side::Receiving);
        recorded.first().map(|document| document.text("somebody's test")).unwrap_or_default()
    };
    let folder = Folder::new("validate");
    let validate = || {
        let tool = tree::root().join("tools/validate");
        let Output { status, stdout, stderr } = Command::new(tool).arg(&folder.0).output().expect("tools/validate");
        (status.success(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
    };
    let (passed, said) = validate();
    assert!(!passed && said.contains("recorded"), "nothing at all: {said}");

    folder.put("right.xml", &stream("<iq type='result' id='1'/><iq type='result' id='2'/>"));
    let (passed, said) = validate();
    assert!(passed && said.contains("1 streams") && said.contains("2 elements"), "{said}");

    let wrong = "<iq type='result' id='1'/>\
                 <iq type='result' id='1'><query xmlns='jabber:iq:version'><name>Comity</name></query></iq>";
    folder.put("wrong.xml", &stream(wrong));
    let (passed, said) = validate();
    assert!(!passed && said.contains("wrong.xml:5") && said.contains("somebody's test"), "{said}");
    assert!(!said.contains("right.xml"), "{said}");
}

// -- the tests of these tests

#[test]
fn examples_are_read_line_by_line() {
    let lines =
        ["# a comment", "", "right: <a/>", "wrong (no b): <a", "  b='c'/>", "right client: <iq id='1'/>", "odd: <a/>"];
    let text = lines.join("\n");
    let file = File { path: "x.txt".to_owned(), text };
    let mut faults = Vec::new();
    let read = examples_in(&file, &mut faults);
    let short: Vec<_> = read.iter().map(|it| (it.line, it.wrong.as_deref(), it.document.contains("<a"))).collect();
    assert_eq!(short, [(3, None, true), (4, Some("no b"), true), (6, None, false)]);
    assert!(read.last().is_some_and(|it| it.document.contains("stream:client") && it.document.contains("iq.request")));
    assert_eq!(faults.len(), 1, "{faults:?}");
}

// -- the schemas

fn schemas() -> Vec<File> {
    tree::files(&tree::root().join("schemas"), ".xsd")
}

fn stem_of(schema: &File) -> &str {
    schema.path.trim_end_matches(".xsd")
}

/// What a schema describes.
fn target(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(" targetNamespace='")?;
    rest.split('\'').next().map(str::to_owned)
}

// -- the examples

/// A line of a file in `schemas/examples/`.
struct Example {
    file: String,
    line: usize,
    /// What xmllint says of it, if it is wrong.
    wrong: Option<String>,
    document: String,
}

fn example_files() -> Vec<File> {
    tree::files(&tree::root().join("schemas/examples"), ".txt")
}

fn examples_in(file: &File, faults: &mut Vec<String>) -> Vec<Example> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, line) in file.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match lines.last_mut() {
            _ if line.starts_with('#') => {}
            Some((_, before)) if line.starts_with(' ') => {
                before.push(' ');
                before.push_str(line.trim());
            }
            _ => lines.push((at + 1, line.to_owned())),
        }
    }
    let mut examples = Vec::new();
    for (line, text) in lines {
        match example(&text) {
            Some((wrong, document)) => examples.push(Example { file: file.path.clone(), line, wrong, document }),
            None => faults.push(format!("{}:{line} is no example: {text}", file.path)),
        }
    }
    examples
}

/// `right: XML`, `wrong (WHAT IS SAID): XML`, and the same with a kind of stream in front of the colon.
fn example(text: &str) -> Option<(Option<String>, String)> {
    let (head, xml) = text.split_at(text.find(": <")?);
    let (head, wrong) = match head.split_once(" (") {
        Some((head, why)) => (head, Some(why.strip_suffix(')')?.to_owned())),
        None => (head, None),
    };
    let (word, place) = head.split_once(' ').unwrap_or((head, ""));
    if (word == "wrong") != wrong.is_some() || !["right", "wrong"].contains(&word) {
        return None;
    }
    let xml = xml.trim_start_matches(": ");
    if place.is_empty() {
        return Some((wrong, xml.to_owned()));
    }
    let side = if place == "initial" { Side::Initiating } else { Side::Receiving };
    let stream = if xml.starts_with("<?xml") { xml.to_owned() } else { stream_of(place, xml) };
    let recorded = documents(stream.as_bytes(), side);
    recorded.first().map(|document| (wrong, document.text("an example")))
}

/// A stream of this kind from `a.example` on which `written` stands.
fn stream_of(kind: &str, written: &str) -> String {
    let content = match kind {
        "client" => "jabber:client",
        "component" => "jabber:component:accept",
        _ => "jabber:server",
    };
    let more = match kind {
        "component" => "id='1'",
        "initial" => "to='b.example' version='1.0'",
        _ => "id='1' version='1.0' xml:lang='en'",
    };
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' from='a.example' {more}>{written}"
    )
}

// -- the validator

fn xmllint(files: &[PathBuf]) -> String {
    let mut command = Command::new("xmllint");
    command.args(["--noout", "--nonet", "--schema"]).arg(tree::root().join("schemas/all.xsd")).args(files);
    let output = command.output().expect("xmllint, which `make setup` installs (Debian: libxml2-utils)");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("comity-schemas-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(AsRef::<Path>::as_ref(&self.0));
    }
}
