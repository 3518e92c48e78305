//! What the specifications demand of a server, and the tests that prove it.
//!
//! `docs/spec/README.md` says how the rows are written. Start with the tests; below them come the
//! rows, the lists of sections, the reading of cites and the document that is made of all this.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod inventory;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use inventory::Test;
use serde::Deserialize;

/// Documents whose sections are cited and of which there is no list.
const WITHOUT_LIST: &str = "docs/spec/sections/without-list.txt";

// -- the tests

#[test]
fn every_cite_leads_somewhere() {
    let sections = Sections::read();
    let mut dead = Vec::new();
    for folder in ["src", "tests", "benches/load/src"] {
        for file in tree::files(&tree::root().join(folder), "") {
            let comments = match file.path.rsplit_once('.') {
                Some((_, "rs")) => rust_comments(&file.text),
                Some((_, "xmpp")) => scenario_comments(&file.text),
                _ => continue,
            };
            let mut cites: Vec<Cite> = comments.iter().flat_map(|comment| cites(comment)).collect();
            if file.path.ends_with(".rs") {
                cites.extend(inventory::functions(&file.text).iter().filter_map(|(name, _)| cite_in_name(name)));
            }
            let wrong = cites.iter().filter(|cite| !sections.have(cite));
            dead.extend(wrong.map(|cite| format!("{folder}/{}: {cite}", file.path)));
        }
    }
    assert!(dead.is_empty(), "no such section (new documents: tools/sections):\n{}", dead.join("\n"));
}

