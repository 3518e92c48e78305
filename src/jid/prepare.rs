//! Preparation of localparts and resourceparts (RFC 7622 §3.3 and §3.4).
//!
//! The work on addresses in ASCII is one look at each byte; only other text pays for Unicode.
//! Knows nothing of domains, and nothing of where an address came from: that our own accounts
//! are stricter is the caller's choice of function.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::GeneralCategory;
use icu_properties::{CodePointMapData, CodePointMapDataBorrowed};

use super::precis::{self, StringClass};
use super::{JidError, MAX_INPUT, MAX_PART, bidi};

const CATEGORY: CodePointMapDataBorrowed<'static, GeneralCategory> = CodePointMapData::new();

/// The characters that RFC 7622 §3.3.1 takes out of localparts, and the space.
const EXCLUDED: &[u8] = b" \"&'/:<>@";

/// What a byte means for a localpart, as bits that can be gathered over the whole text.
const KEEP: u8 = 0;
const LOWER: u8 = 1;
const UNICODE: u8 = 2;
const REFUSE: u8 = 4;

static LOCALPART_BYTES: [u8; 256] = {
    let mut table = [REFUSE; 256];
    let mut byte = 0x21;
    while byte <= 0x7E_u8 {
        table[byte as usize] = if byte.is_ascii_uppercase() { LOWER } else { KEEP };
        byte += 1;
    }
    let mut at = 0;
    while at < EXCLUDED.len() {
        table[EXCLUDED[at] as usize] = REFUSE;
        at += 1;
    }
    let mut byte = 0x80;
    while byte < 256 {
        table[byte] = UNICODE;
        byte += 1;
    }
    table
};

/// Prepares a localpart: the profile `UsernameCaseMapped` without the characters of RFC 7622 §3.3.1.
///
/// # Errors
/// [`JidError::Localpart`].
pub fn localpart(text: &str) -> Result<Cow<'_, str>, JidError> {
    let found = text.bytes().fold(KEEP, |found, byte| found | LOCALPART_BYTES[usize::from(byte)]);
    let prepared = match found {
        KEEP => Cow::Borrowed(text),
        LOWER => Cow::Owned(text.to_ascii_lowercase()),
        _ if found & REFUSE != 0 || text.len() > MAX_INPUT => return Err(JidError::Localpart),
        _ => username_case_mapped(text).ok_or(JidError::Localpart)?,
    };
    if fits(&prepared) { Ok(prepared) } else { Err(JidError::Localpart) }
}

/// Prepares the localpart of an account of our own: what Stringprep maps to nothing is removed first.
///
/// A server that still prepares with Stringprep (RFC 6122) sends such an address without these
/// characters, and PRECIS allows few of them at all: without them both worlds agree on the name.
///
/// # Errors
/// [`JidError::Localpart`].
pub fn account_localpart(text: &str) -> Result<Cow<'_, str>, JidError> {
    if text.is_ascii() || !text.contains(is_mapped_to_nothing) {
        return localpart(text);
    }
    if text.len() > MAX_INPUT {
        return Err(JidError::Localpart);
    }
    let visible: String = text.chars().filter(|&c| !is_mapped_to_nothing(c)).collect();
    Ok(Cow::Owned(localpart(&visible)?.into_owned()))
}

/// Prepares a resourcepart: the profile `OpaqueString`, or the text as it is where the profile fails.
///
/// A stanza is not dropped for the nickname of a stranger: a text of XML characters without
/// control characters is accepted after NFC alone. Emoji sequences need it, since PRECIS
/// disallows their joiners and variation selectors.
///
/// # Errors
/// [`JidError::Resourcepart`].
pub fn resourcepart(text: &str) -> Result<Cow<'_, str>, JidError> {
    let prepared = if text.bytes().fold(true, |plain, byte| plain & (0x20..0x7F).contains(&byte)) {
        Cow::Borrowed(text)
    } else if text.len() > MAX_INPUT || text.contains(is_never_allowed) {
        return Err(JidError::Resourcepart);
    } else {
        let opaque = opaque_string(text);
        if precis::allows(StringClass::Freeform, &opaque) { opaque } else { nfc(text) }
    };
    if fits(&prepared) { Ok(prepared) } else { Err(JidError::Resourcepart) }
}

fn fits(part: &str) -> bool {
    (1..=MAX_PART).contains(&part.len())
}

/// Applies the rules of RFC 8265 §3.3 again until they change nothing, as RFC 8264 §7 asks.
///
/// The behavioral rules judge the result, as RFC 8264 §7 orders and RFC 7622 §4 encourages: what
/// can be mapped is accepted.
fn username_case_mapped(text: &str) -> Option<Cow<'_, str>> {
    let mut current = Cow::Borrowed(text);
    for _ in 0..4 {
        let next = map_username(&current);
        if next != *current {
            current = Cow::Owned(next);
            continue;
        }
        let allowed = fits(&current)
            && !current.bytes().any(|byte| EXCLUDED.contains(&byte))
            && precis::allows(StringClass::Identifier, &current)
            && bidi::allows(&current);
        return allowed.then_some(current);
    }
    None
}

/// Maps width, then case, then normalizes. Case mapping looks at single characters: a final
/// sigma gets no treatment of its own (RFC 7622 §3.5), so that a name does not change its
/// letters with what follows them.
fn map_username(text: &str) -> String {
    let mapped: String = text.chars().map(map_width).flat_map(char::to_lowercase).collect();
    match nfc(&mapped) {
        Cow::Borrowed(_) => mapped,
        Cow::Owned(normal) => normal,
    }
}

/// Maps fullwidth and halfwidth forms to their decomposition (RFC 8265 §3.3.1). Behind U+FF9F
/// come jamo and symbols, which the identifier class disallows before and after the mapping.
fn map_width(c: char) -> char {
    if !('\u{FF01}'..='\u{FF9F}').contains(&c) {
        return c;
    }
    ComposingNormalizerBorrowed::new_nfkc().normalize_iter(std::iter::once(c)).next().unwrap_or(c)
}

/// Maps spaces to U+0020 and normalizes (RFC 8265 §4.2).
fn opaque_string(text: &str) -> Cow<'_, str> {
    let is_other_space = |c: char| c != ' ' && CATEGORY.get(c) == GeneralCategory::SpaceSeparator;
    if !text.contains(is_other_space) {
        return nfc(text);
    }
    let mapped = text.replace(is_other_space, " ");
    Cow::Owned(nfc(&mapped).into_owned())
}

fn nfc(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// Control characters, and what XML 1.0 §2.2 keeps out of documents.
fn is_never_allowed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}')
}

/// Table B.1 of RFC 3454.
fn is_mapped_to_nothing(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{1806}' | '\u{180B}'..='\u{180D}' | '\u{200B}'..='\u{200D}'
        | '\u{2060}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}')
}
