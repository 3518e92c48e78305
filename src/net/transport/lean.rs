//! TLS that keeps no buffer while the stream is idle: streams of clients.
//!
//! Over the unbuffered interface of rustls. Bytes are read onto the stack, where rustls decrypts
//! them; only a record that is not complete yet is kept. What is encrypted is collected until it is
//! flushed and freed when the socket has taken it. It must never know what the bytes mean.

mod machine;
#[cfg(test)]
mod tests;

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::UnbufferedServerConnection;
use rustls::{CommonState, ProtocolVersion, ServerConfig, SupportedCipherSuite};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::Zeroize;

use super::Io;
use super::allowance::Allowance;
use super::caught::{Caught, ExporterSecret};
use crate::erasure;
use machine::{Machine, Standing};

/// The head, the inner type and the tag of a record of TLS 1.3.
const RECORD_OVERHEAD: usize = 22;
/// What is read at once: a full record. It lies on the stack of the poll function only.
const PIECE: usize = 16 * 1024 + RECORD_OVERHEAD;
/// What is read behind an incomplete record that is larger than any of ours.
const MORE: usize = 1024;
/// Plain text of two full records: what waits encrypted at most, and so what a slow reader costs.
const BATCH: usize = 32 * 1024;

/// A stream of rustls without buffers.
pub(super) struct Lean {
    io: Box<dyn Io>,
    machine: Machine,
    /// The front of a record whose rest has not arrived. Freed when empty.
    partial: Vec<u8>,
    /// Plain text that the caller had no room for. Freed when empty.
    content: Vec<u8>,
    /// How much of the output the socket has taken.
    sent: usize,
    pub(super) allowance: Allowance,
    /// An error that came behind content and waits for the next call.
    failed: Option<io::Error>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// What only authentication asks for; `None` after it.
    shaken: Option<Box<Shaken>>,
}

/// What a handshake left behind.
#[derive(Default)]
struct Shaken {
    secret: Option<ExporterSecret>,
    server_name: Option<Box<str>>,
    /// RFC 5929 §4 of the certificate that we showed.
    end_point: Option<Arc<[u8]>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incoming {
    Open,
    /// The peer sends nothing more.
    Ended,
    /// It broke the rules: nothing that it sends is looked at any more, and nothing is sent.
    Broken,
    /// The peer has used up its allowance: nothing more is read, but it can be told so.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outgoing {
    Open,
    /// `close_notify` is sent or on its way.
    Closed,
}

/// What one read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// As much as there was room for: there may be more.
    Full,
    /// Less than there was room for.
    Part,
    /// Nothing, and nothing will come.
    End,
}

impl Lean {
    /// Shakes hands.
    pub(super) async fn accept(io: Box<dyn Io>, config: Arc<ServerConfig>) -> io::Result<Box<Self>> {
        let (caught, mut lean) = Self::new(io, &config)?;
        drop(config);
        std::future::poll_fn(|cx| lean.poll_handshake(cx)).await?;
        let mut shaken = Shaken { server_name: caught.take_server_name(), ..Shaken::default() };
        if let Some(SupportedCipherSuite::Tls13(suite)) = lean.state().negotiated_cipher_suite() {
            shaken.secret = caught.take_secret(suite);
        }
        lean.shaken = Some(Box::new(shaken));
        lean.allowance.renew(lean.partial.len());
        Ok(lean)
    }