#[test]
fn every_row_is_proven_by_a_test_that_cites_its_section() {
    let (sections, tests) = (Sections::read(), inventory::all());
    let mut wrong = Vec::new();
    for document in documents() {
        let mut seen = BTreeSet::new();
        for row in &document.row {
            let faults = row.faults(&document.name, &sections, &tests);
            wrong.extend(faults.into_iter().map(|fault| format!("{} {}: {fault}", document.name, row.id)));
            if !seen.insert(&row.id) {
                wrong.push(format!("{} {}: this id is there twice", document.name, row.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{} faults in docs/spec:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_must_is_proven_or_has_an_exception() {
    let open: Vec<String> = documents()
        .iter()
        .flat_map(|document| document.row.iter().map(move |row| (document, row)))
        .filter(|(_, row)| row.level.binds() && row.proof.is_empty() && row.exception.is_none())
        .map(|(document, row)| format!("{} §{} {}: {}", document.name, row.section, row.id, row.text))
        .collect();
    assert!(open.is_empty(), "{} MUSTs are not proven:\n{}", open.len(), open.join("\n"));
}

#[test]
fn the_generated_document_is_fresh() {
    let path = tree::root().join("docs/spec-coverage.md");
    let fresh = document(&documents());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &fresh).expect("docs/spec-coverage.md is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == fresh, "docs/spec-coverage.md is stale; run make generate");
}

// -- the tests of these tests

#[test]
fn cites_are_read_as_people_write_them() {
    let read = |text: &str| cites(text).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(read("RFC 6120 §4.9.3.2"), ["RFC 6120 §4.9.3.2"]);
    assert_eq!(
        read("see RFC 6120 §4 to §6 and §8.1, XEP-0178, XEP-0220 §2.2."),
        ["RFC 6120 §4", "RFC 6120 §6", "RFC 6120 §8.1", "XEP-0220 §2.2",]
    );
    assert_eq!(read("RFC 6121 appendix A.3; RFC 6120 section 15"), ["RFC 6121 §A.3", "RFC 6120 §15"]);
    assert_eq!(read("(XEP-0191#block)"), ["XEP-0191 #block"]);
    assert_eq!(read("§3 of nothing, RFC 61200 §1, XEP-12 §2, RFC 6120, XML 1.0 §2.2"), Vec::<String>::new());
    let name = |name| cite_in_name(name).map(|cite| cite.to_string());
    assert_eq!(name("rfc_6120_5_4_3_1_data_behind_starttls").as_deref(), Some("RFC 6120 §5.4.3.1"));
    assert_eq!(name("xep_0220_2_5_an_error").as_deref(), Some("XEP-0220 §2.5"));
    assert_eq!(name("rfc_7622_table_1_is_accepted"), None);
    assert_eq!(name("without"), None);
}

#[test]
fn comments_are_found_with_what_belongs_to_them() {
    let text = "//! RFC 1 \n//! two\nlet a = \"RFC 6120 §1\"; // three\n\n/// four\nfn f() {}\n";
    assert_eq!(rust_comments(text), ["RFC 1 two", "three", "four"]);
    let scenario = "# top\n\n== title (RFC 6120 §1)\na> <b/>\n# (§2)\n== next\n";
    assert_eq!(scenario_comments(scenario), ["top", "title (RFC 6120 §1) (§2)", "next"]);
}

#[test]
fn a_proof_has_to_exist_and_to_cite() {
    let test = |text: &str| Test { text: text.to_owned() };
    let tests = BTreeMap::from([
        ("src/a.rs::exact".to_owned(), test("// Proves: RFC 6120 §4.9\nfn exact() {}")),
        ("src/a.rs::below".to_owned(), test("// RFC 6120 §4.9.3.2\nfn below() {}")),
        ("src/a.rs::above".to_owned(), test("// RFC 6120 §4\nfn above() {}")),
        ("src/a.rs::beside".to_owned(), test("// RFC 6120 §4.90\nfn beside() {}")),
        ("src/a.rs::code".to_owned(), test("fn code() { \"RFC 6120 §4.9\" }")),
        ("src/a.rs::rfc_6120_4_9_by_name".to_owned(), test("fn rfc_6120_4_9_by_name() {}")),
        ("tests/scenarios/a.xmpp::scenario".to_owned(), test("# scenario (RFC 6120 §4.9)\na> <b/>\n")),
    ]);
    let proves = |name: &str| proof_fault(name, "RFC 6120", "4.9", &tests).is_none();
    for good in
        ["src/a.rs::exact", "src/a.rs::below", "src/a.rs::rfc_6120_4_9_by_name", "tests/scenarios/a.xmpp::scenario"]
    {
        assert!(proves(good), "{good}");
    }
    for bad in ["src/a.rs::above", "src/a.rs::beside", "src/a.rs::code", "src/a.rs::absent", "exact"] {
        assert!(!proves(bad), "{bad}");
    }
}

#[test]
fn tests_are_found_with_their_comments() {
    let text = "#[cfg(test)]\nmod tests {\n    // Proves: one\n    #[test]\n    fn a() {\n        b();\n    }\n\n    fn b() {}\n}\n\
                proptest! {\n    /// two\n    #[test]\n    fn c(x in 0..1) {\n    }\n}\n\n#[tokio::test(start_paused = true)]\n\
                async fn d() {}\n";
    let found: Vec<(String, String)> =
        inventory::functions(text).into_iter().map(|(name, test)| (name, test.text)).collect();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "c", "d"]);
    assert_eq!(found[0].1, "    // Proves: one\n    #[test]\n    fn a() {\n        b();\n    }");
    assert!(found[1].1.starts_with("    /// two\n"), "{}", found[1].1);
    let scenarios = inventory::scenarios("# x\n== one (RFC 6120 §1)\na> b\n== two\n");
    let names: Vec<&str> = scenarios.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
}

// -- the rows

/// The rows of one specification: a file of `docs/spec`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// As it is cited, such as `RFC 6120`.
    name: String,
    title: String,
    #[serde(default)]
    row: Vec<Row>,
}

/// Something that a server has to do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    section: String,
    level: Level,
    text: String,
    #[serde(default)]
    proof: Vec<String>,
    exception: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
enum Level {
    #[serde(rename = "MUST")]
    Must,
    #[serde(rename = "MUST NOT")]
    MustNot,
    #[serde(rename = "SHOULD")]
    Should,
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    #[serde(rename = "MAY")]
    May,
}

impl Level {
    const fn binds(self) -> bool {
        matches!(self, Self::Must | Self::MustNot)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
        })
    }
}

impl Row {
    fn faults(&self, document: &str, sections: &Sections, tests: &BTreeMap<String, Test>) -> Vec<String> {
        let mut faults = Vec::new();
        let cite = Cite { document: document.to_owned(), place: Place::Section(self.section.clone()) };
        if !sections.have(&cite) {
            faults.push(format!("there is no {cite}"));
        }
        if self.text.trim().is_empty() || self.text.contains('\n') {
            faults.push("the text is one line".to_owned());
        }
        if self.exception.as_ref().is_some_and(|reason| reason.trim().len() < 20 || !self.proof.is_empty()) {
            faults.push("an exception has a reason and no proof".to_owned());
        }
        faults.extend(self.proof.iter().filter_map(|name| proof_fault(name, document, &self.section, tests)));
        faults
    }
}

/// What is wrong with a proof of a section, if anything.
fn proof_fault(name: &str, document: &str, section: &str, tests: &BTreeMap<String, Test>) -> Option<String> {
    let Some(test) = tests.get(name) else { return Some(format!("there is no test {name}")) };
    let comments = if name.contains(".xmpp::") { scenario_comments(&test.text) } else { rust_comments(&test.text) };
    let mut found: Vec<Cite> = comments.iter().flat_map(|comment| cites(comment)).collect();
    found.extend(name.rsplit_once("::").and_then(|(_, function)| cite_in_name(function)));
    let within =
        |cited: &str| cited == section || cited.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
    let proves =
        |cite: &Cite| cite.document == document && matches!(&cite.place, Place::Section(cited) if within(cited));
    (!found.iter().any(proves)).then(|| format!("{name} does not cite §{section}"))
}

fn documents() -> Vec<Document> {
    let files = tree::files(&tree::root().join("docs/spec"), ".toml");
    assert!(!files.is_empty(), "docs/spec has the rows");
    let read = |file: &tree::File| {
        toml::from_str(&file.text).unwrap_or_else(|error| panic!("docs/spec/{}: {error}", file.path))
    };
    files.iter().map(read).collect()
}

// -- the sections that exist

/// Numbers and anchors, by document.
struct Sections {
    lists: BTreeMap<String, BTreeSet<String>>,
    without_list: BTreeSet<String>,
}

impl Sections {
    fn read() -> Self {
        let mut lists = BTreeMap::new();
        for file in tree::files(&tree::root().join("docs/spec/sections"), ".txt") {
            let name = file.path.trim_end_matches(".txt");
            let name = match (name.strip_prefix("rfc"), name.strip_prefix("xep-")) {
                (Some(number), _) => format!("RFC {number}"),
                (_, Some(number)) => format!("XEP-{number}"),
                _ => continue,
            };
            // Anchors have their mark, so that none is taken for a number.
            let places = file.text.lines().flat_map(|line| match line.split_once(' ') {
                Some((number, anchor)) => vec![number.to_owned(), format!("#{anchor}")],
                None => vec![line.to_owned()],
            });
            lists.insert(name, places.collect());
        }
        let text = std::fs::read_to_string(tree::root().join(WITHOUT_LIST));
        let text = text.unwrap_or_else(|error| panic!("{WITHOUT_LIST}: {error}"));
        Self { lists, without_list: text.lines().map(str::to_owned).collect() }
    }

    fn have(&self, cite: &Cite) -> bool {
        let Some(list) = self.lists.get(&cite.document) else { return self.without_list.contains(&cite.document) };
        match &cite.place {
            Place::Section(number) => list.contains(number),
            Place::Anchor(anchor) => list.contains(&format!("#{anchor}")),
        }
    }
}

// -- cites

/// A place in a specification.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cite {
    document: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Section(String),
    Anchor(String),
}

