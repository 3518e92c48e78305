//! What the service itself says: what it is, and which rooms there are (XEP-0045 §6.1 to §6.3).

use std::ops::Bound;
use std::sync::PoisonError;

use crate::hooks::discovery::INFO_NS;
use crate::hooks::paging::Page;
use crate::hooks::{Answer, Verb, answering};
use crate::jid::BareJid;
use crate::stanza::{Condition, IqType, Kind, Stanza, StanzaError};
use crate::xml::Element;

use super::super::xep_0030_service_discovery::api::ITEMS_NS;
use super::super::xep_0199_ping::api::NS as PING_NS;
use super::super::xep_0433_channel_search::api::{self as search, Channel};
use super::kept::Listed;
use super::service::{Rooms, State};

/// Rooms of one page.
const PAGE: usize = 250;

/// Rooms that are looked at together.
const PORTION: usize = 250;

impl Rooms {
    /// Somebody asks the service.
    pub(super) fn asked(&self, stanza: &Stanza<'_>) -> Option<Stanza<'static>> {
        let verb = match stanza.kind {
            Kind::Iq(IqType::Get) => Verb::Get,
            Kind::Iq(IqType::Set) => Verb::Set,
            // Nobody answers an error, and nothing is said by presence.
            Kind::Iq(_) | Kind::Presence(_) => return None,
            Kind::Message(_) => return stanza.error(&Condition::ServiceUnavailable.into()),
        };
        answering(stanza, self.answer(verb, stanza))
    }

    fn answer(&self, verb: Verb, stanza: &Stanza<'_>) -> Answer {
        let request = stanza.payload.first().ok_or(Condition::BadRequest)?;
        match (verb, request.name(), request.ns()) {
            (Verb::Get, "query", INFO_NS) => {
                let info = self.catalogue.about_rooms().info(request.attribute("node"));
                info.map(Some).ok_or_else(|| Condition::ItemNotFound.into())
            }
            (Verb::Get, "query", ITEMS_NS) if request.attribute("node").is_some() => {
                Err(Condition::ItemNotFound.into())
            }
            (Verb::Get, "query", ITEMS_NS) => self.rooms(&request).map(Some),
            (Verb::Get, "ping", PING_NS) => Ok(None),
            (Verb::Get, search::NAME, search::NS) => self.search(&request).map(Some),
            _ => Err(Condition::ServiceUnavailable.into()),
        }
    }

    fn search(&self, question: &Element) -> Result<Element, StanzaError> {
        search::answer(question, self.channels(), |room| self.occupants_of(room))
    }

    /// The rooms that anybody may find, read as they are wanted: nobody who changes the list waits for whoever looks through
    /// all of it.
    fn channels(&self) -> impl Iterator<Item = Channel> + use<'_> {
        let mut behind = Bound::Unbounded;
        let portions = std::iter::from_fn(move || {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let rest = known.range::<BareJid, _>((behind.as_ref(), Bound::Unbounded));
            let shown = rest.filter(|(_, listed)| listed.public).take(PORTION);
            let portion: Vec<Channel> = shown.map(|(room, listed)| channel(room, listed)).collect();
            behind = Bound::Excluded(portion.last()?.address.clone());
            Some(portion)
        });
        portions.flatten()
    }

    /// How many are in a room at the moment. The list must not be held: a room that is asked may be about to change it.
    fn occupants_of(&self, room: &BareJid) -> usize {
        self.place(room.as_str()).map_or(0, |place| match &*place.lock() {
            State::Here(hosted) => hosted.room.occupants.len(),
            State::Coming(..) | State::Gone => 0,
        })
    }

    /// §6.3: the rooms that are in the list, in pages (XEP-0059).
    fn rooms(&self, request: &Element) -> Result<Element, StanzaError> {
        let page = Page::within(request)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let shown: Vec<_> = known.iter().filter(|(_, listed)| listed.public).collect();
        let (shown, set) = Page::shown(page.as_ref(), shown, |(room, _)| room.as_str(), PAGE);
        let mut answer = Element::new("query", ITEMS_NS);
        for (room, listed) in shown {
            answer.push(Element::new("item", ITEMS_NS).with("jid", room.as_str()).with("name", &listed.title));
        }
        set.into_iter().for_each(|set| answer.push(set));
        Ok(answer)
    }
}

fn channel(room: &BareJid, listed: &Listed) -> Channel {
    Channel {
        address: room.clone(),
        name: listed.title.clone(),
        description: listed.description.clone(),
        language: listed.language.clone(),
        is_open: listed.open,
        is_semi_anonymous: listed.semi_anonymous,
    }
}
