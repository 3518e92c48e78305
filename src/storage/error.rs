//! What can go wrong with storage, in words for the operator.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a read, or the opening of the storage, failed.
#[derive(Debug)]
pub enum Error {
    /// The file system refused.
    File { path: PathBuf, source: io::Error },
    /// Another process has the data directory open; `holder` is its process id if it left one.
    InUse { directory: PathBuf, holder: Option<u32> },
    /// The data were written by a newer version of the server.
    Newer { found: i64, known: i64 },
    /// The file is a database of another program.
    Foreign { path: PathBuf },
    /// A stored value does not fit the type that asked for it, or a value cannot be stored.
    Value { name: String, reason: String },
    /// A value is not what was written. Names it.
    Damaged(String),
    /// The database is not what was written, and nobody knows what is missing.
    Corrupt(String),
    /// The disk is full. What was to be written is not there, and can be written again when there is room.
    NoRoom(String),
    /// The database engine failed.
    Engine(String),
    /// The storage is closed, or the reading task was stopped.
    Closed,
}

impl Error {
    /// What the file system says of `path`.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::File { path: path.to_owned(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::InUse { directory, holder: Some(holder) } => {
                write!(f, "the data directory {} is in use by process {holder}", directory.display())
            }
            Self::InUse { directory, holder: None } => {
                write!(f, "the data directory {} is in use by another process", directory.display())
            }
            Self::Newer { found, known } => write!(
                f,
                "the data have schema version {found}, but this program knows only up to {known}: \
                 they were written by a newer version, which must be used to open them"
            ),
            Self::Foreign { path } => write!(f, "{} is a database of another program", path.display()),
            Self::Value { name, reason } => write!(f, "the stored value \"{name}\" does not fit: {reason}"),
            Self::Damaged(what) => write!(f, "what is stored is damaged: {what}"),
            Self::Corrupt(reason) => write!(f, "the database is damaged: {reason}"),
            Self::NoRoom(reason) => write!(f, "there is no room on the disk: {reason}"),
            Self::Engine(reason) => write!(f, "the database failed: {reason}"),
            Self::Closed => f.write_str("the storage is closed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The writer failed or was closed: what is not durable yet never will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost(Arc<str>);

impl Lost {
    pub(super) fn new(reason: &str) -> Self {
        Self(reason.into())
    }

    pub(super) fn closed() -> Self {
        Self::new("the storage is closed")
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "storage is lost: {}", self.0)
    }
}

impl std::error::Error for Lost {}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        Self::Engine(lost.to_string())
    }
}

/// Why an owner was not created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateError {
    /// It exists already; nothing of the batch was written.
    Exists,
    /// The writer failed.
    Lost(Lost),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("it exists already"),
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

impl std::error::Error for CreateError {}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn what_an_operator_needs_is_said() {
        let file = Error::at(Path::new("/data"))(io::Error::other("read-only"));
        assert_eq!(file.to_string(), "/data: read-only");
        assert_eq!(file.source().unwrap().to_string(), "read-only");
        let used = |holder| Error::InUse { directory: "/data".into(), holder }.to_string();
        assert!(used(Some(17)).contains("/data is in use by process 17") && used(None).contains("by another process"));
        let newer = Error::Newer { found: 9, known: 8 };
        assert!(newer.to_string().contains('9') && newer.to_string().contains('8') && newer.source().is_none());
        let lost = Lost::new("the disk broke");
        assert_eq!(lost.to_string(), "storage is lost: the disk broke");
        assert_eq!(CreateError::Lost(lost.clone()).to_string(), lost.to_string());
        assert_eq!(Error::from(lost).to_string(), "the database failed: storage is lost: the disk broke");
    }
}