impl fmt::Display for Cite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Section(number) => write!(f, "{} §{number}", self.document),
            Place::Anchor(anchor) => write!(f, "{} #{anchor}", self.document),
        }
    }
}

/// The sections that a comment names. A section belongs to the document named last.
fn cites(comment: &str) -> Vec<Cite> {
    let mut found = Vec::new();
    let mut document: Option<String> = None;
    let mut rest = comment;
    while let Some(next) = rest.chars().next() {
        if let Some((name, behind)) = document_name(rest) {
            rest = behind;
            if let Some(anchor) = rest.strip_prefix('#') {
                let end =
                    anchor.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(anchor.len());
                found.push(Cite { document: name.clone(), place: Place::Anchor(anchor[..end].to_owned()) });
                rest = &anchor[end..];
            }
            document = Some(name);
            continue;
        }
        if rest.starts_with("XML ") {
            document = None;
        }
        let marked = ["§", "section ", "appendix "].iter().find_map(|mark| rest.strip_prefix(mark));
        if let Some(number) = marked.map(section_number).filter(|number| !number.is_empty())
            && let Some(document) = &document
        {
            found.push(Cite { document: document.clone(), place: Place::Section(number.to_owned()) });
        }
        rest = &rest[next.len_utf8()..];
    }
    found
}

/// `RFC 6120` or `XEP-0198` at the beginning of a text, and what follows.
fn document_name(text: &str) -> Option<(String, &str)> {
    let behind = text.strip_prefix("RFC ").or_else(|| text.strip_prefix("XEP-"))?;
    let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
    let kind = &text[..text.len() - behind.len()];
    (digits == 4).then(|| (format!("{kind}{}", &behind[..4]), &behind[4..]))
}

