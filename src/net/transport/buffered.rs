//! TLS over tokio-rustls, in which rustls keeps the buffers: streams of servers, both ways.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, CommonState, ServerConfig};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::allowance::Allowance;
use super::{EXPORTER_LABEL, Io, TlsVersion};

/// Plain text that TLS accepts before the socket takes it.
const SEND_LIMIT: usize = 16 * 1024;

/// A stream of rustls with its buffers.
pub(super) struct Buffered {
    pub(super) stream: TlsStream<Metered>,
    /// RFC 5929 §4 of the certificate that we showed.
    pub(super) end_point: Option<Arc<[u8]>>,
    /// Whether the configuration insists on RFC 7627, without which the exporter of TLS 1.2 binds nothing.
    extended_master_secret: bool,
}

impl Buffered {
    pub(super) async fn accept(io: Box<dyn Io>, config: Arc<ServerConfig>) -> io::Result<Box<Self>> {
        let extended_master_secret = config.require_ems;
        let io = Metered { io, allowance: Allowance::for_a_stranger() };
        let handshake = TlsAcceptor::from(config).accept_with(io, |tls| tls.set_buffer_limit(Some(SEND_LIMIT)));
        // Boxed, so that the state of the handshake does not stay part of the caller's task.
        Ok(Self::boxed(Box::pin(handshake).await?.into(), extended_master_secret))
    }

    pub(super) async fn connect(
        io: Box<dyn Io>,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Box<Self>> {
        let extended_master_secret = config.require_ems;
        let io = Metered { io, allowance: Allowance::for_a_trusted_peer() };
        let limit = |tls: &mut rustls::ClientConnection| tls.set_buffer_limit(Some(SEND_LIMIT));
        let handshake = TlsConnector::from(config).connect_with(name, io, limit);
        Ok(Self::boxed(Box::pin(handshake).await?.into(), extended_master_secret))
    }

    fn boxed(mut stream: TlsStream<Metered>, extended_master_secret: bool) -> Box<Self> {
        stream.get_mut().0.allowance.renew(0);
        Box::new(Self { stream, end_point: None, extended_master_secret })
    }

    pub(super) fn trust_peer(&mut self) {
        self.stream.get_mut().0.allowance = Allowance::for_a_trusted_peer();
    }

    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<u8>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let content = match ready!(Pin::new(&mut self.stream).poll_fill_buf(cx)) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
            Err(error) => return Poll::Ready(Err(error)),
        };
        let content = content.get(..most).unwrap_or(content);
        into.extend_from_slice(content);
        let n = content.len();
        if n > 0 {
            Pin::new(&mut self.stream).consume(n);
            self.stream.get_mut().0.allowance.renew(0);
        }
        Poll::Ready(Ok(n))
    }

    pub(super) fn exporter(&self) -> Option<[u8; 32]> {
        if TlsVersion::of(self.state())? == TlsVersion::Tls12 && !self.extended_master_secret {
            return None;
        }
        let secret = [0; 32];
        match &self.stream {
            TlsStream::Client(stream) => stream.get_ref().1.export_keying_material(secret, EXPORTER_LABEL, Some(&[])),
            TlsStream::Server(stream) => stream.get_ref().1.export_keying_material(secret, EXPORTER_LABEL, Some(&[])),
        }
        .ok()
    }

    pub(super) fn state(&self) -> &CommonState {
        self.stream.get_ref().1
    }

    /// What the peer asked for by SNI.
    pub(super) fn server_name(&self) -> Option<&str> {
        match &self.stream {
            TlsStream::Server(stream) => stream.get_ref().1.server_name(),
            TlsStream::Client(_) => None,
        }
    }
}

/// The socket under TLS, which gives out only what is allowed.
pub(super) struct Metered {
    io: Box<dyn Io>,
    pub(super) allowance: Allowance,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let most = buf.remaining().min(self.allowance.left());
        if most == 0 && buf.remaining() > 0 {
            return Poll::Ready(Err(Allowance::exceeded()));
        }
        // rustls reads into memory that is initialised already: nothing is cleared here.
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        self.allowance.spend(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
