//! Rooms: whatever people say to one, it has an owner, keeps its bounds, speaks in its own name, and is understood.

use std::sync::LazyLock;

use comity::extensions::play::{Outcome, play};
use comity::jid::{BareJid, Jid};
use comity::stanza::{CLIENT_NS, Stanza};
use comity::storage::Storage;

use crate::gate;
use crate::readers::written_alone;

/// As in the examples of XEP-0045, and the owner likewise.
static ROOM: LazyLock<BareJid> = LazyLock::new(|| BareJid::parse("coven@chat.shakespeare.lit").expect("an address"));
static OWNER: LazyLock<Jid> = LazyLock::new(|| Jid::parse("crone1@shakespeare.lit/desktop").expect("an address"));

/// Nothing is stored in it; it numbers what could be.
static STORAGE: LazyLock<Storage> = LazyLock::new(|| Storage::open_in_memory().expect("a database in memory"));

/// How many enter the room at most, and how much is tried at once.
const OCCUPANTS: usize = 5;
/// Owners and admins find place beside them.
const SPARE: usize = 16;
const STANZAS: usize = 24;

pub(crate) fn run(bytes: &[u8]) {
    let stanzas: Vec<Stanza<'static>> = gate::stanzas(bytes).into_iter().take(STANZAS).map(addressed).collect();
    let outcome = play(&STORAGE, (&ROOM, &OWNER.to_bare()), OCCUPANTS, &stanzas);
    let Outcome { told, occupants, owners, is_closed } = outcome.expect("everybody has an address");
    assert!(occupants <= OCCUPANTS + SPARE, "{occupants} occupants");
    assert!(is_closed || owners > 0, "a room without an owner");
    for (to, stanza) in told {
        let from = stanza.from.as_ref().map(Jid::bare_str);
        assert!(from == Some(ROOM.as_str()), "in the name of {from:?}: {}", stanza.to_xml());
        let mut xml = String::new();
        stanza.write_to(&mut xml, Some(to.as_str()));
        written_alone(&xml, CLIENT_NS);
    }
}

/// To the room or to somebody in it, and from somebody: the examples are.
fn addressed(mut stanza: Stanza<'static>) -> Stanza<'static> {
    if stanza.from.as_ref().is_none_or(|from| from.is_bare() || from.bare_str() == ROOM.as_str()) {
        stanza.from = Some(OWNER.clone());
    }
    if stanza.to.as_ref().is_none_or(|to| to.bare_str() != ROOM.as_str()) {
        stanza.to = Some(match stanza.to.as_ref().and_then(Jid::resource) {
            Some(nick) => ROOM.with_resource(nick).expect("what was prepared"),
            None => ROOM.as_jid().clone(),
        });
    }
    stanza
}
