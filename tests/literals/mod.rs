//! The namespaces that the sources spell out, for the tests that judge them.

use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::tree::File;

/// How namespaces of XMPP begin.
const NAMESPACES: [&str; 6] =
    ["urn:xmpp", "urn:ietf:params:xml:ns:", "http://jabber.org", "http://etherx.jabber.org", "jabber:", "storage:"];

/// Those that are older than any such habit.
const NAMES: [&str; 1] = ["vcard-temp"];

/// The namespaces in a literal, which may be XML.
pub(crate) fn namespaces_in(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || "'\"<>{}\\".contains(c));
    let begins = |word: &str| NAMESPACES.iter().any(|start| word.starts_with(start) && word.len() > start.len());
    words.filter(|word| NAMES.contains(word) || begins(word)).map(str::to_owned).collect()
}

/// A file of tests beside the code, or a folder of them.
pub(crate) fn is_test(path: &str) -> bool {
    Path::new(path).components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        matches!(name.as_ref(), "tests" | "tests.rs" | "testing" | "conformance.rs")
    })
}

pub(crate) fn parsed(file: &File) -> syn::File {
    syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path))
}

/// Gathers the text of all literals outside tests, in code and in macros.
#[derive(Default)]
pub(crate) struct Literals(Vec<String>);

impl Literals {
    pub(crate) fn of(file: &File) -> Vec<String> {
        let mut literals = Self::default();
        literals.visit_file(&parsed(file));
        literals.0
    }

    fn take(&mut self, literal: &syn::Lit) {
        match literal {
            syn::Lit::Str(text) => self.0.push(text.value()),
            syn::Lit::ByteStr(text) => self.0.push(String::from_utf8_lossy(&text.value()).into_owned()),
            _ => {}
        }
    }

    fn take_tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.take_tokens(group.stream()),
                TokenTree::Literal(literal) => self.take(&syn::Lit::new(literal)),
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Literals {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let for_tests = item.attrs.iter().any(|attribute| match &attribute.meta {
            syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
            _ => false,
        });
        if !for_tests {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_lit(&mut self, literal: &'ast syn::Lit) {
        self.take(literal);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.take_tokens(item.tokens.clone());
    }

    /// Documentation may name what it likes.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}
