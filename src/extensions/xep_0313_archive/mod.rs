//! XEP-0313 Message Archive Management, version 1.1.1, for the accounts of this server: every account has one archive,
//! the archived entries of its log.
//!
//! Pages are those of XEP-0059 Result Set Management, version 1.0.

mod answer;
mod kept;
mod query;
mod room;

use std::future::ready;
use std::sync::Arc;

use crate::hooks::{Call, Entity, Extension, Passing, Registrar, Spec};
use crate::jid::BareJid;
use crate::stanza::Stanza;
use crate::storage::{Direction, Marks};

use self::answer::Archive;
use self::api::NS;
use self::query::FormRequest;
use super::xep_0359_stanza_ids::api::Ids;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0313", version: "1.1.1" },
    name: "archive",
    advertises: &[
        (Entity::Account, NS),
        (Entity::Account, api::EXTENDED),
        (Entity::Account, "urn:xmpp:mam:2#groupchat-field"),
    ],
    commands: &[],
    wanted: |settings| settings.archive.is_some(),
    install,
};

/// For extensions that look at messages or forward them, and for rooms, which have archives of their own.
pub(super) mod api {
    use crate::stanza::{Child, Stanza};

    pub(in crate::extensions) use super::answer::Archive;
    pub(in crate::extensions) use super::room::{Asked, Reader};

    /// Whether the archive of a room keeps a message to everybody.
    pub(in crate::extensions) fn is_worth_keeping(stanza: &Stanza<'_>) -> bool {
        super::kept::is_worth_keeping(stanza)
    }

    /// Whether something is text that only the recipient can read.
    pub(in crate::extensions) fn is_encrypted(child: Child<'_>) -> bool {
        super::kept::is_encrypted(child)
    }

    pub(in crate::extensions) const NS: &str = "urn:xmpp:mam:2";
    /// The archive knows all fields and the metadata.
    pub(in crate::extensions) const EXTENDED: &str = "urn:xmpp:mam:2#extended";
    /// XEP-0297.
    pub(in crate::extensions) const FORWARD_NS: &str = "urn:xmpp:forward:0";
    /// XEP-0184.
    pub(in crate::extensions) const RECEIPTS_NS: &str = "urn:xmpp:receipts";
    /// XEP-0333.
    pub(in crate::extensions) const MARKERS_NS: &str = "urn:xmpp:chat-markers:0";
    /// XEP-0353.
    pub(in crate::extensions) const CALLS_NS: &str = "urn:xmpp:jingle-message:0";
    /// XEP-0482.
    pub(in crate::extensions) const GROUP_CALLS_NS: &str = "urn:xmpp:call-invites:0";
    /// XEP-0249.
    pub(in crate::extensions) const CONFERENCE_NS: &str = "jabber:x:conference";
}

fn install(at: &mut Registrar<'_>) {
    let Some(ids) = Ids::new(at.storage.secret()) else {
        return tracing::error!("the cryptographic library fails: nothing is archived");
    };
    let ids = Arc::new(ids);
    let storage = at.storage.clone();
    let shown = Arc::clone(&ids);
    let settings = at.settings.clone();
    at.archive(move |passing| {
        // Most messages are worth it, and most domains have an archive.
        if passing.archivable && kept::is_archived(passing.stanza) && settings.load().archives(passing.account.domain())
        {
            archive(passing, &storage, &shown);
        }
    });
    at.private(is_result);
    let it = Arc::new(Archive::new(at.storage.clone(), Arc::clone(at.outbound), ids, at.settings.clone()));
    at.iq_set(Entity::Account, &it, Archive::page);
    at.iq_get(Entity::Account, &it, |it, call: Call<FormRequest>| ready(it.form(&call)));
    at.iq_get(Entity::Account, &it, Archive::metadata);
    at.archive_at_binding(move |account| {
        let it = Arc::clone(&it);
        async move { if it.is_kept(&account) { it.held(&account).await.ok() } else { None } }
    });
}

/// Keeps a message; who gets to see it learns its id.
fn archive(passing: &mut Passing<'_, '_>, storage: &crate::storage::Storage, ids: &Ids) {
    let position = passing.keep(storage, Marks::ARCHIVED);
    if passing.direction == Direction::Received || passing.shown {
        ids.write_element(&mut passing.tail, passing.account, position);
    }
}

/// Results of queries are for who asked.
fn is_result(account: &BareJid, stanza: &Stanza<'_>) -> bool {
    // Nobody but the server itself sends from an account without resource.
    let is_own = stanza.from.as_ref().is_some_and(|from| from.as_str() == account.as_str());
    is_own && stanza.payload.children().any(|child| child.name == "result" && child.ns == NS)
}
