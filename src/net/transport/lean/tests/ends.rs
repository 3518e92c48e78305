//! Both ends of a connection in memory, moved by hand: a client of rustls with its own buffers, and
//! bytes that arrive in the pieces that a test wants.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::client::Resumption;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::super::DRAIN;
use super::super::Lean;
use crate::net::tls::mint::{Authority, Minted, Name, Wish};
use crate::net::tls::{Identities, Incoming, ServerTls, provider, server_name};

/// A socket: what has arrived, in pieces, and what was sent.
#[derive(Clone)]
pub(super) struct Wire(Arc<Mutex<State>>);

impl crate::net::transport::Io for Wire {}

#[derive(Default)]
struct State {
    arrived: VecDeque<Vec<u8>>,
    ended: bool,
    sent: Vec<u8>,
    writes: usize,
    /// How many bytes may be sent until somebody makes room.
    room: usize,
    shut_down: bool,
    /// Who found nothing to read, or no room.
    waiting: Option<Waker>,
}

impl State {
    fn changed(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { room: usize::MAX, ..State::default() })))
    }
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn arrive(&self, piece: Vec<u8>) {
        if !piece.is_empty() {
            let mut state = self.state();
            state.arrived.push_back(piece);
            state.changed();
        }
    }

    /// What has arrived and is not read is one piece from now on.
    pub(super) fn join(&self) {
        let mut state = self.state();
        let all: Vec<u8> = state.arrived.drain(..).flatten().collect();
        state.arrived.push_back(all);
    }

    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.changed();
    }

    pub(super) fn take_sent(&self) -> Vec<u8> {
        std::mem::take(&mut self.state().sent)
    }

    pub(super) fn writes(&self) -> usize {
        self.state().writes
    }

    pub(super) fn set_room(&self, room: usize) {
        let mut state = self.state();
        state.room = room;
        state.changed();
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.state().shut_down
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        let Some(mut piece) = state.arrived.pop_front() else {
            if state.ended {
                return Poll::Ready(Ok(()));
            }
            state.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            state.arrived.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        let taken = bytes.len().min(state.room);
        if taken == 0 {
            state.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.room -= taken;
        state.writes += 1;
        state.sent.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().shut_down = true;
        Poll::Ready(Ok(()))
    }
}

/// Polls once.
pub(super) fn now<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}

// -- configurations

fn authority() -> &'static (Authority, Minted) {
    static AUTHORITY: OnceLock<(Authority, Minted)> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let authority = Authority::root("authority");
        let minted = authority.mint(&Wish::names(&[Name::Dns("example.org")]));
        (authority, minted)
    })
}

pub(super) fn server_config() -> Arc<ServerConfig> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    Arc::clone(CONFIG.get_or_init(|| {
        let tls = ServerTls::new(Arc::new(Identities::new(authority().1.identity()))).unwrap();
        Arc::clone(tls.acceptor(Incoming::ClientStartTls, None).config())
    }))
}

pub(super) fn tls13_suites() -> [SupportedCipherSuite; 3] {
    [
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ]
}

pub(super) fn client_config(versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    client_for(versions, &[], None)
}

/// A client with these suites and groups, or the usual ones.
pub(super) fn client_for(
    versions: &[&'static SupportedProtocolVersion],
    suites: &[SupportedCipherSuite],
    groups: Option<Vec<&'static dyn SupportedKxGroup>>,
) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority().0.certificate.clone()).unwrap();
    Arc::new(client_with(roots, versions, suites, groups))
}

/// A client that knows no authority.
pub(super) fn distrustful() -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(Authority::root("nobody else").certificate).unwrap();
    Arc::new(client_with(roots, &[&TLS13], &[], None))
}

fn client_with(
    roots: rustls::RootCertStore,
    versions: &[&'static SupportedProtocolVersion],
    suites: &[SupportedCipherSuite],
    groups: Option<Vec<&'static dyn SupportedKxGroup>>,
) -> ClientConfig {
    let mut provider = provider().as_ref().clone();
    if !suites.is_empty() {
        provider.cipher_suites = suites.to_vec();
    }
    if let Some(groups) = groups {
        provider.kx_groups = groups;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    config
}

pub(super) fn connection(config: Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config, server_name("example.org").unwrap()).unwrap()
}

// -- moving bytes

/// Two pieces.
pub(super) fn cut(flight: &[u8], at: usize) -> impl Iterator<Item = Vec<u8>> {
    let (front, back) = flight.split_at(at.min(flight.len()));
    [front.to_vec(), back.to_vec()].into_iter()
}

pub(super) fn bytes(flight: &[u8]) -> Vec<Vec<u8>> {
    flight.iter().map(|byte| vec![*byte]).collect()
}

/// From the client to the wire.
pub(super) fn carry(client: &mut ClientConnection, wire: &Wire, cut: &mut impl FnMut(Vec<u8>) -> Vec<Vec<u8>>) {
    let mut flight = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut flight).unwrap();
    }
    if !flight.is_empty() {
        cut(flight).into_iter().for_each(|piece| wire.arrive(piece));
    }
}

