//! The language of a stream, which is that of its stanzas where they do not say (RFC 6120 §4.7.4,
//! §8.1.5).

use std::borrow::Cow;

use crate::stanza::Stanza;

/// The longest tag that is remembered.
const LONGEST: usize = 14;

/// A language tag. Every stream holds one, so it takes the room of a pointer or two; a tag that is
/// longer than nearly all of those in use is not remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language([u8; LONGEST]);

impl Language {
    pub const UNKNOWN: Self = Self([0; LONGEST]);

    /// Reads what a header says. What is no tag (RFC 5646 §2.1) is no language.
    pub(super) fn read(tag: &str) -> Self {
        let is_subtag = |it: &str| (1..=8).contains(&it.len()) && it.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let mut language = Self::UNKNOWN;
        if tag.split('-').all(is_subtag)
            && let Some(room) = language.0.get_mut(..tag.len())
        {
            room.copy_from_slice(tag.as_bytes());
        }
        language
    }

    /// The tag, if it is known.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(LONGEST);
        self.0.get(..length).and_then(|tag| std::str::from_utf8(tag).ok()).filter(|tag| !tag.is_empty())
    }

    /// Gives a stanza the language of its stream, unless it has one.
    pub fn complete<'a>(&'a self, stanza: &mut Stanza<'a>) {
        if stanza.lang.is_none() {
            stanza.lang = self.as_str().map(Cow::Borrowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{Kind, MessageType};

    // Proves: RFC 6120 §4.7.4
    #[test]
    fn only_tags_are_languages() {
        for tag in ["en", "de-CH", "zh-Hans-CN", "sl-rozaj-biske", "i-klingon", "x-a"] {
            assert_eq!(Language::read(tag).as_str(), Some(tag));
        }
        for tag in ["", "-", "en-", "-en", "en_US", "en us", "d\u{e9}", "'", "abcdefghi", "zh-Hans-CN-x-abc", "a\0b"] {
            assert_eq!(Language::read(tag), Language::UNKNOWN, "{tag}");
        }
        assert_eq!(Language::UNKNOWN.as_str(), None);
    }

    // Proves: RFC 6120 §8.1.5
    #[test]
    fn the_language_of_a_stanza_goes_first() {
        let language = Language::read("it");
        let mut stanza = Stanza::new(Kind::Message(MessageType::Chat));
        language.complete(&mut stanza);
        assert_eq!(stanza.lang.as_deref(), Some("it"));
        let mut own = Stanza { lang: Some("".into()), ..Stanza::new(Kind::Message(MessageType::Chat)) };
        language.complete(&mut own);
        assert_eq!(own.lang.as_deref(), Some(""));
    }
}
