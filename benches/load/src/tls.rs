//! TLS of the generator, and the certificates of a run.
//!
//! Every client offers the same: TLS 1.3 or 1.2, one key exchange and one cipher, so that all servers and floors
//! compute the same things.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};

/// Whether clients come back with a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tickets {
    Unused,
    Used,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

/// The configuration of all clients of one scenario.
pub fn client(tickets: Tickets) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.resumption = match tickets {
        Tickets::Unused => Resumption::disabled(),
        Tickets::Used => Resumption::in_memory_sessions(256),
    };
    Arc::new(config)
}

/// The configuration of a domain that shows this certificate when it connects.
pub fn client_with(certificate: &Certificate) -> io::Result<Arc<ClientConfig>> {
    let (chain, key) = read(certificate)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_client_auth_cert(chain, key)
        .map_err(io::Error::other)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn read(certificate: &Certificate) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_file_iter(&certificate.chain).map_err(io::Error::other)?;
    let chain = chain.collect::<Result<_, _>>().map_err(io::Error::other)?;
    Ok((chain, PrivateKeyDer::from_pem_file(&certificate.key).map_err(io::Error::other)?))
}

/// The configuration of the floors.
pub fn server(certificate: &Certificate) -> io::Result<Arc<ServerConfig>> {
    let (chain, key) = read(certificate)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(io::Error::other)?;
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// A certificate authority for one run.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
    pub root: PathBuf,
}

impl Authority {
    /// A new authority; its files are written to `directory`.
    pub fn new(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        limit(&mut params);
        params.distinguished_name.push(rcgen::DnType::CommonName, "comity-load");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        let root = directory.join("root.pem");
        fs::write(&root, certificate.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), directory: directory.to_owned(), root })
    }

    /// A P-256 certificate for a domain, good for servers and clients.
    pub fn issue(&self, domain: &str) -> io::Result<Certificate> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(vec![domain.to_owned()]).map_err(io::Error::other)?;
        limit(&mut params);
        params.distinguished_name.push(rcgen::DnType::CommonName, domain);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let files = Certificate {
            chain: self.directory.join(format!("{domain}.pem")),
            key: self.directory.join(format!("{domain}.key")),
        };
        fs::write(&files.chain, certificate.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}

/// A month is enough for a run, and ejabberd cannot set its alarm for the year 4096.
fn limit(params: &mut CertificateParams) {
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    params.not_before = (now - day).into();
    params.not_after = (now + 30 * day).into();
}

/// The generator measures servers, it does not judge certificates.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519, SignatureScheme::RSA_PSS_SHA256]
    }
}
