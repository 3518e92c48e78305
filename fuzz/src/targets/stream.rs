//! The framing: it does not matter how the octets are cut, and a stream that has ended or begun anew is as it should be.

use comity::stream::{Framing, Limits, Reader};

use crate::gate::{self, End, Setting};

/// What has come of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    events: Vec<String>,
    end: End,
}

pub(crate) fn run(bytes: &[u8]) {
    let Some((setting, rest)) = Setting::of(bytes) else { return };
    let bytes = setting.whole(rest);
    let whole = outcome(&setting, |_| bytes.len().max(1), &bytes);
    // Where the pieces end depends on the input, so that fuzzing finds the places that matter.
    let sum = |at: usize| 1 + usize::from(bytes.get(at).copied().unwrap_or_default()) % 37;
    assert_eq!(outcome(&setting, |_| 1, &bytes), whole, "octet by octet: {}", String::from_utf8_lossy(&bytes));
    assert_eq!(outcome(&setting, sum, &bytes), whole, "in pieces: {}", String::from_utf8_lossy(&bytes));
    begun_anew(&setting, &bytes, &whole);
}

/// Reads pieces, each as long as `length` says of the place at which it begins.
fn outcome(setting: &Setting, length: impl Fn(usize) -> usize, bytes: &[u8]) -> Outcome {
    let (mut reader, mut events, mut read, mut come) = (setting.reader(), Vec::new(), 0, 0);
    loop {
        let arrived = &bytes[read..come];
        match reader.next(arrived) {
            Err(error) => return Outcome { events, end: End { read: 0, error: Some(error.condition) } },
            Ok(step) => {
                assert!(step.consumed <= arrived.len(), "more is consumed than has come");
                read += step.consumed;
                match step.event {
                    Some(event) => events.push(format!("{event:?}")),
                    None if come == bytes.len() => return Outcome { events, end: End { read, error: None } },
                    None => come = bytes.len().min(come + length(come)),
                }
            }
        }
    }
}

/// A reader that has been told to expect a new stream knows nothing of the one before.
fn begun_anew(setting: &Setting, bytes: &[u8], whole: &Outcome) {
    if whole.end.error.is_some() {
        return;
    }
    let mut reader = setting.reader();
    let mut events = Vec::new();
    gate::read(&mut reader, bytes, |_, event| events.push(format!("{event:?}")));
    assert_eq!(events, whole.events);
    reader.set_limits(Limits::UNAUTHENTICATED);
    reader.restart();
    reader.set_limits(setting.limits);
    let mut again = Vec::new();
    let end = gate::read(&mut reader, bytes, |_, event| again.push(format!("{event:?}")));
    assert_eq!((again, end.error), (events, None), "{}", String::from_utf8_lossy(bytes));
    if whole.events.last().is_some_and(|event| event == "Close") && setting.framing == Framing::Stream {
        closed(reader);
    }
}

/// Nothing follows the end of a stream.
fn closed(mut reader: Reader) {
    let step = reader.next(b" \n").map(|step| (step.consumed, step.event.is_none()));
    assert_eq!(step.ok(), Some((2, true)), "white space behind the end");
    assert!(reader.next(b"<a xmlns='b'/>").is_err(), "an element behind the end");
}
