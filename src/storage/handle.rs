//! The handle that everybody holds.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::log::Positions;
use super::progress::{End as Ended, Progress};
use super::queue::Queue;
use super::sqlite::{self, Readers, Sqlite};
use super::writer::{Creation, Verdict, Writer};
use super::{CreateError, Durable, Error, Look, Lost, Page, Position, Receipt, Slot, View, Writes, thread};
use crate::jid::BareJid;

/// How the storage behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many bytes may wait for the writer before [`Storage::pressure`] holds those who ask it.
    pub queue: usize,
    /// How many reads run at once.
    pub readers: usize,
}

impl Options {
    /// How many may look through much at once: fewer than there are readers, so that whoever reads a little never waits for
    /// them.
    fn turns(self) -> Semaphore {
        Semaphore::new((self.readers / 2).clamp(1, Semaphore::MAX_PERMITS))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { queue: 32 << 20, readers: 4 }
    }
}

/// The storage of one server. Cheap to clone; the last clone that goes closes it.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    readers: Readers,
    driver: Driver,
    secret: [u8; SECRET],
    /// Turns of those who look through much.
    turns: Semaphore,
}

/// Octets of [`Storage::secret`].
pub const SECRET: usize = 32;

/// What the writer, the handle and those who wait have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) progress: Progress,
    pub(super) positions: Arc<Positions>,
}

/// Who drives the writer.
enum Driver {
    /// A thread of its own.
    Thread,
    /// Whoever submits, at once.
    Submitter(Arc<Mutex<Option<Writer<Sqlite>>>>),
    /// A test, when it likes.
    Stepper,
}

impl Shared {
    pub(super) fn new(options: Options, first: u64) -> Arc<Self> {
        Arc::new(Self {
            queue: Queue::new(options.queue),
            progress: Progress::new(),
            positions: Positions::starting_at(first),
        })
    }

    /// The writer has ended.
    pub(super) fn finish(&self, end: Ended) {
        if let Ended::Lost(lost) = &end {
            tracing::error!(reason = %lost, "storage is lost: nothing is acknowledged any more");
        }
        self.queue.abandon();
        self.progress.end(end);
    }

    /// Writes one group of what is queued; says whether there was one.
    fn drive(&self, writer: &mut Option<Writer<Sqlite>>) -> bool {
        let Some(open) = writer else { return false };
        let Some(jobs) = self.queue.take() else { return false };
        if let Err(lost) = thread::step(open, jobs, self) {
            *writer = None;
            self.finish(Ended::Lost(lost));
        }
        true
    }
}

impl Storage {
    /// Opens the data directory, which is created if it does not exist, and brings its schema up to date. Blocks for as
    /// long as that takes. Only one process at a time can have a directory open.
    ///
    /// # Errors
    /// What stands in the way, for the operator.
    pub fn open(directory: &Path, options: Options) -> Result<Self, Error> {
        let opened = sqlite::open(directory, options.readers)?;
        let shared = Shared::new(options, opened.first);
        let writer = Writer::new(opened.backend, opened.bounds);
        thread::spawn(writer, Arc::clone(&shared), opened.lock).map_err(Error::at(directory))?;
        let (readers, driver, secret, turns) = (opened.readers, Driver::Thread, opened.secret, options.turns());
        Ok(Self(Arc::new(Inner { shared, readers, driver, secret, turns })))
    }

    /// A storage in memory in which everything is durable as soon as it is submitted, without thread or waiting: what
    /// tests in simulated time want.
    ///
    /// # Errors
    /// What the database says.
    pub fn open_in_memory() -> Result<Self, Error> {
        let submitter = |_: &_, writer, _| (Driver::Submitter(Arc::new(Mutex::new(Some(writer)))), ());
        Ok(Self::memory(None, submitter)?.0)
    }

    /// A storage in memory that writes only when the test says so through the [`Stepper`].
    ///
    /// # Errors
    /// What the database says.
    pub fn open_stepped() -> Result<(Self, Stepper), Error> {
        Self::stepped(None)
    }

    /// The same with what is left of another one.
    ///
    /// # Errors
    /// What the database says.
    pub fn reopen_stepped(left: Left) -> Result<(Self, Stepper), Error> {
        Self::stepped(Some(left))
    }

    fn stepped(left: Option<Left>) -> Result<(Self, Stepper), Error> {
        Self::memory(left, |shared, writer, left| {
            (Driver::Stepper, Stepper { shared: Arc::clone(shared), writer: Some(writer), left })
        })
    }

    fn memory<T>(
        left: Option<Left>,
        drive: impl FnOnce(&Arc<Shared>, Writer<Sqlite>, Left) -> (Driver, T),
    ) -> Result<(Self, T), Error> {
        let opened = sqlite::open_in_memory(left.map(|left| left.0))?;
        let options = Options::default();
        let shared = Shared::new(options, opened.first);
        let (driver, with) = drive(&shared, Writer::new(opened.backend, opened.bounds), Left(opened.lock));
        let (readers, secret) = (opened.readers, opened.secret);
        Ok((Self(Arc::new(Inner { shared, readers, driver, secret, turns: options.turns() })), with))
    }

