//! Keys that the operator has pinned to a domain.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{Reason, Shown};
use crate::hexadecimal;

/// What stands for a public key: the SHA-256 hash of its `SubjectPublicKeyInfo` (as in RFC 7469 §2.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// That of the key in a certificate.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Reason> {
        let parsed = X509Certificate::from_der(certificate).map_err(|error| Reason::Malformed(error.to_string()))?;
        let hash = digest(&SHA256, parsed.1.public_key().raw);
        let octets = <[u8; 32]>::try_from(hash.as_ref()).map_err(|error| Reason::Other(error.to_string()))?;
        Ok(Self(octets))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hexadecimal::text(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The keys of domains, which are prepared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(HashMap<String, Vec<Key>>);

impl Pins {
    /// Those of `domain`, if it has any.
    #[must_use]
    pub fn of(&self, domain: &str) -> Option<&[Key]> {
        self.0.get(domain).map(Vec::as_slice)
    }
}

impl FromIterator<(String, Key)> for Pins {
    fn from_iter<T: IntoIterator<Item = (String, Key)>>(pins: T) -> Self {
        let mut all = Self::default();
        for (domain, key) in pins {
            all.0.entry(domain).or_default().push(key);
        }
        all
    }
}

/// The key that was shown, if it is one of `pinned`. Neither dates nor names matter: the operator knows whose it is.
pub(super) fn fitting(shown: Shown<'_>, pinned: &[Key]) -> Result<Key, Reason> {
    let found = Key::of(shown.chain.first().ok_or(Reason::NoCertificate)?)?;
    if pinned.contains(&found) { Ok(found) } else { Err(Reason::PinMismatch { found }) }
}
