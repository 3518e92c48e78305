//! The rooms of other servers that sessions of this one are in: what is known of each, and what follows from what happens.
//!
//! Pure, as `rules` is, which decides about each session in each room: stanzas and the time go in, actions come out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::hooks::{Passage, PeerChange, There};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, Kind, PresenceType, Stanza};

use super::agenda::Agenda;
use super::names::{Names, Snapshot};
use super::rules::{Effect, Event, Sight, State, Verdict, step};
use super::words::{Entry, Said, fingerprint, gone, out, reason, unavailable};

/// Whoever returns asks for what was said since a little before the last message that he has got: what was on its way when the
/// stream broke may have been said a moment earlier. What he has got already does not come again.
const OVERLAP: Duration = Duration::from_secs(5);
/// So many messages are known by their fingerprints at most.
const MOST_KNOWN: usize = 128;
/// For so long after a return what comes may be known already.
const CATCHING_UP: Duration = Duration::from_secs(10);
/// What was said so long before is asked for by whoever does not know what he has got: this server has ended meanwhile.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// The names of all rooms together that are remembered.
const MOST_NAMES: usize = 200_000;

/// What somebody is told who was out.
const INTERRUPTED: &str = "the connection to the room was lost for a while";

/// What somebody is told whose room does not answer.
const UNREACHABLE: &str = "the connection to the room was lost, and it cannot be reached";

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Ask whether the session is in.
    Ask { session: Jid, occupant: Jid },
    /// Tell the presence of a session to a room.
    Present(Stanza<'static>),
    /// Tell the client of a session.
    Say(Jid, Vec<String>),
}

/// The time, as both clocks have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) time: Timestamp,
}

/// All rooms, by their domains.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    domains: Domains,
    /// Which of them each session is in.
    sessions: BTreeMap<Jid, Vec<BareJid>>,
    agenda: Agenda,
    /// How many names are remembered.
    names: usize,
}

type Domains = BTreeMap<Box<str>, BTreeMap<BareJid, Room>>;

#[derive(Debug, Default)]
struct Room {
    names: Names,
    seats: BTreeMap<Jid, Seat>,
}

/// A session in a room.
#[derive(Debug)]
struct Seat {
    /// What the room calls it.
    occupant: Jid,
    entry: Entry,
    state: State,
    /// When anything came from the room.
    heard: Instant,
    /// When somebody said something there, or the session entered.
    spoke: Timestamp,
    /// The last messages before that.
    known: VecDeque<(Timestamp, u64)>,
    /// Since when the session is back, if that was not long ago.
    returned: Option<Instant>,
    /// While it is in doubt.
    mending: Option<Box<Mending>>,
    /// When it is looked at next.
    entry_at: Option<Instant>,
}

/// What its client believes, and what is true.
#[derive(Debug, Default)]
struct Mending {
    /// Who was there when the doubt began.
    before: Option<Snapshot>,
    /// Who is there now, as far as the room has said.
    seen: BTreeSet<Arc<str>>,
}

impl Mending {
    /// Somebody is there. Of whom nobody knew there is nothing to be said.
    fn sees(&mut self, name: &str) {
        if let Some(known) = self.before.as_ref().and_then(|before| before.get(name)) {
            self.seen.insert(Arc::clone(known));
        }
    }
}

impl Rooms {
    pub(super) fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// A session has told its presence to `to`; whether it is in a room with that, or wants to be.
    pub(super) fn told(&mut self, presence: &Stanza<'_>, moment: Moment) -> bool {
        let (Some(session), Some(to)) = (&presence.from, &presence.to) else { return false };
        if presence.kind == Kind::Presence(PresenceType::Unavailable) {
            self.leave(session, to);
            return false;
        }
        if let Some(entry) = Entry::read(presence).filter(|_| !to.is_bare()) {
            // Its client begins, or begins anew.
            self.seat_at(session, Seat::new(to, entry, moment));
            return true;
        }
        let Some(seat) = self.seat(session, to) else { return false };
        seat.entry.update(presence);
        true
    }

    fn seat_at(&mut self, session: &Jid, seat: Seat) {
        let (occupant, room) = (seat.occupant.clone(), seat.occupant.to_bare());
        let seats = &mut self.domains.entry(room.domain().into()).or_default().entry(room.clone()).or_default().seats;
        match seats.insert(session.clone(), seat) {
            Some(before) => self.agenda.forget(before.entry_at, (session, &room)),
            None => self.sessions.entry(session.clone()).or_default().push(room),
        }
        self.schedule(session, &occupant);
    }

