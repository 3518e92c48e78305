//! Values of other kinds: domains, addresses to listen on, name servers, modes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use crate::config::suggest::nearest;
use crate::hexadecimal;
use crate::jid::{self, BareJid};

/// A prepared domainpart (RFC 7622 §3.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// The address of an account of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountName(BareJid);

/// The name of an account without its domain, prepared (RFC 7622 §3.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalName(String);

/// Addresses on which a listener waits: one, a list, or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addresses(Vec<SocketAddr>);

/// A DNS server: an address, with port 53 unless another is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameServer(SocketAddr);

/// Where somebody can be reached: a `mailto:`, `xmpp:` or `https:` URI (RFC 3986).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactUri(String);

/// A key of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub domain: DomainName,
    /// The SHA-256 hash of its `SubjectPublicKeyInfo`.
    pub key: [u8; 32],
}

/// Whether signatures in the DNS are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dnssec {
    /// Where they can be had.
    #[default]
    Auto,
    /// Always.
    Required,
    /// Never.
    Off,
}

/// What can prove that a server speaks for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofKind {
    /// A certificate of an authority that is trusted.
    Pkix,
    /// A key that the signed DNS names.
    Dane,
    /// A key that the operator names.
    Pin,
    /// The word of the server that the DNS names.
    Dialback,
}

/// With which domains the server talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FederationMode {
    /// With all.
    #[default]
    Open,
    /// With none.
    Closed,
    /// With those in `federation.allow`.
    Listed,
}

/// Who may make rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoomCreation {
    /// Accounts of this server.
    #[default]
    Local,
    /// Administrators.
    Admins,
    /// Everybody, from whatever server.
    Anybody,
}

impl DomainName {
    /// What stands in a `[[domains]]` until its name is read; never the name of a domain.
    pub(super) const fn unnamed() -> Self {
        Self(String::new())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as the DNS and certificates have it (RFC 5890 §2.3.2.1).
    #[must_use]
    pub fn a_labels(&self) -> String {
        jid::a_labels(&self.0).unwrap_or_else(|| self.0.clone())
    }

    /// The name one label below this one.
    #[must_use]
    pub fn below(&self, label: &str) -> Self {
        Self(format!("{label}.{}", self.0))
    }
}

impl AccountName {
    #[must_use]
    pub const fn jid(&self) -> &BareJid {
        &self.0
    }
}

impl FromStr for AccountName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (local, domain) = text.split_once('@').ok_or("this is no address of an account: write name@domain")?;
        BareJid::account(local, domain).map(Self).map_err(|error| error.to_string())
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl LocalName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LocalName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let prepared = jid::account_localpart(text).map_err(|error| format!("\"{text}\": {error}"))?;
        Ok(Self(prepared.into_owned()))
    }
}

impl fmt::Display for LocalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(['@', '/']) {
            return Err(format!("\"{text}\" is an address, not a domain"));
        }
        jid::domainpart(text)
            .map(|domain| Self(domain.into()))
            .map_err(|error| format!("\"{text}\" is no domain name: {error}"))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContactUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            let like = "\"mailto:name@example.org\", \"xmpp:name@example.org\" or \"https://example.org/page\"";
            format!("\"{text}\" {why}; write {like}")
        };
        let odd = || wrong("has characters that a URI must not have");
        let address = text.split(['?', '#']).next().and_then(percent_decoded).ok_or_else(odd)?;
        percent_decoded(text).ok_or_else(odd)?;
        let fine = match address.split_once(':') {
            Some(("mailto", to)) => to.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()),
            Some(("xmpp", jid)) => jid::Jid::parse(jid).is_ok(),
            Some(("https", rest)) => {
                rest.strip_prefix("//").is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
            }
            _ => return Err(wrong("is no address of a kind that clients know")),
        };
        if fine { Ok(Self(text.to_owned())) } else { Err(wrong("names nobody")) }
    }
}

impl fmt::Display for ContactUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a URI means (RFC 3986 §2.1); `None` if it has octets that must not be there (§2.2, §2.3).
fn percent_decoded(uri: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(uri.len());
    let mut rest = uri.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            _ if octet.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&octet) => octet,
            _ => return None,
        });
    }
    String::from_utf8(octets).ok()
}

