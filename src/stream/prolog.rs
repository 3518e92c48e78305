//! What may stand before a stream header: a byte order mark and an XML declaration (RFC 6120
//! §11.5, §11.6).

use super::characters::{is_space, skip_space};
use super::refusal::Refusal;

/// The longest XML declaration that is read.
const MAX_DECLARATION: usize = 256;

const MARK: &[u8] = b"\xEF\xBB\xBF";
const START: &[u8] = b"<?xml";

/// The place of the `<` of the root, or `None` if more bytes are needed.
///
/// `bytes` is valid UTF-8 and begins where the stream begins.
pub(super) fn root_start(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    if matches!(bytes, [0, ..] | [b'<', 0, ..]) {
        return Err(Refusal::encoding("UTF-16 and UTF-32 are not supported"));
    }
    let begin = if bytes.starts_with(MARK) { MARK.len() } else { 0 };
    let Some(behind) = declaration(bytes.get(begin..).unwrap_or_default())? else { return Ok(None) };
    let at = skip_space(bytes, begin + behind);
    match bytes.get(at) {
        None => Ok(None),
        // The second byte may yet show UTF-16.
        Some(b'<') => Ok((bytes.len() > 1).then_some(at)),
        Some(byte) if *byte < b' ' => Err(Refusal::malformed("control characters are not allowed")),
        Some(_) => Err(Refusal::format("not a stream header")),
    }
}

/// The length of the XML declaration at the start of `bytes`, 0 if there is none.
fn declaration(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    const WRONG: Refusal = Refusal::malformed("not an XML declaration");
    if !bytes.starts_with(START) {
        return Ok((bytes.is_empty() || !START.starts_with(bytes)).then_some(0));
    }
    match bytes.get(START.len()) {
        None => return Ok(None),
        Some(byte) if !is_space(*byte) => return Err(Refusal::restricted("processing instructions are not allowed")),
        Some(_) => {}
    }
    let Some(close) = bytes.iter().take(MAX_DECLARATION).position(|byte| *byte == b'>') else {
        return if bytes.len() < MAX_DECLARATION { Ok(None) } else { Err(WRONG) };
    };
    let inside = bytes.get(START.len()..close).and_then(|inside| inside.strip_suffix(b"?")).ok_or(WRONG)?;
    let (version, rest) = pseudo_attribute(inside, b"version").ok_or(WRONG)?;
    if version != b"1.0" {
        return Err(Refusal::malformed("XML other than 1.0"));
    }
    let (encoding, rest) = optional(rest, b"encoding");
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"utf-8")) {
        return Err(Refusal::encoding("an encoding other than UTF-8"));
    }
    // Both values may be ignored, since there is no DTD (RFC 6120 §11.5).
    let (standalone, rest) = optional(rest, b"standalone");
    if standalone.is_some_and(|standalone| standalone != b"yes" && standalone != b"no") {
        return Err(WRONG);
    }
    if rest.iter().all(|byte| is_space(*byte)) { Ok(Some(close + 1)) } else { Err(WRONG) }
}

fn optional<'b>(bytes: &'b [u8], name: &[u8]) -> (Option<&'b [u8]>, &'b [u8]) {
    match pseudo_attribute(bytes, name) {
        Some((value, rest)) => (Some(value), rest),
        None => (None, bytes),
    }
}

/// Reads white space, `name`, `=` and a quoted value; the value and what follows.
fn pseudo_attribute<'b>(bytes: &'b [u8], name: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let start = skip_space(bytes, 0);
    if start == 0 {
        return None;
    }
    let rest = spaceless(bytes.get(start..)?.strip_prefix(name)?);
    let rest = spaceless(rest.strip_prefix(b"=")?);
    let quote = *rest.first().filter(|quote| matches!(quote, b'\'' | b'"'))?;
    let value = rest.get(1..)?;
    let end = value.iter().position(|byte| *byte == quote)?;
    Some((value.get(..end)?, value.get(end + 1..)?))
}

/// What stands behind white space, which in XML is less than in ASCII.
fn spaceless(bytes: &[u8]) -> &[u8] {
    bytes.get(skip_space(bytes, 0)..).unwrap_or_default()
}
