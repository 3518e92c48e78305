//! Features of streams (RFC 6120 §4.3.2) that extensions offer beside those of the negotiation.

use crate::live::Live;
use crate::xml::Element;

/// Who has opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Client,
    Server,
}

/// A stream at the moment when its features are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    pub peer: Peer,
    /// Whether the peer has proven who it is.
    pub authenticated: bool,
    /// Whether it is inside TLS.
    pub encrypted: bool,
    /// Whether its session has begun already: a resource was bound together with authentication (XEP-0386).
    pub bound: bool,
}

/// Gives the feature of a stream, if it has one.
pub(super) type StreamFeature = Box<dyn Fn(StreamState) -> Option<Element> + Send + Sync>;

impl StreamState {
    const COUNT: usize = 16;

    fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(|index| Self {
            peer: if index & 4 == 0 { Peer::Client } else { Peer::Server },
            authenticated: index & 2 != 0,
            encrypted: index & 1 != 0,
            bound: index & 8 != 0,
        })
    }

    /// Its place in [`Self::all`].
    fn index(self) -> usize {
        let bits = [self.encrypted, self.authenticated, self.peer == Peer::Server, self.bound];
        bits.iter().rev().fold(0, |index, bit| (index << 1) | usize::from(*bit))
    }
}

/// What extensions offer on each kind of stream, as text, so that a login does not pay for its making.
/// Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct StreamFeatures(Live<[Box<str>; StreamState::COUNT]>);

impl Default for StreamFeatures {
    fn default() -> Self {
        Self(Live::new(Default::default()))
    }
}

impl StreamFeatures {
    /// Asks each of `features` about each kind of stream.
    pub(super) fn replace<'a>(&self, features: impl Iterator<Item = &'a StreamFeature> + Clone) {
        let mut written: [Box<str>; StreamState::COUNT] = Default::default();
        for (state, text) in StreamState::all().zip(&mut written) {
            let mut out = String::new();
            features.clone().filter_map(|feature| feature(state)).for_each(|feature| feature.write(&mut out, ""));
            *text = out.into();
        }
        self.0.replace(written);
    }

    /// Appends what is offered on such a stream.
    pub fn write(&self, stream: StreamState, out: &mut String) {
        if let Some(text) = self.0.load().get(stream.index()) {
            out.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_stream_has_its_own_features() {
        let named = |state: StreamState| Element::new("x", "urn:example").with("of", &format!("{state:?}"));
        let after = |state: StreamState| state.authenticated.then(|| Element::new("y", "urn:example"));
        let features: [StreamFeature; 2] = [Box::new(move |state| Some(named(state))), Box::new(after)];
        let offered = StreamFeatures::default();
        let written = |state| {
            let mut out = String::new();
            offered.write(state, &mut out);
            out
        };
        assert_eq!(written(StreamState { peer: Peer::Client, authenticated: true, encrypted: true, bound: false }), "");
        offered.replace(features.iter());
        for state in StreamState::all() {
            let last = if state.authenticated { "<y xmlns='urn:example'/>" } else { "" };
            assert_eq!(written(state), named(state).to_xml("") + last);
        }
    }
}
