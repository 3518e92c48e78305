//! Preparation of domainparts (RFC 7622 §3.2) and their form for DNS and TLS.
//!
//! Names follow IDNA in the form of UTS #46, non-transitional: A-labels become U-labels, letters
//! lower case, the text NFC. Of ASCII, letters, digits, hyphen and underscore are allowed: the
//! underscore is in use though no host name has it, and nothing else can break an address, a
//! file name or a log line. The limits of DNS on the lengths of names bind [`a_labels`]
//! only: an address may name what is in no DNS. Labels that are not of ASCII alone have a bound of their own.
//!
//! Knows nothing of whether a domain exists, nor who serves it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::{JidError, MAX_PART};

/// All of ASCII but letters, digits, hyphen, dot and underscore.
const DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// The bytes that preparation leaves alone, the dot between labels among them.
static LABEL_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x80_u8 {
        table[byte as usize] = byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
        byte += 1;
    }
    table
};

/// What A-labels begin with (RFC 5890 §2.3.2.1).
const A_LABEL: &str = "xn--";

/// Characters of a label that is not of ASCII alone, before or after preparation. As an A-label it has at most 63 (RFC 5890
/// §2.3.2.1); letters may come with their marks behind them.
const MAX_LABEL: usize = 2 * 63;

/// What separates labels before mapping (RFC 3490 §3.1).
const DOTS: [char; 4] = ['.', '\u{3002}', '\u{FF0E}', '\u{FF61}'];

/// Prepares a domainpart: a domain name, an IPv4 address, or an IPv6 address in brackets.
///
/// # Errors
/// [`JidError::Domainpart`].
pub fn domainpart(text: &str) -> Result<Cow<'_, str>, JidError> {
    if text.starts_with('[') {
        return ip_literal(text);
    }
    if text.len() <= MAX_PART && is_prepared_ascii(text) {
        return Ok(Cow::Borrowed(text));
    }
    // RFC 7622 §3.2: before any other step.
    let text = text.strip_suffix(DOTS).unwrap_or(text);
    if text.len() > MAX_PART {
        return Err(JidError::Domainpart);
    }
    let lower = text.to_ascii_lowercase();
    if is_prepared_ascii(&lower) {
        return Ok(Cow::Owned(lower));
    }
    if !may_be_international(text) {
        return Err(JidError::Domainpart);
    }
    let (unicode, outcome) = Uts46::new().to_unicode(text.as_bytes(), DENIED, Hyphens::Allow);
    outcome.map_err(|_| JidError::Domainpart)?;
    // What looks like an A-label behind an A-label would be none when it is read again (UTS #46 §4.1, "xn--").
    let is_wrong = |label: &str| label.is_empty() || label.starts_with(A_LABEL);
    if !may_be_international(&unicode) || unicode.split('.').any(is_wrong) {
        return Err(JidError::Domainpart);
    }
    Ok(if unicode == text { Cow::Borrowed(text) } else { unicode })
}

/// Whether a name is short enough to be one of IDNA, be it prepared or not. The time that an A-label takes to decode is the square of
/// its length: strangers could keep a server busy with few octets.
fn may_be_international(name: &str) -> bool {
    name.len() <= MAX_PART && name.split(DOTS).all(|label| label.chars().nth(MAX_LABEL).is_none())
}

/// The form of a domain in DNS queries and certificates, in which its names are compared: A-labels in lower case, within the limits of
/// DNS, without a dot at the end.
///
/// `None` for what cannot stand there, an IPv6 address in brackets among it.
#[must_use]
pub fn a_labels(domain: &str) -> Option<String> {
    let domain = domain.strip_suffix(DOTS).unwrap_or(domain);
    if !may_be_international(domain) {
        return None;
    }
    let ascii = Uts46::new().to_ascii(domain.as_bytes(), DENIED, Hyphens::Allow, DnsLength::Verify);
    ascii.ok().map(Cow::into_owned)
}

/// Whether a text is prepared as it stands: lower-case labels in ASCII, none empty, no A-labels.
/// Those have a hyphen behind a hyphen, so that one pass finds the few texts to look at again.
fn is_prepared_ascii(text: &str) -> bool {
    let mut prepared = true;
    let mut hyphens = false;
    let mut last = b'.';
    for byte in text.bytes() {
        prepared &= LABEL_BYTES[usize::from(byte)] && (byte != b'.' || last != b'.');
        hyphens |= byte == b'-' && last == b'-';
        last = byte;
    }
    prepared && last != b'.' && !(hyphens && text.split('.').any(|label| label.starts_with(A_LABEL)))
}

/// An IPv6 address in brackets, in the spelling of RFC 5952 so that equal addresses are equal
/// text. A zone means nothing beyond the machine that wrote it and is refused.
fn ip_literal(text: &str) -> Result<Cow<'_, str>, JidError> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address: Ipv6Addr = inner.and_then(|inner| inner.parse().ok()).ok_or(JidError::Domainpart)?;
    let spelled = format!("[{address}]");
    Ok(if spelled == text { Cow::Borrowed(text) } else { Cow::Owned(spelled) })
}
