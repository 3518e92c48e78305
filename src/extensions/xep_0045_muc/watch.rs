//! What the service does by itself: it reads rooms, sends what has waited, puts away rooms in which nobody is, and finds out
//! who is not there any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::jid::Jid;
use crate::routing::Batch;
use crate::stanza::{Condition, Kind, MessageType, Stanza};
use crate::storage::Error;

use super::command::Call;
use super::effect::{Effects, Face};
use super::kept;
use super::outbox::{Hosted, Next};
use super::room::Room;
use super::service::{Place, Rooms, State};
use super::wire;

/// How often rooms are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// How long a room stays in memory in which nobody is.
const IDLE: Duration = Duration::from_secs(300);

/// How long nobody is told anything before it is asked who is there.
const SILENCE: Duration = Duration::from_secs(900);

/// How long what waits may take when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// How often it is looked whether it has gone.
const GLANCE: Duration = Duration::from_millis(10);

impl Rooms {
    /// Looks after the rooms, for ever.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look();
        }
    }

    /// Looks once.
    pub(super) fn look(&self) {
        let now = self.clock.now();
        let Some(router) = self.router() else { return };
        let (bounds, retention) = (self.bounds(), self.settings().and_then(|settings| settings.retention));
        for place in self.places() {
            let mut batch = router.batch();
            let mut state = place.lock();
            let State::Here(hosted) = &mut *state else { continue };
            hosted.room.bounds = bounds;
            if let Some(retention) = retention {
                hosted.room.history.expire(retention, now);
            }
            if now.since(hosted.told) >= SILENCE {
                // The end of a session here is known at once.
                let effects = hosted.room.knock(|domain| !router.has_accounts(domain));
                hosted.told = now;
                hosted.bring_about(self, effects, &mut batch);
                self.settle(&place, &mut state);
            } else if now.since(hosted.touched) >= IDLE {
                self.put_away(&place, &mut state);
            }
            drop(state);
            batch.finish();
        }
    }

    /// Tells everybody that the service stops (XEP-0045 §11.2), and waits until he knows.
    pub async fn stop(&self) {
        self.note_stopping();
        let Some(router) = self.router() else { return };
        for place in self.places() {
            let mut batch = router.batch();
            let mut state = place.lock();
            if let State::Here(hosted) = &mut *state {
                let effects = hosted.room.shut_down();
                hosted.bring_about(self, effects, &mut batch);
                self.settle(&place, &mut state);
            }
            drop(state);
            batch.finish();
        }
        let sent = async {
            for place in self.places() {
                while matches!(&*place.lock(), State::Here(hosted) if !hosted.is_quiet()) {
                    tokio::time::sleep(GLANCE).await;
                }
            }
        };
        if tokio::time::timeout(DRAIN, sent).await.is_err() {
            tracing::warn!("some rooms could not send everything in time");
        }
    }

    /// Has a task send what waits in a room.
    pub(super) fn send_later(&self, place: &Arc<Place>) {
        // Without a runtime the server has ended.
        if let (Some(rooms), Ok(runtime)) = (self.own(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(send_waiting(rooms, Arc::clone(place)));
        }
    }

    /// Has a task read a room; `coming` goes when it has done so.
    pub(super) fn read_later(&self, place: &Arc<Place>, coming: watch::Sender<()>) {
        if let (Some(rooms), Ok(runtime)) = (self.own(), tokio::runtime::Handle::try_current()) {
            let place = Arc::clone(place);
            runtime.spawn(async move {
                rooms.read(&place).await;
                drop(coming);
            });
        }
    }

    /// Takes stanzas that have come for a room that is no more.
    pub(super) fn take_later(&self, late: Vec<Stanza<'static>>) {
        if late.is_empty() {
            return;
        }
        if let (Some(rooms), Ok(runtime)) = (self.own(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let Some(router) = rooms.router() else { return };
                let mut batch = router.batch();
                for stanza in &late {
                    rooms.give_again(stanza, &mut batch);
                }
                router.deliver_posted(&mut batch).await;
                batch.finish();
            });
        }
    }

    fn give_again(&self, stanza: &Stanza<'static>, batch: &mut Batch) {
        let Ok(Some(command)) = wire::read(stanza) else { return };
        if let (Some(answer), Some(router)) = (self.give(stanza, command, batch), self.router()) {
            router.bounce(&answer, batch);
        }
    }

    /// A stanza has waited for its room.
    fn take_waiting(&self, hosted: &mut Hosted, stanza: &Stanza<'static>, batch: &mut Batch) {
        let (Some(from), Some(to)) = (&stanza.from, &stanza.to) else { return };
        if hosted.is_closed {
            hosted.late.push(stanza.clone());
        } else if let Ok(Some(command)) = wire::read(stanza) {
            let call = Call { from, to, stanza, is_admin: command.wants_power() && self.is_admin(from) };
            hosted.take(self, &call, command, batch);
        }
    }

    async fn read(self: Arc<Self>, place: &Arc<Place>) {
        let found = self.find(place).await;
        let Some(router) = self.router() else { return };
        let mut batch = router.batch();
        let waiting = {
            let mut state = place.lock();
            let State::Coming(waiting, _) = &mut *state else { return };
            let waiting = std::mem::take(waiting);
            match found {
                Ok(Some(found)) => *state = State::Here(Box::new(self.made_of(&place.room, found))),
                // It has gone meanwhile.
                Ok(None) => {
                    self.list(&place.room, None);
                    self.close(place, &mut state);
                }
                Err(error) => {
                    tracing::error!(room = %place.room, %error, "a room could not be read");
                    self.close(place, &mut state);
                    let error = Condition::InternalServerError.into();
                    let answers = waiting.iter().filter_map(|stanza| stanza.error(&error));
                    return answers.for_each(|answer| router.bounce(&answer, &mut batch));
                }
            }
            // In their order, before anything that comes now.
            if let State::Here(hosted) = &mut *state {
                for stanza in &waiting {
                    self.take_waiting(hosted, stanza, &mut batch);
                }
                self.settle(place, &mut state);
                Vec::new()
            } else {
                waiting
            }
        };
        waiting.iter().for_each(|stanza| self.give_again(stanza, &mut batch));
        router.deliver_posted(&mut batch).await;
        batch.finish();
    }

    async fn find(&self, place: &Place) -> Result<Option<kept::Found>, Error> {
        // It may have left memory with its last changes still on their way.
        let durable = self.storage.durable(self.storage.latest()).await;
        durable.map_err(|lost| Error::Engine(lost.to_string()))?;
        let room = place.room.clone();
        self.storage.read(move |view| kept::find(view, &room)).await
    }
}

