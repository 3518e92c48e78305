//! XEP-0410 MUC Self-Ping, version 1.1.0, asked by the server on behalf of its clients: whoever is in a room of another server
//! and may have dropped out of it is brought back, or told. Decision 0023 says why and how.
//!
//! `rules` decides about one session in one room, `rooms` knows all of them, `agenda` says when to look where, `words` has what
//! is said and heard. Here it is brought about: one task, as long as anybody is in a room elsewhere. `api` is for the rooms of
//! this server, which others ask.

mod agenda;
pub(super) mod api;
mod names;
mod rooms;
mod rules;
mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::hooks::{Companion, Entity, Extension, Outbound, Passage, PeerChange, Registrar, Spec, There};
use crate::jid::Jid;
use crate::stanza::Stanza;

use self::rooms::{Action, Moment, Rooms};
use self::words::Entry;

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0410", version: "1.1.0" },
    name: "self-ping",
    // That the server asks rooms elsewhere nobody needs to know.
    advertises: &[(Entity::Room, "http://jabber.org/protocol/muc#self-ping-optimization")],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

/// How long a room has to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many are asked at a time.
const AT_ONCE: usize = 64;
/// What is due is looked for no more often.
const SPACING: Duration = Duration::from_millis(200);

fn install(at: &mut Registrar<'_>) {
    let guard = Arc::new_cyclic(|own| Guard {
        outbound: Arc::clone(at.outbound),
        clock: at.clock.clone(),
        state: Mutex::default(),
        bell: Notify::new(),
        own: Weak::clone(own),
    });
    at.companion(&guard);
    at.peers(move |local, remote, change| guard.peer(local, remote, change));
}

struct Guard {
    outbound: Arc<dyn Outbound>,
    clock: Clock,
    state: Mutex<State>,
    /// Something may be due earlier than it was.
    bell: Notify,
    own: Weak<Self>,
}

#[derive(Default)]
struct State {
    rooms: Rooms,
    /// There is a task.
    is_watched: bool,
}

impl Companion for Guard {
    fn told(&self, presence: &Stanza<'_>, there: There) -> bool {
        if there == There::Here {
            return Entry::read(presence).is_some();
        }
        let mut state = self.lock();
        let is_in = state.rooms.told(presence, self.moment());
        self.see_to(&mut state);
        is_in
    }

    fn back(&self, session: &Jid, occupant: &Jid, there: There, presence: Option<&Stanza<'_>>) {
        let mut state = self.lock();
        let actions = state.rooms.back((session, occupant), there, presence, self.moment());
        self.see_to(&mut state);
        drop(state);
        self.act_later(actions);
    }

    fn hears(&self, session: &Jid, stanza: &Stanza<'_>) -> Passage {
        let mut state = self.lock();
        let (passage, actions) = state.rooms.hears(session, stanza, self.moment());
        self.see_to(&mut state);
        drop(state);
        self.act_later(actions);
        passage
    }

    fn left(&self, session: &Jid, to: &Jid) {
        self.lock().rooms.leave(session, to);
    }

    fn gone(&self, session: &Jid) {
        self.lock().rooms.gone(session);
    }
}

impl Guard {
    fn peer(&self, local: &str, remote: &str, change: PeerChange) {
        let mut state = self.lock();
        state.rooms.peer(local, remote, change, self.moment());
        self.see_to(&mut state);
    }

    /// Has a task look after the rooms, if there are any.
    fn see_to(&self, state: &mut State) {
        if !state.is_watched
            && !state.rooms.is_empty()
            && let (Some(own), Ok(runtime)) = (self.own.upgrade(), Handle::try_current())
        {
            state.is_watched = true;
            runtime.spawn(own.watch());
        }
        if state.rooms.is_sooner() {
            self.bell.notify_one();
        }
    }

    fn act_later(&self, actions: Vec<Action>) {
        if !actions.is_empty()
            && let (Some(own), Ok(runtime)) = (self.own.upgrade(), Handle::try_current())
        {
            runtime.spawn(async move { own.act(actions).await });
        }
    }

    /// Does what is due until nobody is in a room elsewhere any more.
    async fn watch(self: Arc<Self>) {
        let mut asking = JoinSet::new();
        loop {
            while asking.try_join_next().is_some() {}
            let (actions, next) = {
                let mut state = self.lock();
                if state.rooms.is_empty() {
                    state.is_watched = false;
                    return;
                }
                (state.rooms.due(AT_ONCE.saturating_sub(asking.len()), self.moment()), state.rooms.next())
            };
            for action in actions {
                match action {
                    Action::Ask { session, occupant } => drop(asking.spawn(Arc::clone(&self).ask(session, occupant))),
                    action => self.act(vec![action]).await,
                }
            }
            sleep_until(Instant::now() + SPACING).await;
            tokio::select! {
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                () = self.bell.notified() => {}
                Some(_) = asking.join_next() => {}
            }
        }
    }

    async fn ask(self: Arc<Self>, session: Jid, occupant: Jid) {
        let reply = self.outbound.request(words::ping(session.clone(), occupant.clone()), PATIENCE).await;
        let verdict = words::verdict(&reply);
        tracing::debug!(%session, %occupant, ?verdict, "a room was asked for an occupant");
        let actions = self.lock().rooms.answered(&session, &occupant, verdict, self.moment());
        self.act(actions).await;
    }

    async fn act(&self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Present(presence) => {
                    tracing::info!(session = ?presence.from, room = ?presence.to, "a presence is told on behalf of a session");
                    self.outbound.present(presence).await;
                }
                Action::Say(session, stanzas) => self.outbound.write(&session, &stanzas),
                // Only time leads to it.
                Action::Ask { .. } => {}
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: Instant::now(), time: self.clock.now() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
