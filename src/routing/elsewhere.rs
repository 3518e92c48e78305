//! Presence that sessions have told somebody of another server, and their companion: routing tells it what passes, the
//! rules are an extension's.

use std::collections::BTreeSet;

use crate::hooks::{Companion, Hooks, Passage};
use crate::jid::Jid;
use crate::stanza::{Kind, PresenceType, Stanza};

use super::Router;
use super::account::State;
use super::batch::Batch;
use super::hosts::Host;
use super::presence::MOST_DIRECTED;

impl Router {
    fn companion(&self) -> Option<&dyn Companion> {
        self.hooks().and_then(Hooks::companion)
    }

    /// A session tells its presence to somebody who need not be a contact.
    pub(super) fn told(&self, presence: &Stanza<'_>) {
        if let (Some(companion), Some(to)) = (self.companion(), &presence.to)
            && matches!(self.hosts.of(to.domain()), Host::Remote)
        {
            companion.told(presence);
        }
    }

    /// A session has become unavailable to those whom it has told its presence.
    pub(super) fn left(&self, session: &Jid, told: &[Jid]) {
        if let Some(companion) = self.companion().filter(|_| !told.is_empty()) {
            companion.left(session, told);
        }
    }

    /// Whether a stanza for the session `to` is for its companion alone.
    pub(super) fn is_withheld(&self, state: &State, stanza: &Stanza<'_>, to: &Jid) -> bool {
        let Some(from) = stanza.from.as_ref().filter(|_| !to.is_bare()) else { return false };
        let is_meant = |directed: &BTreeSet<Jid>| !directed.is_empty() && knows(directed, from);
        let resource = state.resources.iter().find(|resource| resource.jid == *to);
        if !resource.is_some_and(|resource| is_meant(&resource.directed)) {
            return false;
        }
        // While the server stops it takes leave of everybody; that is no news.
        let companion = self.companion().filter(|_| !self.is_stopping());
        let is_remote = || matches!(self.hosts.of(from.domain()), Host::Remote);
        companion.is_some_and(|companion| is_remote() && companion.hears(to, stanza) == Passage::Ends)
    }

    /// Tells the presence of a session on its behalf, to somebody who will hear of its end as well.
    pub(super) async fn tell_for(&self, presence: Stanza<'static>, batch: &mut Batch) {
        let (Some(session), Some(to)) = (&presence.from, &presence.to) else { return };
        let Some(account) = self.accounts.cached(session.bare_str()) else { return };
        {
            let mut state = account.lock();
            let Some(resource) = state.resources.iter_mut().find(|it| it.jid == *session) else { return };
            if presence.kind == Kind::Presence(PresenceType::Unavailable) {
                resource.directed.remove(to);
            } else if resource.directed.len() < MOST_DIRECTED || resource.directed.contains(to) {
                resource.directed.insert(to.clone());
            } else {
                return;
            }
        }
        self.deliver(presence, batch).await;
    }
}

/// Whether somebody with the bare JID of `from` is among those in order.
fn knows(all: &BTreeSet<Jid>, from: &Jid) -> bool {
    let is_of_same = |known: &Jid| known.bare_str() == from.bare_str();
    // Addresses with a resourcepart that have the same bare JID stand next to each other.
    all.range(from..).next().is_some_and(is_of_same) || all.range(..from).next_back().is_some_and(is_of_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_found_by_their_bare_jid() {
        let jid = |text: &str| text.parse::<Jid>().unwrap();
        let all: BTreeSet<Jid> = ["a@x.example/n", "b@x.example/n", "b@x.example.org/n", "c@x.example"].map(jid).into();
        for known in ["a@x.example/a", "a@x.example/n", "a@x.example/z", "b@x.example/!", "b@x.example/zz"] {
            assert!(knows(&all, &jid(known)), "{known}");
        }
        for unknown in ["a@y.example/n", "aa@x.example/n", "b@x.exampl/n", "x.example/n"] {
            assert!(!knows(&all, &jid(unknown)), "{unknown}");
        }
        assert!(!knows(&BTreeSet::new(), &jid("a@x.example/n")));
    }
}
