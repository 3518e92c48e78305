//! How a client and the server, or two servers, tell each other what has arrived: the words are an extension's, what they
//! cause is the session's, or federation's.

use std::time::Duration;

use crate::stanza::{Condition, StanzaError};
use crate::stream::StreamError;
use crate::xml::Element;

/// What a client says about acknowledgement, outside any stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// From here on stanzas are counted in both directions.
    Enable(Wish),
    /// How many of my stanzas are in safe hands?
    Request,
    /// So many of your stanzas, modulo 2^32, have been handled.
    Handled(u32),
    /// Go on with the session called `previous`, of whose stanzas so many have been handled.
    Resume { previous: String, handled: u32 },
}

/// Whether a client wants to come back to its session after a lost connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Count,
    /// It may stay away for so long, if it says so.
    CountAndResume(Option<Duration>),
}

/// What the other side of a stream says that we have opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Our stanzas are counted; the stream may be taken up again under this name, within this time if it says so.
    Enabled(Option<(String, Option<Duration>)>),
    /// The stream that was asked for goes on; so many of our stanzas have been handled on it, modulo 2^32.
    Resumed(u32),
    /// What was asked for is not possible; so many had been handled on the stream that was to be resumed, if that is known.
    Failed(Option<u32>),
    /// So many of our stanzas, modulo 2^32, have been handled.
    Handled(u32),
    /// How many of its stanzas have we handled?
    Request,
}

/// A client has confirmed more stanzas than it was sent; all numbers are modulo 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooHigh {
    pub handled: u32,
    pub sent: u32,
}

/// The words of acknowledgement, in both directions.
pub trait Acknowledgement: Send + Sync {
    /// What a first-level element says; `None` if it does not belong here.
    ///
    /// # Errors
    /// It belongs here and makes no sense.
    fn read(&self, element: &Element) -> Option<Result<Said, StanzaError>>;

    /// Asks how many of our stanzas have been handled.
    fn request(&self) -> &'static str;

    /// Says how many of the client's stanzas are in safe hands.
    fn handled(&self, count: u32) -> String;

    /// Stanzas are counted from here on, and whoever knows the name may come back within the time.
    fn enabled(&self, resumption: Option<(&str, Duration)>) -> String;

    /// The session called `previous` goes on.
    fn resumed(&self, previous: &str, count: u32) -> String;

    /// It was not possible; `count` of the client's stanzas had been handled in the session that it
    /// asked for.
    fn failed(&self, condition: Condition, count: Option<u32>) -> String;

    /// Whether stream features offer it.
    fn is_offered(&self, features: &Element) -> bool;

    /// Has the other side count our stanzas from here on, on a stream that may be resumed.
    fn enable(&self) -> &'static str;

    /// Asks to go on with the stream called `previous`, on which we have handled nothing.
    fn resume(&self, previous: &str) -> String;

    /// What the other side says on a stream that we have opened; `None` if it does not belong here or makes no sense.
    fn hear(&self, element: &Element) -> Option<Heard>;

    /// The end of a stream whose client confirms what it was never sent.
    fn too_high(&self, fault: TooHigh) -> StreamError;
}