    /// Hands changes to the writer and never blocks. Without changes the receipt is [`Receipt::NONE`].
    #[expect(clippy::must_use_candidate, reason = "who promises nothing to anybody needs no receipt")]
    pub fn submit(&self, mut writes: Writes) -> Receipt {
        if writes.is_empty() {
            return Receipt::NONE;
        }
        let open = writes.take_open();
        let receipt = self.0.shared.queue.push(writes, None);
        drop(open);
        self.drive();
        receipt
    }

    /// Creates `owner` and applies `writes` with it, unless it exists. The job is submitted at once, not when the
    /// future is polled, so many can be under way together; the answer comes when it is durable.
    ///
    /// # Errors
    /// [`CreateError::Exists`]: nothing was written.
    pub fn create(
        &self,
        owner: &BareJid,
        mut writes: Writes,
    ) -> impl Future<Output = Result<Receipt, CreateError>> + Send + use<> {
        let (answer, verdict) = oneshot::channel();
        let open = writes.take_open();
        let receipt = self.0.shared.queue.push(writes, Some(Creation { owner: owner.clone(), answer }));
        drop(open);
        self.drive();
        let durable = self.durable(receipt);
        async move {
            durable.await.map_err(CreateError::Lost)?;
            match verdict.await {
                Ok(Verdict::Created) => Ok(receipt),
                Ok(Verdict::Exists) => Err(CreateError::Exists),
                Err(_) => Err(CreateError::Lost(Lost::closed())),
            }
        }
    }

    /// Waits until everything up to `receipt` is on disk. Nobody else is woken by it, and it is not woken before.
    pub fn durable(&self, receipt: Receipt) -> Durable {
        Durable::new(Arc::clone(&self.0.shared), receipt)
    }

    /// Submits changes and waits until they are on disk.
    ///
    /// # Errors
    /// The writer has failed.
    pub async fn keep(&self, writes: Writes) -> Result<(), Error> {
        Ok(self.durable(self.submit(writes)).await?)
    }

    /// Whether everything up to `receipt` is on disk already.
    #[must_use]
    pub fn is_durable(&self, receipt: Receipt) -> bool {
        self.0.shared.progress.durable() >= receipt
    }

    /// The receipt of the latest job: who awaits it reads everything that was submitted so far.
    #[must_use]
    pub fn latest(&self) -> Receipt {
        self.0.shared.queue.last()
    }

