//! XEP-0092 Software Version, version 1.1: which software this is and which version of it. The
//! operating system, which is optional, is nobody's business.

use std::sync::Arc;

use crate::hooks::discovery::SOFTWARE;
use crate::hooks::{Answer, Call, Entity, Extension, Registrar, Request, Spec};
use crate::stanza::StanzaError;
use crate::xml::Element;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0092", version: "1.1" },
    name: "version",
    advertises: &[(Entity::Domain, Version::NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

fn install(at: &mut Registrar<'_>) {
    at.iq_get(Entity::Domain, &Arc::new(()), version);
}

async fn version(_: Arc<()>, _: Call<Version>) -> Answer {
    let text = |name, text| Element::new(name, Version::NS).with_text(text);
    let answer = Element::new(Version::NAME, Version::NS)
        .with_child(text("name", SOFTWARE))
        .with_child(text("version", env!("CARGO_PKG_VERSION")));
    Ok(Some(answer))
}

struct Version;

impl Request for Version {
    const NAME: &'static str = "query";
    const NS: &'static str = "jabber:iq:version";

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}
