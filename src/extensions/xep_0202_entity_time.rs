//! XEP-0202 Entity Time, version 2.0: the server's clock, in UTC.

use std::future::ready;
use std::sync::Arc;

use crate::clock::Clock;
use crate::hooks::{Call, Entity, Extension, Registrar, Request, Spec};
use crate::stanza::StanzaError;
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0202", version: "2.0" },
    name: "entity-time",
    advertises: &[(Entity::Domain, Time::NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

fn install(at: &mut Registrar<'_>) {
    let clock = Arc::new(at.clock.clone());
    at.iq_get(Entity::Domain, &clock, |clock: Arc<Clock>, _: Call<Time>| ready(Ok(Some(time(&clock)))));
}

/// A server has no place whose time zone would mean anything to who asks.
fn time(clock: &Clock) -> Element {
    let text = |name, text: &str| Element::new(name, Time::NS).with_text(text);
    Element::new(Time::NAME, Time::NS).with_child(text("tzo", "Z")).with_child(text("utc", &clock.now().to_string()))
}

struct Time;

impl Request for Time {
    const NAME: &'static str = "time";
    const NS: &'static str = "urn:xmpp:time";

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}
