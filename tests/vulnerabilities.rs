//! What was published about other servers, clients and libraries, and the tests that show that it is not so here.
//!
//! The rows are in `docs/security/vulnerabilities.toml`, and `docs/security.md` says how they are written; the document that is made of
//! them is `docs/vulnerabilities.md`. Below the tests of the rows are those that look for faults in the sources themselves.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod inventory;
mod literals;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use comity::config::Config;
use literals::{Literals, is_test, namespaces_in, parsed};
use proc_macro2::{TokenStream, TokenTree};
use serde::Deserialize;
use syn::visit::{self, Visit};
use tree::File;

/// Kinds of faults.
#[derive(Deserialize)]
struct Table {
    class: Vec<Class>,
}

/// Faults of one kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    title: String,
    row: Vec<Row>,
}

/// What went wrong somewhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    ids: Vec<String>,
    #[serde(rename = "where")]
    place: String,
    fault: String,
    /// Why it is not so here.
    here: Option<String>,
    /// Why it cannot be so here: what it was in is not built.
    not: Option<String>,
    #[serde(default)]
    proof: Vec<String>,
    /// Crates, and words that no source but a test spells, that are not there as long as that is true.
    #[serde(default)]
    absent: Vec<String>,
    /// Crates that are there, with the first version without the fault.
    #[serde(default)]
    crates: Vec<String>,
}

fn rows() -> Vec<(String, Row)> {
    let table: Table = toml::from_str(&document("docs/security/vulnerabilities.toml")).expect("a table of rows");
    table.class.into_iter().flat_map(|class| class.row.into_iter().map(move |row| (class.title.clone(), row))).collect()
}

