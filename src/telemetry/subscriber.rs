//! The receiver of all events of this process.

use std::fmt;
use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::telemetry::{Filter, Format};

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
pub fn init(filter: &Filter, format: Format) -> Result<(), InitError> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().map_err(InitError::Variable)?,
        Err(_) => filter.clone(),
    };
    let style = match format {
        Format::Json => Style::Json,
        Format::Text if std::env::var_os("JOURNAL_STREAM").is_some() => Style::Journal,
        Format::Text if std::io::stderr().is_terminal() => Style::Terminal,
        Format::Text => Style::File,
    };
    let subscriber = subscriber(&filter, style, std::io::stderr).map_err(InitError::Filter)?;
    subscriber.try_init().map_err(|_| InitError::Taken)
}

fn subscriber<W>(filter: &Filter, style: Style, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, String>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter.directives()?)
        .with_writer(writer)
        .with_ansi(style == Style::Terminal);
    Ok(match style {
        Style::Terminal | Style::File => Box::new(builder.finish()),
        Style::Journal => Box::new(builder.without_time().finish()),
        Style::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::{Style, subscriber};
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
        let subscriber = subscriber(&Filter::default(), style, move || writer.clone()).unwrap();
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
