//! What servers log, where nothing else tells what became of a message.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::trace::Trace;

/// Where messages are given up that could not be sent to another server.
const TARGET: &str = "comity::federation::delivery";
const NOT_SENT: &str = "a stanza is not sent";

type Returned = (usize, u64, String);

/// Hears of messages that come back to their senders, who may not be there.
#[derive(Clone)]
pub(crate) struct Witness {
    trace: Trace,
    /// Their numbers, when that was, and why.
    returned: Arc<Mutex<Vec<Returned>>>,
}

impl Witness {
    pub(crate) fn new(trace: Trace) -> Self {
        Self { trace, returned: Arc::default() }
    }

    pub(crate) fn returned(&self) -> Vec<Returned> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The fields of an event that matter.
#[derive(Default)]
struct Said {
    not_sent: bool,
    why: String,
    message: Option<usize>,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "id" {
            self.message = value.strip_prefix('m').and_then(|number| number.parse().ok());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.not_sent = format!("{value:?}") == NOT_SENT,
            "failure" => self.why = format!("{value:?}"),
            _ => {}
        }
    }
}

impl Subscriber for Witness {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == TARGET
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        if let Some(message) = said.message.filter(|_| said.not_sent) {
            self.trace.note(format_args!("m{message} is not sent: {}", said.why));
            let at = self.trace.now();
            self.returned.lock().unwrap_or_else(PoisonError::into_inner).push((message, at, said.why));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
