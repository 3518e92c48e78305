//! XEP-0199 XMPP Ping, version 2.0.1: answered for the domain and its accounts.

use std::sync::Arc;

use crate::crash;
use crate::hooks::{Answer, Call, Entity, Extension, Registrar, Request, Spec};
use crate::stanza::StanzaError;
use crate::xml::Element;

pub use self::api::NS;

/// For whoever answers pings himself.
pub(super) mod api {
    /// Namespace of a ping.
    pub const NS: &str = "urn:xmpp:ping";
}

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0199", version: "2.0.1" },
    name: "ping",
    advertises: &[
        (Entity::Domain, Ping::NS),
        (Entity::Account, Ping::NS),
        (Entity::Rooms, Ping::NS),
        (Entity::Room, Ping::NS),
    ],
    wanted: Extension::ALWAYS,
    commands: &[],
    install,
};

fn install(at: &mut Registrar<'_>) {
    let it = Arc::new(());
    at.iq_get(Entity::Domain, &it, pong);
    at.iq_get(Entity::Account, &it, pong);
}

async fn pong(_: Arc<()>, _: Call<Ping>) -> Answer {
    Ok(None)
}

struct Ping;

impl Request for Ping {
    const NAME: &'static str = "ping";
    const NS: &'static str = NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        crash::hear(|| element.text());
        Ok(Self)
    }
}