    /// Sees to it that the session is looked at when it is due.
    fn schedule(&mut self, session: &Jid, occupant: &Jid) {
        let Some(seat) = find(&mut self.domains, occupant).and_then(|room| room.seats.get_mut(session)) else { return };
        if let Some(due) = seat.due() {
            self.agenda.note(&mut seat.entry_at, due, (session, &occupant.to_bare()));
        }
    }

    /// The client of a session is back that was in a room when this server ended. A room of ours has nobody in it then; any
    /// other is asked.
    pub(super) fn back(
        &mut self,
        (session, occupant): (&Jid, &Jid),
        there: There,
        presence: Option<&Stanza<'_>>,
        moment: Moment,
    ) -> Vec<Action> {
        let seat = Seat::back(occupant, presence.map(Entry::old).unwrap_or_default(), moment);
        if there == There::Here {
            let told = out(session, occupant, INTERRUPTED);
            return vec![Action::Say(session.clone(), vec![told]), seat.entrance(session)];
        }
        self.seat_at(session, seat);
        Vec::new()
    }

    /// A session hears something from a room.
    pub(super) fn hears(&mut self, session: &Jid, stanza: &Stanza<'_>, moment: Moment) -> (Passage, Vec<Action>) {
        let nothing = (Passage::On, Vec::new());
        let Some(from) = &stanza.from else { return nothing };
        let is_room = self.names < MOST_NAMES;
        let Some(room) = find(&mut self.domains, from) else { return nothing };
        let Some(seat) = room.seats.get_mut(session) else { return nothing };
        match stanza.kind {
            Kind::Message(_) => (seat.message(stanza, moment), Vec::new()),
            Kind::Presence(PresenceType::Error) => {
                let is_returning = matches!(seat.state, State::Returning { .. });
                let (condition, may_change) = reason(stanza);
                let condition = condition.map_or("an error", Condition::as_str);
                let why = format!("the connection was lost, and the room does not let you in again: {condition}");
                let refused = Event::Refused { is_final: !may_change };
                let actions = self.happens((session, from), refused, &why, moment);
                // The client has not asked for anything, and hears it in the words of somebody who was in.
                let passage = if is_returning { Passage::Ends } else { Passage::On };
                (passage, actions)
            }
            Kind::Presence(kind) => {
                let before = room.names.len();
                let event = room.presence(session, (from, kind, stanza), is_room, moment);
                self.names = (self.names + room.names.len()).saturating_sub(before);
                let actions = event.map(|event| self.happens((session, from), event, "", moment));
                (Passage::On, actions.unwrap_or_default())
            }
            Kind::Iq(_) => nothing,
        }
    }

    /// A session is not available to anybody any more.
    pub(super) fn gone(&mut self, session: &Jid) {
        let rooms = self.sessions.get(session).cloned().unwrap_or_default();
        rooms.into_iter().for_each(|room| self.leave(session, &room.into()));
    }

    /// The domain `remote` was lost to `local`, or is back.
    pub(super) fn peer(&mut self, local: &str, remote: &str, change: PeerChange, moment: Moment) {
        let event = match change {
            PeerChange::Lost => Event::Lost,
            PeerChange::Back => Event::Back,
        };
        for (address, room) in self.domains.get_mut(remote).into_iter().flatten() {
            let names = room.names.snapshot();
            for (session, seat) in room.seats.iter_mut().filter(|(session, _)| session.domain() == local) {
                // Neither leads to anything that is to be done at once.
                seat.happens(event, &names, moment);
                if let Some(due) = seat.due() {
                    self.agenda.note(&mut seat.entry_at, due, (session, address));
                }
            }
        }
    }

    /// The room of `occupant` has answered, or has not.
    pub(super) fn answered(&mut self, session: &Jid, occupant: &Jid, verdict: Verdict, moment: Moment) -> Vec<Action> {
        if verdict == Verdict::In
            && let Some(seat) = self.seat(session, occupant)
        {
            seat.heard = moment.now;
        }
        self.happens((session, occupant), Event::Answered(verdict), UNREACHABLE, moment)
    }

    /// What is due; at most `most` rooms are asked.
    pub(super) fn due(&mut self, most: usize, moment: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut asked = 0;
        while asked < most
            && let Some((session, room)) = self.agenda.take(moment.now)
        {
            let room = Jid::from(room);
            let Some(seat) = self.seat(&session, &room) else { continue };
            seat.entry_at = None;
            // The room may have been heard of meanwhile.
            if seat.due().is_none_or(|due| due > moment.now) {
                self.schedule(&session, &room);
                continue;
            }
            let more = self.happens((&session, &room), Event::Time, UNREACHABLE, moment);
            asked += more.iter().filter(|action| matches!(action, Action::Ask { .. })).count();
            actions.extend(more);
        }
        actions
    }

