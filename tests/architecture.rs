//! The import law: a module imports only from floors below its own.
//!
//! One crate lets its modules form any cycle, so the law has to be a test. The floors are read out
//! of the table in `docs/architecture.md`, the imports out of the sources as the compiler parses
//! them: `use` trees, and paths in expressions, types, patterns and macros. A document that no
//! longer describes the sources fails here, and so does a source that no longer follows it.
//!
//! Start with the tests; below them come the law, the table and the reading of sources.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

// -- the tests

#[test]
fn every_import_goes_down() {
    let table = Table::read(&document("docs/architecture.md"));
    let broken: Vec<String> = sources(&tree::root().join("src"))
        .iter()
        .flat_map(|source| source.imports.iter().filter_map(|import| table.judge(source, import)))
        .map(|violation| violation.to_string())
        .collect();
    assert!(broken.is_empty(), "docs/architecture.md does not allow:\n{}", broken.join("\n"));
}

#[test]
fn the_module_list_is_the_floor_table() {
    let table = Table::read(&document("docs/architecture.md"));
    let list = module_list(&document("src/lib.rs"));
    let missing: Vec<_> = list.iter().filter(|name| !table.rows.contains_key(*name)).collect();
    assert!(missing.is_empty(), "docs/architecture.md has no floor for {missing:?}");

    let floors: Vec<u8> = list.iter().map(|name| table.rows[name].floor).collect();
    assert!(floors.is_sorted_by(|above, below| above >= below), "src/lib.rs lists the top floor first: {list:?}");

    for (name, row) in table.rows.iter().filter(|(name, _)| *name != "main") {
        let exists = list.contains(name);
        assert_eq!(row.linked, exists, "{name}: a row is a link exactly when src/lib.rs has the module");
    }
}

#[test]
fn every_source_file_is_in_a_module() {
    let sources = sources(&tree::root().join("src"));
    let named: BTreeSet<String> = sources.iter().flat_map(|source| source.children.iter().cloned()).collect();
    let forgotten: Vec<&str> = sources
        .iter()
        .filter(|source| !source.module.is_empty() && source.module != ["main"])
        .filter(|source| !named.contains(&source.module.join("::")))
        .map(|source| source.path.as_str())
        .collect();
    assert!(forgotten.is_empty(), "no `mod` line names {forgotten:?}");
}

/// The test of the test: each line of the fixture that breaks the law says so, and no other does.
#[test]
fn the_fixture_breaks_the_law_where_it_says() {
    let folder = "tests/fixtures/architecture";
    let table = Table::read(&document(&format!("{folder}/architecture.md")));
    let files = tree::files(&tree::root().join(folder).join("src"), ".rs");
    let expected: BTreeSet<(String, usize, String)> = files
        .iter()
        .flat_map(|file| {
            file.text.lines().enumerate().filter_map(|(at, line)| {
                let (_, fault) = line.split_once("//~ ")?;
                Some((file.path.clone(), at + 1, fault.to_owned()))
            })
        })
        .collect();
    let found: BTreeSet<(String, usize, String)> = sources(&tree::root().join(folder).join("src"))
        .iter()
        .flat_map(|source| source.imports.iter().filter_map(|import| table.judge(source, import)))
        .map(|violation| (violation.path, violation.line, violation.fault.to_string()))
        .collect();
    assert!(expected.len() > 10, "the fixture was found");
    assert_eq!(found, expected);
}

/// A document by its path from the root of the repository.
fn document(path: &str) -> String {
    std::fs::read_to_string(tree::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

// -- the law

/// Why an import is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The floor is higher.
    Upward,
    /// The floor is the same and the row names no exception; or one extension names another.
    Sideways,
    /// The floor is lower, but the row excludes it.
    Excluded,
    /// The module has no floor, or the import names the whole crate.
    Unknown,
    /// Everything of another module is imported, so that nobody sees what is used.
    Glob,
    /// Another module's item is offered as one's own, a second door into a lower floor.
    Reexport,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upward => "upward",
            Self::Sideways => "sideways",
            Self::Excluded => "excluded",
            Self::Unknown => "unknown",
            Self::Glob => "glob",
            Self::Reexport => "re-export",
        })
    }
}

struct Violation {
    path: String,
    line: usize,
    from: String,
    to: String,
    fault: Fault,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {} names {}: {}", self.path, self.line, self.from, self.to, self.fault)
    }
}

