//! What the service itself says: what it is, and which rooms there are (XEP-0045§6.1 to §6.3).

use std::ops::Bound;
use std::sync::PoisonError;

use crate::hooks::discovery::INFO_NS;
use crate::hooks::{Answer, Verb};
use crate::jid::BareJid;
use crate::stanza::{Condition, IqType, Kind, Stanza, StanzaError};
use crate::xml::Element;

use super::super::xep_0030_service_discovery::api::ITEMS_NS;
use super::super::xep_0199_ping::api::NS as PING_NS;
use super::super::xep_0313_archive::api::{Before, Page, RSM_NS};
use super::service::Rooms;

/// Rooms of one page.
const PAGE: usize = 250;

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
        match self.answer(verb, stanza) {
            Ok(Some(element)) => Some(stanza.result().payload(element)),
            Ok(None) => Some(stanza.result()),
            Err(error) => stanza.error(&error),
        }
    }

    fn answer(&self, verb: Verb, stanza: &Stanza<'_>) -> Answer {
        let request = stanza.payload.first().ok_or(Condition::BadRequest)?;
        match (verb, request.name(), request.ns()) {
            (Verb::Get, "query", INFO_NS) => {
                let info = self.catalogue.about_rooms().info(request.attribute("node"));
                info.map(Some).ok_or_else(|| Condition::ItemNotFound.into())
            }
            (Verb::Get, "query", ITEMS_NS) if request.attribute("node").is_some() => Err(Condition::ItemNotFound.into()),
            (Verb::Get, "query", ITEMS_NS) => self.rooms(&request).map(Some),
            (Verb::Get, "ping", PING_NS) => Ok(None),
            _ => Err(Condition::ServiceUnavailable.into()),
        }
    }

    /// §6.3: the rooms that are in the list, in pages (XEP-0059).
    fn rooms(&self, request: &Element) -> Result<Element, StanzaError> {
        let set = request.child("set", RSM_NS);
        let page = set.map(Page::read).transpose()?.unwrap_or_default();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let unknown = || StanzaError::new(Condition::ItemNotFound, "there is no such room");
        let edge = |id: &str| BareJid::parse(id).map_err(|_| unknown());
        let after = page.after.as_deref().map(edge).transpose()?.map_or(Bound::Unbounded, Bound::Excluded);
        let before = match &page.before {
            Some(Before::Id(id)) => Bound::Excluded(edge(id)?),
            Some(Before::TheEnd) | None => Bound::Unbounded,
        };
        if matches!((&after, &before), (Bound::Excluded(after), Bound::Excluded(before)) if after >= before) {
            return Err(unknown());
        }
        let shown = || known.iter().filter(|(_, listed)| listed.public);
        let in_range = || known.range((after.clone(), before.clone())).filter(|(_, listed)| listed.public);
        let max = page.max.unwrap_or(PAGE).min(PAGE);
        let some: Vec<_> = if page.before.is_some() {
            let mut some: Vec<_> = in_range().rev().take(max).collect();
            some.reverse();
            some
        } else {
            in_range().take(max).collect()
        };
        let mut answer = Element::new("query", ITEMS_NS);
        for (room, listed) in &some {
            answer.push(Element::new("item", ITEMS_NS).with("jid", room.as_str()).with("name", &listed.title));
        }
        let count = shown().count();
        if set.is_some() || some.len() < count {
            let mut set = Element::new("set", RSM_NS);
            if let (Some((first, _)), Some((last, _))) = (some.first(), some.last()) {
                let index = shown().take_while(|(room, _)| room != first).count();
                set.push(Element::new("first", RSM_NS).with("index", &index.to_string()).with_text(first.as_str()));
                set.push(Element::new("last", RSM_NS).with_text(last.as_str()));
            }
            answer.push(set.with_child(Element::new("count", RSM_NS).with_text(&count.to_string())));
        }
        Ok(answer)
    }
}