    /// When something may be due next, if anything ever is.
    pub(super) fn next(&self) -> Option<Instant> {
        self.agenda.next()
    }

    /// Whether that is sooner than it was when this was asked last.
    pub(super) fn is_sooner(&mut self) -> bool {
        self.agenda.is_sooner()
    }

    fn seat(&mut self, session: &Jid, occupant: &Jid) -> Option<&mut Seat> {
        find(&mut self.domains, occupant)?.seats.get_mut(session)
    }

    /// Something happens to a session in the room of `occupant`; what its client is told is `why`, if it is told.
    fn happens(&mut self, (session, occupant): (&Jid, &Jid), event: Event, why: &str, moment: Moment) -> Vec<Action> {
        let Some(room) = find(&mut self.domains, occupant) else { return Vec::new() };
        let before = room.names.len();
        let (stays, actions) = room.happens(session, event, why, moment);
        self.names = (self.names + room.names.len()).saturating_sub(before);
        if stays {
            self.schedule(session, occupant);
        } else {
            self.leave(session, occupant);
        }
        actions
    }

    /// A session is not in the room of `occupant` any more.
    pub(super) fn leave(&mut self, session: &Jid, occupant: &Jid) {
        let Some(seat) = find(&mut self.domains, occupant).and_then(|room| room.seats.remove(session)) else { return };
        let room = occupant.to_bare();
        self.agenda.forget(seat.entry_at, (session, &room));
        if let Some(rooms) = self.sessions.get_mut(session) {
            rooms.retain(|known| *known != room);
            if rooms.is_empty() {
                self.sessions.remove(session);
            }
        }
        self.tidy(occupant);
    }

    /// A room in which nobody is any more is forgotten.
    fn tidy(&mut self, occupant: &Jid) {
        let Some(rooms) = self.domains.get_mut(occupant.domain()) else { return };
        if rooms.get(occupant.bare_str()).is_some_and(|room| room.seats.is_empty())
            && let Some(room) = rooms.remove(occupant.bare_str())
        {
            self.names = self.names.saturating_sub(room.names.len());
        }
        if rooms.is_empty() {
            self.domains.remove(occupant.domain());
        }
    }
}

/// The room of `occupant`.
fn find<'a>(domains: &'a mut Domains, occupant: &Jid) -> Option<&'a mut Room> {
    domains.get_mut(occupant.domain())?.get_mut(occupant.bare_str())
}

impl Room {
    /// The room says who is there; returns what that means for the session that is told, if anything.
    fn presence(
        &mut self,
        session: &Jid,
        (from, kind, stanza): (&Jid, PresenceType, &Stanza<'_>),
        is_room: bool,
        moment: Moment,
    ) -> Option<Event> {
        let (seat, name) = (self.seats.get_mut(session)?, from.resource()?);
        let said = Said::read(stanza);
        seat.heard = moment.now;
        match kind {
            PresenceType::Available => {
                self.names.add(name, is_room);
                if let Some(mending) = &mut seat.mending {
                    mending.sees(name);
                }
                if !said.is_own {
                    return None;
                }
                seat.occupant = from.clone();
                // Whoever was never let in may well have wanted to make it.
                Some(Event::Entered { is_new: said.is_new && seat.entry.is_old() })
            }
            PresenceType::Unavailable => {
                self.names.remove(name);
                let is_out = !said.is_renamed && (said.is_own || *from == seat.occupant);
                is_out.then_some(Event::Left)
            }
            _ => None,
        }
    }

    /// Something happens to a session: whether it stays, and what is to be done.
    fn happens(&mut self, session: &Jid, event: Event, why: &str, moment: Moment) -> (bool, Vec<Action>) {
        let names = self.names.snapshot();
        let Some(seat) = self.seats.get_mut(session) else { return (false, Vec::new()) };
        let (stays, effect) = seat.happens(event, &names, moment);
        let say = |texts: Vec<String>| Action::Say(session.clone(), texts);
        let actions = match effect {
            Effect::Nothing => Vec::new(),
            Effect::Ask => vec![Action::Ask { session: session.clone(), occupant: seat.occupant.clone() }],
            Effect::Return => vec![seat.entrance(session)],
            Effect::TellAndReturn => {
                let told = out(session, &seat.occupant, INTERRUPTED);
                vec![say(vec![told]), seat.entrance(session)]
            }
            Effect::Tell | Effect::GiveUp => vec![say(vec![out(session, &seat.occupant, why)])],
            Effect::Withdraw => {
                let leave = unavailable(session.clone(), seat.occupant.clone());
                let told = out(session, &seat.occupant, "the room does not exist any more");
                vec![Action::Present(leave), say(vec![told])]
            }
            Effect::Mend => {
                let stale = seat.stale();
                stale.iter().for_each(|jid| self.names.remove(jid.resource().unwrap_or_default()));
                let told: Vec<String> = stale.into_iter().map(|occupant| gone(session, occupant)).collect();
                if told.is_empty() { Vec::new() } else { vec![say(told)] }
            }
        };
        (stays, actions)
    }
}

impl Seat {
    fn new(occupant: &Jid, entry: Entry, Moment { now, time }: Moment) -> Self {
        Self {
            occupant: occupant.clone(),
            entry,
            state: State::Entering,
            heard: now,
            spoke: time,
            known: VecDeque::new(),
            returned: None,
            mending: None,
            entry_at: None,
        }
    }