impl Table {
    /// What the table has against an import, if anything.
    fn judge(&self, source: &Source, import: &Import) -> Option<Violation> {
        let from = source.module.first().map_or("lib", String::as_str);
        let fault = self.fault(from, source, import)?;
        let to = if import.to.is_empty() { "the whole crate".to_owned() } else { import.to.join("::") };
        Some(Violation { path: source.path.clone(), line: import.line, from: from.to_owned(), to, fault })
    }

    fn fault(&self, from: &str, source: &Source, import: &Import) -> Option<Fault> {
        let Some(to) = import.to.first() else { return Some(Fault::Unknown) };
        if from == to {
            return extensions_meet(&source.module, &import.to).then_some(Fault::Sideways);
        }
        // Tests may use the whole house in memory; production code may not.
        if import.in_tests && to == "testing" {
            return None;
        }
        let (Some(here), Some(there)) = (self.rows.get(from), self.rows.get(to)) else { return Some(Fault::Unknown) };
        if !here.allows(to, there.floor) {
            return Some(match there.floor.cmp(&here.floor) {
                std::cmp::Ordering::Greater => Fault::Upward,
                std::cmp::Ordering::Equal => Fault::Sideways,
                std::cmp::Ordering::Less => Fault::Excluded,
            });
        }
        match import.form {
            Form::Name => None,
            Form::Glob => Some(Fault::Glob),
            Form::Reexport => Some(Fault::Reexport),
        }
    }
}

/// One extension knows another through its `api` item only; the list of all of them knows each.
fn extensions_meet(from: &[String], to: &[String]) -> bool {
    let is_extension = |name: &str| name.starts_with("xep_") || name.starts_with("rfc_");
    match (from, to) {
        ([_, own, ..], [_, other, rest @ ..]) if is_extension(own) && is_extension(other) => {
            own != other && rest.first().is_none_or(|item| item != "api")
        }
        _ => false,
    }
}

// -- the table

/// The floor table: the rows of a document whose first cell is a number.
struct Table {
    rows: BTreeMap<String, Row>,
}

struct Row {
    floor: u8,
    /// Whether the name is a link. A row without one keeps a floor for a module to come.
    linked: bool,
    /// All lower floors are allowed, except those in `without`.
    below: bool,
    with: BTreeSet<String>,
    without: BTreeSet<String>,
}

impl Table {
    /// Reads `| 5 | [routing](../src/routing/mod.rs) | below, not x, y | ... |`.
    fn read(document: &str) -> Self {
        let rows: BTreeMap<String, Row> = document
            .lines()
            .filter_map(|line| {
                let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
                let floor = cells.first()?.parse().ok()?;
                let (name, linked) = module_name(cells.get(1)?);
                Some((name.to_owned(), Row::read(floor, linked, cells.get(2)?)))
            })
            .collect();
        assert!(!rows.is_empty(), "the document has no floor table");
        for (name, row) in &rows {
            for other in row.with.iter().chain(&row.without) {
                assert!(rows.contains_key(other), "the row of {name} names {other}, which has no row");
            }
        }
        Self { rows }
    }
}

impl Row {
    fn read(floor: u8, linked: bool, may_import: &str) -> Self {
        let mut row = Self { floor, linked, below: false, with: BTreeSet::new(), without: BTreeSet::new() };
        for term in may_import.split(',').map(str::trim) {
            match term.strip_prefix("not ") {
                Some(name) => _ = row.without.insert(name.to_owned()),
                None if term == "below" => row.below = true,
                None if term == "nothing" => {}
                None => _ = row.with.insert(term.to_owned()),
            }
        }
        row
    }

    fn allows(&self, module: &str, floor: u8) -> bool {
        self.with.contains(module) || (self.below && floor < self.floor && !self.without.contains(module))
    }
}

/// `[name](link)` or `name`.
fn module_name(cell: &str) -> (&str, bool) {
    let inner = cell.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    inner.map_or((cell, false), |(name, _)| (name, true))
}

/// The `mod` lines of the crate, in their order.
fn module_list(lib: &str) -> Vec<String> {
    let file = syn::parse_file(lib).expect("src/lib.rs parses");
    let names = file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    });
    names.collect()
}

// -- the sources

/// What one file imports. Its module is empty for `lib.rs`.
struct Source {
    path: String,
    module: Vec<String>,
    /// The modules that its `mod` lines name.
    children: Vec<String>,
    imports: Vec<Import>,
}

/// A path into this crate.
struct Import {
    to: Vec<String>,
    line: usize,
    form: Form,
    in_tests: bool,
}

#[derive(Clone, Copy)]
enum Form {
    Name,
    Glob,
    Reexport,
}

