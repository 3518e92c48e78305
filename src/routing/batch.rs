//! What one wake-up of one input task causes, gathered: log appends, sessions to wake, stanzas for
//! other domains.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::oneshot;

use crate::jid::{BareJid, Jid};
use crate::stanza::Stanza;
use crate::storage::{Position, Receipt, Storage, Writes};

use super::account::{Account, State};
use super::binding::Binding;
use super::marks::Mark;
use super::remote::{Leaving, Pair, RemoteDelivery};
use super::ring::{Pushed, Ring};
use super::suspended::note_handled;

/// So many sessions are written to in one go by whoever has something for them, without a switch of tasks for each. The others
/// are left to their own tasks, so that nobody else waits long.
const AT_ONCE: usize = 512;

/// Keeps account of how much of a batch has been routed, for somebody who is told what is in safe hands.
pub trait Progress: Send {
    /// The first `routed` stanzas have had their effects, and `writes`, if it is not empty, is about to be handed to the
    /// storage writer: what is added is durable together with them.
    fn reached(&mut self, routed: usize, writes: &mut Writes);
}

/// Whose stanzas a batch routes.
enum Followed {
    Nobody,
    /// Those of another server that counts.
    Peer(Box<dyn Progress>),
    /// Those of a client that counts, in this session of its account.
    Client(Arc<Account>, Arc<Ring>),
}

/// A list that seldom has more than one element, which is not on the heap.
struct Few<T> {
    first: Option<T>,
    others: Vec<T>,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self { first: None, others: Vec::new() }
    }
}

impl<T> Few<T> {
    const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    fn push(&mut self, element: T) {
        if self.first.is_none() {
            self.first = Some(element);
        } else {
            self.others.push(element);
        }
    }

    /// Takes one out; the others stay, whatever comes of it.
    fn pop(&mut self) -> Option<T> {
        self.others.pop().or_else(|| self.first.take())
    }
}

/// The effects of routing, applied together.
///
/// Dropping it applies them too: a session that is cancelled owes its receivers their wake-up.
pub struct Batch {
    storage: Storage,
    remote: Arc<dyn RemoteDelivery>,
    pub(super) writes: Writes,
    /// The message that is being routed as the logs keep it, once one of them does.
    pub(super) text: Option<Arc<str>>,
    /// Accounts with changes that the storage writer does not have yet: as long as they are held
    /// here they stay in memory, so nobody reads an older state.
    held: Vec<Arc<Account>>,
    /// Sessions whose rings have something that has not gone out.
    dirty: Few<Arc<Ring>>,
    /// Tasks of services that have something to do.
    idle: Vec<Waker>,
    links: Vec<(Pair, Vec<Leaving>)>,
    /// What services have to say to others because of what they were given.
    posted: Vec<Stanza<'static>>,
    /// Covers everything that was handed to the storage writer.
    receipt: Receipt,
    /// Those who wait to know under which receipt the changes are that are here now.
    asking: Vec<oneshot::Sender<Receipt>>,
    /// Whoever sends what is routed is told when it is in safe hands.
    pub(super) promised: bool,
    followed: Followed,
    /// So many stanzas have been routed, and whether the next one has had its effects already.
    routed: u64,
    is_kept: bool,
}

impl Batch {
    pub(super) fn new(storage: Storage, remote: Arc<dyn RemoteDelivery>) -> Self {
        Self {
            storage,
            remote,
            writes: Writes::default(),
            text: None,
            held: Vec::new(),
            dirty: Few::default(),
            idle: Vec::new(),
            links: Vec::new(),
            posted: Vec::new(),
            receipt: Receipt::NONE,
            asking: Vec::new(),
            promised: false,
            followed: Followed::Nobody,
            routed: 0,
            is_kept: false,
        }
    }

    /// From here on somebody is told when what is routed is in safe hands.
    pub const fn promise(&mut self) {
        self.promised = true;
    }

    /// The same, and `progress` is told how far that has come whenever something is written.
    pub fn follow(&mut self, progress: Box<dyn Progress>) {
        self.promise();
        self.followed = Followed::Peer(progress);
    }

