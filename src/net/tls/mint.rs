//! Certificates of every sort for tests, odd ones included.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, NameConstraints, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::{Identity, provider};

/// A subjectAltName.
#[derive(Clone, Copy)]
pub(crate) enum Name {
    Dns(&'static str),
    Srv(&'static str),
    Xmpp(&'static str),
}

/// What a certificate shall be like.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) names: Vec<Name>,
    pub(crate) common_name: Option<&'static str>,
    pub(crate) years: (i32, i32),
    /// The day on which it ends, instead of the second of the years.
    pub(crate) end: Option<(i32, u8, u8)>,
    pub(crate) authority: bool,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) algorithm: &'static rcgen::SignatureAlgorithm,
}

impl Wish {
    pub(crate) fn names(names: &[Name]) -> Self {
        Self {
            names: names.to_vec(),
            common_name: Some("somebody"),
            years: (2020, 2040),
            end: None,
            authority: false,
            usages: Vec::new(),
            algorithm: &PKCS_ECDSA_P256_SHA256,
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = self.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.not_before = date_time_ymd(self.years.0, 1, 1);
        let (year, month, day) = self.end.unwrap_or((self.years.1, 1, 1));
        params.not_after = date_time_ymd(year, month, day);
        if self.authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.extended_key_usages.clone_from(&self.usages);
        if !self.names.is_empty() {
            let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], alternative_names(&self.names));
            extension.set_criticality(self.common_name.is_none());
            params.custom_extensions = vec![extension];
        }
        params
    }
}

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Minted {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Clone for Minted {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Minted {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_der(self.chain.clone(), self.key.clone_key()).unwrap()
    }

    /// Without any of the checks that our own certificates have to pass.
    pub(crate) fn unchecked(&self) -> Arc<CertifiedKey> {
        let key = provider().key_provider.load_private_key(self.key.clone_key()).unwrap();
        Arc::new(CertifiedKey::new(self.chain.clone(), key))
    }

    /// Makes an X.509 v1 certificate of it: no version, no extensions, a signature that no longer fits.
    pub(crate) fn version_1(mut self) -> Self {
        let whole = content(&self.chain[0]);
        let (body, rest) = whole.split_at(length(whole));
        let mut fields = content(body);
        let mut kept = Vec::new();
        while !fields.is_empty() {
            let (field, others) = fields.split_at(length(fields));
            if !matches!(field[0], 0xa0 | 0xa3) {
                kept.extend_from_slice(field);
            }
            fields = others;
        }
        let mut whole = tlv(0x30, &kept);
        whole.extend_from_slice(rest);
        self.chain = vec![tlv(0x30, &whole).into()];
        self
    }
}

/// An authority, possibly below another one.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Those between its certificates and the root, its own included.
    between: Vec<CertificateDer<'static>>,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn root(name: &'static str) -> Self {
        let wish = Wish { authority: true, common_name: Some(name), ..Wish::names(&[]) };
        let key = KeyPair::generate().unwrap();
        let params = wish.params();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), between: Vec::new(), certificate }
    }

    /// An authority below this one, which may be limited to names below a domain.
    pub(crate) fn below(&self, name: &'static str, until: i32, only: Option<&str>) -> Self {
        let wish = Wish { authority: true, common_name: Some(name), years: (2020, until), ..Wish::names(&[]) };
        let key = KeyPair::generate().unwrap();
        let mut params = wish.params();
        params.name_constraints = only.map(|domain| NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
            excluded_subtrees: Vec::new(),
        });
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let mut between = vec![certificate.clone()];
        between.extend_from_slice(&self.between);
        Self { issuer: Issuer::new(params, key), between, certificate }
    }

    pub(crate) fn mint(&self, wish: &Wish) -> Minted {
        let key = KeyPair::generate_for(wish.algorithm).unwrap();
        let mut chain = vec![wish.params().signed_by(&key, &self.issuer).unwrap().der().clone()];
        chain.extend_from_slice(&self.between);
        Minted { chain, key: private(&key) }
    }
}

pub(crate) fn self_signed(wish: &Wish) -> Minted {
    let key = KeyPair::generate_for(wish.algorithm).unwrap();
    Minted { chain: vec![wish.params().self_signed(&key).unwrap().der().clone()], key: private(&key) }
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

fn alternative_names(names: &[Name]) -> Vec<u8> {
    // 1.3.6.1.5.5.7.8, below which both kinds of name lie.
    const ON: [u8; 7] = [0x2b, 6, 1, 5, 5, 7, 8];
    let other = |kind: u8, tag: u8, text: &str| {
        let mut oid = ON.to_vec();
        oid.push(kind);
        let mut value = tlv(6, &oid);
        value.extend(tlv(0xa0, &tlv(tag, text.as_bytes())));
        tlv(0xa0, &value)
    };
    let name = |name: &Name| match name {
        Name::Dns(text) => tlv(0x82, text.as_bytes()),
        Name::Srv(text) => other(7, 22, text),
        Name::Xmpp(text) => other(5, 12, text),
    };
    tlv(0x30, &names.iter().flat_map(name).collect::<Vec<_>>())
}

/// One DER value.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match (u16::try_from(content.len()).unwrap()).to_be_bytes() {
        [0, short @ 0..=127] => out.push(short),
        [high, low] => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(content);
    out
}

/// How many bytes the first value takes, and where its content begins.
fn measure(der: &[u8]) -> (usize, usize) {
    match der[1] {
        0x81 => (3 + usize::from(der[2]), 3),
        0x82 => (4 + usize::from(der[2]) * 256 + usize::from(der[3]), 4),
        short => (2 + usize::from(short), 2),
    }
}

fn length(der: &[u8]) -> usize {
    measure(der).0
}

fn content(der: &[u8]) -> &[u8] {
    let (end, start) = measure(der);
    &der[start..end]
}
