//! A stream before a resource is bound: question and answer (RFC 6120 §4 to §7).

use std::time::SystemTime;

use zeroize::{Zeroize, Zeroizing};

use crate::net::Transport;
use crate::net::tls::Acceptor;
use crate::stream::{ContentNamespace, Event, Framing, Limits, Reader};

use super::wire::{End, Wire};

/// Room for the usual answer: nothing grows, and nothing is moved, while it is written.
const ANSWER: usize = 2048;

/// Where answers wait for each other there is no more than this, and the last of them.
const MUCH: usize = 2 * ANSWER;

/// A wire on which nothing happens unless the peer asks for it.
///
/// What is said goes out when there is nothing to listen to any more: one question has one answer, in one write, of which
/// the peer learns at once, and so have several that it asks in one breath.
pub(super) struct Dialogue {
    pub(super) wire: Wire,
    /// What was said and has not gone out.
    said: String,
    /// When the certificate ends that the client has shown, if it proves anything.
    pub(super) certificate_ends: Option<SystemTime>,
}

impl Dialogue {
    pub(super) const fn new(transport: Transport) -> Self {
        let reader = Reader::new(Framing::Stream, ContentNamespace::Client, Limits::UNAUTHENTICATED);
        let wire = Wire { transport, reader, input: Vec::new(), opened: false };
        Self { wire, said: String::new(), certificate_ends: None }
    }

    /// What is said next is appended here.
    pub(super) fn said(&mut self) -> &mut String {
        self.make_room(ANSWER / 2);
        &mut self.said
    }

    pub(super) fn say(&mut self, text: &str) {
        self.make_room(text.len());
        self.said.push_str(text);
    }

    /// There may be a token in what was said: where room is made here, nothing of it stays in the old place.
    fn make_room(&mut self, more: usize) {
        let needed = self.said.len() + more;
        if self.said.capacity() < needed {
            let mut moved = String::with_capacity(needed.max(2 * self.said.capacity()).max(ANSWER));
            moved.push_str(&self.said);
            self.said.zeroize();
            self.said = moved;
        }
    }

    /// Sends what was said.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if self.said.is_empty() {
            return Ok(());
        }
        // There may be a token in it.
        let said = Zeroizing::new(std::mem::take(&mut self.said));
        Ok(self.wire.transport.write_all(said.as_bytes()).await?)
    }

    /// The next event. What was said is sent before that is waited for.
    pub(super) async fn event(&mut self) -> Result<Event<'static>, End> {
        if self.said.len() < MUCH
            && let Some(event) = self.wire.next()?
        {
            return Ok(event);
        }
        self.flush().await?;
        self.wire.event().await
    }

    /// Sends what was said and negotiates TLS; nothing that came before it is used after it.
    pub(super) async fn secure(&mut self, acceptor: Acceptor) -> Result<(), End> {
        self.flush().await?;
        self.wire.secure(acceptor).await
    }

    /// Ends the stream behind what was said.
    pub(super) async fn finish(self, end: End) {
        self.wire.finish(end, self.said.into_bytes()).await;
    }
}
