//! The receiver of all events of this process.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::telemetry::{Filter, Format, is_harmful};

/// The environment variable that overrides the configured filter.
const VARIABLE: &str = "COMITY_LOG";

/// Why logging could not start.
#[derive(Debug)]
pub enum InitError {
    /// The environment variable `COMITY_LOG` holds no filter.
    Variable(String),
    /// The configured filter is not accepted.
    Filter(String),
    /// Somebody receives this process's events already.
    Taken,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(reason) => write!(f, "the environment variable {VARIABLE} holds no filter: {reason}"),
            Self::Filter(reason) => write!(f, "log.level: {reason}"),
            Self::Taken => f.write_str("logging was started twice"),
        }
    }
}

impl std::error::Error for InitError {}

/// How lines are written: fixed once logging has started, because open spans keep their fields in the
/// form of their day.
type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// What is written: can be changed.
type Handle = reload::Handle<Targets, Layered<Lines, Registry>>;

/// The way to have this process log more or less.
#[derive(Clone)]
pub struct Log {
    handle: Handle,
    /// The environment says how much.
    fixed: bool,
}

impl Log {
    /// Logs what `filter` lets pass from now on, unless the environment has said what it wants.
    pub fn replace(&self, filter: &Filter) {
        if self.fixed {
            return;
        }
        // A filter was checked when it was read, and the subscriber lives as long as the process.
        let replaced = filter.directives().and_then(|it| self.handle.reload(it).map_err(|error| error.to_string()));
        if let Err(error) = replaced {
            tracing::error!(error, "log.level has not changed");
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("fixed", &self.fixed).finish_non_exhaustive()
    }
}

/// How lines are dressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Text with time and colour.
    Terminal,
    /// Text with time.
    File,
    /// Text without time: the journal has its own.
    Journal,
    Json,
}

/// Starts logging to standard error, for the whole process.
///
/// # Errors
/// The filter of the configuration or of the environment is not understood, or logging has started already.
pub fn init(filter: &Filter, format: Format) -> Result<Log, InitError> {
    let variable = std::env::var(VARIABLE).ok();
    let fixed = variable.is_some();
    let filter = match variable {
        Some(text) => text.parse().map_err(InitError::Variable)?,
        None => filter.clone(),
    };
    let style = match format {
        Format::Json => Style::Json,
        Format::Text if std::env::var_os("JOURNAL_STREAM").is_some() => Style::Journal,
        Format::Text if io::stderr().is_terminal() => Style::Terminal,
        Format::Text => Style::File,
    };
    let (subscriber, handle) = subscriber(&filter, style, io::stderr).map_err(InitError::Filter)?;
    subscriber.try_init().map_err(|_| InitError::Taken)?;
    Ok(Log { handle, fixed })
}

fn subscriber<M, W>(filter: &Filter, style: Style, writer: M) -> Result<(impl Subscriber + Send + Sync, Handle), String>
where
    M: Fn() -> W + Send + Sync + 'static,
    W: io::Write + 'static,
{
    let writer = move || OneLine { to: writer(), style };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(style == Style::Terminal);
    let lines: Lines = match style {
        Style::Terminal | Style::File => Box::new(lines),
        Style::Journal => Box::new(lines.without_time()),
        Style::Json => Box::new(lines.json().flatten_event(true)),
    };
    let (filter, handle) = reload::Layer::new(filter.directives()?);
    Ok((Registry::default().with(lines).with(filter), handle))
}

/// One event, one line. Words of others get into events (what another server says of an error), and with a line feed in
/// them they could go on as a line that looks like one of ours: what a terminal obeys is spelled out.
struct OneLine<W> {
    to: W,
    style: Style,
}

