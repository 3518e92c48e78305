//! A batch of changes: applied together or not at all.

use std::sync::Arc;

use super::log::Open;
use super::{Entry, Marks, Position, Queued, Slot};
use crate::jid::BareJid;

/// Changes for the writer. Values are added through [`super::Cell`] and [`super::Map`], log entries here.
#[derive(Debug, Default)]
#[must_use = "changes are lost unless they are submitted"]
pub struct Writes {
    changes: Vec<(BareJid, Change)>,
    bytes: usize,
    /// The entries are not submitted yet.
    open: Option<Open>,
    /// Below this position every entry has arrived or is marked as undelivered.
    handed: Option<Position>,
}

/// One change, as the backends apply it.
#[derive(Debug)]
pub(super) enum Change {
    PutCell { name: &'static str, value: String },
    DeleteCell { name: &'static str },
    PutItem { name: &'static str, key: String, value: String },
    DeleteItem { name: &'static str, key: String },
    ClearMap { name: &'static str },
    Append { position: Position, entry: Entry },
    Mark { position: Position, marks: Marks },
    Unmark { position: Position, marks: Marks },
    Queue { position: Position, queued: Queued },
    Replace { position: Position, payload: Arc<str> },
    Remove { position: Position },
    Trim,
    DeleteOwner,
}

/// What a change costs in the queue beside its texts.
const CHANGE: usize = size_of::<(BareJid, Change)>();

impl Writes {
    pub const fn new() -> Self {
        Self { changes: Vec::new(), bytes: 0, open: None, handed: None }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.handed.is_none()
    }

    /// Adds the changes of `later` behind those of this batch.
    pub fn append_all(&mut self, mut later: Self) {
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.changes.append(&mut later.changes);
        self.keep_open(later.open.take());
        self.handed = self.handed.max(later.handed);
    }

    /// Appends `entry` to the log of `owner` and returns its position. An entry without marks is not kept.
    pub fn append(&mut self, owner: &BareJid, slot: Slot, entry: Entry) -> Position {
        let (position, open) = slot.open();
        self.keep_open(Some(open));
        let bytes = entry.peer.len().saturating_add(entry.payload.len());
        self.add(owner, Change::Append { position, entry }, bytes);
        position
    }

    /// Sets `marks` of an entry.
    pub fn mark(&mut self, owner: &BareJid, position: Position, marks: Marks) {
        self.add(owner, Change::Mark { position, marks }, 0);
    }

    /// Clears `marks` of an entry, and [`Marks::QUEUED`] with them; if none is left, the entry goes.
    pub fn unmark(&mut self, owner: &BareJid, position: Position, marks: Marks) {
        self.add(owner, Change::Unmark { position, marks }, 0);
    }

    /// Says that every entry below `upto` has arrived or is marked as undelivered: entries there that are nothing but
    /// [`Marks::QUEUED`] go.
    pub fn hand_over(&mut self, upto: Position) {
        self.handed = self.handed.max(Some(upto));
    }

    /// Notes that an entry has this number in the queue of a session. It is forgotten when the entry has arrived.
    pub fn queue(&mut self, owner: &BareJid, position: Position, queued: Queued) {
        self.add(owner, Change::Queue { position, queued }, 0);
    }

    /// Puts another payload in the place of that of an entry; everything else of it stays, and so does one that is
    /// damaged.
    pub fn replace(&mut self, owner: &BareJid, position: Position, payload: Arc<str>) {
        let bytes = payload.len();
        self.add(owner, Change::Replace { position, payload }, bytes);
    }

    /// Deletes an entry, whatever its marks.
    pub fn remove(&mut self, owner: &BareJid, position: Position) {
        self.add(owner, Change::Remove { position }, 0);
    }

    /// Forgets what is known of the oldest entries of `owner` that are gone; for whoever has deleted many.
    pub fn trim(&mut self, owner: &BareJid) {
        self.add(owner, Change::Trim, 0);
    }

    /// Deletes `owner` with everything it has.
    pub fn delete_owner(&mut self, owner: &BareJid) {
        self.add(owner, Change::DeleteOwner, 0);
    }

    pub(super) fn put_cell(&mut self, owner: &BareJid, name: &'static str, value: String) {
        let bytes = value.len();
        self.add(owner, Change::PutCell { name, value }, bytes);
    }

    pub(super) fn delete_cell(&mut self, owner: &BareJid, name: &'static str) {
        self.add(owner, Change::DeleteCell { name }, 0);
    }

    pub(super) fn put_item(&mut self, owner: &BareJid, name: &'static str, key: &str, value: String) {
        let bytes = key.len().saturating_add(value.len());
        self.add(owner, Change::PutItem { name, key: key.to_owned(), value }, bytes);
    }

    pub(super) fn delete_item(&mut self, owner: &BareJid, name: &'static str, key: &str) {
        self.add(owner, Change::DeleteItem { name, key: key.to_owned() }, key.len());
    }

    pub(super) fn clear_map(&mut self, owner: &BareJid, name: &'static str) {
        self.add(owner, Change::ClearMap { name }, 0);
    }

    pub(super) const fn handed(&self) -> Option<Position> {
        self.handed
    }

    pub(super) fn changes(&self) -> &[(BareJid, Change)] {
        &self.changes
    }

    /// How many rows the changes touch, about.
    pub(super) const fn rows(&self) -> usize {
        self.changes.len()
    }

    /// How much memory the changes hold, about.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What says that the entries may still come. To be dropped once they are with the writer.
    pub(super) const fn take_open(&mut self) -> Option<Open> {
        self.open.take()
    }

    fn keep_open(&mut self, open: Option<Open>) {
        self.open = match (self.open.take(), open) {
            (Some(known), Some(open)) => Some(known.join(open)),
            (known, open) => known.or(open),
        };
    }

    fn add(&mut self, owner: &BareJid, change: Change, bytes: usize) {
        self.bytes = self.bytes.saturating_add(CHANGE).saturating_add(bytes);
        self.changes.push((owner.clone(), change));
    }
}
