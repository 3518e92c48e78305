//! One byte stream to a peer, plain or inside TLS.
//!
//! The caller owns both buffers: [`Transport::poll_drain`] appends to the caller's and nothing here
//! keeps one while the stream is idle. TLS has two implementations: one for streams of clients, of
//! which there are many and most are idle, and one for streams between servers, in which rustls
//! keeps a buffer of 4 KiB. Channel bindings are those of RFC 9266 and RFC 5929 §4.
//! It must never know what the bytes mean.
//!
//! # What a stranger may cost
//! A peer that connected to us may send only 9 KiB for its handshake, and after it only 4 KiB of TLS
//! that lead to no content, until [`Transport::trust_peer`] is called after authentication.

mod allowance;
mod any;
mod buffered;
mod caught;
mod lean;
mod tap;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, CommonState, HandshakeKind, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use any::Any;
use buffered::Buffered;
use lean::Lean;
#[cfg(any(test, feature = "testing"))]
pub use tap::Listener;
use tap::Tap;

/// What one call of [`Transport::poll_drain`] appends at most.
const DRAIN: usize = 16 * 1024;
/// The piece in which a plain stream is read; it lies on the stack of the poll function only.
const PIECE: usize = 4096;
/// RFC 9266 §4.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// A byte stream to a peer.
pub struct Transport {
    stream: Stream,
    /// An error that came together with content and waits for the next call.
    failed: Option<io::Error>,
    peer: Option<SocketAddr>,
    tap: Tap,
}

enum Stream {
    Plain(Box<dyn Io>),
    Buffered(Box<Buffered>),
    Lean(Box<Lean>),
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// What is written from here on is the last before our direction ends, and may leave together with the end.
    fn conclude(&self) {}
}

impl Io for TcpStream {
    fn conclude(&self) {
        // Where that is not possible there are two packets instead of one.
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_cork(self, true);
    }
}

/// The version of TLS in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsVersion {
    fn of(state: &CommonState) -> Option<Self> {
        Some(match state.protocol_version()? {
            ProtocolVersion::TLSv1_3 => Self::Tls13,
            // The configurations of `net::tls` know no third version.
            _ => Self::Tls12,
        })
    }
}

impl std::fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

/// What an operator wants to know about the encryption of a stream (RFC 7590 §3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    pub version: TlsVersion,
    /// The IANA name of the cipher suite.
    pub cipher: &'static str,
    /// The application protocol that was agreed on, if any.
    pub alpn: Option<Vec<u8>>,
    /// The server name that the peer asked for; only on streams that we accepted.
    pub server_name: Option<String>,
    /// Whether a session went on that had begun on another connection.
    pub resumed: bool,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("peer", &self.peer).field("tls", &self.tls()).finish_non_exhaustive()
    }
}

impl Transport {
    /// An unencrypted stream; `peer` is its address where there is one.
    #[must_use]
    pub fn plain(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: Option<SocketAddr>) -> Self {
        Self::over(Box::new(Any(io)), peer)
    }

    fn over(io: Box<dyn Io>, peer: Option<SocketAddr>) -> Self {
        Self { stream: Stream::Plain(io), failed: None, peer, tap: Tap::default() }
    }

    /// An unencrypted stream over a TCP connection, which is told to send small pieces at once.
    #[must_use]
    pub fn tcp(socket: TcpStream) -> Self {
        // A socket that refuses the option or has no peer any more is closed already: reading says so.
        let _ = socket.set_nodelay(true);
        let peer = socket.peer_addr().ok();
        Self::over(Box::new(socket), peer)
    }

    /// The same over a connection that a listener has accepted from `peer`, whose sockets send small pieces at once.
    #[must_use]
    pub fn accepted(socket: TcpStream, peer: SocketAddr) -> Self {
        Self::over(Box::new(socket), Some(peer))
    }