/// From the wire to the client.
pub(super) fn deliver(wire: &Wire, client: &mut ClientConnection) -> Result<(), rustls::Error> {
    let sent = wire.take_sent();
    let mut sent = sent.as_slice();
    // rustls takes no more while somebody has content to read.
    while !sent.is_empty() && client.process_new_packets()?.plaintext_bytes_to_read() == 0 {
        client.read_tls(&mut sent).unwrap();
        client.process_new_packets()?;
    }
    if !sent.is_empty() {
        let mut state = wire.state();
        state.sent = [sent, &state.sent].concat();
    }
    Ok(())
}

/// The content that a client has at hand.
pub(super) fn read(client: &mut ClientConnection) -> Vec<u8> {
    let mut all = Vec::new();
    // At the end it waits for more.
    let _ = client.reader().read_to_end(&mut all);
    all
}

/// An established connection.
pub(super) struct Ends {
    pub(super) client: ClientConnection,
    pub(super) server: Box<Lean>,
    pub(super) wire: Wire,
}

/// A handshake; `cut` says in which pieces each flight of the client arrives.
pub(super) fn shake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    mut cut: impl FnMut(Vec<u8>) -> Vec<Vec<u8>>,
) -> Result<Ends, rustls::Error> {
    let wire = Wire::default();
    let mut client = connection(client);
    let mut accept = Box::pin(Lean::accept(Box::new(wire.clone()), server));
    loop {
        carry(&mut client, &wire, &mut cut);
        let accepted = now(|cx| accept.as_mut().poll(cx));
        deliver(&wire, &mut client)?;
        if let Poll::Ready(server) = accepted {
            let mut server = server.unwrap();
            assert!(now(|cx| server.poll_flush(cx)).is_ready());
            deliver(&wire, &mut client)?;
            return Ok(Ends { client, server, wire });
        }
    }
}

/// A handshake that fails at the server.
pub(super) fn failing(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> (Wire, io::Error, ClientConnection) {
    let wire = Wire::default();
    let mut client = connection(client);
    let mut accept = Box::pin(Lean::accept(Box::new(wire.clone()), server));
    loop {
        carry(&mut client, &wire, &mut |flight| vec![flight]);
        if let Poll::Ready(server) = now(|cx| accept.as_mut().poll(cx)) {
            return (wire, server.err().unwrap(), client);
        }
        // What the client thinks of it is its next flight.
        let _ = deliver(&wire, &mut client);
    }
}

impl Ends {
    pub(super) fn write_client(&mut self, content: &[u8]) {
        self.client.writer().write_all(content).unwrap();
    }

    /// What the client has to send.
    pub(super) fn flight(&mut self) -> Vec<u8> {
        let mut flight = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut flight).unwrap();
        }
        flight
    }

    pub(super) fn client_sends(&mut self, content: &[u8], mut cut: impl FnMut(Vec<u8>) -> Vec<Vec<u8>>) {
        self.write_client(content);
        carry(&mut self.client, &self.wire, &mut cut);
    }

    /// What one call gives out; `None` if it waits.
    pub(super) fn poll_drained(&mut self, most: usize) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        match now(|cx| self.server.poll_drain(cx, &mut content, most)) {
            Poll::Pending => None,
            Poll::Ready(drained) => {
                assert_eq!(drained.unwrap(), content.len());
                Some(content)
            }
        }
    }

    pub(super) fn drained(&mut self, most: usize) -> Vec<u8> {
        self.poll_drained(most).unwrap()
    }

    pub(super) fn drain_error(&mut self) -> io::Error {
        let Poll::Ready(result) = now(|cx| self.server.poll_drain(cx, &mut Vec::new(), DRAIN)) else { panic!() };
        result.unwrap_err()
    }

    /// What the client has decrypted.
    pub(super) fn received(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match read(&mut self.client) {
                some if some.is_empty() => return all,
                some => all.extend(some),
            }
            deliver(&self.wire, &mut self.client).unwrap();
        }
    }

    /// Writes and flushes; returns what the client sees.
    pub(super) fn server_sends(&mut self, mut content: &[u8]) -> Vec<u8> {
        while !content.is_empty() {
            let Poll::Ready(taken) = now(|cx| self.server.poll_write(cx, content)) else { panic!() };
            content = &content[taken.unwrap()..];
        }
        assert!(matches!(now(|cx| self.server.poll_flush(cx)), Poll::Ready(Ok(()))));
        deliver(&self.wire, &mut self.client).unwrap();
        self.received()
    }

    pub(super) fn both_ways(&mut self) {
        self.client_sends(b"from the client", |flight| vec![flight]);
        assert_eq!(self.drained(DRAIN), b"from the client");
        assert_eq!(self.server_sends(b"from the server"), b"from the server");
    }
}

