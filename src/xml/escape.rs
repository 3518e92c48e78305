//! Escaping of character data and attribute values (XML 1.0 §2.4).

use std::borrow::Cow;

/// Appends `text` so that it is safe both as character data and inside either kind of quotes.
///
/// TAB, LF and CR become character references: inside an attribute value they would otherwise
/// be normalised to spaces, and a CR in text to a LF (XML 1.0 §2.11, §3.3.3).
/// In character data TAB and LF stay as they are; see `escape_text_into`.
pub fn escape_into(out: &mut String, text: &str) {
    escape(out, text, true);
}

/// Appends `text` as character data: white space except CR stays readable.
pub(super) fn escape_text_into(out: &mut String, text: &str) {
    escape(out, text, false);
}

/// `text` itself if nothing in it needs escaping, otherwise its escaped form.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if is_clean(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    escape_into(&mut out, text);
    Cow::Owned(out)
}

/// The bytes for which `reference` may have an answer; all others are passed by with one look.
static SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x80_u8 {
        table[byte as usize] = reference(byte, true).is_some();
        byte += 1;
    }
    table
};

fn is_special(byte: u8) -> bool {
    SPECIAL[usize::from(byte)]
}

fn escape(out: &mut String, text: &str, attribute: bool) {
    if is_clean(text.as_bytes()) {
        return out.push_str(text);
    }
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        if is_special(byte)
            && let Some(reference) = reference(byte, attribute)
        {
            out.push_str(&text[clean..at]);
            out.push_str(reference);
            clean = at + 1;
        }
    }
    out.push_str(&text[clean..]);
}

/// Whether no byte is special, as in nearly every address and id.
fn is_clean(bytes: &[u8]) -> bool {
    match bytes.last_chunk() {
        // What does not fill a chunk at the end is looked at together with what is before it.
        Some(last) => bytes.as_chunks().0.iter().all(is_ordinary) && is_ordinary(last),
        None => !bytes.iter().any(|byte| is_special(*byte)),
    }
}

/// Bytes that are looked at together.
const CHUNK: usize = 16;

/// Whether no byte is special: without branches, so that the compiler does it for all of them at once.
fn is_ordinary(chunk: &[u8; CHUNK]) -> bool {
    let special = |byte: u8| {
        (byte == b'<')
            | (byte == b'>')
            | (byte == b'&')
            | (byte == b'\'')
            | (byte == b'"')
            | (byte == b'\t')
            | (byte == b'\n')
            | (byte == b'\r')
    };
    !chunk.iter().fold(false, |found, byte| found | special(*byte))
}

const fn reference(byte: u8, attribute: bool) -> Option<&'static str> {
    Some(match byte {
        b'&' => "&amp;",
        b'<' => "&lt;",
        b'>' => "&gt;",
        b'\'' if attribute => "&apos;",
        b'"' if attribute => "&quot;",
        b'\r' => "&#xd;",
        b'\t' if attribute => "&#x9;",
        b'\n' if attribute => "&#xa;",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: RFC 6120 §11.1
    #[test]
    fn attribute_values_keep_every_character() {
        let mut out = String::new();
        escape_into(&mut out, "a'b\"c<d>e&f\tg\nh\ri");
        assert_eq!(out, "a&apos;b&quot;c&lt;d&gt;e&amp;f&#x9;g&#xa;h&#xd;i");
        assert!(matches!(escaped("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn every_place_is_looked_at() {
        for length in [1, 15, 16, 17, 40] {
            for at in 0..length {
                let (before, behind) = ("a".repeat(at), "é".repeat(length - at));
                let mut out = String::new();
                escape_into(&mut out, &format!("{before}<{behind}"));
                assert_eq!(out, format!("{before}&lt;{behind}"));
            }
        }
        let specials: Vec<u8> = (0..=u8::MAX).filter(|byte| is_special(*byte)).collect();
        assert!((0..=u8::MAX).all(|byte| is_ordinary(&[byte; CHUNK]) != specials.contains(&byte)));
    }

    #[test]
    fn character_data_stays_readable() {
        let mut out = String::new();
        escape_text_into(&mut out, "it's\n<\r");
        assert_eq!(out, "it's\n&lt;&#xd;");
    }
}