    /// The same for the session of `binding`, of which `count` stanzas have come before: if its client may come back, what
    /// it has handled is written together with whatever that caused.
    pub fn follow_client(&mut self, binding: &Binding, count: u64) {
        self.promise();
        self.followed = Followed::Client(Arc::clone(&binding.account), Arc::clone(&binding.ring));
        (self.routed, self.is_kept) = (count, false);
    }

    /// Nobody follows from here on.
    pub fn unfollow(&mut self) {
        self.followed = Followed::Nobody;
    }

    /// One more stanza has had its effects.
    pub const fn routed(&mut self) {
        (self.routed, self.is_kept) = (self.routed + 1, false);
    }

    /// The stanza that is being routed has had its effects, so what is written now is the end of it.
    pub(super) const fn kept(&mut self) {
        self.is_kept = true;
    }

    /// Writes one stanza into a session's ring; `false` if the session takes none any more.
    pub(super) fn push(&mut self, ring: &Arc<Ring>, write: impl FnOnce(&mut String)) -> bool {
        self.pushed(ring, ring.push(write))
    }

    /// The same for a stanza that may wait if nobody looks at the client.
    pub(super) fn push_stanza(
        &mut self,
        ring: &Arc<Ring>,
        stanza: &Stanza<'_>,
        write: impl FnOnce(&mut String),
    ) -> bool {
        self.pushed(ring, ring.push_stanza(stanza, write))
    }

    /// The same for very many stanzas at once, which others have as well.
    pub(super) fn show(&mut self, ring: &Arc<Ring>, stanzas: VecDeque<Arc<Stanza<'static>>>, to: &Jid) -> bool {
        self.pushed(ring, ring.show(stanzas, to))
    }

    /// The same for an IQ result or error.
    pub(super) fn push_answer(&mut self, ring: &Arc<Ring>, answer: &Stanza<'_>) -> bool {
        let id = answer.id.as_deref().unwrap_or_default();
        self.pushed(ring, ring.push_answer(id, |out| answer.write(out)))
    }

    /// The same for a stanza that is an entry in the log of `account`.
    pub(super) fn push_entry(
        &mut self,
        account: &BareJid,
        ring: &Arc<Ring>,
        mark: Mark,
        write: impl FnOnce(&mut String),
    ) -> bool {
        let (pushed, queued) = ring.push_entry(mark, write);
        if let Some(queued) = queued {
            self.writes.queue(account, Position::new(mark.position()), queued);
        }
        self.pushed(ring, pushed)
    }

    fn pushed(&mut self, ring: &Arc<Ring>, pushed: Pushed) -> bool {
        match pushed {
            Pushed::First => {
                self.dirty.push(Arc::clone(ring));
                true
            }
            Pushed::Joined => true,
            Pushed::Refused => false,
        }
    }

    /// Wakes the task of a service once everything has been routed. A service whose task knows that it
    /// has something to do asks for it once, not for each stanza.
    pub fn wake(&mut self, task: Waker) {
        self.idle.push(task);
    }

    /// Has what a service of ours says to somebody delivered, with everything else that comes of this: somebody's account
    /// may have to be read for that. Whoever gave the service a stanza sees to it ([`super::Router::deliver_posted`]).
    pub fn post(&mut self, stanza: Stanza<'static>) {
        self.posted.push(stanza);
    }