    /// Whether [`Storage::pressure`] would return at once.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.0.shared.queue.has_room()
    }

    /// Waits until the queue has room. Who submits much asks here before it takes more from its source.
    pub async fn pressure(&self) {
        self.0.shared.queue.pressure().await;
    }

    /// Waits for the failure of the writer. The process must end then, with an exit code other than zero.
    pub async fn lost(&self) -> Lost {
        let mut end = self.0.shared.progress.subscribe();
        if let Ok(end) = end.wait_for(|end| matches!(end, Ended::Lost(_))).await
            && let Ended::Lost(lost) = &*end
        {
            return lost.clone();
        }
        std::future::pending().await
    }

    /// A free place in the log, for one entry of any owner.
    pub fn slot(&self) -> Slot {
        self.0.shared.positions.take()
    }

    /// Below this position the logs are complete once [`Storage::latest`], asked for afterwards, is durable.
    #[must_use]
    pub fn settled(&self) -> Position {
        Position::new(self.0.shared.positions.settled())
    }

    /// Random octets that were made with the data and stay with it: the root of keys whose use must not change from one
    /// start to the next.
    #[must_use]
    pub fn secret(&self) -> &[u8; SECRET] {
        &self.0.secret
    }

    /// Reads several things at once, as of one moment. `reading` runs on a blocking thread, in memory at once.
    ///
    /// # Errors
    /// What `reading` returns, or what the database says.
    pub async fn read<T, F>(&self, reading: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&View<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.0.readers.read(reading).await
    }

    /// The same on the calling thread, however long it takes: for a program that is starting.
    ///
    /// # Errors
    /// Those of [`Storage::read`].
    pub fn read_blocking<T>(&self, reading: impl FnOnce(&View<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.0.readers.read_blocking(reading)
    }

    /// The same for a value or two, which is not worth another thread as long as storage answers at once.
    ///
    /// # Errors
    /// Those of [`Storage::read`].
    pub async fn glance<T, F>(&self, reading: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&View<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.0.readers.glance(reading).await
    }

    /// The same for one look, which does without a transaction.
    ///
    /// # Errors
    /// Those of [`Storage::read`].
    pub async fn look<T, F>(&self, reading: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(Look<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.0.readers.look(reading).await
    }

    /// Waits for one's turn to look through much, as long as what it gives is held: those who do so leave some of the readers
    /// to everybody else.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.turns.acquire().await.ok()
    }

    /// Whether `owner` exists.
    ///
    /// # Errors
    /// What the database says.
    pub async fn exists(&self, owner: &BareJid) -> Result<bool, Error> {
        let owner = owner.clone();
        self.read(move |view| view.exists(&owner)).await
    }

    /// The accounts of `domain`, in the order of their names.
    ///
    /// # Errors
    /// What the database says.
    pub async fn owners(&self, domain: &str) -> Result<Vec<BareJid>, Error> {
        let domain = domain.to_owned();
        self.read(move |view| view.owners(&domain)).await
    }

    /// The undelivered entries of `owner` behind `after`, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn undelivered(&self, owner: &BareJid, after: Option<Position>, limit: usize) -> Result<Page, Error> {
        let owner = owner.clone();
        self.read(move |view| view.undelivered(&owner, after, limit)).await
    }

    /// The entries of `owner` behind `after`, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn page(&self, owner: &BareJid, after: Option<Position>, limit: usize) -> Result<Page, Error> {
        let owner = owner.clone();
        self.read(move |view| view.page(&owner, after, limit)).await
    }

    /// Writes what is queued, tidies up and lets the data directory go. What is submitted afterwards is lost.
    ///
    /// # Errors
    /// [`Lost`] if something that was submitted before could not be written.
    pub async fn close(&self) -> Result<(), Lost> {
        let shared = &self.0.shared;
        shared.queue.close();
        if let Driver::Submitter(writer) = &self.0.driver {
            self.drive();
            drop(writer.lock().unwrap_or_else(PoisonError::into_inner).take());
            shared.finish(Ended::Closed);
        }
        let mut end = shared.progress.subscribe();
        let result = match end.wait_for(|end| *end != Ended::NotYet).await.as_deref() {
            Ok(Ended::Lost(lost)) => Err(lost.clone()),
            _ => Ok(()),
        };
        self.0.readers.close();
        result
    }

    /// Writes what is queued if that is the submitter's work.
    fn drive(&self) {
        if let Driver::Submitter(writer) = &self.0.driver {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            while self.0.shared.drive(&mut writer) {}
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("durable", &self.0.shared.progress.durable()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The thread writes what is left, then it ends.
        self.shared.queue.close();
    }
}

/// What is durable of a storage in memory whose server has ended, for the next one.
pub struct Left(sqlite::Memory);

impl fmt::Debug for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Left")
    }
}

/// Drives the writer of [`Storage::open_stepped`].
#[derive(Debug)]
pub struct Stepper {
    shared: Arc<Shared>,
    writer: Option<Writer<Sqlite>>,
    left: Left,
}

impl Stepper {
    /// Commits everything that is queued.
    pub fn step(&mut self) {
        while self.shared.drive(&mut self.writer) {}
    }

    /// Whether something is queued.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.shared.queue.has_jobs()
    }

    /// Says of everything that is queued that it is durable, which is a lie: tests that look for lost writes must find
    /// what a crash loses then.
    pub fn pretend(&self) {
        self.shared.progress.publish(self.shared.queue.last());
    }

    /// Behaves as if a commit had failed.
    pub fn lose(&mut self) {
        self.writer = None;
        self.shared.finish(Ended::Lost(Lost::new("a failure that a test asked for")));
    }

    /// Ends as a crash does: nothing that is queued, or comes later, is written.
    #[must_use]
    pub fn crash(mut self) -> Left {
        self.writer = None;
        self.shared.finish(Ended::Closed);
        self.left
    }

    /// Commits everything that is queued and closes.
    pub fn close(&mut self) {
        self.step();
        self.writer = None;
        self.shared.finish(Ended::Closed);
    }

    /// The same; gives what the next one opens.
    #[must_use]
    pub fn leave(mut self) -> Left {
        self.close();
        self.left
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn not_all_readers_look_through_much() {
        let storage = Storage::open_in_memory().unwrap();
        let most = Options::default().readers / 2;
        let mut turns = Vec::new();
        for _ in 0..most {
            turns.push(storage.turn().await.unwrap());
        }
        let another = storage.clone();
        tokio::select! {
            biased;
            _ = another.turn() => panic!("somebody has to wait"),
            () = ready(()) => {}
        }
        turns.pop();
        assert!(another.turn().await.is_some());
    }

    #[test]
    fn there_is_work_from_when_something_is_submitted_until_it_is_written() {
        let (storage, mut stepper) = Storage::open_stepped().unwrap();
        assert!(!stepper.has_work());
        let mut writes = Writes::new();
        writes.delete_owner(&BareJid::parse("juliet@capulet.lit").unwrap());
        storage.submit(writes);
        assert!(stepper.has_work());
        stepper.step();
        assert!(!stepper.has_work());
    }
}
