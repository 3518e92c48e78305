//! XEP-0054 vcard-temp, version 1.3.0: a card that an account shows to everybody. It is kept as it
//! was written and given out as it is.

use std::sync::Arc;

use crate::hooks::{Answer, Call, Entity, Extension, Registrar, Relation, Request, Spec};
use crate::stanza::{Condition, StanzaError};
use crate::storage::{Cell, Error, Storage, Writes};
use crate::xml::Element;

use self::api::{MOST, NAME, NS};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0054", version: "1.3.0" },
    name: "vcard",
    advertises: &[(Entity::Domain, NS), (Entity::Account, NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

/// For rooms, which have cards as well.
pub(super) mod api {
    pub(in crate::extensions) const NAME: &str = "vCard";
    pub(in crate::extensions) const NS: &str = "vcard-temp";

    /// Octets that a card may have: room for a photograph of the size that clients make (XEP-0153 §5).
    pub(in crate::extensions) const MOST: usize = 128 * 1024;
}

/// The card, as XML.
const CARD: Cell<String> = Cell::new("vcard");

fn install(at: &mut Registrar<'_>) {
    let it = Arc::new(at.storage.clone());
    at.iq_get(Entity::Account, &it, show);
    at.iq_set(Entity::Account, &it, keep);
    at.for_strangers::<Card>();
}

/// XEP-0054 §3.1, §3.3: an account without a card and one that does not exist look alike to others.
async fn show(storage: Arc<Storage>, call: Call<Card>) -> Answer {
    let card = CARD.get(&storage, &call.to.to_bare()).await.map_err(|error| failed(&error))?;
    match card.and_then(|card| Element::parse(&card, "").ok()) {
        Some(card) => Ok(Some(card)),
        None if call.relation == Relation::Owner => Err(Condition::ItemNotFound.into()),
        None => Err(Condition::ServiceUnavailable.into()),
    }
}

/// XEP-0054 §3.2: the answer waits until the card is safe.
async fn keep(storage: Arc<Storage>, call: Call<Card>) -> Answer {
    let owner = call.owner()?;
    let card = call.request.0.to_xml("");
    if card.len() > MOST {
        return Err(StanzaError::new(Condition::PolicyViolation, format!("a card has at most {MOST} bytes")));
    }
    let mut writes = Writes::new();
    CARD.put(&mut writes, &owner, &card).map_err(|error| failed(&error))?;
    storage.keep(writes).await.map_err(|error| failed(&error))?;
    Ok(None)
}

fn failed(error: &Error) -> StanzaError {
    tracing::error!(%error, "a vCard could not be read or written");
    Condition::InternalServerError.into()
}

/// A card, or the question for one.
struct Card(Element);

impl Request for Card {
    const NAME: &'static str = NAME;
    const NS: &'static str = NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        Ok(Self(element.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    // Proves: XEP-0054 §3.2
    #[tokio::test(start_paused = true)]
    async fn a_card_has_room_for_a_photograph_and_an_end() {
        let mut world = World::new();
        let mut romeo = world.login(&"romeo@verona.example/orchard".parse().unwrap()).await.unwrap();
        let mut tybalt = world.login(&"tybalt@mantua.example/hall".parse().unwrap()).await.unwrap();
        let card = |octets: usize| {
            let photo = "A".repeat(octets);
            format!("<vCard xmlns='{NS}'><PHOTO><TYPE>image/png</TYPE><BINVAL>{photo}</BINVAL></PHOTO></vCard>")
        };
        let around = card(0).len();
        for (octets, outcome) in [(MOST - around, "result"), (MOST - around + 1, "error")] {
            romeo.send(&format!("<iq type='set' id='1'>{}</iq>", card(octets))).await;
            let answer = romeo.next().await.unwrap();
            assert_eq!(answer.attribute("type"), Some(outcome), "{}", answer.to_xml(""));
            assert_eq!(answer.to_xml("").contains("policy-violation"), outcome == "error");
        }
        // Nothing of the second one was kept, and whoever asks gets all of the first.
        tybalt.send(&format!("<iq type='get' id='2' to='romeo@verona.example'><vCard xmlns='{NS}'/></iq>")).await;
        let shown = tybalt.next().await.unwrap();
        assert_eq!(shown.child("vCard", NS).unwrap().to_xml(""), card(MOST - around));
    }
}