    /// When time is the next event that matters to it.
    fn due(&self) -> Option<Instant> {
        self.state.due(self.heard)
    }

    /// One of which nobody knows how long it may have been out, and who was there.
    fn back(occupant: &Jid, entry: Entry, moment: Moment) -> Self {
        let earlier = moment.time.unix_ms().saturating_sub(i64::try_from(FORGOTTEN.as_millis()).unwrap_or(i64::MAX));
        let (state, _) =
            step(State::In, Event::Back, Sight { now: moment.now, heard: moment.now, was_in: true, can_mend: false });
        Self {
            state: state.unwrap_or(State::In),
            spoke: Timestamp::from_unix_ms(earlier),
            mending: Some(Box::default()),
            ..Self::new(occupant, entry, moment)
        }
    }

    /// Whether it stays, and what is to be done.
    fn happens(&mut self, event: Event, names: &Option<Snapshot>, Moment { now, .. }: Moment) -> (bool, Effect) {
        let before = match &self.mending {
            Some(mending) => &mending.before,
            None => names,
        };
        // Whoever was never let in believes nothing.
        let was_in = self.entry.is_old();
        let can_mend = before.is_some() || !was_in;
        let was_in_doubt = self.state.is_in_doubt();
        let (state, effect) = step(self.state, event, Sight { now, heard: self.heard, was_in, can_mend });
        let Some(state) = state else { return (false, effect) };
        match (was_in_doubt, state.is_in_doubt()) {
            (false, true) => {
                let before = if was_in { names.clone() } else { None };
                self.mending = Some(Box::new(Mending { before, seen: BTreeSet::new() }));
            }
            (true, false) if effect != Effect::Mend => self.mending = None,
            _ => {}
        }
        match effect {
            // Its client knows of nobody any more.
            Effect::Tell | Effect::TellAndReturn => self.mending = Some(Box::default()),
            Effect::Mend => self.returned = Some(now),
            _ => {}
        }
        // From here on the room says who is there.
        if let (Effect::Return, Some(mending)) = (effect, &mut self.mending) {
            mending.seen.clear();
        }
        if matches!(event, Event::Entered { .. }) {
            self.entry.is_granted();
        }
        self.state = state;
        (true, effect)
    }

    /// Those who were there and are not any more.
    fn stale(&mut self) -> Vec<Jid> {
        let Some(mending) = self.mending.take() else { return Vec::new() };
        let room = self.occupant.to_bare();
        let before = mending.before.iter().flat_map(|names| names.iter());
        before.filter(|name| !mending.seen.contains(*name)).filter_map(|name| room.with_resource(name).ok()).collect()
    }

    /// How it enters again.
    fn entrance(&self, session: &Jid) -> Action {
        let overlap = i64::try_from(OVERLAP.as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp::from_unix_ms(self.spoke.unix_ms().saturating_sub(overlap));
        let presence = Stanza::new(Kind::Presence(PresenceType::Available)).from(session.clone());
        Action::Present(presence.to(self.occupant.clone()).payload(self.entry.again(since)))
    }

    /// Somebody says something.
    fn message(&mut self, message: &Stanza<'_>, Moment { now, time }: Moment) -> Passage {
        self.heard = now;
        let Some(print) = fingerprint(message) else { return Passage::On };
        if self.returned.is_some_and(|returned| returned + CATCHING_UP < now) {
            self.returned = None;
        }
        let may_be_known = self.returned.is_some() || matches!(self.state, State::Returning { .. });
        if may_be_known && self.known.iter().any(|(_, known)| *known == print) {
            return Passage::Ends;
        }
        self.spoke = time;
        // Twice the overlap: what is shown again is asked for by the time of this server and kept by that of the other one.
        let is_over = |(said, _): &(Timestamp, u64)| !may_be_known && time.since(*said) > OVERLAP * 2;
        while self.known.len() >= MOST_KNOWN || self.known.front().is_some_and(is_over) {
            self.known.pop_front();
        }
        self.known.push_back((time, print));
        Passage::On
    }
}

#[cfg(test)]
mod tests;
