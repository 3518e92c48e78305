//! XEP-0441 Message Archive Management Preferences, version 0.2.0: the owner of an account says with whom what he
//! exchanges is archived. What is in the archive already stays there.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::accounts::preferences::{PREFERENCES, Preferences, Usually};
use crate::hooks::{Answer, Call, Entity, Extension, Outbound, Registrar, Request, Settings, Spec};
use crate::jid::{BareJid, Jid};
use crate::live::Live;
use crate::stanza::{Condition, StanzaError};
use crate::storage::Storage;
use crate::xml::Element;

use super::xep_0313_archive::api::NS;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0441", version: "0.2.0" },
    name: "archive-preferences",
    advertises: &[],
    commands: &[],
    wanted: |settings| settings.archive.is_some(),
    install,
};

/// Addresses that both lists may have together: they stay in memory.
const MOST: usize = 500;

fn install(at: &mut Registrar<'_>) {
    let (storage, outbound, settings) = (at.storage.clone(), Arc::clone(at.outbound), at.settings.clone());
    let it = Arc::new(Archiving { storage, outbound, settings });
    at.iq_get(Entity::Account, &it, show);
    at.iq_set(Entity::Account, &it, replace);
}

struct Archiving {
    storage: Storage,
    outbound: Arc<dyn Outbound>,
    settings: Live<Settings>,
}

/// XEP-0441 §2.1: what holds now.
async fn show(it: Arc<Archiving>, call: Call<Question>) -> Answer {
    let owner = it.owner(&call)?;
    let preferences = PREFERENCES.get(&it.storage, &owner).await.map_err(|error| {
        tracing::error!(%error, "what an account wants archived could not be read");
        StanzaError::from(Condition::InternalServerError)
    })?;
    Ok(Some(element(&preferences.unwrap_or_default())))
}

/// XEP-0441 §2.1: what is to hold from now on, and the answer says what does.
async fn replace(it: Arc<Archiving>, call: Call<Wish>) -> Answer {
    let owner = it.owner(&call)?;
    let Wish(preferences) = call.request;
    let answer = element(&preferences);
    it.outbound.prefer(&owner, preferences).await?;
    Ok(Some(answer))
}

impl Archiving {
    fn owner<R>(&self, call: &Call<R>) -> Result<BareJid, StanzaError> {
        if !self.settings.load().archives(call.to.domain()) {
            return Err(Condition::ServiceUnavailable.into());
        }
        call.owner()
    }
}

fn element(preferences: &Preferences) -> Element {
    let list = |name, jids: &BTreeSet<String>| {
        let jids = jids.iter().map(|jid| Element::new("jid", NS).with_text(jid));
        jids.fold(Element::new(name, NS), Element::with_child)
    };
    Element::new(Wish::NAME, NS)
        .with("default", preferences.usually.as_str())
        .with_child(list("always", &preferences.always))
        .with_child(list("never", &preferences.never))
}

/// Asks what holds.
struct Question;

/// What is to hold.
#[derive(Debug, PartialEq, Eq)]
struct Wish(Preferences);

impl Request for Question {
    const NAME: &'static str = Wish::NAME;
    const NS: &'static str = NS;

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}

impl Request for Wish {
    const NAME: &'static str = "prefs";
    const NS: &'static str = NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        let usually = element
            .attribute("default")
            .and_then(Usually::parse)
            .ok_or_else(|| StanzaError::new(Condition::BadRequest, "the default is one of always, never and roster"))?;
        let list = |name| {
            let jids = element.child(name, NS).into_iter().flat_map(Element::elements).filter(|it| it.is("jid", NS));
            jids.map(|jid| address(&jid.text())).collect::<Result<BTreeSet<_>, _>>()
        };
        let (mut always, never) = (list("always")?, list("never")?);
        // Whoever is on both is on the second.
        always.retain(|jid| !never.contains(jid));
        if always.len() + never.len() > MOST {
            return Err(StanzaError::new(
                Condition::PolicyViolation,
                format!("the lists have at most {MOST} addresses"),
            ));
        }
        Ok(Self(Preferences { usually, always, never }))
    }
}

fn address(text: &str) -> Result<String, StanzaError> {
    let malformed = || StanzaError::new(Condition::JidMalformed, "a list has something that is no address");
    Jid::parse(text).map(|jid| jid.as_str().to_owned()).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(default: &str, inside: &str) -> Result<String, Condition> {
        let element = Element::parse(&format!("<prefs xmlns='{NS}'{default}>{inside}</prefs>"), "").unwrap();
        let wish = Wish::parse(&element).map_err(|error| error.condition)?;
        Ok(super::element(&wish.0).to_xml(NS))
    }

    // Proves: XEP-0441 §2.1, §2.1.1
    #[test]
    fn wishes_are_read_prepared_and_written() {
        let lists = "<always><jid>Romeo@Montague.lit/x</jid><jid>a@b</jid></always><never><jid>a@b</jid></never>";
        assert_eq!(
            read(" default='roster'", lists).unwrap(),
            "<prefs default='roster'><always><jid>romeo@montague.lit/x</jid></always><never><jid>a@b</jid></never></prefs>"
        );
        assert_eq!(read(" default='never'", "").unwrap(), "<prefs default='never'><always/><never/></prefs>");
    }

    #[test]
    fn what_makes_no_sense() {
        for default in ["", " default=''", " default='sometimes'", " default='Always'"] {
            assert_eq!(read(default, ""), Err(Condition::BadRequest), "{default}");
        }
        let always = |inside: &str| read(" default='always'", &format!("<always>{inside}</always>"));
        assert_eq!(always("<jid>@</jid>"), Err(Condition::JidMalformed));
        assert_eq!(always("<jid/>"), Err(Condition::JidMalformed));
        let many = |number| (0..number).map(|at| format!("<jid>a{at}@b</jid>")).collect::<String>();
        assert!(always(&many(MOST)).is_ok());
        assert_eq!(always(&many(MOST + 1)), Err(Condition::PolicyViolation));
    }
}
