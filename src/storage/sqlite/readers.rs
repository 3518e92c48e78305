//! The reading connections.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::super::{Error, Look, View};
use super::RELAX;
use super::apply::keep_statements;
use super::directory::READ;
use super::rows::{Owners, Rows};

/// Who reads, and how. Clones are handles to the same ones.
#[derive(Debug, Clone)]
pub(in super::super) enum Readers {
    /// Connections of their own, on the runtime's blocking threads.
    Disk(Arc<Pool>),
    /// The connection of the writer, at once.
    Memory(Arc<Mutex<Connection>>),
}

/// Idle reading connections of one database.
#[derive(Debug)]
pub(in super::super) struct Pool {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// As many reads run at once.
    permits: Arc<Semaphore>,
    /// How many glances take the way over another thread before one is tried without it.
    detours: AtomicUsize,
    /// The last glance was slow.
    slow: AtomicBool,
    /// Somebody reads on a thread that others run on, too.
    glancing: AtomicBool,
}

/// A glance that takes longer holds others up.
const SLOW: Duration = Duration::from_millis(1);
/// So many fast glances in a row are a sign that storage answers at once again.
const DETOURS: usize = 256;

impl Readers {
    pub(super) fn on_disk(file: PathBuf, readers: usize) -> Self {
        let permits = Arc::new(Semaphore::new(readers.clamp(1, Semaphore::MAX_PERMITS)));
        Self::Disk(Arc::new(Pool {
            file,
            idle: Mutex::default(),
            permits,
            detours: AtomicUsize::new(0),
            slow: AtomicBool::new(false),
            glancing: AtomicBool::new(false),
        }))
    }

    pub(super) const fn in_memory(connection: Arc<Mutex<Connection>>) -> Self {
        Self::Memory(connection)
    }

    pub(in super::super) async fn read<T, F>(&self, reading: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&View<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.elsewhere(|connection| snapshot(connection, reading)).await
    }

    /// Has another thread read.
    async fn elsewhere<T, F>(&self, reading: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let pool = match self {
            Self::Disk(pool) => Arc::clone(pool),
            Self::Memory(connection) => {
                return reading(&connection.lock().unwrap_or_else(PoisonError::into_inner));
            }
        };
        let permit = Arc::clone(&pool.permits).acquire_owned().await.map_err(|_| Error::Closed)?;
        let work = move || {
            let connection = pool.take()?;
            let result = reading(&connection);
            pool.put(connection);
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::Closed)?
    }

