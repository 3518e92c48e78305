//! The configuration of a room changes (XEP-0045 §10.2): whatever it says now is true at once for everybody who is here.

use crate::jid::Jid;
use crate::stanza::{Kind, MessageType, Payload, Stanza};

use super::association::Affiliation;
use super::effect::{Change, Effects, Face};
use super::face::Said;
use super::item::{Status, Why, x};
use super::leaving::Removal;
use super::occupant::Number;
use super::privileges::{RolePrivilege, role_may};
use super::room::Room;
use super::room_config::{Anonymity, RoomConfig};

impl Room {
    /// Whether storage knows of the room.
    pub(super) const fn is_stored(&self) -> bool {
        self.config.persistent && !self.locked
    }

    /// Whether the room has an archive that others can read.
    pub(super) const fn has_archive(&self) -> bool {
        self.config.archive && self.is_stored()
    }

    /// Whoever has made the room is content with its configuration: others may enter.
    pub(super) fn unlock(&mut self, effects: &mut Effects) {
        if self.locked {
            self.locked = false;
            self.version += 1;
            if self.is_stored() {
                self.begin(effects);
            }
        }
    }

    /// Has everything stored that is known of the room for good.
    fn begin(&mut self, effects: &mut Effects) {
        let known = self.affiliations.iter().map(|(user, known)| (user.clone(), known.clone()));
        effects.keep(Change::Begin(Box::new(self.config.clone()), self.subject.clone(), known.collect()));
        if let Some(card) = self.card.take() {
            effects.keep(Change::Card(Some(card)));
        }
    }

    /// Works with `config` from now on.
    pub(super) fn reconfigure(&mut self, config: RoomConfig, effects: &mut Effects) {
        if config == self.config {
            return;
        }
        let (was_stored, before) = (self.is_stored(), std::mem::replace(&mut self.config, config));
        self.version += 1;
        match (was_stored, self.is_stored()) {
            (false, true) => self.begin(effects),
            (true, true) => effects.keep(Change::Config(Box::new(self.config.clone()))),
            (true, false) => {
                effects.keep(Change::End);
                self.end_if_empty(effects);
            }
            (false, false) => {}
        }
        self.history.keep(self.config.history);
        if before.anonymity != self.config.anonymity {
            let all: Vec<Number> = self.occupants.iter().map(|occupant| occupant.number).collect();
            all.into_iter().for_each(|number| self.refresh(number));
        }
        if self.config.members_only && !before.members_only {
            self.remove_strangers(effects);
        }
        self.show_and_hide(&before, effects);
        if !self.locked {
            effects.tell_behind(self.occupants.roll(), self.notice(&before), None);
        }
    }

    /// §9.5: nobody but members stays in a room that is for members only.
    fn remove_strangers(&mut self, effects: &mut Effects) {
        let strangers = self.occupants.iter().filter(|it| it.affiliation < Affiliation::Member);
        let strangers: Vec<Number> = strangers.map(|it| it.number).collect();
        for number in strangers {
            let removal = Removal { statuses: &[Status::MembersOnly], why: Why::default() };
            self.remove(number, &removal, effects);
        }
    }

    /// Whose presence was not told and is now, or the reverse.
    fn show_and_hide(&self, before: &RoomConfig, effects: &mut Effects) {
        for occupant in self.occupants.iter() {
            let was_shown = role_may(occupant.role, RolePrivilege::BroadcastPresence, before);
            let face = match (was_shown, self.shows(occupant)) {
                (false, true) => occupant.face.clone(),
                (true, false) => self.face(&Said::hidden(occupant, None)),
                _ => continue,
            };
            effects.tell_behind(self.occupants.roll(), face, Some(occupant.number));
        }
    }

    /// What has changed (§10.2.1).
    fn notice(&self, before: &RoomConfig) -> Face {
        let now = &self.config;
        let mut statuses = Vec::new();
        if before.is_logged() != now.is_logged() {
            statuses.push(if now.is_logged() { Status::Logged } else { Status::NotLogged });
        }
        if before.anonymity != now.anonymity {
            statuses.push(match now.anonymity {
                Anonymity::NonAnonymous => Status::NowNonAnonymous,
                Anonymity::SemiAnonymous => Status::NowSemiAnonymous,
            });
        }
        let told =
            RoomConfig { archive: now.archive, anonymity: now.anonymity, persistent: now.persistent, ..before.clone() };
        if told != *now || statuses.is_empty() {
            statuses.push(Status::ConfigurationChanged);
        }
        let message = Stanza::new(Kind::Message(MessageType::Groupchat)).from(Jid::from(self.jid.clone()));
        Face::alike(message.payload(Payload::from(x(None, &statuses))))
    }
}
