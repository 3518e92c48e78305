//! What happened, line by line: two runs of one seed must write the same.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use comity::xml::Element;
use tokio::time::Instant;

/// Shared by everything that happens.
#[derive(Clone)]
pub(crate) struct Trace {
    begin: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Trace {
    /// Begins now.
    pub(crate) fn new() -> Self {
        Self { begin: Instant::now(), lines: Arc::default() }
    }

    /// Milliseconds since the beginning, in simulated time.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment so many milliseconds behind the beginning.
    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.begin + Duration::from_millis(ms)
    }

    pub(crate) fn note(&self, line: impl Display) {
        let line = format!("{:>8} {line}", self.now());
        self.lock().push(line);
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.lock().join("\n");
        text.push('\n');
        text
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells two traces apart (FNV-1a).
pub(crate) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |state, octet| (state ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

/// An element in few words, without what servers make up.
pub(crate) fn words(element: &Element) -> String {
    let mut text = element.name().to_owned();
    for name in ["type", "from", "to", "h"] {
        if let Some(value) = element.attribute(name) {
            text.push_str(&format!(" {name}={value}"));
        }
    }
    // What the story has named. Servers use hexadecimal digits, among which these letters are not.
    if let Some(id) = element.attribute("id").filter(|id| id.starts_with(['m', 'q', 's'])) {
        text.push_str(&format!(" id={id}"));
    }
    for child in element.elements() {
        text.push_str(&format!(" <{}>", child.name()));
        for reason in child.elements().filter(|_| child.name() == "error") {
            text.push_str(&format!(" {} {}", reason.name(), reason.text()));
        }
    }
    text
}
