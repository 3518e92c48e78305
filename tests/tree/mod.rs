//! The files of this repository, for the tests that read it.

use std::fs;
use std::path::{Path, PathBuf};

/// What holds nothing of our own.
const FOREIGN: [&str; 5] = [".git", ".cache", "__pycache__", "target", "node_modules"];

/// A text file, by its path relative to where the search began, with `/` between the parts.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The folder with `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All text files below a folder whose name ends in `ending`, in the order of their paths.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in entries(&next) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            if FOREIGN.contains(&name.as_ref()) || entry.is_symlink() {
                continue;
            }
            if entry.is_file() && name.ends_with(ending) {
                // What is no text, such as a sample database, has no lines to judge.
                if let Ok(text) = fs::read_to_string(&entry) {
                    found.push(File { path: relative(folder, &entry), text });
                }
            } else if entry.is_dir() {
                folders.push(entry);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("a readable folder").path()).collect()
}

fn relative(folder: &Path, file: &Path) -> String {
    let parts = file.strip_prefix(folder).expect("found below").components();
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
