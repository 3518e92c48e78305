//! The secret from which the tokens of clients are derived (XEP-0484): a file beside the database and not in it, so that
//! whoever gets hold of the database alone can log in nowhere.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::accounts::random;
use crate::accounts::tokens::SECRET;

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
    match fs::read_to_string(&file) {
        Ok(text) => read(&text).ok_or_else(|| {
            failed(
                "this is no key; without the file the server makes another one, and clients ask for passwords"
                    .to_owned(),
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = random::octets().map_err(|error| failed(error.to_string()))?;
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
    let hex: String = secret.iter().map(|octet| format!("{octet:02x}")).collect();
    written.write_all(format!("{hex}\n").as_bytes())?;
    written.sync_all()?;
    fs::rename(&draft, file)?;
    File::open(directory)?.sync_all()
}

fn read(text: &str) -> Option<[u8; SECRET]> {
    let text = text.trim();
    if text.len() != 2 * SECRET || !text.is_ascii() {
        return None;
    }
    let mut secret = [0; SECRET];
    for (octet, place) in secret.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(text.get(place..place + 2)?, 16).ok()?;
    }
    Some(secret)
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
