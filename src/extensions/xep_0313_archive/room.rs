//! The archives of rooms (XEP-0313 §3.3.2): whether somebody may read one is the business of the room.

use crate::hooks::{Request, Verb};
use crate::jid::{BareJid, Jid};
use crate::stanza::{CLIENT_NS, Condition, StanzaError};
use crate::storage::Stored;
use crate::xml::Element;

use super::answer::Archive;
use super::api::NS;
use super::query::{self, FormRequest, Metadata, Query};

/// What somebody asks the archive of a room.
#[derive(Debug)]
pub(in crate::extensions) enum Asked {
    Page(Box<Query>),
    Form,
    Metadata,
}

/// Who asks.
pub(in crate::extensions) struct Reader<F> {
    /// He sees who has said something.
    pub(in crate::extensions) sees: bool,
    /// How many bytes he can be sent, asked once it is known what he is to be sent.
    pub(in crate::extensions) space: F,
}

/// What he gets: results, each the child of a message, and the answer behind them.
pub(in crate::extensions) type Answered = (Vec<String>, Option<Element>);

impl Asked {
    /// Reads a request, if it is one to an archive.
    pub(in crate::extensions) fn read(verb: Verb, element: &Element) -> Option<Result<Self, StanzaError>> {
        match (verb, element.name(), element.ns()) {
            (Verb::Set, Query::NAME, NS) => Some(Query::parse(element).map(Box::new).map(Self::Page)),
            (Verb::Get, FormRequest::NAME, NS) => Some(Ok(Self::Form)),
            (Verb::Get, Metadata::NAME, NS) => Some(Ok(Self::Metadata)),
            _ => None,
        }
    }
}

impl Archive {
    /// Answers whoever may read the archive of `room`. `shown` writes who has said something.
    pub(in crate::extensions) async fn of_room(
        &self,
        room: &BareJid,
        asked: &Asked,
        Reader { sees, space }: Reader<impl FnOnce() -> usize>,
        shown: impl Fn(&Jid) -> Element,
    ) -> Result<Answered, StanzaError> {
        let query = match asked {
            Asked::Page(query) => query,
            Asked::Metadata => return Ok((Vec::new(), Some(self.held(room).await?))),
            Asked::Form => {
                let form = Element::new(FormRequest::NAME, NS).with_child(query::form().to_element());
                return Ok((Vec::new(), Some(form)));
            }
        };
        if query.with.is_some() && !sees {
            // §4.1.1: whoever could ask would learn it.
            return Err(StanzaError::new(Condition::Forbidden, "who has said something is not shown here"));
        }
        let (found, fin) = self.look(room, query, space).await?;
        let result = |stored: &Stored| {
            let author = Jid::parse(&stored.entry.peer).ok().filter(|_| sees);
            let more = author.map_or_else(String::new, |author| shown(&author).to_xml(CLIENT_NS));
            let mut out = String::new();
            self.result(&mut out, room, query.queryid.as_deref(), (stored, &more));
            out
        };
        Ok((found.iter().map(result).collect(), Some(fin)))
    }
}
