//! Preparation of domainparts (RFC 7622 §3.2) and their form for DNS and TLS.
//!
//! Names follow IDNA in the form of UTS #46, non-transitional: A-labels become U-labels, letters
//! lower case, the text NFC. Of ASCII, letters, digits, hyphen and underscore are allowed: the
//! underscore is in use though no host name has it, and nothing else can break an address, a
//! file name or a log line. The limits of DNS on the lengths of names bind [`domain_to_ascii`]
//! only: an address may name what is in no DNS.
//!
//! Knows nothing of whether a domain exists, nor who serves it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::{JidError, MAX_INPUT, MAX_PART};

/// All of ASCII but letters, digits, hyphen, dot and underscore.
const DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// What separates labels before mapping (RFC 3490 §3.1).
const DOTS: [char; 4] = ['.', '\u{3002}', '\u{FF0E}', '\u{FF61}'];

/// Prepares a domainpart: a domain name, an IPv4 address, or an IPv6 address in brackets.
///
/// # Errors
/// [`JidError::Domainpart`].
pub fn domainpart(text: &str) -> Result<Cow<'_, str>, JidError> {
    if text.len() > MAX_INPUT {
        return Err(JidError::Domainpart);
    }
    if text.starts_with('[') {
        return ip_literal(text);
    }
    let text = text.strip_suffix(DOTS).unwrap_or(text);
    let prepared = if is_plain(text) {
        Cow::Borrowed(text)
    } else {
        let (unicode, outcome) = Uts46::new().to_unicode(text.as_bytes(), DENIED, Hyphens::Allow);
        outcome.map_err(|_| JidError::Domainpart)?;
        if unicode == text { Cow::Borrowed(text) } else { unicode }
    };
    let lengths_hold = prepared.len() <= MAX_PART && !prepared.split('.').any(str::is_empty);
    if lengths_hold { Ok(prepared) } else { Err(JidError::Domainpart) }
}

/// The form of a domainpart for DNS queries and certificates: A-labels, within the limits of DNS.
///
/// An IPv6 address in brackets comes back as it is.
///
/// # Errors
/// [`JidError::Domainpart`].
pub fn domain_to_ascii(domain: &str) -> Result<Cow<'_, str>, JidError> {
    if domain.starts_with('[') {
        return ip_literal(domain);
    }
    if domain.len() > MAX_INPUT {
        return Err(JidError::Domainpart);
    }
    let domain = domain.strip_suffix(DOTS).unwrap_or(domain);
    Uts46::new()
        .to_ascii(domain.as_bytes(), DENIED, Hyphens::Allow, DnsLength::Verify)
        .map_err(|_| JidError::Domainpart)
}

/// Whether a text is prepared as it stands: lower-case ASCII without A-labels. Only those have a
/// second hyphen behind a hyphen, which is found in the same pass.
fn is_plain(text: &str) -> bool {
    let mut plain = true;
    let mut hyphens = false;
    let mut last = b'.';
    for byte in text.bytes() {
        plain &= matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        hyphens |= byte == b'-' && last == b'-';
        last = byte;
    }
    plain && !(hyphens && text.split('.').any(|label| label.starts_with("xn--")))
}

/// An IPv6 address in brackets, in the spelling of RFC 5952 so that equal addresses are equal
/// text. A zone means nothing beyond the machine that wrote it and is refused.
fn ip_literal(text: &str) -> Result<Cow<'_, str>, JidError> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address: Ipv6Addr = inner.and_then(|inner| inner.parse().ok()).ok_or(JidError::Domainpart)?;
    let spelled = format!("[{address}]");
    Ok(if spelled == text { Cow::Borrowed(text) } else { Cow::Owned(spelled) })
}
