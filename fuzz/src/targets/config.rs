//! The configuration: it is refused with a place, or it is complete, and the same whenever it is read.

use std::path::Path;

use comity::config::{Config, explain};

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let file = Path::new("comity.toml");
    match Config::parse(text, file) {
        Err(error) => {
            assert!(!error.problems.is_empty(), "refused without a reason");
            for problem in &error.problems {
                let (line, column) = problem.place.unwrap_or((1, 1));
                // Behind the last line is a place too.
                assert!(line >= 1 && column >= 1 && line <= text.lines().count() + 1, "{error}");
                assert!(!problem.reason.is_empty());
            }
            assert_eq!(error.to_string().lines().next().map(|line| line.starts_with("comity.toml:")), Some(true));
        }
        Ok(config) => {
            assert!(!config.domains.is_empty(), "a server without a domain");
            let again = Config::parse(text, file).expect("what was right is right");
            assert_eq!(config.changes(&again), Vec::<String>::new());
            let explained = explain(&config, text, None).unwrap_or_default();
            assert!(!explained.is_empty());
            for key in explained {
                assert!(key.line.is_none_or(|line| line >= 1 && line <= text.lines().count() + 1), "{}", key.key);
            }
        }
    }
}
