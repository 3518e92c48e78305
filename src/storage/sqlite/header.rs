//! The first octets of the database. Most of them are the same in every database of this program, so a flipped bit among
//! them is seen, and put right before SQLite looks at it and takes the file for none of its own.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::Error;
use super::schema::APPLICATION;

/// Octets of the header.
const LENGTH: usize = 100;

/// What never changes, and where it stands (the file format of SQLite, section 1.3).
const FIXED: [(usize, &[u8]); 5] = [
    (0, b"SQLite format 3\0"),
    // Pages of 4096 octets, in write-ahead mode, nothing reserved in them, and how much of a row is on a page.
    (16, &[0x10, 0x00, 2, 2, 0, 64, 32, 32]),
    // The form of the schema.
    (44, &[0, 0, 0, 4]),
    // Pages do not move by themselves; texts are UTF-8.
    (52, &[0, 0, 0, 0, 0, 0, 0, 1]),
    (64, &[0, 0, 0, 0]),
];
/// Where it says whose it is.
const IDENTIFIER: usize = 68;
/// Where the version of the schema stands.
const SCHEMA: usize = 60;

/// The header of a file that may be a database.
pub(super) struct Header([u8; LENGTH]);

impl Header {
    fn read(file: &File) -> std::io::Result<Option<Self>> {
        let mut header = [0; LENGTH];
        match file.read_exact_at(&mut header, 0) {
            Ok(()) => Ok(Some(Self(header))),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The octets that are not as they must be: where, and how they must be.
    fn wrong(&self) -> Vec<(usize, u8)> {
        let fixed = FIXED.iter().flat_map(|(start, octets)| (*start..).zip(octets.iter().copied()));
        let octets = fixed.chain((IDENTIFIER..).zip(APPLICATION.to_be_bytes()));
        octets.filter(|(at, right)| self.0.get(*at) != Some(right)).collect()
    }

    /// Says in which place there is one other octet, if it is one bit of it.
    fn flipped(&self) -> Option<(usize, u8)> {
        match self.wrong().as_slice() {
            [(at, right)] if (self.0.get(*at)? ^ right).is_power_of_two() => Some((*at, *right)),
            _ => None,
        }
    }
}

/// Puts a flipped bit right. Whatever else is no header of this program's is left alone.
pub(super) fn mend(database: &Path) -> Result<(), Error> {
    let at = Error::at(database);
    let file = OpenOptions::new().read(true).write(true).open(database).map_err(at)?;
    let Some((place, right)) = Header::read(&file).map_err(at)?.and_then(|header| header.flipped()) else {
        return Ok(());
    };
    tracing::error!(file = %database.display(), octet = place, "a flipped bit of the header was put right");
    file.write_all_at(&[right], place as u64).and_then(|()| file.sync_all()).map_err(at)
}

/// The version of the schema that a database of this program says it has; nothing if it is another file.
pub(super) fn version(database: &Path) -> Result<Option<i64>, Error> {
    let header = File::open(database).and_then(|file| Header::read(&file)).map_err(Error::at(database))?;
    let ours = header.filter(|header| header.wrong().is_empty());
    let octets = ours.and_then(|header| header.0.get(SCHEMA..)?.first_chunk().copied());
    Ok(octets.map(|octets| i64::from(i32::from_be_bytes(octets))))
}
