//! Our own stanzas, read back from the text that was kept of them.

use super::event::Event;
use super::limits::Limits;
use super::namespace::ContentNamespace;
use super::reader::{Framing, Reader};
use crate::stanza::Stanza;

/// The stanzas in `text`, which we have written ourselves, each with the place behind its last byte. Ends at the first
/// that is not whole.
pub fn read_back(text: &str, content: ContentNamespace) -> impl Iterator<Item = (usize, Stanza<'_>)> {
    let mut reader = Reader::new(Framing::Frame, content, Limits::OWN);
    let mut done = 0;
    std::iter::from_fn(move || {
        loop {
            let step = reader.next(text.as_bytes().get(done..).filter(|rest| !rest.is_empty())?).ok()?;
            if step.consumed == 0 {
                return None;
            }
            done += step.consumed;
            if let Some(Event::Stanza(stanza)) = step.event {
                return Some((done, stanza));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_stanzas_come_back_with_their_ends() {
        let read = |text: &str| {
            let found = read_back(text, ContentNamespace::Client);
            found.map(|(end, stanza)| (end, stanza.id.unwrap().into_owned())).collect::<Vec<_>>()
        };
        let (one, two) = ("<message id='1'><body>a</body></message>", "<presence id='2'/>");
        let both = [(one.len(), "1".to_owned()), (one.len() + two.len(), "2".to_owned())];
        assert_eq!(read(&format!("{one}{two}")), both);
        assert_eq!(read(&format!("{one}<presence id='2'")), both[..1]);
        assert_eq!(read(""), []);
    }
}
