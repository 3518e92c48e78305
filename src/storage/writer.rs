//! The writer: groups of jobs in, durable numbers out. A state machine without thread, clock or runtime: production
//! drives it from one thread (`thread.rs`), tests and the simulator by hand.

use std::time::Duration;

use tokio::sync::oneshot;

use super::log::Positions;
use super::{Error, Lost, Receipt, Writes};
use crate::jid::BareJid;

/// How long changes are gathered when somebody waits for them.
const AWAITED: Duration = Duration::from_millis(2);
/// How long changes are gathered when nobody waits.
const NOBODY: Duration = Duration::from_millis(20);
/// A group with so many rows is full.
const ROWS: usize = 512;
/// A group with so many bytes is full.
const BYTES: usize = 1 << 20;
/// So many positions are indexed at a time: enough that neighbours in the index come together, few enough that those who
/// read past what is not indexed yet are soon done.
const INDEXED: u64 = 4096;
/// After so many bytes the writer moves the write-ahead log into the database even when it is busy.
const CHECKPOINT: usize = 16 << 20;

/// Changes that are applied together or not at all.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) receipt: Receipt,
    pub(super) writes: Writes,
    pub(super) creation: Option<Creation>,
}

/// The owner that must not exist before the job, and who wants to know.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) owner: BareJid,
    pub(super) answer: oneshot::Sender<Verdict>,
}

/// What became of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Created,
    Exists,
}

/// Whether somebody waits for what is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    Awaited,
    Nobody,
}

/// What is queued.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backlog {
    pub(super) rows: usize,
    pub(super) bytes: usize,
    pub(super) urgency: Urgency,
    /// How long the oldest job has waited.
    pub(super) age: Duration,
}

impl Backlog {
    pub(super) const fn is_full(&self) -> bool {
        self.rows >= ROWS || self.bytes >= BYTES
    }

    /// How long to gather further; zero if the group is to be written now.
    pub(super) fn due(&self) -> Duration {
        let patience = match self.urgency {
            _ if self.is_full() => Duration::ZERO,
            Urgency::Awaited => AWAITED,
            Urgency::Nobody => NOBODY,
        };
        patience.saturating_sub(self.age)
    }
}

/// The size of the jobs that go into one transaction.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Group {
    pub(super) const fn is_full(&self) -> bool {
        self.rows >= ROWS || self.bytes >= BYTES
    }

    pub(super) fn add(&mut self, job: &Job) {
        self.rows = self.rows.saturating_add(job.writes.rows()).saturating_add(usize::from(job.creation.is_some()));
        self.bytes = self.bytes.saturating_add(job.writes.bytes());
    }
}

/// How much of the write-ahead log a checkpoint moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checkpoint {
    /// What no reader needs, without waiting for anybody.
    Passive,
    /// Everything, and the log is emptied.
    Whole,
}

/// How far the log is taken care of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Positions below this one may be handed out.
    pub(super) reserved: u64,
    /// Archived entries below this one are found by their owner.
    pub(super) indexed: u64,
}

/// How far the log has come, in the view of those who append to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advance {
    /// The position that is handed out next.
    pub(super) next: u64,
    /// Everything below this position was submitted ...
    pub(super) settled: u64,
    /// ... with this receipt at the latest.
    pub(super) latest: Receipt,
}

/// What keeps the data: one database with one writing connection.
pub(super) trait Backend: Send {
    /// Applies the jobs in one transaction and syncs it; with [`Error::NoRoom`] nothing of them is in the data, and they
    /// may be tried again. A job whose owner exists already is left out, and its receipt is returned. `reserve` says which
    /// positions may be handed out from now on (all below it), `index` up to which position the log is to be indexed when
    /// the jobs are in it.
    fn commit(&mut self, jobs: &[Job], reserve: Option<u64>, index: Option<u64>) -> Result<Vec<Receipt>, Error>;

