//! What a room says about itself to whoever asks (XEP-0045 §6.4, §6.5).

use crate::hooks::Answer;
use crate::hooks::discovery::{INFO_NS, Identity};
use crate::hooks::form::{Field, FieldType, Form, FormType};
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::super::xep_0030_service_discovery::api::ITEMS_NS;
use super::super::xep_0313_archive::api::{EXTENDED as ARCHIVE_EXTENDED, NS as ARCHIVE_NS};
use super::super::xep_0486_avatars::api as avatars;
use super::association::Affiliation;
use super::command::Call;
use super::register;
use super::room::Room;
use super::room_config::{Anonymity, RoomConfig};

/// The form with more about a room.
const ROOM_INFO: &str = "http://jabber.org/protocol/muc#roominfo";

/// Which extensions the room lets pass (§18.1.1).
const TRAFFIC: &str = "http://jabber.org/protocol/muc#traffic";

/// What somebody asks, with the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Info(Option<String>),
    Items(Option<String>),
}

impl Request {
    pub(super) fn parse(element: &Element) -> Self {
        let node = element.attribute("node").map(str::to_owned);
        if element.ns() == ITEMS_NS { Self::Items(node) } else { Self::Info(node) }
    }
}

impl Room {
    pub(super) fn asked_about(&self, call: &Call<'_>, request: &Request) -> Answer {
        match request {
            Request::Info(None) => Ok(Some(self.info(call))),
            Request::Info(Some(node)) if node == register::NICK_NODE => Ok(Some(self.nick_info(call))),
            // §18.1.1: all of them.
            Request::Info(Some(node)) if node == TRAFFIC => Err(Condition::ServiceUnavailable.into()),
            Request::Info(Some(_)) | Request::Items(Some(_)) => {
                Err(StanzaError::new(Condition::ItemNotFound, "there is no such node"))
            }
            Request::Items(None) => Ok(Some(self.items(call))),
        }
    }

    /// §6.5: who is here is for those who are, unless owners let everybody know.
    fn items(&self, call: &Call<'_>) -> Element {
        let query = Element::new("query", ITEMS_NS);
        if !self.config.occupants_listed && self.occupant_of(call).is_none() {
            return query;
        }
        let shown = self.occupants.iter().filter(|occupant| self.shows(occupant));
        shown.fold(query, |query, occupant| {
            query.with_child(Element::new("item", ITEMS_NS).with("jid", occupant.address.as_str()))
        })
    }

    fn info(&self, call: &Call<'_>) -> Element {
        let mut info = Element::new("query", INFO_NS);
        let mut identity = Identity { category: "conference", kind: "text", name: None }.to_element();
        identity.set("name", self.title());
        info.push(identity);
        let mut features = self.keys.features.info(None).map(|info| {
            let features = info.elements().filter_map(|feature| feature.attribute("var").map(str::to_owned));
            features.collect::<Vec<_>>()
        });
        let features = features.get_or_insert_default();
        features.extend(properties(&self.config).map(str::to_owned));
        if self.has_archive() {
            features.extend([ARCHIVE_NS, ARCHIVE_EXTENDED].map(str::to_owned));
        }
        features.sort_unstable();
        features.dedup();
        features.iter().for_each(|feature| info.push(Element::new("feature", INFO_NS).with("var", feature)));
        info.push(self.more(call).to_element());
        info
    }

    /// What the room is called where people read it.
    pub(super) fn title(&self) -> &str {
        let local = || self.jid.local().unwrap_or_default();
        if self.config.name.is_empty() { local() } else { &self.config.name }
    }

    fn more(&self, call: &Call<'_>) -> Form {
        let text = |var: &str, value: &str| Field::new(var, FieldType::TextSingle).value(value);
        let flag = |var: &str, holds: bool| Field::new(var, FieldType::Boolean).value(if holds { "1" } else { "0" });
        let config = &self.config;
        let mut form = Form::new(FormType::Result, ROOM_INFO)
            .field(text("muc#roominfo_description", &config.description).label("Description"))
            .field(text("muc#roominfo_lang", &config.language).label("Language of the discussion"))
            .field(
                flag("muc#roomconfig_changesubject", config.change_subject).label("Occupants may change the subject"),
            )
            .field(number("muc#maxhistoryfetch", config.history).label("Messages that are shown to who enters"));
        if !config.pubsub.is_empty() {
            form = form.field(text("muc#roomconfig_pubsub", &config.pubsub).label("Node of the room"));
        }
        if !config.avatar.is_empty() {
            let hashes = Field::new(avatars::HASHES, FieldType::TextMulti).label("Hashes of the picture");
            form = form.field(hashes.values(config.avatar.iter().cloned()));
        }
        // What goes on inside is not for those who may not see it.
        let is_inside = self.occupant_of(call).is_some() || self.affiliation_of(call) >= Affiliation::Member;
        if is_inside || (!config.members_only && config.password.is_none()) {
            let subject = self.subject.as_ref().map_or("", |subject| &subject.text);
            form = form
                .field(text("muc#roominfo_subject", subject).label("Subject"))
                .field(number("muc#roominfo_occupants", self.occupants.len()).label("Occupants"));
        }
        form
    }
}

fn number(var: &str, value: usize) -> Field {
    Field::new(var, FieldType::TextSingle).value(&value.to_string())
}

/// Features that say how a room is configured (§16.3).
fn properties(config: &RoomConfig) -> impl Iterator<Item = &'static str> {
    let either = |holds, yes, no| if holds { yes } else { no };
    [
        either(config.members_only, "muc_membersonly", "muc_open"),
        either(config.moderated, "muc_moderated", "muc_unmoderated"),
        either(config.anonymity == Anonymity::NonAnonymous, "muc_nonanonymous", "muc_semianonymous"),
        either(config.password.is_some(), "muc_passwordprotected", "muc_unsecured"),
        either(config.persistent, "muc_persistent", "muc_temporary"),
        either(config.public, "muc_public", "muc_hidden"),
    ]
    .into_iter()
}