impl<W: io::Write> io::Write for OneLine<W> {
    /// The subscriber hands over a whole event with the line feed behind it.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if self.style == Style::Json {
            // There they are spelled out already.
            return self.to.write_all(event).map(|()| event.len());
        }
        let event_text = String::from_utf8_lossy(event);
        let (line, end) = event_text.strip_suffix('\n').map_or((&*event_text, ""), |line| (line, "\n"));
        let mut written = String::with_capacity(event.len());
        for (at, character) in line.char_indices() {
            let is_ours = self.style == Style::Terminal && is_colour(&line[at..]);
            if is_harmful(character) && !is_ours {
                written.extend(character.escape_default());
            } else {
                written.push(character);
            }
        }
        written.push_str(end);
        self.to.write_all(written.as_bytes()).map(|()| event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether a text begins with a change of colour, which is the only escape sequence that is written here.
fn is_colour(text: &str) -> bool {
    let behind =
        text.strip_prefix("\u{1b}[").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    behind.is_some_and(|rest| rest.starts_with('m'))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::{Log, Style, subscriber};
    use crate::telemetry::Filter;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `during` logs.
    pub(in crate::telemetry) fn captured(style: Style, during: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, _) = subscriber(&Filter::default(), style, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, during);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn the_journal_gets_neither_time_nor_colour() {
        let lines = captured(Style::Journal, || {
            tracing::info!(target: "comity", domain = "example.org", "hello");
            tracing::debug!(target: "comity", "not at this level");
        });
        assert_eq!(lines, " INFO comity: hello domain=\"example.org\"\n");
    }

    /// T-LOG-1: CVE-2009-0934 and its like.
    #[test]
    fn nobody_else_makes_a_line() {
        let hostile = "bye\r\n2030-01-01T00:00:00Z  WARN comity::authentication: authentication failure \
                       address=192.0.2.1\n\t\u{8}\u{1b}[2K\u{9b}2K\0";
        for style in [Style::File, Style::Journal, Style::Terminal, Style::Json] {
            let lines = captured(style, || {
                tracing::warn!(reason = %hostile, "stream ended: {hostile}");
                tracing::warn!(reason = ?hostile, text = hostile, "stream ended");
            });
            assert_eq!(lines.lines().count(), 2, "{style:?}: {lines}");
            if style == Style::Json {
                let read = lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
                assert!(read, "{lines}");
                continue;
            }
            let foreign = |c: char| c.is_control() && c != '\n' && (c != '\u{1b}' || style != Style::Terminal);
            assert!(!lines.contains(foreign), "{style:?}: {lines:?}");
            assert!(!lines.contains("\u{1b}[2K"), "{style:?}: {lines:?}");
        }
        let plain = captured(Style::Journal, || tracing::info!(target: "comity", "caf\u{e9} \u{1f600}"));
        assert_eq!(plain, " INFO comity: caf\u{e9} \u{1f600}\n");
    }

    #[test]
    fn a_level_that_changes_counts_at_once() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, handle) = subscriber(&Filter::warnings(), Style::Journal, move || writer.clone()).unwrap();
        let log = Log { handle, fixed: false };
        tracing::subscriber::with_default(subscriber, || {
            for level in ["warn", "debug", "off", "info"] {
                log.replace(&level.parse().unwrap());
                tracing::debug!(target: "comity", level, "fine");
                tracing::info!(target: "comity", level, "hello");
            }
            let fixed = Log { fixed: true, ..log.clone() };
            fixed.replace(&Filter::warnings());
            tracing::info!(target: "comity", "still here");
        });
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let written = "DEBUG comity: fine level=\"debug\"\n INFO comity: hello level=\"debug\"\n \
                       INFO comity: hello level=\"info\"\n INFO comity: still here\n";
        assert_eq!(lines, written);
    }

    #[test]
    fn json_is_one_object_per_line() {
        let lines = captured(Style::Json, || tracing::info!(target: "comity", domain = "a\nb", "hello"));
        assert_eq!(lines.lines().count(), 1);
        let object: serde_json::Value = serde_json::from_str(&lines).unwrap();
        assert_eq!(object["message"], "hello");
        assert_eq!(object["domain"], "a\nb");
        assert_eq!(object["level"], "INFO");
    }
}