fn sources(folder: &Path) -> Vec<Source> {
    let mut read: Vec<Reader> = tree::files(folder, ".rs").iter().map(Reader::read).collect();
    // A file is a test where the `mod` line of its parent says so, and so are the files below it.
    let tests: Vec<Vec<String>> = read.iter().flat_map(|reader| reader.test_files.iter().cloned()).collect();
    for reader in &mut read {
        if tests.iter().any(|test| reader.source.module.starts_with(test)) {
            reader.source.imports.iter_mut().for_each(|import| import.in_tests = true);
        }
    }
    read.into_iter().map(|reader| reader.source).collect()
}

/// Walks one file and knows in which module it is.
struct Reader {
    source: Source,
    inside: Vec<String>,
    in_tests: bool,
    test_files: Vec<Vec<String>>,
}

impl Reader {
    fn read(file: &tree::File) -> Self {
        let module = module_of(&file.path);
        let source =
            Source { path: file.path.clone(), module: module.clone(), children: Vec::new(), imports: Vec::new() };
        let mut reader = Self { source, inside: module, in_tests: false, test_files: Vec::new() };
        let parsed = syn::parse_file(&file.text).unwrap_or_else(|error| panic!("src/{}: {error}", file.path));
        reader.visit_file(&parsed);
        reader
    }

    /// Notes a path if it leads into this crate.
    fn note(&mut self, segments: &[String], line: usize, form: Form) {
        let Some(to) = self.resolve(segments) else { return };
        self.source.imports.push(Import { to, line, form, in_tests: self.in_tests });
    }

    fn resolve(&self, segments: &[String]) -> Option<Vec<String>> {
        let (first, rest) = segments.split_first()?;
        let mut to = match first.as_str() {
            "crate" | "comity" => Vec::new(),
            "self" | "super" => self.inside.clone(),
            // Only the root sees the modules of the crate by their bare names.
            name if self.inside.is_empty() && self.source.children.iter().any(|child| child == name) => {
                vec![name.to_owned()]
            }
            _ => return None,
        };
        let ups = segments.iter().skip_while(|segment| *segment == "self").take_while(|segment| *segment == "super");
        let ups = ups.count();
        to.truncate(to.len().saturating_sub(ups));
        let names = rest.iter().filter(|segment| !matches!(segment.as_str(), "self" | "super"));
        to.extend(names.cloned());
        Some(to)
    }

    fn note_use(&mut self, tree: &syn::UseTree, prefix: &mut Vec<String>, form: Form) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.note_use(&path.tree, prefix, form);
                prefix.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_use(tree, prefix, form)),
            syn::UseTree::Glob(glob) => self.note(prefix, line_of(glob.star_token.spans[0]), Form::Glob),
            syn::UseTree::Name(syn::UseName { ident }) | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                prefix.push(ident.to_string());
                self.note(prefix, line_of(ident.span()), form);
                prefix.pop();
            }
        }
    }

    /// Macros hold tokens, not syntax: paths are found by their `::`.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => self.note_tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut segments = vec![first.to_string()];
                    while let (true, true, Some(TokenTree::Ident(next))) =
                        (colon(at), colon(at + 1), tokens.get(at + 2))
                    {
                        segments.push(next.to_string());
                        at += 3;
                    }
                    if segments.len() > 1 {
                        self.note(&segments, line_of(first.span()), Form::Name);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let was = self.in_tests;
        self.in_tests |= is_for_tests(&item.attrs);
        self.inside.push(item.ident.to_string());
        self.source.children.push(self.inside.join("::"));
        if item.content.is_none() && self.in_tests {
            self.test_files.push(self.inside.clone());
        }
        visit::visit_item_mod(self, item);
        self.inside.pop();
        self.in_tests = was;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let form = if matches!(item.vis, syn::Visibility::Inherited) { Form::Name } else { Form::Reexport };
        self.note_use(&item.tree, &mut Vec::new(), form);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A lone `self` is a value, a lone `crate` no path at all.
        if let (Some(first), true) = (path.segments.first(), segments.len() > 1) {
            self.note(&segments, line_of(first.ident.span()), Form::Name);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.note_tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }

    /// `pub(crate)` and `pub(in path)` say who may look in; they import nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    /// Neither do attributes.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

/// `routing/hosts.rs` is `routing::hosts`, `routing/mod.rs` is `routing`, `lib.rs` the root.
fn module_of(path: &str) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|name| name == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

fn line_of(span: proc_macro2::Span) -> usize {
    span.start().line
}
