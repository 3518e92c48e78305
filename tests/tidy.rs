//! The habits of the house that a test can check: sizes, names, one place for each namespace, the
//! order of the list of extensions, no leftovers.
//!
//! Each test names the files that break its rule and says what to do. What clippy can check is in
//! `clippy.toml` and not repeated here.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod literals;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use literals::{Literals, is_test, namespaces_in, parsed};
use syn::visit::Visit;
use tree::File;

/// Lines of one file, its test modules not counted.
const MOST_LINES: usize = 600;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 10] =
    ["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "types", "core"];

/// Namespaces that more than one file spells out. This list may only shrink.
const SPELLED_TWICE: [&str; 0] = [];

/// Where a type of this name is, and no other is called so: whoever reads it knows what holds for it.
const ONE_OF_A_NAME: [(&str, &str); 2] = [("Token", "accounts/tokens.rs"), ("Secret", "secret.rs")];

/// Who draws what may become a key; everybody else takes what everybody may see. This list is short so that it can be read.
const DRAWS_KEYS: [&str; 9] = [
    "accounts/directory.rs",
    "cli/demo/stage.rs",
    "net/tls/tickets.rs",
    "server/doctor.rs",
    "server/node.rs",
    "server/token_secret.rs",
    "session/authentication.rs",
    "session/entry.rs",
    "storage/sqlite/schema.rs",
];

// -- the tests

#[test]
fn files_stay_readable() {
    let long: Vec<String> = sources("src")
        .iter()
        .filter(|file| !is_test(&file.path))
        .map(|file| (production_lines(&file.text), &file.path))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, path)| format!("src/{path}: {lines} lines"))
        .collect();
    nothing_in(&long, "split these by what they do");
}

#[test]
fn names_say_what_is_inside() {
    let empty: Vec<String> = ["src", "tests"]
        .iter()
        .flat_map(|folder| sources(folder).into_iter().map(move |file| format!("{folder}/{}", file.path)))
        .filter(|path| path.trim_end_matches(".rs").split('/').any(|part| EMPTY_NAMES.contains(&part)))
        .collect();
    nothing_in(&empty, "name these after the type or the act that they hold");
}

#[test]
fn a_namespace_is_spelled_in_one_place() {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources("src").iter().filter(|file| !is_test(&file.path)) {
        for namespace in Literals::of(file).iter().flat_map(|text| namespaces_in(text)) {
            places.entry(namespace).or_default().insert(file.path.clone());
        }
    }
    let several: BTreeMap<&String, &BTreeSet<String>> = places.iter().filter(|(_, files)| files.len() > 1).collect();
    let new: Vec<String> = several
        .iter()
        .filter(|(namespace, _)| !SPELLED_TWICE.contains(&namespace.as_str()))
        .map(|(namespace, files)| format!("{namespace}: {files:?}"))
        .collect();
    nothing_in(&new, "let one file own each of these as a constant");

    let settled: Vec<&str> =
        SPELLED_TWICE.into_iter().filter(|namespace| !several.keys().any(|key| key == namespace)).collect();
    nothing_in(&settled, "take these off the list SPELLED_TWICE, they are settled");
}

#[test]
fn the_list_of_extensions_is_the_folder_in_numeric_order() {
    let folder: Vec<String> = extension_files();
    let list = document("src/extensions/mod.rs");
    let modules: Vec<String> = list
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .filter(|name| *name != "tests")
        .map(str::to_owned)
        .collect();
    assert_eq!(modules, folder, "the `mod` lines of src/extensions/mod.rs");

    let entries: Vec<String> = list
        .split_once("const ALL")
        .map(|(_, entries)| entries)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.trim().strip_suffix("::EXTENSION,"))
        .map(str::to_owned)
        .collect();
    assert_eq!(entries, folder, "the entries of `ALL` in src/extensions/mod.rs");

    let odd: Vec<&String> = folder.iter().filter(|name| !is_extension_name(name)).collect();
    nothing_in(&odd, "name an extension xep_NNNN_short_name or rfc_NNNN_name");
}

