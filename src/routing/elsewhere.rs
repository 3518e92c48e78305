//! Presence that sessions have told somebody of another server, and their companion: routing tells it what passes, the
//! rules are an extension's.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::hooks::{Companion, Hooks, Passage, There};
use crate::jid::Jid;
use crate::stanza::{Kind, PresenceType, Stanza};

use super::Router;
use super::account::{Resource, State};
use super::batch::Batch;
use super::binding::Binding;
use super::hosts::Host;
use super::presence::MOST_DIRECTED;

/// What somebody is to a session that has told him its presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Somebody,
    /// A room that the session has entered, under this name.
    Room,
}

/// The rooms that the session has entered.
pub(super) fn rooms(resource: &Resource) -> impl Iterator<Item = &Jid> {
    resource.directed.iter().filter(|(_, told)| **told == Told::Room).map(|(jid, _)| jid)
}

impl Router {
    fn companion(&self) -> Option<&dyn Companion> {
        self.hooks().and_then(Hooks::companion)
    }

    /// A session tells its presence to somebody who need not be a contact, and who `was` this to it before.
    pub(super) fn told(&self, binding: &Binding, presence: &Stanza<'_>, was: Option<Told>, batch: &mut Batch) {
        let (Some(companion), Some(to)) = (self.companion(), &presence.to) else { return };
        let there = match self.hosts.of(to.domain()) {
            Host::Remote => There::Elsewhere,
            Host::Service(_) => There::Here,
            Host::Accounts => return,
        };
        let enters = companion.told(presence, there);
        let is_in = presence.kind == Kind::Presence(PresenceType::Available) && {
            let mut state = binding.account.lock();
            let Some(resource) = state.resource_mut(binding.id) else {
                // It has ended meanwhile, and the companion may have heard of that before.
                return companion.left(&binding.jid, to);
            };
            // Under another name it is in the same room.
            let is_in = enters || was == Some(Told::Room) || is_beside_room(&resource.directed, to);
            if is_in {
                resource.directed.insert(to.clone(), Told::Room);
            }
            is_in
        };
        if is_in != (was == Some(Told::Room)) {
            binding.remember(batch);
        }
    }

    /// The client of a session is back that was in these rooms before the server has ended.
    pub(super) fn revisit(&self, binding: &Binding, presence: Option<&Stanza<'_>>) {
        let Some(companion) = self.companion() else { return };
        let rooms: Vec<Jid> = {
            let state = binding.account.lock();
            let resource = state.resources.iter().find(|resource| resource.binding == binding.id);
            resource.map(|resource| rooms(resource).cloned().collect()).unwrap_or_default()
        };
        for room in rooms {
            let there =
                if matches!(self.hosts.of(room.domain()), Host::Remote) { There::Elsewhere } else { There::Here };
            companion.back(&binding.jid, &room, there, presence);
        }
    }

    /// A session has become unavailable to somebody whom it has told its presence.
    pub(super) fn left(&self, session: &Jid, to: &Jid) {
        if let Some(companion) = self.companion() {
            companion.left(session, to);
        }
    }

    /// It has become unavailable to everybody.
    pub(super) fn gone(&self, session: &Jid) {
        if let Some(companion) = self.companion() {
            companion.gone(session);
        }
    }

    /// Whether a stanza for the session `to` is for its companion alone.
    pub(super) fn is_withheld(&self, state: &State, stanza: &Stanza<'_>, to: &Jid) -> bool {
        let Some(from) = stanza.from.as_ref().filter(|_| !to.is_bare()) else { return false };
        let is_meant = |directed: &BTreeMap<Jid, Told>| !directed.is_empty() && knows(directed, from);
        let resource = state.resources.iter().find(|resource| resource.jid == *to);
        if !resource.is_some_and(|resource| is_meant(&resource.directed)) {
            return false;
        }
        // While the server stops it takes leave of everybody; that is no news.
        let companion = self.companion().filter(|_| !self.is_stopping());
        let is_remote = || matches!(self.hosts.of(from.domain()), Host::Remote);
        companion.is_some_and(|companion| is_remote() && companion.hears(to, stanza) == Passage::Ends)
    }

    /// Tells the presence of a session on its behalf to a room, which will hear of its end as well.
    pub(super) async fn tell_for(&self, presence: Stanza<'static>, batch: &mut Batch) {
        let (Some(session), Some(to)) = (&presence.from, &presence.to) else { return };
        let Some(account) = self.accounts.cached(session.bare_str()) else { return };
        {
            let mut state = account.lock();
            let Some(resource) = state.resources.iter_mut().find(|it| it.jid == *session) else { return };
            if presence.kind == Kind::Presence(PresenceType::Unavailable) {
                resource.directed.remove(to);
                resource.remember(batch);
            } else if resource.directed.len() < MOST_DIRECTED || resource.directed.contains_key(to) {
                if resource.directed.insert(to.clone(), Told::Room) != Some(Told::Room) {
                    resource.remember(batch);
                }
            } else {
                return;
            }
        }
        self.deliver(presence, batch).await;
    }
}

/// Whether somebody with the bare JID of `from` is among those in order.
fn knows(all: &BTreeMap<Jid, Told>, from: &Jid) -> bool {
    let is_of_same = |(known, _): (&Jid, &Told)| known.bare_str() == from.bare_str();
    // Addresses with a resourcepart that have the same bare JID stand next to each other.
    all.range(from..).next().is_some_and(is_of_same) || all.range(..from).next_back().is_some_and(is_of_same)
}

/// Whether the session has entered the room of `occupant` under another name.
fn is_beside_room(all: &BTreeMap<Jid, Told>, occupant: &Jid) -> bool {
    let is_same = |(known, told): (&Jid, &Told)| *told == Told::Room && known.bare_str() == occupant.bare_str();
    let behind = (Bound::Excluded(occupant), Bound::Unbounded);
    all.range(behind).next().is_some_and(is_same) || all.range(..occupant).next_back().is_some_and(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_found_by_their_bare_jid() {
        let jid = |text: &str| text.parse::<Jid>().unwrap();
        let all = ["a@x.example/n", "b@x.example/n", "b@x.example.org/n", "c@x.example"];
        let all: BTreeMap<Jid, Told> = all.map(|text| (jid(text), Told::Room)).into();
        for known in ["a@x.example/a", "a@x.example/n", "a@x.example/z", "b@x.example/!", "b@x.example/zz"] {
            assert!(knows(&all, &jid(known)), "{known}");
        }
        for unknown in ["a@y.example/n", "aa@x.example/n", "b@x.exampl/n", "x.example/n"] {
            assert!(!knows(&all, &jid(unknown)), "{unknown}");
        }
        assert!(!knows(&BTreeMap::new(), &jid("a@x.example/n")));
    }
}