    fn new(io: Box<dyn Io>, config: &ServerConfig) -> io::Result<(Arc<Caught>, Box<Self>)> {
        let (caught, config) = Caught::from(config);
        let connection = UnbufferedServerConnection::new(Arc::new(config)).map_err(machine::invalid)?;
        let lean = Self {
            io,
            machine: Machine::new(connection),
            partial: Vec::new(),
            content: Vec::new(),
            sent: 0,
            allowance: Allowance::for_a_stranger(),
            failed: None,
            incoming: Incoming::Open,
            outgoing: Outgoing::Open,
            shaken: None,
        };
        Ok((caught, Box::new(lean)))
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let over = !self.state().is_handshaking();
            // What is left of a handshake of TLS 1.3 are tickets: they go with our first content.
            if over && self.state().protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_flush(cx))?;
            if over {
                return Poll::Ready(Ok(()));
            }
            // The last part of the handshake may have content behind it.
            let mut content = std::mem::take(&mut self.content);
            let taken = self.poll_take_in(cx, &mut content, PIECE);
            self.content = content;
            if ready!(taken)? == Taken::End {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof")));
            }
        }
    }

    pub(super) fn trust_peer(&mut self) {
        self.allowance = Allowance::for_a_trusted_peer();
        self.shaken = None;
        self.machine.secret = false;
        self.allowance.renew(self.partial.len());
    }

    /// Appends up to `most` bytes of content; `Ok(0)` means that the peer sends nothing more.
    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<u8>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if !self.content.is_empty() {
            return Poll::Ready(Ok(self.give_out(into, most)));
        }
        let before = into.len();
        loop {
            let got = into.len() - before;
            let taken = match self.incoming {
                Incoming::Open => self.poll_take_in(cx, into, most.saturating_sub(got) + RECORD_OVERHEAD),
                Incoming::Ended => Poll::Ready(Ok(Taken::End)),
                Incoming::Refused => Poll::Ready(Err(Allowance::exceeded())),
                Incoming::Broken => {
                    Poll::Ready(Err(self.failed.take().unwrap_or_else(|| io::ErrorKind::InvalidData.into())))
                }
            };
            let got = into.len() - before;
            match taken {
                Poll::Ready(Ok(Taken::Full)) if got < most => {}
                // Nothing came of it, so somebody must be told when there is more.
                Poll::Ready(Ok(Taken::Part)) if got == 0 => {}
                Poll::Pending if got == 0 => return Poll::Pending,
                Poll::Ready(Err(error)) if got == 0 => return Poll::Ready(Err(error)),
                Poll::Ready(Err(error)) => {
                    if self.incoming != Incoming::Refused {
                        self.failed = Some(error);
                        self.incoming = Incoming::Broken;
                    }
                    break;
                }
                Poll::Ready(Ok(_)) | Poll::Pending => break,
            }
        }
        if into.len() - before > most {
            let rest = into.get_mut(before + most..).unwrap_or_default();
            self.content = rest.to_vec();
            if self.machine.secret {
                rest.zeroize();
            }
            into.truncate(before + most);
        }
        Poll::Ready(Ok(into.len() - before))
    }

    /// Gives out content that there was no room for.
    fn give_out(&mut self, into: &mut Vec<u8>, most: usize) -> usize {
        let (some, rest) = self.content.split_at(self.content.len().min(most));
        let given = some.len();
        if self.machine.secret {
            erasure::reserve(into, given);
            into.extend_from_slice(some);
            let rest = rest.to_vec();
            self.content.zeroize();
            self.content = rest;
        } else if rest.is_empty() {
            into.extend_from_slice(some);
            self.content = Vec::new();
        } else {
            into.extend(self.content.drain(..given));
        }
        given
    }

    /// Reads once and has it worked through.
    ///
    /// After an error of TLS the stream is broken; what was decrypted before it has been appended.
    fn poll_take_in(&mut self, cx: &mut Context<'_>, content: &mut Vec<u8>, room: usize) -> Poll<io::Result<Taken>> {
        if self.allowance.left() == 0 {
            self.incoming = Incoming::Refused;
            return Poll::Ready(Err(Allowance::exceeded()));
        }
        let room = match room.min(PIECE).saturating_sub(self.partial.len()) {
            0 => MORE,
            room => room,
        };
        let room = room.min(self.allowance.left());
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let mut piece = ReadBuf::uninit(&mut piece);
        let mut piece = piece.take(room);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        if read == 0 {
            self.incoming = Incoming::Ended;
            return Poll::Ready(Ok(Taken::End));
        }
        self.allowance.spend(read);
        let (before, unsent, shaking) = (content.len(), self.machine.out.len(), self.state().is_handshaking());
        let result = if self.partial.is_empty() {
            let (done, result) = self.machine.advance(piece.filled_mut(), content, |_, _| Ok(()));
            self.partial = piece.filled().get(done..).unwrap_or_default().to_vec();
            if self.machine.secret {
                // It was decrypted in place.
                piece.filled_mut().zeroize();
            }
            result
        } else {
            self.partial.extend_from_slice(piece.filled());
            self.advance_partial(content, |_, _| Ok(()))
        };
        if content.len() > before {
            self.allowance.renew(self.partial.len());
        }
        let result = match result {
            Ok(_) => {
                if self.machine.peer_closed {
                    self.incoming = Incoming::Ended;
                    self.partial = Vec::new();
                }
                Ok(if read == room { Taken::Full } else { Taken::Part })
            }
            Err(error) => {
                self.give_up();
                Err(error)
            }
        };
        if result.is_err() || (!shaking && self.machine.out.len() > unsent) {
            // An alert, or an answer of TLS itself. If the socket does not take it now it goes before
            // the next content; if it is broken the next write tells.
            let _ = self.poll_send(cx);
        }
        Poll::Ready(result)
    }

    /// After an error of TLS: only its alert is still sent.
    fn give_up(&mut self) {
        self.incoming = Incoming::Broken;
        self.machine.give_up(&mut self.partial);
        self.partial = Vec::new();
    }

    /// Goes on with the kept bytes, of which only the unfinished record is kept further.
    fn advance_partial<R>(
        &mut self,
        content: &mut Vec<u8>,
        then: impl FnOnce(&mut machine::Sealer<'_>, &mut Vec<u8>) -> io::Result<R>,
    ) -> io::Result<Standing<R>> {
        let (done, result) = self.machine.advance(&mut self.partial, content, then);
        if done > 0 {
            let rest = self.partial.get(done..).unwrap_or_default().to_vec();
            if self.machine.secret {
                self.partial.zeroize();
            }
            self.partial = rest;
        }
        result
    }

    /// Does something to the writing side, which is open.
    fn at_rest(
        &mut self,
        then: impl FnOnce(&mut machine::Sealer<'_>, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut content = std::mem::take(&mut self.content);
        // What is kept holds no complete record: nothing new comes of it.
        let result = self.advance_partial(&mut content, then);
        self.content = content;
        match result {
            Ok(Standing::Open(())) => Ok(()),
            Ok(Standing::Handshake | Standing::Closed) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    /// Encrypts a front part of `bytes`; it may wait for a flush.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.incoming == Incoming::Broken || self.outgoing == Outgoing::Closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !self.machine.out.is_empty() && self.machine.out.len().saturating_add(bytes.len()) > BATCH {
            ready!(self.poll_send(cx))?;
        }
        let bytes = bytes.get(..BATCH).unwrap_or(bytes);
        if !bytes.is_empty() {
            self.at_rest(|sealer, out| machine::seal(sealer, bytes, out))?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Sends `close_notify` and ends our direction.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing == Outgoing::Open {
            self.outgoing = Outgoing::Closed;
            if self.incoming != Incoming::Broken {
                self.io.conclude();
                self.at_rest(machine::say_goodbye)?;
            }
        }
        ready!(self.poll_send(cx))?;
        match ready!(Pin::new(&mut self.io).poll_shutdown(cx)) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }

    /// Hands the output to the socket and frees it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.machine.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.sent += taken,
            }
        }
        self.machine.out = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    pub(super) fn exporter(&self) -> Option<[u8; 32]> {
        self.shaken.as_ref()?.secret.as_ref()?.export()
    }

    /// What [`Self::exporter`] is made of.
    pub(super) fn take_secret(&mut self) -> Option<ExporterSecret> {
        self.shaken.as_mut()?.secret.take()
    }

    pub(super) fn end_point(&self) -> Option<&[u8]> {
        self.shaken.as_ref()?.end_point.as_deref()
    }

    pub(super) fn set_end_point(&mut self, hash: Option<Arc<[u8]>>) {
        if let Some(shaken) = &mut self.shaken {
            shaken.end_point = hash;
        }
    }

    pub(super) fn state(&self) -> &CommonState {
        self.machine.state()
    }

    /// What the peer asked for by SNI.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.shaken.as_ref()?.server_name.as_deref()
    }
}