#[test]
fn what_is_secret_has_one_type_and_few_makers() {
    let mut types = Types::default();
    let mut draws = Vec::new();
    for file in sources("src").iter().filter(|file| !is_test(&file.path)) {
        types.path.clone_from(&file.path);
        types.visit_file(&parsed(file));
        if draws_keys(&file.text) {
            draws.push(file.path.clone());
        }
    }
    let is_named = |(name, _): &&(String, String)| ONE_OF_A_NAME.iter().any(|(known, _)| known == name);
    let found: Vec<(&str, &str)> =
        types.found.iter().filter(is_named).map(|(name, path)| (name.as_str(), path.as_str())).collect();
    assert_eq!(found, ONE_OF_A_NAME, "use these, or name what is something else after what it is");
    assert_eq!(draws, DRAWS_KEYS, "who draws keys is on the list DRAWS_KEYS, and nobody else");
}

#[test]
fn nothing_is_left_to_do() {
    // Put together here, so that this file is not the first to be found.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let found: Vec<String> = everything().iter().flat_map(|file| lines_with(file, &marks)).collect();
    nothing_in(&found, "do it, or file an issue and delete the remark");
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let folders = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];
    let found: Vec<String> = everything().iter().flat_map(|file| lines_with(file, &folders)).collect();
    nothing_in(&found, "use a path that every machine has");
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let found: Vec<String> = ["src", "tests", "benches"]
        .iter()
        .filter(|folder| tree::root().join(folder).is_dir())
        .flat_map(|folder| sources(folder).into_iter().map(move |file| (folder, file)))
        .flat_map(|(folder, file)| {
            let faults = Attributes::of(&file);
            faults.into_iter().map(move |(line, fault)| format!("{folder}/{}:{line}: {fault}", file.path))
        })
        .collect();
    nothing_in(&found, "write #[expect(lint, reason = \"...\")], and run every test");
}

#[test]
fn changes_are_recorded() {
    assert!(document("CHANGELOG.md").lines().count() > 1, "CHANGELOG.md says what changed, area first");
}

// -- the tests of these tests

#[test]
fn namespaces_are_found_inside_other_text() {
    let text = concat!("<query xmlns='jab", "ber:x:y'><b a=\"urn:xm", "pp:z:0\"/>");
    let expected: BTreeSet<String> = [concat!("jab", "ber:x:y"), concat!("urn:xm", "pp:z:0")].map(str::to_owned).into();
    assert_eq!(namespaces_in(text).into_iter().collect::<BTreeSet<_>>(), expected);
    assert!(namespaces_in(concat!("jab", "ber:")).is_empty(), "a prefix alone is no namespace");
}

