//! JIDs: addresses of entities (RFC 7622).
//!
//! A [`Jid`] is always prepared: two addresses of one entity are one text. Which characters a part
//! may have comes from PRECIS (RFC 8264, RFC 8265) and IDNA on the Unicode tables of ICU4X.
//!
//! Knows nothing of XML, stanzas or accounts.

mod bidi;
mod domain;
mod precis;
mod prepare;
#[cfg(test)]
mod tests;

pub use domain::{a_labels, domainpart};
pub use prepare::{account_localpart, localpart, resourcepart};

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The most octets of a prepared part (RFC 7622 §3.1).
const MAX_PART: usize = 1023;

/// The most octets of a part before preparation. No mapping makes more than three and a half
/// octets into one (fullwidth letter and two marks), so what is longer cannot fit afterwards.
const MAX_INPUT: usize = 4 * MAX_PART;

/// Why a text is no JID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JidError {
    Localpart,
    Domainpart,
    Resourcepart,
}

impl fmt::Display for JidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Localpart => "the localpart is not allowed (RFC 7622 §3.3)",
            Self::Domainpart => "the domainpart is not allowed (RFC 7622 §3.2)",
            Self::Resourcepart => "the resourcepart is not allowed (RFC 7622 §3.4)",
        })
    }
}

impl std::error::Error for JidError {}

/// A prepared JID of any form: `domain`, `local@domain`, each with or without `/resource`.
///
/// Cheap to clone. Comparison is by octets, which after preparation is the comparison of
/// RFC 7622.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid {
    text: Arc<str>,
    /// Where the domainpart starts: 0, or one behind the `@`.
    domain: u16,
    /// Where the domainpart ends: the length, or the place of the `/`.
    end: u16,
}

/// A JID without resourcepart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BareJid(Jid);

/// Hashes as its text does, so that a map can be asked with a `&str`.
impl std::hash::Hash for BareJid {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Jid {
    /// Splits and prepares an address (RFC 7622 §3.1).
    ///
    /// # Errors
    /// The first part that is not allowed.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        // RFC 7622 §3.2: the first solidus, then the first at sign, before any mapping.
        let (bare, resource) = match memchr::memchr(b'/', text.as_bytes()) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let (local, domain) = match memchr::memchr(b'@', bare.as_bytes()) {
            Some(at) => (Some(&bare[..at]), &bare[at + 1..]),
            None => (None, bare),
        };
        let local = local.map(prepare::localpart).transpose()?;
        let domain = domain::domainpart(domain)?;
        let resource = resource.map(prepare::resourcepart).transpose()?;
        let unchanged = |part: &Option<Cow<'_, str>>| !matches!(part, Some(Cow::Owned(_)));
        // A borrowed domainpart can still be shorter than what was given: without its final dot.
        let same = unchanged(&local) && unchanged(&resource) && matches!(domain, Cow::Borrowed(_));
        let start = local.as_ref().map_or(0, |local| local.len() + 1);
        let end = start + domain.len();
        if same && end == bare.len() {
            return Ok(Self { text: text.into(), domain: place(start), end: place(end) });
        }
        Ok(Self::join(local.as_deref(), &domain, resource.as_deref()))
    }

    /// Puts prepared parts together.
    fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Self {
        let start = local.map_or(0, |local| local.len() + 1);
        let end = start + domain.len();
        let mut text = String::with_capacity(end + resource.map_or(0, |resource| resource.len() + 1));
        if let Some(local) = local {
            text.push_str(local);
            text.push('@');
        }
        text.push_str(domain);
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(resource);
        }
        // Each part has at most MAX_PART octets, so both places fit.
        Self { text: text.into(), domain: place(start), end: place(end) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, without a copy.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    #[must_use]
    pub fn local(&self) -> Option<&str> {
        self.domain.checked_sub(1).map(|at| &self.text[..usize::from(at)])
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.domain)..usize::from(self.end)]
    }

    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        self.text.get(usize::from(self.end) + 1..)
    }

    /// The text up to the resourcepart.
    #[must_use]
    pub fn bare_str(&self) -> &str {
        &self.text[..usize::from(self.end)]
    }

    #[must_use]
    pub fn is_bare(&self) -> bool {
        usize::from(self.end) == self.text.len()
    }

    #[must_use]
    pub fn to_bare(&self) -> BareJid {
        if self.is_bare() {
            return BareJid(self.clone());
        }
        BareJid(Self { text: self.bare_str().into(), domain: self.domain, end: self.end })
    }
}

impl BareJid {
    /// Prepares an address that must have no resourcepart.
    ///
    /// # Errors
    /// The first part that is not allowed; a resourcepart is one.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let jid = Jid::parse(text)?;
        if jid.is_bare() { Ok(Self(jid)) } else { Err(JidError::Resourcepart) }
    }

    /// The account `local` at `domain`, one of our own, prepared by [`account_localpart`].
    ///
    /// # Errors
    /// The first part that is not allowed.
    pub fn account(local: &str, domain: &str) -> Result<Self, JidError> {
        Ok(Self(Jid::join(Some(&*prepare::account_localpart(local)?), &domain::domainpart(domain)?, None)))
    }

    /// Makes an address again of the text of one, which is not checked: for those who keep very
    /// many and keep them packed.
    #[must_use]
    pub(crate) fn from_kept(text: &str) -> Self {
        let domain = memchr::memchr(b'@', text.as_bytes()).map_or(0, |at| at + 1);
        Self(Jid { text: text.into(), domain: place(domain), end: place(text.len()) })
    }

    /// The address of a domain itself, prepared.
    ///
    /// # Errors
    /// [`JidError::Domainpart`].
    pub fn of_domain(domain: &str) -> Result<Self, JidError> {
        Ok(Self(Jid::join(None, &domain::domainpart(domain)?, None)))
    }

    /// This address with a resourcepart, prepared.
    ///
    /// # Errors
    /// [`JidError::Resourcepart`].
    pub fn with_resource(&self, resource: &str) -> Result<Jid, JidError> {
        Ok(Jid::join(self.local(), self.domain(), Some(&*prepare::resourcepart(resource)?)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    #[must_use]
    pub fn local(&self) -> Option<&str> {
        self.0.local()
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.domain()
    }

    #[must_use]
    pub const fn as_jid(&self) -> &Jid {
        &self.0
    }
}

impl std::borrow::Borrow<str> for BareJid {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<BareJid> for Jid {
    fn from(bare: BareJid) -> Self {
        bare.0
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

impl std::str::FromStr for BareJid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

fn place(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}
