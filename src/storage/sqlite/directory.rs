//! The data directory: who may see it, and who has it open.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::OpenFlags;

use super::super::Error;

/// The name of the database in the data directory.
const DATABASE: &str = "comity.sqlite";
/// The name of the file whose lock says that the directory is in use.
const LOCK: &str = "comity.lock";
/// Only the user of the server may read what people wrote.
const MODE: u32 = 0o600;
/// The same for a directory.
const DIRECTORY_MODE: u32 = 0o700;

/// How the writer opens the database. Every connection is used by one thread at a time.
pub(super) const WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
/// How a reader opens it.
pub(super) const READ: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Creates the directory for the server's user only. One that exists is left as it is: it may serve others too.
pub(super) fn create(directory: &Path) -> Result<(), Error> {
    if directory.is_dir() {
        return Ok(());
    }
    let at = Error::at(directory);
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(at)?;
    match directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

/// The path of the database, which is created by `fill` if it does not exist. It gets its name when it is whole, so an
/// empty one has lost what was in it. SQLite gives its other files the same permissions.
pub(super) fn database(directory: &Path, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<PathBuf, Error> {
    let path = directory.join(DATABASE);
    let at = Error::at(&path);
    match path.metadata() {
        Ok(data) if data.len() == 0 => return Err(Error::Corrupt(format!("{} is empty", path.display()))),
        Ok(_) => {
            create_file(&path)?;
            sync(directory)?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let new = directory.join(format!("{DATABASE}.new"));
            for ending in ["", "-journal", "-wal", "-shm"] {
                let rest = directory.join(format!("{DATABASE}.new{ending}"));
                if rest.exists() {
                    std::fs::remove_file(rest).map_err(at)?;
                }
            }
            create_file(&new)?;
            fill(&new)?;
            put_in_place(&new, &path)?;
        }
        Err(error) => return Err(at(error)),
    }
    Ok(path)
}

/// Gives a file that is whole the name of another one, which it replaces; it has it once this returns.
pub(super) fn put_in_place(new: &Path, path: &Path) -> Result<(), Error> {
    File::open(new).and_then(|file| file.sync_all()).map_err(Error::at(new))?;
    std::fs::rename(new, path).map_err(Error::at(path))?;
    path.parent().map_or(Ok(()), sync)
}

/// Creates a private file, or makes the one that exists private.
pub(super) fn create_file(path: &Path) -> Result<(), Error> {
    let at = Error::at(path);
    let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path).map_err(at)?;
    if file.metadata().map_err(at)?.permissions().mode() & 0o777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE)).map_err(at)?;
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(super) fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(Error::at(directory))
}

/// Keeps other processes out of the data directory for as long as it lives; the kernel lets go when the process dies.
#[derive(Debug)]
pub(in super::super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(LOCK);
        let at = Error::at(&path);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(&path)
            .map_err(at)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                Read::take(&mut file, 20).read_to_string(&mut holder).map_err(at)?;
                return Err(Error::InUse { directory: directory.to_owned(), holder: holder.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        file.set_len(0).map_err(at)?;
        file.rewind().map_err(at)?;
        writeln!(file, "{}", std::process::id()).map_err(at)?;
        Ok(Self { _file: file })
    }
}
