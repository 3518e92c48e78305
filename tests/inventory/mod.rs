//! The tests of this repository: functions and scenarios, with everything that is written about them.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::tree;

/// A test by where it is and how it is called.
pub(crate) struct Test {
    /// Its lines, those above it that belong to it included.
    pub(crate) text: String,
}

/// All tests by `file::name`: the name of a function, or the title of a scenario up to the sections in it.
pub(crate) fn all() -> BTreeMap<String, Test> {
    let mut tests = BTreeMap::new();
    for folder in ["src", "tests", "benches/load/src"] {
        for file in tree::files(&tree::root().join(folder), ".rs") {
            let path = format!("{folder}/{}", file.path);
            tests.extend(functions(&file.text).into_iter().map(|(name, test)| (format!("{path}::{name}"), test)));
        }
    }
    for file in tree::files(&tree::root().join("tests/scenarios"), ".xmpp") {
        let path = format!("tests/scenarios/{}", file.path);
        tests.extend(scenarios(&file.text).into_iter().map(|(name, test)| (format!("{path}::{name}"), test)));
    }
    tests
}

/// The functions that are marked as tests, in modules and macros too.
pub(crate) fn functions(text: &str) -> Vec<(String, Test)> {
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let mut found = Vec::new();
    find(tokens, &mut found);
    let lines: Vec<&str> = text.lines().collect();
    let of = |(name, first, last): (String, usize, usize)| {
        // What stands above a test belongs to it as far as the next empty line or the end of another item.
        let above = lines.iter().take(first - 1).rev();
        let above = above.take_while(|line| !line.trim().is_empty() && !line.trim_end().ends_with(['}', '{', ';']));
        let above = above.count();
        (name, Test { text: lines[first - 1 - above..last].join("\n") })
    };
    found.into_iter().map(of).collect()
}

/// Notes the name, the first and the last line of every function behind an attribute `test`.
fn find(tokens: TokenStream, found: &mut Vec<(String, usize, usize)>) {
    let mut marked = false;
    let mut function: Option<(String, usize)> = None;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                if let Some(TokenTree::Group(group)) = tokens.peek() {
                    marked |= is_test(group.stream());
                    tokens.next();
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => (marked, function) = (false, None),
            TokenTree::Ident(word) if word == "fn" => {
                if let Some(TokenTree::Ident(name)) = tokens.peek() {
                    function = Some((name.to_string(), word.span().start().line));
                }
            }
            TokenTree::Group(group) => {
                let body = group.delimiter() == Delimiter::Brace;
                match function.take_if(|_| body) {
                    Some((name, first)) if marked => found.push((name, first, group.span_close().end().line)),
                    _ => find(group.stream(), found),
                }
                marked &= !body;
            }
            _ => {}
        }
    }
}

/// `test` or `tokio::test`.
fn is_test(attribute: TokenStream) -> bool {
    let path: String = attribute
        .into_iter()
        .take_while(|token| !matches!(token, TokenTree::Group(_)))
        .map(|it| it.to_string())
        .collect();
    path == "test" || path == "tokio::test"
}

/// The scenarios of a file; `src/testing/transcript.rs` says what is in them.
pub(crate) fn scenarios(text: &str) -> Vec<(String, Test)> {
    let mut found: Vec<(String, Test)> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            let title = title.trim();
            let name = title.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")).map_or(title, |(name, _)| name);
            found.push((name.to_owned(), Test { text: format!("# {title}\n") }));
        } else if let Some((_, test)) = found.last_mut() {
            test.text.push_str(line);
            test.text.push('\n');
        }
    }
    found
}