    /// The same stream, on which `listener` is told what is written, however it is encrypted later.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn heard_by(mut self, listener: Listener) -> Self {
        self.tap.listener = Some(Box::new(listener));
        self
    }

    /// Negotiates TLS as the side that was connected to by a server.
    ///
    /// After STARTTLS nothing that arrived before this call may be used afterwards: a caller whose
    /// input buffer is not empty behind `<starttls/>` must close the stream instead (RFC 6120
    /// §5.3.3; the peer has to wait for `<proceed/>`). What lies unread in the socket is taken as
    /// TLS, so injected plain text fails the handshake.
    ///
    /// # Errors
    /// The handshake failed, the stream broke, or it is encrypted already.
    pub async fn accept_tls(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        let (io, peer, tap) = self.into_plain()?;
        let stream = Stream::Buffered(Buffered::accept(io, config).await?);
        Ok(Self { stream, failed: None, peer, tap })
    }

    /// Negotiates TLS as the side that was connected to by a client. The stream keeps no buffer while it is idle, and has no exporter in TLS 1.2.
    ///
    /// # Errors
    /// Those of [`Transport::accept_tls`].
    pub async fn accept_client_tls(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        let (io, peer, tap) = self.into_plain()?;
        let stream = Stream::Lean(Lean::accept(io, config).await?);
        Ok(Self { stream, failed: None, peer, tap })
    }

    /// Negotiates TLS as the side that connected; `name` is what is asked for by SNI.
    ///
    /// The same holds for bytes behind `<proceed/>` as for those behind `<starttls/>`.
    ///
    /// # Errors
    /// The handshake failed, the stream broke, or it is encrypted already.
    pub async fn connect_tls(self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let (io, peer, tap) = self.into_plain()?;
        let stream = Stream::Buffered(Buffered::connect(io, config, name).await?);
        Ok(Self { stream, failed: None, peer, tap })
    }

    fn into_plain(self) -> io::Result<(Box<dyn Io>, Option<SocketAddr>, Tap)> {
        match self.stream {
            Stream::Plain(io) => Ok((io, self.peer, self.tap)),
            Stream::Buffered(_) | Stream::Lean(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "the stream is encrypted already"))
            }
        }
    }

    /// Remembers the RFC 5929 §4 hash of the certificate that was shown in the handshake.
    pub(super) fn set_end_point(&mut self, hash: Option<Arc<[u8]>>) {
        match &mut self.stream {
            Stream::Plain(_) => {}
            Stream::Buffered(tls) => tls.end_point = hash,
            Stream::Lean(tls) => tls.set_end_point(hash),
        }
    }

    /// Lifts the limit on TLS bytes without content; called once the peer has authenticated. A stream
    /// of a client forgets its channel bindings then, and which server name was asked for.
    pub fn trust_peer(&mut self) {
        match &mut self.stream {
            Stream::Plain(_) => {}
            Stream::Buffered(tls) => tls.trust_peer(),
            Stream::Lean(tls) => tls.trust_peer(),
        }
    }

    /// Appends what has arrived, at most 16 KiB; `Ok(0)` means that the peer sends nothing more.
    ///
    /// Always tries to read before it waits, so bytes that came with the end of a handshake are
    /// never overlooked. When it returns bytes there may be more: call again until it is pending.
    /// A connection that ends without `close_notify` ends like any other: whether a stream is
    /// complete is told by its closing tag.
    ///
    /// # Errors
    /// What the socket or TLS reports.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let mut total = 0;
        while total < DRAIN {
            let read = match &mut self.stream {
                // Knows by itself when it is worth while to read once more.
                Stream::Lean(tls) => return tls.poll_drain(cx, into, DRAIN),
                Stream::Plain(io) => poll_plain(io, cx, into, DRAIN - total),
                Stream::Buffered(tls) => tls.poll_drain(cx, into, DRAIN - total),
            };
            match read {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(n)) => total += n,
                Poll::Ready(Err(error)) if total == 0 => return Poll::Ready(Err(error)),
                Poll::Ready(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
                Poll::Pending if total == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(total))
    }

    /// Waits until something has arrived and appends it, as [`Transport::poll_drain`] does.
    ///
    /// # Errors
    /// What the socket or TLS reports.
    pub async fn drain(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|cx| self.poll_drain(cx, into)).await
    }

    /// Writes a front part of `bytes` and says how long it was; inside TLS it may wait for a flush.
    ///
    /// # Errors
    /// What the socket or TLS reports.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Stream::Buffered(tls) => Pin::new(&mut tls.stream).poll_write(cx, bytes),
            Stream::Lean(tls) => tls.poll_write(cx, bytes),
        };
        self.tap.wrote(bytes, &taken);
        taken
    }

    /// Hands everything that was written to the system.
    ///
    /// # Errors
    /// What the socket or TLS reports.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_flush(cx),
            Stream::Buffered(tls) => Pin::new(&mut tls.stream).poll_flush(cx),
            Stream::Lean(tls) => tls.poll_flush(cx),
        }
    }

    /// Ends our direction, with `close_notify` inside TLS.
    ///
    /// # Errors
    /// What the socket or TLS reports.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Buffered(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
            Stream::Lean(tls) => tls.poll_shutdown(cx),
        }
    }

    /// Writes all of `bytes` and flushes.
    ///
    /// # Errors
    /// What the socket or TLS reports.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        poll_fn(|cx| {
            ready!(self.poll_write_all(cx, &mut bytes))?;
            self.poll_flush(cx)
        })
        .await
    }

    /// Writes all of `bytes` and ends our direction, inside TLS in one piece.
    ///
    /// # Errors
    /// What the socket or TLS reports.
    pub async fn finish(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        poll_fn(|cx| {
            ready!(self.poll_write_all(cx, &mut bytes))?;
            self.poll_shutdown(cx)
        })
        .await
    }

    /// Writes until nothing of `bytes` is left, without a flush.
    fn poll_write_all(&mut self, cx: &mut Context<'_>, bytes: &mut &[u8]) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            let written = ready!(self.poll_write(cx, bytes))?;
            match bytes.get(written..) {
                Some(rest) if written > 0 => *bytes = rest,
                _ => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The channel binding `tls-exporter` (RFC 9266), where this connection has one: in TLS 1.3, and
    /// in TLS 1.2 with the extended master secret unless it is a stream of a client.
    #[must_use]
    pub fn exporter(&self) -> Option<[u8; 32]> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Buffered(tls) => tls.exporter(),
            Stream::Lean(tls) => tls.exporter(),
        }
    }

    /// The same for whoever may want it later, or never: it costs a few hashes. This connection has it no more.
    pub fn take_exporter(&mut self) -> Option<Box<dyn FnOnce() -> Option<[u8; 32]> + Send>> {
        match &mut self.stream {
            Stream::Plain(_) => None,
            Stream::Buffered(tls) => tls.exporter().map(|data| Box::new(move || Some(data)) as _),
            Stream::Lean(tls) => tls.take_secret().map(|secret| Box::new(move || secret.export()) as _),
        }
    }

    /// The channel binding `tls-server-end-point` (RFC 5929 §4) of the certificate that we showed,
    /// where one is defined. Only streams accepted through [`crate::net::tls::Acceptor`] have it.
    #[must_use]
    pub fn server_end_point(&self) -> Option<&[u8]> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Buffered(tls) => tls.end_point.as_deref(),
            Stream::Lean(tls) => tls.end_point(),
        }
    }

    /// The chain that the peer showed, its own certificate first; empty when it showed none.
    #[must_use]
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        self.state().and_then(CommonState::peer_certificates).map(<[_]>::to_vec).unwrap_or_default()
    }

    /// How the stream is encrypted; `None` when it is not.
    #[must_use]
    pub fn tls(&self) -> Option<TlsFacts> {
        let state = self.state()?;
        let server_name = match &self.stream {
            Stream::Plain(_) => None,
            Stream::Buffered(tls) => tls.server_name(),
            Stream::Lean(tls) => tls.server_name(),
        };
        Some(TlsFacts {
            version: TlsVersion::of(state)?,
            cipher: state.negotiated_cipher_suite()?.suite().as_str().unwrap_or("unknown"),
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            server_name: server_name.map(str::to_owned),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// Whether TLS is in force.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        !matches!(self.stream, Stream::Plain(_))
    }

    fn state(&self) -> Option<&CommonState> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Buffered(tls) => Some(tls.state()),
            Stream::Lean(tls) => Some(tls.state()),
        }
    }

    /// The address of the peer, where there is one.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

/// Whether the peer ended the connection because of the certificate that we showed as a client.
///
/// In TLS 1.3 that arrives with the first read after the handshake. One retry without a client
/// certificate, towards dialback, is worth while then.
#[must_use]
pub fn client_certificate_refused(error: &io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        tls,
        Some(rustls::Error::AlertReceived(
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError
                | Alert::HandshakeFailure
        ))
    )
}

fn poll_plain(io: &mut Box<dyn Io>, cx: &mut Context<'_>, into: &mut Vec<u8>, most: usize) -> Poll<io::Result<usize>> {
    let mut piece = [MaybeUninit::uninit(); PIECE];
    let mut piece = ReadBuf::uninit(&mut piece);
    let mut piece = piece.take(most);
    ready!(Pin::new(io).poll_read(cx, &mut piece))?;
    into.extend_from_slice(piece.filled());
    Poll::Ready(Ok(piece.filled().len()))
}
