//! Characters, names and references of XML 1.0 (§2.2, §2.3, §4.1), on bytes that are valid UTF-8.

use super::names;
use super::refusal::Refusal;

/// The longest name that is read.
pub(super) const MAX_NAME: usize = 1024;

/// The longest reference that is read; leading zeros are what makes one long.
const MAX_REFERENCE: usize = 32;

const NAME: u8 = 1;
const NAME_START: u8 = 2;
const SPACE: u8 = 4;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => NAME | NAME_START,
            b'0'..=b'9' | b'-' | b'.' | b':' => NAME,
            b' ' | b'\t' | b'\r' | b'\n' => SPACE,
            _ => 0,
        };
        byte += 1;
    }
    classes
}

const fn class(byte: u8) -> u8 {
    CLASSES[byte as usize]
}

/// White space (XML 1.0 §2.3).
pub(super) const fn is_space(byte: u8) -> bool {
    class(byte) & SPACE != 0
}

/// The first place from `from` on that is not white space.
pub(super) fn skip_space(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while bytes.get(at).is_some_and(|byte| is_space(*byte)) {
        at += 1;
    }
    at
}

/// How many bytes are looked at together.
const CHUNK: usize = 16;

/// The first place from `from` on where `stop` is not zero.
///
/// The loop over a chunk becomes vector instructions as long as `stop` is made of [`mask`]s.
#[inline]
fn run(bytes: &[u8], from: usize, stop: impl Fn(u8) -> u8) -> usize {
    let mut rest = bytes.get(from..).unwrap_or_default();
    while let Some((chunk, behind)) = rest.split_first_chunk::<CHUNK>() {
        let mut hits = [0; CHUNK];
        for (hit, byte) in hits.iter_mut().zip(chunk) {
            *hit = stop(*byte);
        }
        let hits = u128::from_le_bytes(hits);
        if hits != 0 {
            return bytes.len() - rest.len() + (hits.trailing_zeros() / 8) as usize;
        }
        rest = behind;
    }
    let ordinary = rest.iter().position(|byte| stop(*byte) != 0).unwrap_or(rest.len());
    bytes.len() - rest.len() + ordinary
}

/// All bits or none, which is what a vector comparison yields.
#[inline]
const fn mask(holds: bool) -> u8 {
    (holds as u8).wrapping_neg()
}

/// Bytes that may be or begin what is no character: controls, and the start of U+F000 to U+FFFF.
#[inline]
const fn suspicious(byte: u8) -> u8 {
    mask(byte < b' ') | mask(byte == 0xEF)
}

/// The next place in character data that needs a look.
pub(super) fn text_end(bytes: &[u8], from: usize) -> usize {
    run(bytes, from, |byte| suspicious(byte) | mask(byte == b'<') | mask(byte == b'&') | mask(byte == b'>'))
}

/// The next place in an attribute value that needs a look.
pub(super) fn value_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    run(bytes, from, |byte| suspicious(byte) | mask(byte == b'<') | mask(byte == b'&') | mask(byte == quote))
}

/// The next place in a CDATA section that needs a look.
pub(super) fn cdata_end(bytes: &[u8], from: usize) -> usize {
    run(bytes, from, |byte| suspicious(byte) | mask(byte == b'>'))
}

/// What stands at a suspicious place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspect {
    /// TAB or LF.
    Space,
    CarriageReturn,
    /// An ordinary character of so many bytes.
    Ordinary(usize),
    /// The character is not complete.
    Cut,
}

/// Looks at a place where [`suspicious`] holds.
pub(super) fn suspect(bytes: &[u8], at: usize) -> Result<Suspect, Refusal> {
    match bytes.get(at..).unwrap_or_default() {
        [b'\t' | b'\n', ..] => Ok(Suspect::Space),
        [b'\r', ..] => Ok(Suspect::CarriageReturn),
        [0xEF, 0xBF, 0xBE | 0xBF, ..] => Err(Refusal::malformed("U+FFFE and U+FFFF are no characters")),
        [0xEF, _, _, ..] => Ok(Suspect::Ordinary(3)),
        [0xEF, ..] | [] => Ok(Suspect::Cut),
        [..] => Err(Refusal::malformed("control characters are not allowed")),
    }
}

/// The production Char.
const fn is_char(code: u32) -> bool {
    matches!(code, 0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x1_0000..=0x10_FFFF)
}

/// The code point beyond ASCII at the start of `bytes`, and its length.
fn decode(bytes: &[u8]) -> Option<(u32, usize)> {
    let low = |byte: u8| u32::from(byte & 0x3F);
    match *bytes {
        [a @ 0..0xE0, b, ..] => Some((u32::from(a & 0x1F) << 6 | low(b), 2)),
        [a @ 0xE0..0xF0, b, c, ..] => Some((u32::from(a & 0x0F) << 12 | low(b) << 6 | low(c), 3)),
        [a @ 0xF0..=0xFF, b, c, d, ..] => Some((u32::from(a & 0x07) << 18 | low(b) << 12 | low(c) << 6 | low(d), 4)),
        _ => None,
    }
}