#[test]
fn test_modules_do_not_count_as_lines() {
    assert_eq!(production_lines("a\nb\n\n#[cfg(test)]\nmod tests {\n    c\n}\n"), 3);
    assert_eq!(production_lines("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
}

#[test]
fn bare_expectations_are_found() {
    let fault = |text: &str| Attributes::of(&File { path: String::new(), text: text.to_owned() });
    assert_eq!(fault("#[expect(unused, reason = \"it is\")] fn f() {}"), []);
    assert_eq!(fault("#[expect(unused)] fn f() {}"), [(1, "expect without a reason")]);
    assert_eq!(fault("mod m {\n #[allow(unused)] fn f() {} }"), [(2, "allow")]);
    assert_eq!(fault("fn f() {\n #[cfg_attr(test, ignore)] fn g() {} }"), [(2, "ignore")]);
}

#[test]
fn what_draws_keys_and_types_are_found() {
    assert!(draws_keys("let key = random::octets();") && draws_keys("use crate::random::{nonce, octets};"));
    assert!(!draws_keys("use crate::random;\nlet id = random::token();"));
    let mut types = Types { path: "one.rs".to_owned(), found: Vec::new() };
    types.visit_file(&syn::parse_str("struct A; mod m { enum B {} } fn f() { type C = u8; } fn D() {}").unwrap());
    let names: Vec<&str> = types.found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["A", "B", "C"]);
}

// -- what is read

fn sources(folder: &str) -> Vec<File> {
    tree::files(&tree::root().join(folder), ".rs")
}

/// Every text file of the repository but the lock files, which others write.
fn everything() -> Vec<File> {
    let mut files = tree::files(tree::root(), "");
    files.retain(|file| !file.path.ends_with(".lock") && !file.path.ends_with("-lock.json"));
    files
}

fn document(path: &str) -> String {
    std::fs::read_to_string(tree::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of `src/extensions`, sorted; four digits make that the order of the numbers.
fn extension_files() -> Vec<String> {
    let folder = tree::root().join("src/extensions");
    let names: BTreeSet<String> = tree::files(&folder, ".rs")
        .iter()
        .map(|file| file.path.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned())
        .filter(|name| name != "mod" && name != "tests")
        .collect();
    names.into_iter().collect()
}

// -- what is looked for

fn nothing_in<T: AsRef<str>>(found: &[T], advice: &str) {
    let lines: Vec<&str> = found.iter().map(AsRef::as_ref).collect();
    assert!(lines.is_empty(), "{advice}:\n{}", lines.join("\n"));
}

/// The lines before the test module at the foot.
fn production_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let foot = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    foot.unwrap_or(lines.len())
}

fn lines_with(file: &File, marks: &[&str]) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    let hits = lines.filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)));
    hits.map(|(at, line)| format!("{}:{}: {}", file.path, at + 1, line.trim())).collect()
}

fn is_extension_name(name: &str) -> bool {
    let number = name.strip_prefix("xep_").or_else(|| name.strip_prefix("rfc_")).and_then(|rest| rest.split_once('_'));
    number.is_some_and(|(digits, rest)| {
        digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty()
    })
}

/// Whether a file draws what may become a key. Whoever takes things out of `random` by their names could do so unseen.
fn draws_keys(text: &str) -> bool {
    ["random::octets", "random::draw", "random::{", "random::*", "::random as "].iter().any(|way| text.contains(way))
}

/// Gathers the names of types, with their files.
#[derive(Default)]
struct Types {
    path: String,
    found: Vec<(String, String)>,
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let name = match item {
            syn::Item::Struct(it) => Some(&it.ident),
            syn::Item::Enum(it) => Some(&it.ident),
            syn::Item::Type(it) => Some(&it.ident),
            _ => None,
        };
        self.found.extend(name.map(|name| (name.to_string(), self.path.clone())));
        syn::visit::visit_item(self, item);
    }
}

/// Gathers attributes that silence the compiler, with their lines.
#[derive(Default)]
struct Attributes(Vec<(usize, &'static str)>);

impl Attributes {
    fn of(file: &File) -> Vec<(usize, &'static str)> {
        let mut attributes = Self::default();
        attributes.visit_file(&parsed(file));
        attributes.0
    }
}

impl<'ast> Visit<'ast> for Attributes {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let line = attribute.pound_token.spans[0].start().line;
        let tokens = match &attribute.meta {
            syn::Meta::List(list) => list.tokens.to_string(),
            _ => String::new(),
        };
        let conditional = attribute.path().is_ident("cfg_attr");
        let has = |name: &str| {
            attribute.path().is_ident(name)
                || (conditional && tokens.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name))
        };
        if has("allow") {
            self.0.push((line, "allow"));
        }
        if has("ignore") {
            self.0.push((line, "ignore"));
        }
        if has("expect") && !tokens.contains("reason") {
            self.0.push((line, "expect without a reason"));
        }
    }
}