    /// What has been said so far, to be delivered in this order; more may come of that.
    pub(super) fn take_posted(&mut self) -> Vec<Stanza<'static>> {
        std::mem::take(&mut self.posted)
    }

    pub(super) const fn has_posted(&self) -> bool {
        !self.posted.is_empty()
    }

    /// Does something with another stanza than the one that is being routed: the logs keep what that one says.
    pub(super) fn beside<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let text = self.text.take();
        let done = work(self);
        self.text = text;
        done
    }

    /// What a service of ours wants stored together with everything else that comes of this.
    pub const fn writes(&mut self) -> &mut Writes {
        &mut self.writes
    }

    /// Tells under which receipt it is, once the storage writer has it.
    pub fn receipt_to_come(&mut self) -> oneshot::Receiver<Receipt> {
        let (told, asking) = oneshot::channel();
        self.asking.push(told);
        asking
    }

    /// Something else has been submitted that is part of what comes of this.
    pub fn cover(&mut self, receipt: Receipt) {
        self.receipt = self.receipt.max(receipt);
    }

    /// Whether anything was written to storage, or will be.
    #[must_use]
    pub fn has_written(&self) -> bool {
        !self.writes.is_empty() || self.receipt != Receipt::NONE
    }

    /// Keeps an account in memory until its changes are on their way to storage.
    pub(super) fn hold(&mut self, account: &Arc<Account>) {
        if !self.held.last().is_some_and(|last| Arc::ptr_eq(last, account)) {
            self.held.push(Arc::clone(account));
        }
    }

    /// Queues a stanza of the local domain `local` for another domain.
    pub(super) fn send(&mut self, local: &Arc<str>, remote: &str, stanza: Leaving) {
        let known = self.links.iter_mut().find(|(pair, _)| pair.local == *local && &*pair.remote == remote);
        match known {
            Some((_, stanzas)) => stanzas.push(stanza),
            None => self.links.push((Pair { local: Arc::clone(local), remote: remote.into() }, vec![stanza])),
        }
    }

    /// Hands what is for other domains over to whoever sends it there, before anything that somebody else has for them.
    pub fn hand_over(&mut self) {
        for (pair, stanzas) in self.links.drain(..) {
            self.remote.send(&pair, stanzas);
        }
    }

    /// Hands the changes so far to the storage writer, which takes them in this order, and before that what is for other
    /// domains to whoever sends it there.
    pub(super) fn write(&mut self) {
        // Before the entries of what leaves are with the writer: from then on somebody may ask what has become of it.
        self.hand_over();
        let routed = self.routed + u64::from(self.is_kept);
        match &mut self.followed {
            Followed::Client(account, ring) if !self.writes.is_empty() => {
                note_handled(account.jid.as_jid(), ring, routed, &mut self.writes);
            }
            Followed::Client(..) | Followed::Nobody => {}
            Followed::Peer(progress) => {
                progress.reached(usize::try_from(routed).unwrap_or(usize::MAX), &mut self.writes);
            }
        }
        let receipt = self.storage.submit(std::mem::take(&mut self.writes));
        self.receipt = self.receipt.max(receipt);
        for asking in self.asking.drain(..) {
            // Whoever has asked may not wait any more.
            let _ = asking.send(self.receipt);
        }
    }

    /// The same with the lock held of an account of which something has changed that is kept as a whole, and not as an entry: what
    /// somebody else makes of it next, in a batch that may end earlier, comes behind it.
    pub(super) fn write_locked(&mut self, _locked: &State) {
        self.write();
    }

    /// Applies everything so far. What was written to storage is durable once the receipt is.
    pub fn flush(&mut self) -> Receipt {
        self.write();
        self.held.clear();
        // Where somebody's connection has made this one panic, the tasks of the others see to theirs.
        let at_once = if std::thread::panicking() { 0 } else { AT_ONCE };
        // First those that others write to, who can begin meanwhile.
        while self.dirty.len() > at_once
            && let Some(ring) = self.dirty.pop()
        {
            ring.wake();
        }
        while let Some(ring) = self.dirty.pop() {
            ring.flush();
        }
        self.idle.drain(..).for_each(Waker::wake);
        self.receipt
    }

    /// Whether everything has been applied, and nobody is to be told of it.
    fn is_applied(&self) -> bool {
        matches!(self.followed, Followed::Nobody)
            && self.writes.is_empty()
            && self.dirty.is_empty()
            && self.links.is_empty()
            && self.idle.is_empty()
            && self.asking.is_empty()
    }

    /// Applies everything.
    #[expect(clippy::must_use_candidate, reason = "who promises nothing needs no receipt")]
    pub fn finish(mut self) -> Receipt {
        let receipt = self.flush();
        // Nothing comes between this and its end, so nobody is told of that.
        self.unfollow();
        receipt
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.is_applied() {
            self.flush();
        }
    }
}
