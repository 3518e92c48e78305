//! Comparison of what came with what was expected.

use std::collections::BTreeMap;

use crate::xml::{Element, Node};

/// In what way `found` differs from `expected`, in which `*` stands for any attribute value, any
/// text, or (as `<any/>` child) any one element; a `$name` for a value, which it names. `None` if it does not.
#[must_use]
pub fn mismatch(expected: &Element, found: &Element) -> Option<String> {
    if (expected.name(), expected.ns()) != (found.name(), found.ns()) {
        return Some(format!(
            "<{}> of {} instead of <{}> of {}",
            found.name(),
            found.ns(),
            expected.name(),
            expected.ns()
        ));
    }
    attributes(expected, found).or_else(|| children(expected, found))
}

fn attributes(expected: &Element, found: &Element) -> Option<String> {
    for (name, value) in expected.attributes() {
        match found.attribute(name) {
            None => return Some(format!("<{}> lacks {name}", found.name())),
            Some(other) if value != "*" && !value.starts_with('$') && other != value => {
                return Some(format!("<{}> has {name}='{other}' instead of '{value}'", found.name()));
            }
            Some(_) => {}
        }
    }
    let extra = found.attributes().find(|(name, _)| expected.attribute(name).is_none());
    extra.map(|(name, value)| format!("<{}> has {name}='{value}', which nobody expected", found.name()))
}

fn children(expected: &Element, found: &Element) -> Option<String> {
    if expected.text().trim() == "*" {
        return None;
    }
    let (wanted, there) = (significant(expected), significant(found));
    for (at, wanted) in wanted.iter().enumerate() {
        match (wanted, there.get(at)) {
            (Node::Element(wanted), Some(_)) if wanted.name() == "any" => {}
            (Node::Element(wanted), Some(Node::Element(there))) => {
                if let Some(difference) = mismatch(wanted, there) {
                    return Some(difference);
                }
            }
            (Node::Text(wanted), Some(Node::Text(there))) if wanted == there || wanted.starts_with('$') => {}
            (_, there) => return Some(format!("inside <{}>: {there:?} instead of {wanted:?}", found.name())),
        }
    }
    there.get(wanted.len()).map(|extra| format!("inside <{}>: {extra:?}, which nobody expected", found.name()))
}

/// Notes the values that `expected`, which `found` matches, has names for.
pub(super) fn name_values(expected: &Element, found: &Element, names: &mut BTreeMap<String, String>) {
    let note = |wanted: &str, there: &str, names: &mut BTreeMap<String, String>| {
        if wanted.starts_with('$') {
            names.insert(wanted.to_owned(), there.to_owned());
        }
    };
    for (name, value) in expected.attributes() {
        note(value, found.attribute(name).unwrap_or_default(), names);
    }
    for (wanted, there) in significant(expected).iter().zip(&significant(found)) {
        match (wanted, there) {
            (Node::Text(wanted), Node::Text(there)) => note(wanted, there, names),
            (Node::Element(wanted), Node::Element(there)) => name_values(wanted, there, names),
            _ => {}
        }
    }
}

/// White space between elements is the writer's own business.
fn significant(element: &Element) -> Vec<Node> {
    let mixed = element.elements().next().is_some();
    let nodes = element.nodes().iter().filter(|node| match node {
        Node::Text(text) => !(mixed && text.trim().is_empty()),
        Node::Element(_) => true,
    });
    nodes.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(expected: &str, found: &str) -> bool {
        let parse = |text| Element::parse(text, "jabber:client").unwrap();
        mismatch(&parse(expected), &parse(found)).is_none()
    }

    #[test]
    fn wild_cards() {
        assert!(compare("<a b='*'/>", "<a b='c'/>"));
        assert!(compare("<a>*</a>", "<a><b/></a>"));
        assert!(compare("<a><any/></a>", "<a><b xmlns='x'/></a>"));
        assert!(compare("<a b='1' c='2'> <x/> </a>", "<a c='2' b='1'><x/></a>"));
    }

    #[test]
    fn names() {
        let parse = |text| Element::parse(text, "jabber:client").unwrap();
        let (expected, found) = (parse("<a b='$b'><c>$c</c></a>"), parse("<a b='1'><c>2</c></a>"));
        assert_eq!(mismatch(&expected, &found), None);
        let mut names = BTreeMap::new();
        name_values(&expected, &found, &mut names);
        assert_eq!((names["$b"].as_str(), names["$c"].as_str()), ("1", "2"));
    }

    #[test]
    fn differences() {
        for (expected, found) in [
            ("<a/>", "<b/>"),
            ("<a/>", "<a xmlns='x'/>"),
            ("<a/>", "<a b='c'/>"),
            ("<a b='c'/>", "<a/>"),
            ("<a b='c'/>", "<a b='d'/>"),
            ("<a><x/></a>", "<a/>"),
            ("<a/>", "<a><x/></a>"),
            ("<a>x</a>", "<a>y</a>"),
        ] {
            assert!(!compare(expected, found), "{expected} {found}");
        }
    }
}
