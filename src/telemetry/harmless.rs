//! Text that strangers chose, on its way to a terminal or a log.

use std::borrow::Cow;

/// One line that says what `text` says, without anything that a terminal obeys or that changes the order in which the rest is
/// read.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_harmful(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Whether a character is a command rather than something to see: control characters, separators of lines, and marks of
/// direction (Unicode Standard Annex 9).
#[must_use]
pub fn is_harmful(character: char) -> bool {
    let is_mark =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    is_mark || character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_instead() {
        for (text, shown) in [
            ("caf\u{e9} \u{1f98a} 'it' is \\ fine", "caf\u{e9} \u{1f98a} 'it' is \\ fine"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("one\nAll is well.\r", "one\\u{a}All is well.\\u{d}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("moc.\u{202e}example", "moc.\\u{202e}example"),
            ("a\u{2028}b\u{7f}", "a\\u{2028}b\\u{7f}"),
        ] {
            assert_eq!(harmless(text), shown);
        }
    }
}