    /// Moves what is committed to its final place. If there is no room for that, it stays where it is.
    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), Error>;

    /// Touches the disk no more, not even when it is dropped: what is on it is unknown.
    fn abandon(&mut self);

    /// Gives back the memory that only saves time while there is much to do. Nothing depends on its success.
    fn relax(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Writer<B> {
    backend: B,
    bounds: Bounds,
    /// Up to where the log is indexed next, as soon as everything below is in it: with this receipt.
    complete: Option<(u64, Receipt)>,
    /// How many bytes were committed since the last checkpoint.
    unchecked: usize,
    /// What found no room on the disk. It comes before everything else.
    waiting: Vec<Job>,
    lost: Option<Lost>,
}

/// What a step achieved.
#[derive(Debug)]
pub(super) struct Done {
    /// Everything up to this receipt is durable.
    pub(super) durable: Receipt,
    pub(super) answers: Vec<(oneshot::Sender<Verdict>, Verdict)>,
}

impl<B: Backend> Writer<B> {
    /// A writer over an opened backend.
    pub(super) const fn new(backend: B, bounds: Bounds) -> Self {
        Self { backend, bounds, complete: None, unchecked: 0, waiting: Vec::new(), lost: None }
    }

    /// Commits `jobs` behind those that found no room before; says nothing if there still is none. After any other error
    /// there is no success any more: what the failed commit left behind on the disk is unknown, so a second attempt
    /// could acknowledge what is not there.
    pub(super) fn step(&mut self, mut jobs: Vec<Job>, advance: Advance) -> Result<Option<Done>, Lost> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let was_full = self.has_no_room();
        drop(jobs.splice(..0, std::mem::take(&mut self.waiting)));
        let reserve = advance.next.saturating_add(Positions::RANGE);
        let reserve = (reserve.saturating_sub(self.bounds.reserved) > Positions::RANGE / 2).then_some(reserve);
        let index = self.due_index(&jobs, advance);
        let existing = match self.backend.commit(&jobs, reserve, index) {
            Ok(existing) => existing,
            Err(error @ Error::NoRoom(_)) => {
                if !was_full {
                    tracing::error!(%error, "nothing is acknowledged until there is room again");
                }
                self.waiting = jobs;
                return Ok(None);
            }
            Err(error) => return Err(self.lose(&error)),
        };
        if was_full {
            tracing::warn!("there is room on the disk again: what waited is written");
        }
        self.bounds.reserved = reserve.unwrap_or(self.bounds.reserved);
        self.bounds.indexed = index.unwrap_or(self.bounds.indexed);
        let mut durable = Receipt::NONE;
        let mut answers = Vec::new();
        for job in jobs {
            durable = durable.max(job.receipt);
            self.unchecked = self.unchecked.saturating_add(job.writes.bytes());
            if let Some(creation) = job.creation {
                let verdict = if existing.contains(&job.receipt) { Verdict::Exists } else { Verdict::Created };
                answers.push((creation.answer, verdict));
            }
        }
        Ok(Some(Done { durable, answers }))
    }

    /// Whether something waits for room on the disk. Another step tries it again.
    pub(super) const fn has_no_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Empties the write-ahead log if it has grown large. To be called after a step, when its receipts are published.
    pub(super) fn relieve(&mut self) -> Result<(), Lost> {
        if self.unchecked >= CHECKPOINT { self.checkpoint(Checkpoint::Passive) } else { Ok(()) }
    }

    /// Up to where the log can be indexed together with `jobs`, if it is time for that.
    fn due_index(&mut self, jobs: &[Job], advance: Advance) -> Option<u64> {
        let applied = jobs.last()?.receipt;
        if self.complete.is_none() && advance.settled.saturating_sub(self.bounds.indexed) >= INDEXED {
            self.complete = Some((advance.settled, advance.latest));
        }
        let (upto, _) = self.complete.take_if(|(_, receipt)| *receipt <= applied)?;
        Some(upto)
    }

    /// Whether there is something to do in an idle moment.
    pub(super) const fn has_leftovers(&self) -> bool {
        self.unchecked > 0 && self.lost.is_none()
    }

    /// Uses an idle moment.
    pub(super) fn idle(&mut self) -> Result<(), Lost> {
        self.checkpoint(Checkpoint::Passive)?;
        if let Err(error) = self.backend.relax() {
            tracing::warn!(%error, "memory of the database could not be given back");
        }
        Ok(())
    }

    /// Leaves everything in its final place.
    pub(super) fn close(mut self) -> Result<(), Lost> {
        if let Some(lost) = self.lost.take() {
            return Err(lost);
        }
        if self.has_no_room() {
            return Err(self.lose(&Error::NoRoom("what waited for it was never acknowledged".into())));
        }
        self.checkpoint(Checkpoint::Whole)
    }

    /// Without room what is committed stays in the write-ahead log. Any other failure may be one of a sync, after which
    /// the next sync says nothing about what this one was for.
    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), Lost> {
        self.unchecked = 0;
        match self.backend.checkpoint(checkpoint) {
            Ok(()) => Ok(()),
            Err(error @ Error::NoRoom(_)) => {
                tracing::warn!(%error, "the write-ahead log could not be moved into the database");
                Ok(())
            }
            Err(error) => Err(self.lose(&error)),
        }
    }

    fn lose(&mut self, error: &Error) -> Lost {
        let lost = Lost::new(&error.to_string());
        self.lost = Some(lost.clone());
        self.backend.abandon();
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend that fails at the n-th commit, or has no room.
    #[derive(Debug, Default)]
    struct Fake {
        commits: usize,
        fails_at: Option<usize>,
        /// The commits that are tried in this range find no room.
        full: std::ops::Range<usize>,
        /// What was committed, in this order.
        written: Vec<u64>,
        reserved: Vec<u64>,
        indexed: Vec<u64>,
        checkpoints: usize,
        checkpoint_fails: Option<fn() -> Error>,
        abandoned: bool,
    }

    impl Backend for Fake {
        fn commit(&mut self, jobs: &[Job], reserve: Option<u64>, index: Option<u64>) -> Result<Vec<Receipt>, Error> {
            self.commits += 1;
            if self.fails_at == Some(self.commits) {
                return Err(Error::Engine("disk I/O error".into()));
            }
            if self.full.contains(&self.commits) {
                return Err(Error::NoRoom("database or disk is full".into()));
            }
            self.indexed.extend(index);
            self.reserved.extend(reserve);
            self.written.extend(jobs.iter().map(|job| job.receipt.number()));
            Ok(Vec::new())
        }

        fn checkpoint(&mut self, _: Checkpoint) -> Result<(), Error> {
            self.checkpoints += 1;
            self.checkpoint_fails.map_or(Ok(()), |error| Err(error()))
        }

        fn abandon(&mut self) {
            self.abandoned = true;
        }
    }

    fn job(number: u64, bytes: usize) -> Job {
        let mut writes = Writes::new();
        writes.put_cell(&BareJid::parse("verona.lit").unwrap(), "n", "x".repeat(bytes));
        Job { receipt: Receipt::new(number), writes, creation: None }
    }

    const fn bounds(reserved: u64) -> Bounds {
        Bounds { reserved, indexed: reserved }
    }

    const fn at(next: u64) -> Advance {
        Advance { next, settled: 1, latest: Receipt::NONE }
    }

    #[test]
    fn the_log_is_indexed_where_it_is_complete() {
        let mut writer = Writer::new(Fake::default(), Bounds { reserved: Positions::RANGE, indexed: 1 });
        let advance = |settled, latest| Advance { next: 9000, settled, latest: Receipt::new(latest) };
        writer.step(vec![job(1, 1)], advance(INDEXED, 1)).unwrap();
        assert!(writer.backend.indexed.is_empty(), "too little");
        writer.step(vec![job(2, 1)], advance(INDEXED + 1, 3)).unwrap();
        assert!(writer.backend.indexed.is_empty(), "what lies below may be in the queue still");
        writer.step(vec![job(3, 1), job(4, 1)], advance(INDEXED + 9, 4)).unwrap();
        writer.step(vec![job(5, 1)], advance(INDEXED + 10, 5)).unwrap();
        assert_eq!(writer.backend.indexed, [INDEXED + 1]);
    }

    #[test]
    fn a_step_reaches_its_last_receipt() {
        let mut writer = Writer::new(Fake::default(), bounds(Positions::RANGE));
        let done = writer.step(vec![job(1, 1), job(2, 1)], at(1)).unwrap().unwrap();
        assert_eq!(done.durable, Receipt::new(2));
    }

    #[test]
    fn after_a_failed_commit_nothing_succeeds() {
        let mut writer = Writer::new(Fake { fails_at: Some(2), ..Fake::default() }, bounds(Positions::RANGE));
        assert!(writer.step(vec![job(1, 1)], at(1)).is_ok());
        let lost = writer.step(vec![job(2, 1)], at(1)).unwrap_err();
        assert!(lost.to_string().contains("disk I/O error"), "{lost}");
        assert_eq!(writer.step(vec![job(3, 1)], at(1)).unwrap_err(), lost);
        assert_eq!(writer.backend.commits, 2);
        assert!(writer.backend.abandoned && !writer.has_leftovers());
        assert_eq!(writer.close(), Err(lost));
    }

    #[test]
    fn what_finds_no_room_is_written_before_what_comes_later() {
        let mut writer = Writer::new(Fake { full: 2..4, ..Fake::default() }, bounds(Positions::RANGE));
        writer.step(vec![job(1, 1)], at(1)).unwrap().unwrap();
        assert!(writer.step(vec![job(2, 1), job(3, 1)], at(1)).unwrap().is_none());
        assert!(writer.has_no_room());
        assert!(writer.step(vec![job(4, 1)], at(1)).unwrap().is_none());
        let done = writer.step(Vec::new(), at(1)).unwrap().unwrap();
        assert_eq!(done.durable, Receipt::new(4));
        assert_eq!(writer.backend.written, [1, 2, 3, 4]);
        assert!(!writer.has_no_room() && !writer.backend.abandoned);
    }

    #[test]
    fn what_found_no_room_until_the_end_is_lost() {
        let mut writer = Writer::new(Fake { full: 1..9, ..Fake::default() }, bounds(Positions::RANGE));
        assert!(writer.step(vec![job(1, 1)], at(1)).unwrap().is_none());
        assert!(writer.close().unwrap_err().to_string().contains("no room"));
    }

    #[test]
    fn a_failed_checkpoint_is_the_end_unless_there_was_no_room() {
        let full: fn() -> Error = || Error::NoRoom("database or disk is full".into());
        let mut writer =
            Writer::new(Fake { checkpoint_fails: Some(full), ..Fake::default() }, bounds(Positions::RANGE));
        writer.step(vec![job(1, CHECKPOINT)], at(1)).unwrap().unwrap();
        writer.relieve().unwrap();
        writer.idle().unwrap();
        assert_eq!(writer.backend.checkpoints, 2);
        writer.backend.checkpoint_fails = Some(|| Error::Engine("disk I/O error".into()));
        let lost = writer.idle().unwrap_err();
        assert!(writer.backend.abandoned);
        assert_eq!(writer.step(vec![job(2, 1)], at(1)).unwrap_err(), lost);
    }

    #[test]
    fn positions_are_reserved_before_half_of_the_range_is_used() {
        let mut writer = Writer::new(Fake::default(), bounds(1 + Positions::RANGE));
        writer.step(vec![job(1, 1)], at(1 + Positions::RANGE / 2)).unwrap();
        assert!(writer.backend.reserved.is_empty());
        writer.step(vec![job(2, 1)], at(2 + Positions::RANGE / 2)).unwrap();
        writer.step(vec![job(3, 1)], at(3 + Positions::RANGE / 2)).unwrap();
        assert_eq!(writer.backend.reserved, [2 + Positions::RANGE / 2 + Positions::RANGE]);
    }

    #[test]
    fn a_busy_writer_checkpoints_by_size() {
        let mut writer = Writer::new(Fake::default(), bounds(Positions::RANGE));
        writer.step(vec![job(1, CHECKPOINT / 2)], at(1)).unwrap();
        writer.relieve().unwrap();
        assert_eq!((writer.backend.checkpoints, writer.has_leftovers()), (0, true));
        writer.step(vec![job(2, CHECKPOINT / 2)], at(1)).unwrap();
        writer.relieve().unwrap();
        assert_eq!((writer.backend.checkpoints, writer.has_leftovers()), (1, false));
    }

    #[test]
    fn gathering_ends_by_time_rows_or_bytes() {
        let millis = Duration::from_millis;
        let backlog = |rows, bytes, urgency, age| Backlog { rows, bytes, urgency, age: millis(age) }.due();
        assert_eq!(backlog(1, 1, Urgency::Nobody, 0), millis(20));
        assert_eq!(backlog(1, 1, Urgency::Nobody, 15), millis(5));
        assert_eq!(backlog(1, 1, Urgency::Nobody, 20), millis(0));
        assert_eq!(backlog(1, 1, Urgency::Awaited, 0), millis(2));
        assert_eq!(backlog(1, 1, Urgency::Awaited, 3), millis(0));
        assert_eq!(backlog(ROWS, 1, Urgency::Nobody, 0), millis(0));
        assert_eq!(backlog(1, BYTES, Urgency::Nobody, 0), millis(0));
    }
}
