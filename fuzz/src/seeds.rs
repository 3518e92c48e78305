//! What fuzzing begins with, and what every test run repeats: files of lines, each an input.
//!
//! `\n`, `\r`, `\t` and `\\` stand for what they always do and `\xNN` for any octet; a line that begins with `#` is a remark.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{TARGETS, Target};

/// Elements of the examples in specifications: `tools/seeds` makes the list.
const EXAMPLES: &str = "seeds/examples.txt";

impl Target {
    /// Its inputs, the ones at which it failed once among them.
    ///
    /// # Panics
    /// If a file of them cannot be read.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let mut all = lines(&format!("seeds/{}.txt", self.seeds));
        // Written by `tools/fuzz` when something is found.
        let regressions = format!("regressions/{}.txt", self.name);
        if place(&regressions).exists() {
            all.extend(lines(&regressions));
        }
        if let Some(before) = self.examples {
            all.extend(examples().into_iter().map(|example| [before.as_bytes(), &example].concat()));
        }
        all
    }
}

/// The elements of the examples in specifications.
///
/// # Panics
/// If they cannot be read.
pub fn examples() -> Vec<Vec<u8>> {
    lines(EXAMPLES)
}

/// Writes the seeds of all targets below `folder`, each input a file, and tells the names of the targets.
///
/// # Errors
/// What the file system says.
pub fn unpack(folder: &Path) -> std::io::Result<()> {
    for target in &TARGETS {
        println!("{}", target.name);
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in target.seeds().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:05}")), seed)?;
        }
    }
    Ok(())
}

fn place(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn lines(path: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(place(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let inputs = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    inputs.map(|line| octets(line).unwrap_or_else(|| panic!("{path}: what is meant by {line:?}?"))).collect()
}

fn octets(line: &str) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), line);
    while let Some((plain, behind)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let (octet, length) = match behind.as_bytes().first()? {
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            b'\\' => (b'\\', 1),
            b'x' => (u8::from_str_radix(behind.get(1..3)?, 16).ok()?, 3),
            _ => return None,
        };
        out.push(octet);
        rest = &behind[length..];
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{self, Setting};
    use comity::stream::Event;

    /// Fuzzing begins behind the gate only with what passes it.
    #[test]
    fn examples_pass_the_gate() {
        let (mut whole, mut stanzas) = (0, 0);
        let all = examples();
        for example in &all {
            let (setting, rest) =
                Setting::of(&[b"c", example.as_slice()].concat()).map(|(it, rest)| (it, rest.to_vec())).unwrap();
            let mut events = 0;
            let bytes = setting.whole(&rest);
            let end = gate::read(&mut setting.reader(), &bytes, |_, event| {
                events += 1;
                stanzas += usize::from(matches!(event, Event::Stanza(_)));
            });
            whole += usize::from(end.error.is_none() && end.read == bytes.len() && events == 2);
        }
        assert!(all.len() > 2000 && stanzas > all.len() / 2, "{stanzas} of {} are stanzas", all.len());
        assert!(whole > all.len() * 9 / 10, "{whole} of {} pass", all.len());
    }

    #[test]
    fn lines_are_octets() {
        assert_eq!(octets("a\\n\\\\x\\x00\\xffé").unwrap(), b"a\n\\x\x00\xff\xc3\xa9");
        for odd in ["\\", "\\q", "\\x", "\\x0", "\\xg0", "\\xé"] {
            assert_eq!(octets(odd), None, "{odd}");
        }
    }
}