fn document(path: &str) -> String {
    std::fs::read_to_string(tree::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The sources but for tests.
fn sources(folder: &str) -> Vec<File> {
    let mut files = tree::files(&tree::root().join(folder), ".rs");
    files.retain(|file| !is_test(&file.path));
    assert!(!files.is_empty(), "there is nothing in {folder}");
    files
}

/// The crates that are built in, with their versions.
fn crates() -> BTreeMap<String, Vec<Vec<u64>>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let lock: Lock = toml::from_str(&document("Cargo.lock")).expect("the list of crates");
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for package in lock.package {
        found.entry(package.name).or_default().push(version(&package.version));
    }
    found
}

fn version(text: &str) -> Vec<u64> {
    text.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

fn nothing_in(wrong: &[String], advice: &str) {
    assert!(wrong.is_empty(), "{advice}:\n{}", wrong.join("\n"));
}

// -- the rows

#[test]
fn every_row_has_a_proof_or_a_reason() {
    let tests = inventory::all();
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (_, row) in rows() {
        let name = row.ids.join(", ");
        let mut fault = |text: String| wrong.push(format!("{name}: {text}"));
        match (&row.here, &row.not) {
            (Some(_), None) if row.proof.is_empty() => fault("no test shows it".to_owned()),
            (None, Some(_)) if row.proof.is_empty() && row.absent.is_empty() => fault("nothing shows it".to_owned()),
            (Some(_), None) | (None, Some(_)) => {}
            _ => fault("say `here` or `not`".to_owned()),
        }
        row.proof
            .iter()
            .filter(|proof| !tests.contains_key(*proof))
            .for_each(|proof| fault(format!("no test {proof}")));
        row.ids.iter().filter(|id| !seen.insert((*id).clone())).for_each(|id| fault(format!("{id} twice")));
        if row.ids.is_empty() {
            fault(format!("no id: {}", row.fault));
        }
    }
    nothing_in(&wrong, "faults in docs/security/vulnerabilities.toml");
    assert!(seen.len() >= 120, "{} advisories", seen.len());
}

/// What is not built may be built one day: then its rows need tests.
#[test]
fn what_is_not_built_is_not_there() {
    let words: String =
        sources("src").iter().flat_map(Literals::of).fold(String::new(), |all, text| all + "\n" + &text);
    let crates = crates();
    let mut wrong = Vec::new();
    for (_, row) in rows() {
        let there = row.absent.iter().filter(|word| words.contains(*word) || crates.contains_key(*word));
        wrong.extend(there.map(|word| format!("{}: there is {word}", row.ids.join(", "))));
    }
    nothing_in(&wrong, "these rows need tests now");
    let archive = namespaces_in(&words).iter().any(|namespace| namespace == "urn:xmpp:mam:2");
    assert!(archive && crates.contains_key("rustls"), "nothing was looked at");
}

#[test]
fn libraries_with_known_faults_are_not_used() {
    let crates = crates();
    let mut looked_at = 0;
    for (_, row) in rows() {
        for wanted in &row.crates {
            let (name, least) = wanted.split_once(' ').unwrap_or_else(|| panic!("{wanted}: a name and a version"));
            let found = crates.get(name).unwrap_or_else(|| panic!("{name} is not used: take it off the row"));
            assert!(found.iter().all(|found| *found >= version(least)), "{name} {found:?} has {}", row.ids.join(", "));
            looked_at += 1;
        }
    }
    assert!(looked_at > 0 && version("0.26.2") < version("0.26.3"), "nothing was compared");
}

#[test]
fn the_generated_document_is_fresh() {
    let path = tree::root().join("docs/vulnerabilities.md");
    let fresh = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &fresh).expect("docs/vulnerabilities.md is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == fresh, "docs/vulnerabilities.md is stale; run make generate");
}

fn page() -> String {
    let rows = rows();
    let advisories: usize = rows.iter().map(|(_, row)| row.ids.len()).sum();
    let not = rows.iter().filter(|(_, row)| row.not.is_some()).count();
    let mut out = format!(
        "# What went wrong elsewhere\n\n\
         This page is generated from [security/vulnerabilities.toml](security/vulnerabilities.toml): `make generate` writes it, and a test \
         fails when it is stale, when a test that it names is not there, and when something is built that it says is not.\n\
         {advisories} advisories in {} rows; {not} rows are about what Comity does not have. The rest of the story is in \
         [security.md](security.md).\n",
        rows.len()
    );
    let mut class = "";
    for (title, row) in &rows {
        if class != title {
            class = title;
            let _ =
                write!(out, "\n## {title}\n\n| What, where | What went wrong | Here | Shown by |\n|---|---|---|---|\n");
        }
        let here = match (&row.here, &row.not) {
            (Some(here), _) => cell(here),
            (None, Some(not)) => format!("*Not here*: {}", cell(not)),
            (None, None) => String::new(),
        };
        let links = row.proof.iter().map(|name| {
            let (path, test) = name.split_once("::").unwrap_or((name, name));
            format!("[{}](../{path})", cell(test))
        });
        let links: Vec<String> = links.collect();
        let (ids, place) = (cell(&row.ids.join(", ")), cell(&row.place));
        let _ = writeln!(out, "| {ids} ({place}) | {} | {here} | {} |", cell(&row.fault), links.join(", "));
    }
    out
}

/// A text inside of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('[', "\\[")
}

// -- the sources

/// CVE-2022-0217: what comes in is read by the gate; the tree behind it reads what the gate has let in.
#[test]
fn there_is_one_reader_of_xml() {
    let reads =
        |file: &File| ["quick_xml", "rxml", "roxmltree", "xmlparser"].iter().any(|name| file.text.contains(name));
    let readers: Vec<String> = sources("src").into_iter().filter(reads).map(|file| file.path).collect();
    assert_eq!(readers, ["xml/element.rs"], "one place reads XML with a library");
    let mut trees = Trees::default();
    for file in sources("src").into_iter().filter(|file| file.path != "xml/element.rs") {
        trees.file.clone_from(&file.path);
        trees.visit_file(&parsed(&file));
    }
    let known = BTreeSet::from(TREES.map(str::to_owned));
    assert_eq!(
        trees.places, known,
        "has what is read here passed the gate, or was it written here? Then it is one of TREES"
    );
}

/// Where trees are made of text: the gate itself, payloads behind it, and what extensions have kept of those.
const TREES: [&str; 5] = [
    "extensions/xep_0045_muc/avatar.rs",
    "extensions/xep_0049_private_storage.rs",
    "extensions/xep_0054_vcard.rs",
    "stanza/payload.rs",
    "stream/reader.rs",
];

/// Gathers the files that make trees of text.
#[derive(Default)]
struct Trees {
    file: String,
    places: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Trees {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let [.., element, parse] = &names[..]
            && element == "Element"
            && parse.starts_with("parse")
        {
            self.places.insert(self.file.clone());
        }
        visit::visit_path(self, path);
    }
}

/// CVE-2016-1232: nobody can know what comes next.
#[test]
fn there_is_one_source_of_randomness() {
    let ways = ["rand::fill", "rand::generate", "SystemRandom", "getrandom", "/dev/urandom"];
    let draws = |file: &File| ways.iter().any(|way| file.text.contains(way));
    let places: Vec<String> = sources("src").into_iter().filter(draws).map(|file| file.path).collect();
    assert_eq!(places, ["random.rs"], "crate::random is for everybody");
    let manifest: toml::Table = toml::from_str(&document("Cargo.toml")).expect("a manifest");
    let others = ["rand", "fastrand", "oorandom", "nanorand", "getrandom", "uuid"];
    let dependencies = manifest["dependencies"].as_table().expect("dependencies");
    assert!(others.iter().all(|name| !dependencies.contains_key(*name)), "one generator is enough");
}

/// Types that hold a secret with which something is compared that a stranger has sent.
const SECRETS: [(&str, &str); 7] = [
    ("accounts/credentials.rs", "Password"),
    ("accounts/credentials.rs", "ScramKeys"),
    ("accounts/sasl/scram.rs", "Challenged"),
    ("accounts/sasl/hashed_token.rs", "Presented"),
    ("accounts/tokens.rs", "TokenKey"),
    ("federation/xep_0220_dialback.rs", "Signer"),
    ("secret.rs", "Secret"),
];

/// Where that is compared, in the order of their paths. Nobody else does it.
const COMPARISONS: [&str; 7] = [
    "accounts/credentials.rs",
    "accounts/sasl/hashed_token.rs",
    "accounts/sasl/scram.rs",
    "accounts/sasl/scram_client.rs",
    "components/xep_0114_component.rs",
    "federation/xep_0220_dialback.rs",
    "secret.rs",
];

/// CVE-2021-32921: `==` ends at the first difference.
#[test]
fn secrets_are_compared_in_constant_time() {
    let files = sources("src");
    let file = |path: &str| files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}"));
    let ways = ["constant_time", "ConstantTimeEq"];
    let compare = |file: &&File| ways.iter().any(|way| file.text.contains(way));
    let places: Vec<&str> = files.iter().filter(compare).map(|file| file.path.as_str()).collect();
    assert_eq!(places, COMPARISONS, "one is missing: it compares with ==; one is new: a Secret does that by itself");
    for (path, name) in SECRETS {
        let mut derived = Derived { name, found: None };
        derived.visit_file(&parsed(file(path)));
        let derived = derived.found.unwrap_or_else(|| panic!("{path}: no {name}"));
        assert!(!derived.contains("PartialEq"), "{path}: {name} can be compared with ==");
        let by_hand = format!("PartialEq for {name}");
        // The one that is allowed has the function that is looked for above.
        assert!(path == "secret.rs" || !file(path).text.contains(&by_hand), "{path}: {name} can be compared with ==");
    }
}

