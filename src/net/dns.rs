//! Name resolution as the rest of the server sees it: questions, answers, and what an answer is worth.
//!
//! SRV records (RFC 2782), addresses and TLSA records (RFC 6698) only, names in A-label form. The DNS itself is asked in
//! `hickory`. It must never know what the names are wanted for.

mod failures;
mod hickory;

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

pub use failures::Remembering;
pub use hickory::{Anchors, Hickory, Validation};
#[cfg(feature = "testing")]
pub use hickory::{Told, told};

use crate::hexadecimal;
use crate::net::BoxFuture;

/// Where a service is said to be (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// Without trailing dot; `.` alone says that there is no such service.
    pub target: String,
}

/// Which certificate or key a server has (RFC 6698 §2.1). The numbers are kept as they came: some may be unknown here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlsa {
    pub usage: u8,
    pub selector: u8,
    pub matching: u8,
    pub data: Vec<u8>,
}

/// What the records of an answer are worth (RFC 4035 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Signatures lead from all of them, aliases on the way included, to a key that is trusted.
    Secure,
    /// They are not signed, or nobody has looked.
    Insecure,
}

/// Records, and what they are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    pub records: Vec<T>,
    pub security: Security,
}

/// Why a question got no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsError {
    /// It has no records of the kind.
    NotFound,
    /// There is no such name.
    NoSuchName,
    /// Its aliases lead in a circle.
    Loop,
    /// Nobody knows: the server failed or did not answer; the text says which.
    Failed(String),
    /// There is an answer that should be signed, and the signatures do not fit (RFC 4035 §4.3, "Bogus").
    Bogus(String),
}

impl DnsError {
    /// Whether it is known that there is nothing.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound | Self::NoSuchName)
    }
}

/// Answers questions about names; in tests a table stands in for the DNS.
pub trait Resolver: Send + Sync {
    /// The SRV records of `name`, such as `_xmpp-server._tcp.example.org`, in no particular order.
    fn srv<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Srv>, DnsError>>;

    /// The addresses of the host `name`, of both families. Secure if those of one family are.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, DnsError>>;

    /// The TLSA records of `name`, such as `_5269._tcp.xmpp.example.org`.
    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Tlsa>, DnsError>>;

    /// Whether it looks at signatures, so that an answer can be secure.
    fn validates(&self) -> bool;
}

impl<T> Answer<T> {
    /// Records that somebody vouches for.
    #[must_use]
    pub const fn secure(records: Vec<T>) -> Self {
        Self { records, security: Security::Secure }
    }

    /// Records that nobody vouches for.
    #[must_use]
    pub const fn insecure(records: Vec<T>) -> Self {
        Self { records, security: Security::Insecure }
    }

    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.security == Security::Secure
    }
}

impl<T> Deref for Answer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.records
    }
}

impl<T> IntoIterator for Answer<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}

impl fmt::Display for Tlsa {
    /// As in a zone file (RFC 6698 §2.2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { usage, selector, matching, data } = self;
        write!(f, "{usage} {selector} {matching} {}", hexadecimal::text(data))
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("not found in DNS"),
            Self::NoSuchName => f.write_str("not found in DNS, there is no such name"),
            Self::Loop => f.write_str("in DNS its aliases (CNAME) lead in a circle"),
            Self::Failed(why) => write!(f, "DNS failed: {why}"),
            Self::Bogus(why) => write!(f, "the signatures in DNS (DNSSEC) are wrong: {why}"),
        }
    }
}

impl std::error::Error for DnsError {}