impl Addresses {
    /// Every address of this machine; a listener on `[::]` takes IPv4 too.
    #[must_use]
    pub fn any(port: u16) -> Self {
        Self(vec![SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)])
    }

    /// What only this machine can reach.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self(vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)])
    }

    #[must_use]
    pub fn as_slice(&self) -> &[SocketAddr] {
        &self.0
    }

    /// Whether nobody outside this machine can connect.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.0.iter().all(|address| address.ip().to_canonical().is_loopback())
    }
}

impl FromIterator<SocketAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(addresses: I) -> Self {
        Self(addresses.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Addresses {
    type Item = SocketAddr;
    type IntoIter = std::iter::Copied<std::slice::Iter<'a, SocketAddr>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().copied()
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let bare = text.trim_matches(['[', ']']).parse::<IpAddr>();
        let like = bare.map_or_else(|_| "[::]:5222".to_owned(), |ip| SocketAddr::new(ip, 5222).to_string());
        format!("\"{text}\" is no address with a port; write it like \"{like}\"")
    })
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if let [address] = self.0.as_slice() {
            return to.collect_str(address);
        }
        let mut list = to.serialize_seq(Some(self.0.len()))?;
        for address in &self.0 {
            list.serialize_element(&address.to_string())?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as \"[::]:5222\" or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Addresses, E> {
                Ok(Addresses(vec![socket_address(text).map_err(E::custom)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
                let mut addresses = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    addresses.push(socket_address(&text).map_err(de::Error::custom)?);
                }
                Ok(Addresses(addresses))
            }
        }

        from.deserialize_any(OneOrMany)
    }
}

impl NameServer {
    #[must_use]
    pub const fn address(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for NameServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ip = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        ip.or_else(|_| text.parse()).map(Self).map_err(|_| {
            format!("\"{text}\" is no address; write \"192.0.2.53\", \"192.0.2.53:5353\" or \"[2001:db8::53]:53\"")
        })
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("\"{text}\" is no pin: write \"example.org sha256:\" and 64 hexadecimal digits");
        let (domain, digits) = text.split_once(" sha256:").ok_or_else(form)?;
        let key = hexadecimal::octets(digits).ok_or_else(form)?;
        Ok(Self { domain: domain.parse()?, key })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sha256:{}", self.domain, hexadecimal::text(&self.key))
    }
}

impl Dnssec {
    const NAMES: [(&'static str, Self); 3] = [("auto", Self::Auto), ("required", Self::Required), ("off", Self::Off)];
}

impl ProofKind {
    const NAMES: [(&'static str, Self); 4] =
        [("pkix", Self::Pkix), ("dane", Self::Dane), ("pin", Self::Pin), ("dialback", Self::Dialback)];
}

impl FederationMode {
    const NAMES: [(&'static str, Self); 3] = [("open", Self::Open), ("closed", Self::Closed), ("listed", Self::Listed)];
}

impl RoomCreation {
    const NAMES: [(&'static str, Self); 3] =
        [("local", Self::Local), ("admins", Self::Admins), ("anybody", Self::Anybody)];
}

/// The value called `text`, or what could have been meant.
pub(super) fn choice<T: Copy>(text: &str, names: &[(&'static str, T)]) -> Result<T, String> {
    if let Some((_, value)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let quoted: Vec<_> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let mut reason = format!("\"{text}\" is none of {}", quoted.join(", "));
    if let Some(name) = nearest(text, names.iter().map(|(name, _)| *name)) {
        reason.push_str(&format!("; did you mean \"{name}\"?"));
    }
    Err(reason)
}

/// The name of `value`.
pub(super) fn name_of<T: PartialEq>(value: T, names: &[(&'static str, T)]) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map_or("", |(name, _)| *name)
}

/// A type that has a few values, each with a name.
macro_rules! as_name {
    ($($name:ty),+ $(,)?) => { $(
        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                choice(text, &Self::NAMES)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(name_of(*self, &Self::NAMES))
            }
        }
    )+ };
}

as_name!(Dnssec, FederationMode, ProofKind, RoomCreation);

/// Reads and writes a type as its text.
macro_rules! as_text {
    ($($type:ty),+) => { $(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(de::Error::custom)
            }
        }
    )+ };
}

as_text!(
    AccountName,
    ContactUri,
    Dnssec,
    DomainName,
    LocalName,
    NameServer,
    FederationMode,
    Pin,
    ProofKind,
    RoomCreation
);
