//! The client side, as little of it as is needed: a half-open attempt and an honest login begin alike.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::net::tls::Identity;
use comity::net::tls::development::DevelopmentCa;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server::words;

pub(crate) const DOMAIN: &str = "bench.localhost";
pub(crate) const USER: &str = "juliet";
pub(crate) const PASSWORD: &str = "a password for the bench";
pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream to='bench.localhost' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
pub(crate) const SERVER_HEADER: &str = "<?xml version='1.0'?><stream:stream to='bench.localhost' from='other.localhost' \
     version='1.0' xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
     xmlns:stream='http://etherx.jabber.org/streams'>";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";

/// Where the server is.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) starttls: SocketAddr,
    pub(crate) direct: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// Opens a TCP connection from an address of our own choice.
pub(crate) async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads until `mark` has come.
pub(crate) async fn until(io: &mut (impl AsyncRead + Unpin), mark: &str) -> io::Result<()> {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(mark) {
        if io.read_buf(&mut read).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, String::from_utf8_lossy(&read).into_owned()));
        }
    }
    Ok(())
}

/// A stream header, answered.
pub(crate) async fn open(io: &mut (impl AsyncRead + AsyncWrite + Unpin), header: &str) -> io::Result<()> {
    io.write_all(header.as_bytes()).await?;
    io.flush().await?;
    until(io, "</stream:features>").await
}

/// As far as the server waits for a TLS handshake.
pub(crate) async fn start_tls(io: &mut TcpStream, header: &str) -> io::Result<()> {
    open(io, header).await?;
    io.write_all(STARTTLS.as_bytes()).await?;
    until(io, "<proceed").await
}

/// A TLS handshake; the certificate may be any.
pub(crate) async fn secure(io: TcpStream, tls: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(DOMAIN).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(tls)).connect(name, io).await
}

/// Logs in and out again as a real client does.
pub(crate) async fn log_in(target: &Target, from: IpAddr) -> Result<(), String> {
    let mut at = "connect";
    steps(target, from, &mut at).await.map_err(|error| format!("login from {from}, {at}: {error}"))
}

async fn steps(target: &Target, from: IpAddr, at: &mut &'static str) -> io::Result<()> {
    let mut io = connect(from, target.starttls).await?;
    *at = "STARTTLS";
    start_tls(&mut io, HEADER).await?;
    *at = "TLS";
    let mut io = secure(io, &tls()?).await?;
    *at = "second stream";
    open(&mut io, HEADER).await?;
    *at = "authentication";
    let message = BASE64_STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
    let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{message}</auth>");
    io.write_all(auth.as_bytes()).await?;
    io.flush().await?;
    until(&mut io, "<success").await?;
    *at = "third stream";
    open(&mut io, HEADER).await?;
    *at = "resource";
    io.write_all(BIND.as_bytes()).await?;
    io.flush().await?;
    until(&mut io, "<jid>").await?;
    *at = "end";
    io.write_all(b"</stream:stream>").await?;
    io.flush().await?;
    until(&mut io, "</stream:stream>").await
}

/// A configuration that trusts anybody: the server's certificate is one for development. Its key
/// exchange is the cheapest, so that the flood costs its sources little.
pub(crate) fn tls() -> io::Result<Arc<ClientConfig>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let verifier = Arc::new(Anybody(provider.signature_verification_algorithms));
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The same configuration that shows a certificate of 8 KiB: it has many names.
pub(crate) fn with_certificate(tls: &ClientConfig) -> Result<Arc<ClientConfig>, String> {
    let names: Vec<String> = (100..262).map(|number| format!("{}{number}.example", "a".repeat(35))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let issued = DevelopmentCa::generate().and_then(|ca| ca.issue(&names)).map_err(words)?;
    let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).map_err(words)?;
    let mut tls = tls.clone();
    tls.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(identity.certified_key())));
    Ok(Arc::new(tls))
}

#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
