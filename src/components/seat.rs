//! The place of a component at this server, held by one connection. Whoever drops it gives it back, in
//! whatever way that comes about: what has not arrived is answered, and who thought that somebody was
//! there learns better.
//!
//! **In doubt.** The protocol has no acknowledgement, so a stanza that was handed to the operating
//! system completely is regarded as delivered; half of one is of no use to anybody.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::clock::Timestamp;
use crate::net::Transport;
use crate::routing::Router;
use crate::stanza::Stanza;
use crate::stream::{ContentNamespace, read_back};

use super::component::{Component, Occupied, not_connected};

pub(super) struct Seat {
    pub(super) component: Arc<Component>,
    pub(super) router: Arc<Router>,
    /// What is being written: it began at the edge of a stanza.
    bytes: Vec<u8>,
    /// How many of them the transport has taken.
    sent: usize,
    /// Whether it has taken any since somebody last asked.
    moved: bool,
}

impl Seat {
    /// Takes the seat of `component`; `greeting` is the first that goes out.
    pub(super) async fn take(
        component: &Arc<Component>,
        router: Arc<Router>,
        (since, address): (Timestamp, Option<SocketAddr>),
        greeting: &str,
    ) -> Result<Self, Occupied> {
        component.take_place(since, address, greeting).await?;
        Ok(Self { component: Arc::clone(component), router, bytes: Vec::new(), sent: 0, moved: false })
    }

    /// Moves what waits into the transport; pending when the one has nothing to give or the other takes
    /// nothing. Ready is the end of the connection.
    pub(super) fn poll_flush(&mut self, transport: &mut Transport, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            if let Err(error) = ready!(self.poll_write(transport, context)) {
                return Poll::Ready(error);
            }
            ready!(self.component.poll_take(context, &mut self.bytes));
        }
    }

    /// Moves what waits into the transport until nothing does.
    pub(super) fn poll_drained(
        &mut self,
        transport: &mut Transport,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_write(transport, context))?;
            self.component.take_rest(&mut self.bytes);
            if self.bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_write(&mut self, transport: &mut Transport, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(transport.poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => {
                    self.sent += taken;
                    self.moved = true;
                    self.component.handed_over(taken);
                }
            }
        }
        ready!(transport.poll_flush(context))?;
        (self.bytes, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Whether everything that was taken out has been written.
    pub(super) const fn is_idle(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the transport has taken anything since the last time this was asked.
    pub(super) const fn has_moved(&mut self) -> bool {
        std::mem::replace(&mut self.moved, false)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let rest = self.component.leave_place();
        // They came out of a string. If they were none any more, nothing could be answered.
        let mut text = String::from_utf8(std::mem::take(&mut self.bytes)).unwrap_or_default();
        text.push_str(&rest);
        let (mut batch, mut bounced, error) = (self.router.batch(), 0, not_connected());
        unsent(&text, self.sent, |stanza| {
            if let Some(answer) = stanza.error(&error) {
                bounced += 1;
                self.router.bounce(&answer, &mut batch);
            }
        });
        batch.finish();
        if bounced > 0 {
            tracing::warn!(component = self.component.name(), bounced, "stanzas did not reach a component");
        }
        let (component, router) = (Arc::clone(&self.component), Arc::clone(&self.router));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                router.absent(component.name()).await;
                component.free_place();
            })),
            // The server ends, and with it everybody who could be told.
            Err(_) => component.free_place(),
        }
    }
}

/// Reads back the stanzas in `text`, our own words, that do not end among its first `sent` bytes.
fn unsent(text: &str, sent: usize, mut each: impl FnMut(Stanza<'_>)) {
    let all = read_back(text, ContentNamespace::Component);
    all.filter(|(end, _)| *end > sent).for_each(|(_, stanza)| each(stanza));
}

#[cfg(test)]
mod tests {
    use super::unsent;

    #[test]
    fn only_what_was_not_written_comes_back() {
        let (first, second) = ("<handshake/><message id='a'/>", "<iq type='get' id='b'><x xmlns='x'/></iq>");
        let text = format!("{first}{second} <presence id='c'/>");
        let ids = |sent| {
            let mut ids = String::new();
            unsent(&text, sent, |stanza| ids.push_str(stanza.id.as_deref().unwrap()));
            ids
        };
        assert_eq!(ids(0), "abc");
        assert_eq!(ids(first.len() - 1), "abc", "half a stanza is none");
        assert_eq!(ids(first.len()), "bc");
        assert_eq!(ids(first.len() + second.len()), "c");
        assert_eq!(ids(text.len()), "");
    }
}
