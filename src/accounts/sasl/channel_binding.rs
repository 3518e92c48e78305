//! Channel bindings: what ties an authentication to the TLS connection it travels on (RFC 5056).
//!
//! `tls-unique` is left out on purpose: TLS 1.3 does not define it (RFC 9266 §3).

use aws_lc_rs::digest;
use x509_parser::der_parser::oid;
use x509_parser::oid_registry::{self, Oid};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::signature_algorithm::RsaSsaPssParams;

/// A registered channel binding type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BindingType {
    /// RFC 9266.
    TlsExporter,
    /// RFC 5929 §4.
    TlsServerEndPoint,
}

impl BindingType {
    /// Both, stronger first.
    pub const ALL: &'static [Self] = &[Self::TlsExporter, Self::TlsServerEndPoint];

    /// The channel binding unique prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TlsExporter => "tls-exporter",
            Self::TlsServerEndPoint => "tls-server-end-point",
        }
    }

    /// The type called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == name)
    }
}

/// The channel bindings that one connection can do, with their data.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bindings {
    /// The exported keying material, where the TLS version makes it unique (RFC 9266 §2).
    pub exporter: Option<[u8; 32]>,
    /// The hash of our certificate, see [`server_end_point`].
    pub end_point: Option<Vec<u8>>,
}

impl Bindings {
    /// A connection without channel binding.
    pub const NONE: Self = Self { exporter: None, end_point: None };

    /// The data of a type, or `None` if this connection cannot do it.
    #[must_use]
    pub fn data(&self, kind: BindingType) -> Option<&[u8]> {
        match kind {
            BindingType::TlsExporter => self.exporter.as_ref().map(<[u8; 32]>::as_slice),
            BindingType::TlsServerEndPoint => self.end_point.as_deref(),
        }
    }

    /// The types that this connection can do, stronger first.
    pub fn types(&self) -> impl Iterator<Item = BindingType> {
        BindingType::ALL.iter().copied().filter(|kind| self.data(*kind).is_some())
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.end_point.is_none()
    }
}

/// Prints the types only.
impl std::fmt::Debug for Bindings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.types()).finish()
    }
}

/// The data of `tls-server-end-point` for a server certificate (DER): its hash, by the hash function of its
/// signature, but at least SHA-256 (RFC 5929 §4.1).
///
/// `None` where the RFC leaves it undefined: a signature without hash function such as Ed25519, or unknown.
#[must_use]
pub fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = &parsed.signature_algorithm;
    let hash = if algorithm.algorithm == oid_registry::OID_PKCS1_RSASSAPSS {
        let parameters = RsaSsaPssParams::try_from(algorithm.parameters.as_ref()?).ok()?;
        by_hash(parameters.hash_algorithm_oid())?
    } else {
        by_signature(&algorithm.algorithm)?
    };
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

fn by_signature(oid: &Oid<'_>) -> Option<&'static digest::Algorithm> {
    let known = [
        (oid_registry::OID_PKCS1_MD5WITHRSAENC, &digest::SHA256),
        (oid_registry::OID_PKCS1_SHA1WITHRSA, &digest::SHA256),
        // ecdsa-with-SHA1
        (oid!(1.2.840.10045.4.1), &digest::SHA256),
        (oid_registry::OID_PKCS1_SHA224WITHRSA, &digest::SHA224),
        (oid_registry::OID_SIG_ECDSA_WITH_SHA224, &digest::SHA224),
        (oid_registry::OID_PKCS1_SHA256WITHRSA, &digest::SHA256),
        (oid_registry::OID_SIG_ECDSA_WITH_SHA256, &digest::SHA256),
        (oid_registry::OID_PKCS1_SHA384WITHRSA, &digest::SHA384),
        (oid_registry::OID_SIG_ECDSA_WITH_SHA384, &digest::SHA384),
        (oid_registry::OID_PKCS1_SHA512WITHRSA, &digest::SHA512),
        (oid_registry::OID_SIG_ECDSA_WITH_SHA512, &digest::SHA512),
    ];
    known.into_iter().find(|(known, _)| known == oid).map(|(_, hash)| hash)
}

fn by_hash(oid: &Oid<'_>) -> Option<&'static digest::Algorithm> {
    let known = [
        (oid_registry::OID_HASH_SHA1, &digest::SHA256),
        (oid_registry::OID_NIST_HASH_SHA256, &digest::SHA256),
        (oid_registry::OID_NIST_HASH_SHA384, &digest::SHA384),
        (oid_registry::OID_NIST_HASH_SHA512, &digest::SHA512),
    ];
    known.into_iter().find(|(known, _)| known == oid).map(|(_, hash)| hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["example.org".to_owned()]).unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    // Proves: RFC 5929 §4.1
    #[test]
    fn the_end_point_hash_follows_the_signature() {
        for (algorithm, hash) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(&digest::SHA256)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(&digest::SHA384)),
            (&rcgen::PKCS_ED25519, None),
        ] {
            let der = certificate(algorithm);
            let expected = hash.map(|hash| digest::digest(hash, &der).as_ref().to_vec());
            assert_eq!(server_end_point(&der), expected);
        }
        assert_eq!(by_signature(&oid_registry::OID_PKCS1_SHA1WITHRSA), Some(&digest::SHA256));
        assert_eq!(server_end_point(b"no certificate"), None);
    }

    #[test]
    fn only_what_the_connection_can_do_is_listed() {
        let both = Bindings { exporter: Some([1; 32]), end_point: Some(vec![2]) };
        assert_eq!(both.types().collect::<Vec<_>>(), BindingType::ALL);
        let one = Bindings { end_point: Some(vec![2]), ..Bindings::NONE };
        assert_eq!(one.types().collect::<Vec<_>>(), [BindingType::TlsServerEndPoint]);
        assert!(Bindings::NONE.is_empty() && Bindings::NONE.types().next().is_none());
        assert_eq!(format!("{both:?}"), "[TlsExporter, TlsServerEndPoint]");
        assert_eq!(BindingType::parse("tls-unique"), None);
    }
}
