//! Certificates of the sorts that servers really show.

use std::sync::Arc;

use comity::net::tls::provider;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// An authority, possibly below another one.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: rcgen::Certificate,
}

/// How the certificate of a server differs from one that is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    Expired,
    NotYetValid,
    OtherName,
    SelfSigned,
    SelfSignedAuthority,
    WithoutIntermediate,
}

/// Whom the server asks for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    Nobody,
    /// Everybody, and it insists on the purpose of TLS clients, as OpenSSL does by itself.
    ForThePurposeOfClients,
}

/// A certificate, those above it, and its key.
pub(crate) struct Issued {
    chain: Vec<CertificateDer<'static>>,
    pub(crate) pem: String,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), authority(name));
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn below(&self, name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), authority(name));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for `domain` with the purpose of servers alone, as public authorities issue them.
    pub(crate) fn issue(&self, domain: &str, flaw: Flaw) -> Issued {
        let key = KeyPair::generate().unwrap();
        let name = if flaw == Flaw::OtherName { "elsewhere.example" } else { domain };
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = named(domain);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (from, to) = match flaw {
            Flaw::Expired => (2019, 2020),
            Flaw::NotYetValid => (2097, 2098),
            _ => (2020, 2097),
        };
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        if flaw == Flaw::SelfSignedAuthority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let between = self.below("an authority in between");
        let (certificate, above) = match flaw {
            Flaw::SelfSigned | Flaw::SelfSignedAuthority => (params.self_signed(&key), None),
            Flaw::WithoutIntermediate => (params.signed_by(&key, &between.issuer), None),
            _ => (params.signed_by(&key, &between.issuer), Some(between.certificate)),
        };
        let certificate = certificate.unwrap();
        let pem = certificate.pem() + &above.as_ref().map(rcgen::Certificate::pem).unwrap_or_default();
        let chain = [Some(&certificate), above.as_ref()].into_iter().flatten().map(|one| one.der().clone()).collect();
        Issued { chain, pem, key }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// What somebody says in TLS who trusts this authority and shows nothing.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(self.roots()).with_no_client_auth())
    }

    /// What a server with this certificate says in TLS.
    pub(crate) fn tls(&self, issued: &Issued, asks: Asks) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = match asks {
            Asks::Nobody => builder.with_no_client_auth(),
            Asks::ForThePurposeOfClients => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider());
                builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            }
        };
        Arc::new(builder.with_single_cert(issued.chain.clone(), issued.private()).unwrap())
    }
}

impl Issued {
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Its public key (`SubjectPublicKeyInfo`).
    pub(crate) fn public(&self) -> Vec<u8> {
        let (_, parsed) = X509Certificate::from_der(&self.chain[0]).unwrap();
        parsed.public_key().raw.to_vec()
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2097, 1, 1));
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