// -- a client that makes its own records

/// Sends what no proper client sends, under the keys of a proper handshake.
pub(super) struct Forger {
    pub(super) server: Box<Lean>,
    pub(super) wire: Wire,
    secret: Vec<u8>,
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

/// Catches the traffic secret of the client, from which those after a key update come.
#[derive(Debug, Default)]
struct TrafficSecret(Mutex<Vec<u8>>);

impl rustls::KeyLog for TrafficSecret {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == "CLIENT_TRAFFIC_SECRET_0" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

impl Forger {
    pub(super) fn established() -> Self {
        let suite = cipher_suite::TLS13_AES_128_GCM_SHA256;
        let mut config = (*client_for(&[&TLS13], &[suite], None)).clone();
        let secret = Arc::new(TrafficSecret::default());
        config.key_log = Arc::clone(&secret) as Arc<dyn rustls::KeyLog>;
        let ends = shake(Arc::new(config), server_config(), |flight| vec![flight]).unwrap();
        let (sequence, secrets) = ends.client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else { panic!() };
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.as_ref()).unwrap());
        let secret = secret.0.lock().unwrap().clone();
        Self { server: ends.server, wire: ends.wire, secret, key, iv: iv.as_ref().try_into().unwrap(), sequence }
    }

    pub(super) fn forge(&mut self, kind: u8, content: &[u8]) {
        self.forge_padded(kind, content, 0);
    }

    /// RFC 8446 §5.2.
    pub(super) fn forge_padded(&mut self, kind: u8, content: &[u8], padding: usize) {
        let mut inner = [content, &[kind], &vec![0; padding]].concat();
        let length = u16::try_from(inner.len() + 16).unwrap().to_be_bytes();
        let head = [23, 3, 3, length[0], length[1]];
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(head), &mut inner).unwrap();
        self.sequence += 1;
        self.wire.arrive([&head[..], &inner].concat());
    }

    /// RFC 8446 §7.2.
    pub(super) fn next_keys(&mut self) {
        self.secret = expand(&self.secret, b"tls13 traffic upd", 32);
        let key = expand(&self.secret, b"tls13 key", 16);
        self.key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
        self.iv = expand(&self.secret, b"tls13 iv", 12).try_into().unwrap();
        self.sequence = 0;
    }

    pub(super) fn poll_drained(&mut self) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        match now(|cx| self.server.poll_drain(cx, &mut content, DRAIN)) {
            Poll::Pending => None,
            Poll::Ready(drained) => {
                drained.unwrap();
                Some(content)
            }
        }
    }

    pub(super) fn drain_error(&mut self) -> io::Error {
        let Poll::Ready(result) = now(|cx| self.server.poll_drain(cx, &mut Vec::new(), DRAIN)) else { panic!() };
        result.unwrap_err()
    }

    /// How many bytes the server has for the client.
    pub(super) fn sent(&mut self) -> usize {
        assert!(matches!(now(|cx| self.server.poll_flush(cx)), Poll::Ready(_)));
        self.wire.take_sent().len()
    }
}

/// HKDF-Expand-Label with SHA-256, an empty context and at most one block: one HMAC.
fn expand(secret: &[u8], label: &[u8], length: u8) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let label_length = u8::try_from(label.len()).unwrap();
    let info = [&[0, length, label_length], label, &[0, 1]].concat();
    aws_lc_rs::hmac::sign(&key, &info).as_ref()[..usize::from(length)].to_vec()
}
