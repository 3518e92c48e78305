//! What the unbuffered connection of rustls does not tell and a handshake is asked for instead: the
//! exporter secret of TLS 1.3, which rustls only gives to a `KeyLog`, and the name asked for by SNI,
//! which it only gives to the resolver of certificates.
//!
//! One of these belongs to one handshake and dies with it. No other secret is ever taken. From this one a channel binding
//! (RFC 9266) can be derived, once; it lies in one place, where it is erased then, or when the peer has authenticated without.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::tls13::OkmBlock;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{KeyLog, ServerConfig, Tls13CipherSuite};

use super::EXPORTER_LABEL;

/// The only label that is let in.
const EXPORTER_SECRET: &str = "EXPORTER_SECRET";

/// What is caught of one handshake.
pub(super) struct Caught {
    certificates: Arc<dyn ResolvesServerCert>,
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    /// Erased by its own drop, where it lies: whoever takes it takes the pointer.
    secret: Option<Box<OkmBlock>>,
    server_name: Option<Box<str>>,
}

impl Caught {
    /// A configuration for one handshake, and what will be caught of it.
    pub(super) fn from(config: &ServerConfig) -> (Arc<Self>, ServerConfig) {
        let mut config = config.clone();
        let caught = Arc::new(Self { certificates: Arc::clone(&config.cert_resolver), facts: Mutex::default() });
        config.cert_resolver = Arc::clone(&caught) as Arc<dyn ResolvesServerCert>;
        config.key_log = Arc::clone(&caught) as Arc<dyn KeyLog>;
        (caught, config)
    }

    /// What the peer asked for by SNI.
    pub(super) fn take_server_name(&self) -> Option<Box<str>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).server_name.take()
    }

    /// What the channel binding `tls-exporter` is made of.
    pub(super) fn take_secret(&self, suite: &'static Tls13CipherSuite) -> Option<ExporterSecret> {
        let secret = self.facts.lock().unwrap_or_else(PoisonError::into_inner).secret.take();
        secret.map(|secret| ExporterSecret { secret, suite })
    }
}

/// The exporter secret of one connection.
pub(super) struct ExporterSecret {
    secret: Box<OkmBlock>,
    suite: &'static Tls13CipherSuite,
}

impl ExporterSecret {
    /// TLS-Exporter with an empty context (RFC 8446 §7.5).
    pub(super) fn export(&self) -> Option<[u8; 32]> {
        let Self { secret, suite } = self;
        let nothing = suite.common.hash_provider.hash(&[]);
        let expander = suite.hkdf_provider.expander_for_okm(secret);
        let length = u16::try_from(expander.hash_len()).ok()?;
        let for_label = expand_label(length, EXPORTER_LABEL, nothing.as_ref(), |info| expander.expand_block(info))?;
        let mut exporter = [0; 32];
        let expander = suite.hkdf_provider.expander_for_okm(&for_label);
        expand_label(32, b"exporter", nothing.as_ref(), |info| expander.expand_slice(info, &mut exporter))?.ok()?;
        Some(exporter)
    }
}

/// HKDF-Expand-Label (RFC 8446 §7.1): `expand` is given the `HkdfLabel` in pieces.
fn expand_label<R>(length: u16, label: &[u8], context: &[u8], expand: impl FnOnce(&[&[u8]]) -> R) -> Option<R> {
    const PREFIX: &[u8] = b"tls13 ";
    let label_length = u8::try_from(PREFIX.len() + label.len()).ok()?;
    let context_length = u8::try_from(context.len()).ok()?;
    Some(expand(&[&length.to_be_bytes(), &[label_length], PREFIX, label, &[context_length], context]))
}

impl KeyLog for Caught {
    fn will_log(&self, label: &str) -> bool {
        label == EXPORTER_SECRET
    }

    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == EXPORTER_SECRET && secret.len() <= OkmBlock::MAX_LEN {
            self.facts.lock().unwrap_or_else(PoisonError::into_inner).secret = Some(Box::new(OkmBlock::new(secret)));
        }
    }
}

impl ResolvesServerCert for Caught {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(Box::from);
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).server_name = name;
        self.certificates.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.certificates.only_raw_public_keys()
    }
}

impl fmt::Debug for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caught").finish_non_exhaustive()
    }
}