/// What a struct derives.
struct Derived<'a> {
    name: &'a str,
    found: Option<String>,
}

impl<'ast> Visit<'ast> for Derived<'_> {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if item.ident == self.name {
            let derives = item.attrs.iter().filter(|attribute| attribute.path().is_ident("derive"));
            let lists = derives.filter_map(|attribute| attribute.meta.require_list().ok());
            self.found = Some(lists.map(|list| list.tokens.to_string()).collect());
        }
    }
}

/// What may stand in a statement of SQL without being bound: names of tables and columns, conditions that are written out
/// beside it.
const OWN_WORDS: [&str; 9] =
    ["check", "table", "columns", "within", "found", "place", "sign", "create", "counter.table()"];

#[test]
fn statements_hold_nothing_of_a_stranger() {
    let mut statements = Statements::default();
    for file in sources("src") {
        statements.file.clone_from(&file.path);
        statements.visit_file(&parsed(&file));
    }
    nothing_in(&statements.wrong, "bind values; what is put into a statement has to be of the program");
    assert!(statements.looked_at >= 8, "{} statements were looked at", statements.looked_at);
    let outside: BTreeSet<&String> = statements.places.iter().filter(|path| !path.starts_with("storage/")).collect();
    assert!(outside.is_empty(), "statements are for storage: {outside:?}");
}

