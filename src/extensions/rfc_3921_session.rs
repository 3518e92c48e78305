//! RFC 3921 §3, session establishment: obsolete and without effect, but old clients ask for it
//! wherever the stream features list it, and some insist.

use std::sync::Arc;

use crate::hooks::{Answer, Call, Entity, Extension, Peer, Registrar, Request, Spec};
use crate::stanza::StanzaError;
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "RFC 3921", version: "2004-10" },
    name: "session",
    advertises: &[],
    wanted: Extension::ALWAYS,
    commands: &[],
    install,
};

fn install(at: &mut Registrar<'_>) {
    let it = Arc::new(());
    at.iq_set(Entity::Account, &it, establish);
    at.iq_set(Entity::Domain, &it, establish);
    // That it may be left out is said in a draft, whose word clients know.
    let feature = || Element::new(Session::NAME, Session::NS).with_child(Element::new("optional", Session::NS));
    at.stream_feature(move |stream| {
        (stream.peer == Peer::Client && stream.authenticated && !stream.bound).then(feature)
    });
}

async fn establish(_: Arc<()>, _: Call<Session>) -> Answer {
    Ok(None)
}

struct Session;

impl Request for Session {
    const NAME: &'static str = "session";
    const NS: &'static str = "urn:ietf:params:xml:ns:xmpp-session";

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}
