//! TLS on streams that we open to other servers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, PeerIncompatible, PeerMisbehaved, SignatureScheme};

use super::identity::{Identities, Identity};
use super::provider;
use super::sessions::{Place, Resumable, Sessions};
use super::verifier::AnyCertificate;
use crate::jid::a_labels;

/// How TLS begins on a stream that we open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outgoing {
    /// After `<proceed/>`.
    StartTls,
    /// From the first byte (XEP-0368).
    Direct,
}

/// Whether we show our certificate when the other server asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    Shown,
    /// For the one retry after the other server stumbled over it.
    Withheld,
}

/// Whether a connection has ended because the other server does not want our certificate, or wants one (RFC 8446 §6.2). With
/// TLS 1.3 that comes after the handshake.
#[must_use]
pub fn is_unwelcome(error: &io::Error) -> bool {
    let Some(rustls::Error::AlertReceived(alert)) = reason(error) else { return false };
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

/// Whether a handshake has failed because the other server has nothing newer than TLS 1.1.
#[must_use]
pub fn is_too_old(error: &io::Error) -> bool {
    matches!(
        reason(error),
        Some(
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
                | rustls::Error::PeerIncompatible(
                    PeerIncompatible::ServerDoesNotSupportTls12Or13
                        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                )
        )
    )
}

/// Whether a handshake has failed because the other server knows no cipher that this one would use.
#[must_use]
pub fn has_nothing_in_common(error: &io::Error) -> bool {
    matches!(
        reason(error),
        Some(
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity)
                | rustls::Error::PeerIncompatible(
                    PeerIncompatible::NoCipherSuitesInCommon
                        | PeerIncompatible::NoKxGroupsInCommon
                        | PeerIncompatible::ExtendedMasterSecretExtensionRequired
                )
                | rustls::Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite)
        )
    )
}

fn reason(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// The TLS configurations for streams to other servers; they can be replaced at any time.
#[derive(Debug)]
pub struct ClientTls(ArcSwap<Current>);

#[derive(Debug)]
struct Current {
    identities: Arc<Identities>,
    without: Configs,
    /// In the order of the identities.
    with: Vec<Configs>,
    /// Those in which this was shown.
    sessions: Arc<Sessions>,
}

#[derive(Debug)]
struct Configs {
    start_tls: Arc<ClientConfig>,
    direct: Arc<ClientConfig>,
}

impl ClientTls {
    /// Configurations that show `identities` as client certificates.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn new(identities: Arc<Identities>) -> Result<Self, rustls::Error> {
        Ok(Self(ArcSwap::from_pointee(Current::new(identities)?)))
    }

    /// Shows what `other` shows from now on. No session is resumed in which something else was shown.
    pub fn replace(&self, other: Self) {
        self.0.store(other.0.into_inner());
    }

    /// What a connection from `local`, one of our domains, to `remote` at this address may resume, and may leave to be resumed.
    #[must_use]
    pub fn resumable(
        &self,
        local: &str,
        outgoing: Outgoing,
        certificate: ClientCertificate,
        (remote, address): (&str, SocketAddr),
    ) -> Arc<Resumable> {
        let current = self.0.load();
        let identity = current.identity(local, certificate);
        let place = Place { identity, remote: remote.to_owned(), address, outgoing };
        current.sessions.at(place, current.config(identity, outgoing))
    }

    /// The configuration for a stream from `local`, one of our domains.
    #[must_use]
    pub fn config(&self, local: &str, outgoing: Outgoing, certificate: ClientCertificate) -> Arc<ClientConfig> {
        let current = self.0.load();
        current.config(current.identity(local, certificate), outgoing)
    }
}

/// The name to ask `domain` for by SNI (XEP-0368 §3: the domain of the JID, never that of the SRV record).
///
/// `None` for a domain that TLS cannot express.
#[must_use]
pub fn server_name(domain: &str) -> Option<ServerName<'static>> {
    let address = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(domain);
    if let Ok(address) = address.parse::<IpAddr>() {
        return Some(ServerName::from(address));
    }
    ServerName::try_from(a_labels(domain)?).ok()
}

impl Current {
    fn new(identities: Arc<Identities>) -> Result<Self, rustls::Error> {
        let with = identities.all().iter().map(|identity| Configs::new(Some(identity))).collect::<Result<_, _>>()?;
        Ok(Self { without: Configs::new(None)?, with, identities, sessions: Arc::default() })
    }

    /// Which of the certificates is shown.
    fn identity(&self, local: &str, certificate: ClientCertificate) -> Option<usize> {
        match certificate {
            ClientCertificate::Shown => Some(self.identities.position(local).unwrap_or(0)),
            ClientCertificate::Withheld => None,
        }
    }

    fn config(&self, identity: Option<usize>, outgoing: Outgoing) -> Arc<ClientConfig> {
        let configs = identity.and_then(|identity| self.with.get(identity)).unwrap_or(&self.without);
        Arc::clone(match outgoing {
            Outgoing::StartTls => &configs.start_tls,
            Outgoing::Direct => &configs.direct,
        })
    }
}

impl Configs {
    fn new(identity: Option<&Arc<Identity>>) -> Result<Self, rustls::Error> {
        let provider = provider();
        let verifier = AnyCertificate::new(provider.signature_verification_algorithms);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            Some(identity) => config.with_client_cert_resolver(Arc::new(Always(Arc::clone(identity.certified_key())))),
            None => config.with_no_client_auth(),
        };
        config.require_ems = true;
        // Where a session may be resumed the connection says so.
        config.resumption = Resumption::disabled();
        let mut direct = config.clone();
        direct.alpn_protocols = vec![b"xmpp-server".to_vec()];
        Ok(Self { start_tls: Arc::new(config), direct: Arc::new(direct) })
    }
}

/// Shows one certificate, whichever authorities the peer says it would accept: they are a hint only.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