/// Sends what waits in a room, until nothing does.
async fn send_waiting(rooms: Arc<Rooms>, place: Arc<Place>) {
    loop {
        let Some(router) = rooms.router() else { return };
        let next = {
            let mut batch = router.batch();
            let mut state = place.lock();
            let State::Here(hosted) = &mut *state else { return };
            let next = hosted.go_on(&rooms, &mut batch);
            if matches!(next, Next::Nothing) {
                hosted.is_sending = false;
                rooms.settle(&place, &mut state);
            }
            drop(state);
            batch.finish();
            next
        };
        let receipt = match next {
            Next::Nothing => return,
            Next::Until(receipt) => receipt,
            // A batch that goes tells it.
            Next::Written(told) => told.await.unwrap_or_else(|_| rooms.storage.latest()),
        };
        let is_lost = rooms.storage.durable(receipt).await.is_err();
        let mut state = place.lock();
        let State::Here(hosted) = &mut *state else { return };
        if is_lost {
            // The server ends.
            return hosted.give_up();
        }
        hosted.learned(receipt);
    }
}

impl Room {
    /// A message without a word to everybody of these domains: whoever is not there any more is found out by the error
    /// with which it comes back (XEP-0045 §18.1.2).
    pub(super) fn knock(&self, is_asked: impl Fn(&str) -> bool) -> Effects {
        let mut effects = Effects::default();
        let roll = self.occupants.roll();
        let asked: Vec<_> = roll.iter().filter(|receiver| is_asked(receiver.jid.domain())).cloned().collect();
        if !asked.is_empty() {
            let message = Stanza::new(Kind::Message(MessageType::Groupchat)).from(Jid::from(self.jid.clone()));
            effects.tell(Arc::new(asked), Face::alike(message), None);
        }
        effects
    }
}