/// `4.9.3.2` or `A.2` at the beginning of a text; a stop at the end is one of the sentence.
fn section_number(text: &str) -> &str {
    let mut end = 0;
    for part in text.split('.') {
        let letter = end == 0 && part.starts_with(|c: char| c.is_ascii_uppercase());
        let length = if letter { 1 } else { part.bytes().take_while(u8::is_ascii_digit).count() };
        if length == 0 {
            break;
        }
        end += length + usize::from(end > 0);
        if length < part.len() {
            break;
        }
    }
    &text[..end]
}

/// `rfc_6120_5_4_3_1_data_behind_starttls` cites too.
fn cite_in_name(name: &str) -> Option<Cite> {
    let (kind, rest) = match (name.strip_prefix("rfc_"), name.strip_prefix("xep_")) {
        (Some(rest), _) => ("RFC ", rest),
        (_, Some(rest)) => ("XEP-", rest),
        _ => return None,
    };
    let mut parts = rest.split('_');
    let number = parts.next().filter(|number| number.len() == 4)?;
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let section: Vec<&str> = parts.take_while(digits).collect();
    let place = Place::Section(section.join("."));
    (!section.is_empty()).then(|| Cite { document: format!("{kind}{number}"), place })
}

/// The comments of a source; lines that follow each other are one comment.
fn rust_comments(text: &str) -> Vec<String> {
    let mut comments: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let whole = line.trim_start().starts_with("//");
        let at = if whole { line.find("//") } else { line.find(" // ").map(|at| at + 1) };
        let comment = at.map(|at| line[at..].trim_start_matches(['/', '!']).trim());
        match (comment, comments.last_mut()) {
            (Some(comment), Some(last)) if open && whole => *last = format!("{last} {comment}"),
            (Some(comment), _) => comments.push(comment.to_owned()),
            (None, _) => {}
        }
        open = whole;
    }
    comments
}

/// The head of a file of scenarios, and the title of each with the comments among its lines.
fn scenario_comments(text: &str) -> Vec<String> {
    let mut comments = vec![String::new()];
    for line in text.lines() {
        let (title, comment) = match (line.strip_prefix("== "), line.strip_prefix('#')) {
            (Some(title), _) => (true, title),
            (_, Some(comment)) => (false, comment),
            _ => continue,
        };
        match comments.last_mut() {
            Some(last) if !title => *last = format!("{last} {}", comment.trim()).trim().to_owned(),
            _ => comments.push(comment.trim().to_owned()),
        }
    }
    comments
}

// -- the document

fn document(documents: &[Document]) -> String {
    let mut out = String::from(
        "# What the specifications demand\n\n\
         This page is generated from [docs/spec](spec/README.md): `make generate` writes it, and a test fails when it is \
         stale.\nA row counts as proven when it names tests that exist and that cite its section.\n\n\
         | Document | MUST | proven | exceptions | SHOULD, MAY | proven |\n|---|---|---|---|---|---|\n",
    );
    for document in documents {
        let (must, other): (Vec<&Row>, Vec<&Row>) = document.row.iter().partition(|row| row.level.binds());
        let proven = |rows: &[&Row]| rows.iter().filter(|row| !row.proof.is_empty()).count();
        let exceptions = must.iter().filter(|row| row.exception.is_some()).count();
        out += &format!(
            "| [{}](#{}), {} | {} | {} | {exceptions} | {} | {} |\n",
            document.name,
            anchor(&document.name),
            document.title,
            must.len(),
            proven(&must),
            other.len(),
            proven(&other),
        );
    }
    for document in documents {
        out += &format!("\n## {}\n\n| Section | A server | Level | Proof |\n|---|---|---|---|\n", document.name);
        for row in &document.row {
            out +=
                &format!("| {} | `{}`: {} | {} | {} |\n", row.section, row.id, cell(&row.text), row.level, proof(row));
        }
    }
    out
}

fn proof(row: &Row) -> String {
    if let Some(reason) = &row.exception {
        return format!("*Exception*: {}", cell(reason));
    }
    let links = row.proof.iter().map(|name| {
        let (path, test) = name.split_once("::").unwrap_or((name, name));
        format!("[{}](../{path})", cell(test).replace(['[', ']'], ""))
    });
    let links: Vec<String> = links.collect();
    if links.is_empty() { "open".to_owned() } else { links.join(", ") }
}

/// A text inside of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

/// How a heading is linked to.
fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace(' ', "-")
}
