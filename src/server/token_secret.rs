//! The secret from which the tokens of clients are derived (XEP-0484): a file beside the database and not in it, so that
//! whoever gets hold of the database alone can log in nowhere.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::accounts::tokens::SECRET;
use crate::fnv;
use crate::hexadecimal;
use crate::random;

const NAME: &str = "token.key";

/// The secret cannot be read or made.
#[derive(Debug)]
pub struct TokenSecretError {
    file: PathBuf,
    reason: String,
}

impl fmt::Display for TokenSecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key for tokens, {}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for TokenSecretError {}

/// The secret in this directory, which exists; made if there is none. Without the old one every client logs in with its
/// password once more.
///
/// # Errors
/// The file cannot be read or written, or is none of ours.
pub fn token_secret(directory: &Path) -> Result<[u8; SECRET], TokenSecretError> {
    let file = directory.join(NAME);
    let failed = |reason: String| TokenSecretError { file: file.clone(), reason };
    match fs::read(&file) {
        Ok(octets) => {
            let no_key = || {
                "this is no key; without the file the server makes another one, and clients ask for passwords"
                    .to_owned()
            };
            let (secret, is_whole) = read(&octets).ok_or_else(|| failed(no_key()))?;
            if !is_whole {
                write(directory, &file, &secret).map_err(|error| failed(error.to_string()))?;
            }
            Ok(secret)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = random::octets();
            write(directory, &file, &secret).map_err(|error| failed(error.to_string()))?;
            Ok(secret)
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

/// What is there after this is there after a power failure, too, and complete.
fn write(directory: &Path, file: &Path, secret: &[u8; SECRET]) -> io::Result<()> {
    let draft = file.with_extension("new");
    let mut options = OpenOptions::new();
    // Nobody else may read it, not even for a moment.
    let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    written.write_all(format!("{} {:016x}\n", hexadecimal::text(secret), checksum(secret)).as_bytes())?;
    written.sync_all()?;
    fs::rename(&draft, file)?;
    File::open(directory)?.sync_all()
}

/// A key that is another one by a bit would be the end of everybody's tokens, without a word.
fn checksum(secret: &[u8; SECRET]) -> u64 {
    fnv::hash(secret.iter().copied())
}

/// The secret in a file, and whether the file is as it was written: it may have a flipped bit, or no checksum because an
/// older version has written it.
fn read(octets: &[u8]) -> Option<([u8; SECRET], bool)> {
    if let Some(secret) = checked(octets) {
        return Some((secret, true));
    }
    let mut octets = octets.to_vec();
    let bits = (0..octets.len()).flat_map(|at| (0..u8::BITS).map(move |bit| (at, bit)));
    for (at, bit) in bits {
        *octets.get_mut(at)? ^= 1 << bit;
        if let Some(secret) = checked(&octets) {
            tracing::error!(octet = at, bit, "a flipped bit of the key for tokens was put right");
            return Some((secret, false));
        }
        *octets.get_mut(at)? ^= 1 << bit;
    }
    Some((hexadecimal::octets(str::from_utf8(&octets).ok()?.trim())?, false))
}

/// The secret if its checksum is behind it.
fn checked(octets: &[u8]) -> Option<[u8; SECRET]> {
    let (key, sum) = str::from_utf8(octets).ok()?.trim().split_once(' ')?;
    let secret = hexadecimal::octets(key)?;
    (u64::from_str_radix(sum, 16) == Ok(checksum(&secret))).then_some(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_secret_stays_the_same_and_is_for_nobody_else() {
        let directory = std::env::temp_dir().join(format!("comity-token-secret-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join(NAME);
        let first = token_secret(&directory).unwrap();
        assert_ne!(first, [0; SECRET]);
        assert_eq!(token_secret(&directory).unwrap(), first);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let whole = fs::read(&file).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &flipped).unwrap();
            assert_eq!(token_secret(&directory).unwrap(), first, "bit {bit}");
        }
        // As older versions have written it.
        fs::write(&file, &whole[..2 * SECRET]).unwrap();
        assert_eq!(token_secret(&directory).unwrap(), first);
        assert_eq!(fs::read(&file).unwrap(), whole);
        for damaged in [String::new(), "abc".to_owned(), "x".repeat(64), "é".repeat(32)] {
            fs::write(&file, &damaged).unwrap();
            assert!(token_secret(&directory).unwrap_err().to_string().contains("token.key"), "{damaged}");
        }
        fs::remove_file(&file).unwrap();
        assert_ne!(token_secret(&directory).unwrap(), first);
        fs::remove_dir_all(directory).unwrap();
        assert!(token_secret(Path::new("/nowhere/at/all")).is_err());
    }
}
