//! The reading connections.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::Semaphore;

use super::super::{Error, View};
use super::directory::READ;
use super::rows::Rows;

/// Who reads, and how.
pub(in super::super) enum Readers {
    /// Connections of their own, on the runtime's blocking threads.
    Disk(Arc<Pool>),
    /// The connection of the writer, at once.
    Memory(Arc<Mutex<Connection>>),
}

/// Idle reading connections of one database.
pub(in super::super) struct Pool {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// As many reads run at once.
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn on_disk(file: PathBuf, readers: usize) -> Self {
        let permits = Arc::new(Semaphore::new(readers.clamp(1, Semaphore::MAX_PERMITS)));
        Self::Disk(Arc::new(Pool { file, idle: Mutex::default(), permits }))
    }

    pub(super) const fn in_memory(connection: Arc<Mutex<Connection>>) -> Self {
        Self::Memory(connection)
    }

    pub(in super::super) async fn read<T, F>(&self, reading: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&View<'_>) -> Result<T, Error> + Send + 'static,
    {
        let pool = match self {
            Self::Disk(pool) => Arc::clone(pool),
            Self::Memory(connection) => {
                return snapshot(&mut connection.lock().unwrap_or_else(PoisonError::into_inner), reading);
            }
        };
        let permit = Arc::clone(&pool.permits).acquire_owned().await.map_err(|_| Error::Closed)?;
        let work = move || {
            let mut connection = pool.take()?;
            let result = snapshot(&mut connection, reading);
            pool.put(connection);
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::Closed)?
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
    fn take(&self) -> Result<Connection, Error> {
        match self.lock().pop() {
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
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -256; PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

/// Reads in one transaction, which sees one moment.
fn snapshot<T>(connection: &mut Connection, reading: impl FnOnce(&View<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    reading(&View::new(Rows::new(&transaction)))
}