    pub(in super::super) fn read_blocking<T>(
        &self,
        reading: impl FnOnce(&View<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self {
            Self::Memory(connection) => snapshot(&connection.lock().unwrap_or_else(PoisonError::into_inner), reading),
            Self::Disk(pool) => {
                let connection = pool.take()?;
                let result = snapshot(&connection, reading);
                pool.put(connection);
                result
            }
        }
    }

    /// Reads little: on the calling thread, unless the disk has been slow of late.
    ///
    /// To wake another thread and to be woken by it takes several times as long as to read a row that
    /// lies in memory. Rows that do not hold the caller's thread up, twice: what follows is
    /// read elsewhere until that goes fast again. A single one may have been fast, and its thread without a processor.
    pub(in super::super) async fn glance<T, F>(&self, reading: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&View<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.at_once(|connection| snapshot(connection, reading)).await
    }

    /// The same for a single statement.
    pub(in super::super) async fn look<T, F>(&self, reading: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(Look<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.at_once(|connection| reading(Look::new(Rows::new(connection, &Owners::default())))).await
    }

    async fn at_once<T, F>(&self, reading: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let Self::Disk(pool) = self else { return self.elsewhere(reading).await };
        if let Ok(_permit) = pool.permits.try_acquire()
            && pool.detours.load(Ordering::Relaxed) == 0
            && let Some(connection) = pool.idle()
        {
            // One at a time: if the disk stalls, it is one of the threads that everything runs on.
            if !pool.glancing.swap(true, Ordering::Acquire) {
                let result = pool.time(|| reading(&connection));
                pool.glancing.store(false, Ordering::Release);
                pool.put(connection);
                return result;
            }
            pool.put(connection);
        }
        let timed = Arc::clone(pool);
        self.elsewhere(move |connection| timed.time(|| reading(connection))).await
    }

    /// A moment without work: lets all connections go that are not in use but one, and the memory of that one.
    pub(super) fn relax(&self) -> Result<(), Error> {
        let Self::Disk(pool) = self else { return Ok(()) };
        let idle = std::mem::take(&mut *pool.lock()).into_iter().next();
        let Some(connection) = idle else { return Ok(()) };
        let relaxed = connection.execute_batch(RELAX);
        pool.put(connection);
        Ok(relaxed?)
    }

    /// Lets the connections go; later reads fail.
    pub(in super::super) fn close(&self) {
        if let Self::Disk(pool) = self {
            pool.permits.close();
            pool.lock().clear();
        }
    }
}

impl Pool {
    /// Reads, and notes how fast it was.
    fn time<T>(&self, read: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = read();
        let slow = begin.elapsed() > SLOW;
        let again = self.slow.swap(slow, Ordering::Relaxed);
        if slow && again {
            self.detours.store(DETOURS, Ordering::Relaxed);
        } else if !slow {
            let fewer = |left: usize| left.checked_sub(1);
            // There is nothing to count down most of the time.
            let _ = self.detours.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        }
        result
    }

    fn idle(&self) -> Option<Connection> {
        self.lock().pop()
    }

    fn take(&self) -> Result<Connection, Error> {
        match self.idle() {
            Some(connection) => Ok(connection),
            None => connect(&self.file),
        }
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.lock();
        // Asked under the lock, so that a connection does not come back behind the back of `close`.
        if !self.permits.is_closed() {
            idle.push(connection);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(file: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(file, READ)?;
    keep_statements(&connection)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -256; PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

/// Reads in one transaction, which sees one moment.
fn snapshot<T>(connection: &Connection, reading: impl FnOnce(&View<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let _moment = Moment::begin(connection)?;
    reading(&View::new(Rows::new(connection, &Owners::default())))
}

/// A transaction that only reads. Its statements are prepared once for each connection, which the
/// transactions of `rusqlite` are not.
struct Moment<'a>(&'a Connection);

impl<'a> Moment<'a> {
    fn begin(connection: &'a Connection) -> Result<Self, Error> {
        connection.prepare_cached("BEGIN DEFERRED")?.execute([])?;
        Ok(Self(connection))
    }
}

impl Drop for Moment<'_> {
    fn drop(&mut self) {
        // If this fails the next one cannot begin, and says so.
        let _ = self.0.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_slow_is_read_elsewhere_until_it_is_fast_again() {
        let Readers::Disk(pool) = Readers::on_disk(PathBuf::new(), 1) else { unreachable!() };
        let detours = || pool.detours.load(Ordering::Relaxed);
        pool.time(|| ());
        assert_eq!(detours(), 0);
        let slow = || pool.time(|| std::thread::sleep(SLOW + SLOW));
        slow();
        assert_eq!(detours(), 0, "once is nothing");
        slow();
        assert_eq!(detours(), DETOURS);
        // Whatever this machine is doing: it takes at least as many.
        let mut rounds = 0;
        while detours() > 0 {
            pool.time(|| ());
            rounds += 1;
        }
        assert!(rounds >= DETOURS);
    }

    #[test]
    fn a_moment_without_work_leaves_one_connection() {
        let file = std::env::temp_dir().join(format!("comity-readers-{}.sqlite", std::process::id()));
        drop(Connection::open(&file).unwrap());
        let readers = Readers::on_disk(file.clone(), 4);
        let Readers::Disk(pool) = &readers else { unreachable!() };
        readers.relax().unwrap();
        assert_eq!(pool.lock().len(), 0);
        let busy: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
        busy.into_iter().for_each(|connection| pool.put(connection));
        readers.relax().unwrap();
        assert_eq!(pool.lock().len(), 1);
        assert!(readers.read_blocking(|_| Ok(())).is_ok());
        readers.close();
        std::fs::remove_file(file).unwrap();
    }
}