/// How far a name reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameRun {
    /// To here; another byte follows.
    Ended(usize),
    /// At least to here; the bytes end.
    Starved(usize),
}

/// The end of the name at `from` if it has come whole and is one of those that nearly all are: of
/// ASCII, without a prefix, and not too long.
#[inline]
pub(super) fn simple_name(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    let mut byte = *bytes.get(at)?;
    if class(byte) & NAME_START == 0 {
        return None;
    }
    while class(byte) & NAME != 0 && byte != b':' {
        at += 1;
        byte = *bytes.get(at)?;
    }
    (byte < 0x80 && byte != b':' && at - from <= MAX_NAME).then_some(at)
}

/// Reads on in a name.
pub(super) fn name_run(bytes: &[u8], from: usize) -> NameRun {
    let mut at = from;
    loop {
        match bytes.get(at) {
            Some(byte) if class(*byte) & NAME != 0 => at += 1,
            Some(byte) if *byte < 0x80 => return NameRun::Ended(at),
            Some(_) => match decode(bytes.get(at..).unwrap_or_default()) {
                Some((code, length)) if names::is_part(code) => at += length,
                Some(_) => return NameRun::Ended(at),
                None => return NameRun::Starved(at),
            },
            None => return NameRun::Starved(at),
        }
    }
}

/// Checks that `name`, all name characters, is a `QName` (Namespaces in XML 1.0 §4); the length of
/// its prefix, or 0.
pub(super) fn qualified(name: &[u8]) -> Result<usize, Refusal> {
    let starts = |name: &[u8]| match name.first() {
        Some(byte) if *byte < 0x80 => class(*byte) & NAME_START != 0,
        Some(_) => decode(name).is_some_and(|(code, _)| names::is_start(code)),
        None => false,
    };
    let prefix = memchr::memchr(b':', name).unwrap_or(0);
    let fine = starts(name)
        && (prefix == 0 || {
            let local = name.get(prefix + 1..).unwrap_or_default();
            starts(local) && !local.contains(&b':')
        });
    if fine { Ok(prefix) } else { Err(Refusal::malformed("not a qualified name")) }
}

/// A reference that stands for one character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) character: char,
    /// From the `&` to the `;`, both included.
    pub(super) length: usize,
    /// Written as a number.
    pub(super) numeric: bool,
}

/// Reads the reference at the start of `bytes`; `None` if it is not complete.
pub(super) fn reference(bytes: &[u8]) -> Result<Option<Reference>, Refusal> {
    match bytes.get(1) {
        None => Ok(None),
        Some(b'#') => numeric_reference(bytes),
        Some(_) => named_reference(bytes),
    }
}

fn numeric_reference(bytes: &[u8]) -> Result<Option<Reference>, Refusal> {
    const WRONG: Refusal = Refusal::malformed("not a character reference");
    let (radix, digits) = match bytes.get(2) {
        None => return Ok(None),
        Some(b'x') => (16, 3),
        Some(_) => (10, 2),
    };
    let mut code: u32 = 0;
    for (at, byte) in bytes.iter().enumerate().skip(digits) {
        if at >= MAX_REFERENCE {
            return Err(Refusal::limit("a character reference is too long"));
        }
        if *byte == b';' {
            // One without digits says U+0000, which is no character.
            let character = char::from_u32(code).filter(|_| is_char(code)).ok_or(WRONG)?;
            return Ok(Some(Reference { character, length: at + 1, numeric: true }));
        }
        let digit = char::from(*byte).to_digit(radix).ok_or(WRONG)?;
        code = code.saturating_mul(radix).saturating_add(digit);
    }
    Ok(None)
}

fn named_reference(bytes: &[u8]) -> Result<Option<Reference>, Refusal> {
    const FOREIGN: Refusal = Refusal::restricted("only the predefined entities may be referred to");
    let end = match name_run(bytes.get(..MAX_REFERENCE).unwrap_or(bytes), 1) {
        NameRun::Ended(end) => end,
        NameRun::Starved(_) if bytes.len() < MAX_REFERENCE => return Ok(None),
        NameRun::Starved(_) => return Err(FOREIGN),
    };
    let name = bytes.get(1..end).unwrap_or_default();
    if bytes.get(end) != Some(&b';') || qualified(name).is_err() {
        return Err(Refusal::malformed("an ampersand that begins no reference"));
    }
    let character = match name {
        b"lt" => '<',
        b"gt" => '>',
        b"amp" => '&',
        b"apos" => '\'',
        b"quot" => '"',
        _ => return Err(FOREIGN),
    };
    Ok(Some(Reference { character, length: end + 1, numeric: false }))
}