/// Gathers statements that are put together.
#[derive(Default)]
struct Statements {
    file: String,
    looked_at: usize,
    places: BTreeSet<String>,
    wrong: Vec<String>,
}

impl<'ast> Visit<'ast> for Statements {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        if ["format", "write", "writeln", "format_args"].iter().any(|name| item.path.is_ident(name)) {
            self.judge(item.tokens.clone());
        }
        visit::visit_macro(self, item);
    }
}

impl Statements {
    fn judge(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().skip_while(|token| !matches!(token, TokenTree::Literal(_)));
        let Some(TokenTree::Literal(literal)) = tokens.next() else { return };
        let syn::Lit::Str(text) = syn::Lit::new(literal) else { return };
        let text = text.value();
        let words = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "PRAGMA ", "ALTER TABLE", "CREATE "];
        if !words.iter().any(|word| text.starts_with(word)) {
            return;
        }
        self.looked_at += 1;
        self.places.insert(self.file.clone());
        let rest: String = tokens.collect::<TokenStream>().to_string().split_whitespace().collect();
        let mut arguments = rest.trim_start_matches(',').split(',').map(|it| it.rsplit('=').next().unwrap_or(it));
        for part in text.split('{').skip(1) {
            let name = part.split(['}', ':']).next().unwrap_or_default();
            let name = if name.is_empty() { arguments.next().unwrap_or_default() } else { name };
            if !OWN_WORDS.contains(&name) {
                self.wrong.push(format!("{}: {{{name}}} in {text}", self.file));
            }
        }
    }
}

/// What strangers can name must not be kept for ever, as the atoms of Erlang are.
#[test]
fn no_table_of_names_grows() {
    let folders = ["src/xml", "src/stream", "src/stanza", "src/jid"];
    let shared = ["OnceLock", "LazyLock", "RwLock", "Mutex", "ArcSwap", "thread_local!", "Box::leak", ".leak()"];
    let files: Vec<File> = folders.iter().flat_map(|folder| sources(folder)).collect();
    let found = files
        .iter()
        .flat_map(|file| shared.iter().filter(move |word| file.text.contains(*word)).map(move |word| (file, word)));
    let found: Vec<String> = found.map(|(file, word)| format!("{}: {word}", file.path)).collect();
    nothing_in(&found, "whatever is kept here outlives its stream");
}

/// CVE-2020-11878, CVE-2021-33506: what is not asked for is not there.
#[test]
fn a_new_server_gives_nothing_away() {
    let config = Config::parse("domain = \"verona.example\"", Path::new("comity.toml")).expect("one line is complete");
    assert!(config.admins.is_empty(), "nobody is an administrator");
    assert!(!config.registration.enabled, "nobody makes himself an account");
    assert!(config.components.is_empty() && config.services.rooms.is_empty(), "there are no services");
    assert!(!config.listen.c2s_without_tls, "nobody logs in without TLS");
    assert!(!config.federation.accept_dialback, "a domain needs a proof");
    assert!(config.tls.client_trust_anchors.is_empty(), "nobody vouches for clients");
    assert!(!config.push.include_sender && !config.push.include_body, "services of others learn nothing");
    assert_ne!(config.limits.failed_logins_per_address, 0, "guessing comes to an end");
    // Nor does anything in the program make an account by itself.
    let makers: Vec<String> =
        sources("src").into_iter().filter(|it| it.text.contains("directory::create(")).map(|it| it.path).collect();
    assert!(!makers.iter().any(|path| path.starts_with("server/")), "{makers:?}");
}

/// CVE-2024-35179: what is never had need not be given up.
#[test]
fn nothing_runs_as_root() {
    let unit = document("packaging/comity.service");
    for line in [
        "User=comity",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
        "ProtectSystem=strict",
        "UMask=0077",
    ] {
        assert!(unit.lines().any(|found| found == line), "the unit does not say {line}");
    }
    let changes = ["setuid", "setgid", "set_thread_uid", "setresuid"];
    let found = sources("src").into_iter().filter(|file| changes.iter().any(|word| file.text.contains(word)));
    let found: Vec<String> = found.map(|file| file.path).collect();
    nothing_in(&found, "the server is who starts it");
}
