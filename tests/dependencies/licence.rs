//! Expressions of licences, as SPDX has them.

use std::iter::Peekable;

/// Whether one can hold to an expression with what is allowed; nothing if it is none. Asks for every licence in it.
pub(crate) fn allows(expression: &str, allowed: &mut dyn FnMut(&str) -> bool) -> Option<bool> {
    let spaced = spdx(expression).replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let outcome = either(&mut words, allowed)?;
    words.next().is_none().then_some(outcome)
}

/// An expression with `OR`, for which a stroke stood once.
pub(crate) fn spdx(expression: &str) -> String {
    expression.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

fn either<'a>(
    words: &mut Peekable<impl Iterator<Item = &'a str>>,
    allowed: &mut dyn FnMut(&str) -> bool,
) -> Option<bool> {
    let mut outcome = all(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        outcome |= all(words, allowed)?;
    }
    Some(outcome)
}

fn all<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &mut dyn FnMut(&str) -> bool) -> Option<bool> {
    let mut outcome = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        outcome &= one(words, allowed)?;
    }
    Some(outcome)
}

fn one<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &mut dyn FnMut(&str) -> bool) -> Option<bool> {
    match words.next()? {
        "(" => {
            let outcome = either(words, allowed)?;
            words.next_if_eq(&")").map(|_| outcome)
        }
        ")" | "AND" | "OR" | "WITH" => None,
        name if words.next_if_eq(&"WITH").is_some() => Some(allowed(&format!("{name} WITH {}", words.next()?))),
        name => Some(allowed(name)),
    }
}
