//! Messages to other domains whose senders are told that they are in safe hands: the log of the local domain has them
//! until the other server does.
//!
//! Their entries are like those of messages on their way to sessions: queued when they are written, undelivered when they
//! have not arrived after a while ([`super::watch`]), and gone when they have. Which of them have arrived is the business
//! of [`super::RemoteDelivery`].

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::hooks::Passing;
use crate::jid::BareJid;
use crate::stanza::{Kind, Stanza};
use crate::storage::{Direction, Error, Position, Stored, Writes};

use super::Router;
use super::batch::Batch;
use super::hosts::Host;
use super::passage::keep;
use super::remote::{Kept, Leaving, Pair};
use super::suspended::stanza;

/// So many entries are read at a time.
const PORTION: usize = 256;

impl Router {
    /// Has the log of the local domain `local` keep a message to another one, if somebody is told that it is safe.
    pub(super) fn outbox(&self, local: &Arc<str>, stanza: &Stanza<'_>, batch: &mut Batch) -> Option<Kept> {
        if !batch.promised || !matches!(stanza.kind, Kind::Message(_)) {
            return None;
        }
        let (owner, time) = (BareJid::from_kept(local), self.clock.now());
        let mut passing = Passing::new(&owner, Direction::Sent, stanza, time);
        passing.promised = true;
        self.stages()?.queued(&mut passing);
        let position = passing.position()?;
        keep(passing, batch);
        Some(Kept { position, time, left_behind: None })
    }

    /// Sends what the last run of the server has left behind. To be called once, before anybody connects.
    ///
    /// # Errors
    /// What storage says.
    pub async fn send_left_behind(&self) -> Result<(), Error> {
        for local in self.hosts.all() {
            let owner = BareJid::from_kept(local);
            let mut after = None;
            loop {
                let page = self.storage.undelivered(&owner, after, PORTION).await?;
                let mut writes = Writes::new();
                for position in page.damaged {
                    tracing::error!(%local, position = position.number(), "a message to another server is damaged and lost");
                    writes.remove(&owner, position);
                }
                for stored in page.entries {
                    self.send_again(local, &owner, stored, &mut writes).await;
                }
                self.storage.submit(writes);
                after = page.more;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn send_again(&self, local: &Arc<str>, owner: &BareJid, stored: Stored, writes: &mut Writes) {
        let Stored { position, entry } = stored;
        let message = stanza(&entry.payload).and_then(|message| Some((message.to.clone()?, message)));
        let Some((to, message)) = message else {
            tracing::error!(%local, position = position.number(), "a message to another server makes no sense and is lost");
            return writes.remove(owner, position);
        };
        if !matches!(self.hosts.of(to.domain()), Host::Remote) {
            // Its domain has become one of ours.
            writes.remove(owner, position);
            let mut batch = self.batch();
            self.deliver(message, &mut batch).await;
            batch.finish();
            return;
        }
        let pair = Pair { local: Arc::clone(local), remote: to.domain().into() };
        self.remote.send(&pair, vec![Leaving { stanza: message, kept: Some(self.left_behind(position, entry.time)) }]);
    }

    fn left_behind(&self, position: Position, time: u64) -> Kept {
        let time = Timestamp::from_unix_ms(time.try_into().unwrap_or(i64::MAX));
        Kept { position, time, left_behind: Some(self.clock.now().since(time)) }
    }
}
