//! What attribute values and character data stand for (XML 1.0 §2.11, §3.3.3, §4.4), read from text
//! that has passed the gate.

use std::borrow::Cow;

use super::characters::reference;

/// The value of an attribute: references replaced, white space characters turned into spaces.
pub(super) fn attribute(raw: &str) -> Cow<'_, str> {
    if is_plain(raw.as_bytes()) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    resolve(raw, |character, literal| match character {
        '\t' | '\n' if literal => out.push(' '),
        _ => out.push(character),
    });
    Cow::Owned(out)
}

/// Whether a value stands for itself; without an early end, so that it becomes vector instructions.
fn is_plain(raw: &[u8]) -> bool {
    !raw.iter().fold(false, |found, byte| found | (*byte < b' ') | (*byte == b'&'))
}

/// The same for bytes, where they are only compared.
pub(super) fn attribute_bytes(raw: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(raw).map(attribute) {
        Ok(value) => Cow::Owned(value.into_owned().into_bytes()),
        Err(_) => Cow::Borrowed(raw),
    }
}

/// Appends character data in canonical form: references only where they are needed.
pub(super) fn rewrite_text(out: &mut String, raw: &str) {
    resolve(raw, |character, _| push_character(out, character));
}

/// Appends the inside of a CDATA section as ordinary character data.
pub(super) fn rewrite_cdata(out: &mut String, raw: &str) {
    let mut characters = raw.chars().peekable();
    while let Some(character) = characters.next() {
        push_character(
            out,
            line_end(character, characters.peek() == Some(&'\n'), || {
                characters.next();
            }),
        );
    }
}

fn push_character(out: &mut String, character: char) {
    match character {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '\r' => out.push_str("&#xd;"),
        _ => out.push(character),
    }
}

/// A literal CR, alone or before a LF, is a LF (XML 1.0 §2.11).
fn line_end(character: char, before_lf: bool, skip_lf: impl FnOnce()) -> char {
    if character != '\r' {
        return character;
    }
    if before_lf {
        skip_lf();
    }
    '\n'
}

/// Hands each character to `take`, and whether it stood there literally.
fn resolve(raw: &str, mut take: impl FnMut(char, bool)) {
    let mut rest = raw.chars();
    loop {
        let here = rest.as_str();
        let Some(character) = rest.next() else { return };
        if character == '&'
            && let Ok(Some(found)) = reference(here.as_bytes())
        {
            take(found.character, false);
            rest = here.get(found.length..).unwrap_or_default().chars();
            continue;
        }
        let before_lf = rest.as_str().starts_with('\n');
        take(
            line_end(character, before_lf, || {
                rest.next();
            }),
            true,
        );
    }
}
