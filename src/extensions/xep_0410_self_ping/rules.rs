//! What is done about a session that may be out of a room without knowing it.
//!
//! A room on another server may lose an occupant who believes that he is in: one of the servers was restarted, a stream broke,
//! what the room said never came. So whenever the domain was lost, and when a room is silent for long, the room is asked
//! whether the occupant is there (XEP-0410 §3.2). One who is not is brought back; if he was away for long, he is told so
//! first, because a room shows no more than the last of what he has missed. Who cannot be brought back is told that he is out.
//!
//! Pure: what has happened goes in with the time, what becomes of it and what is to be done comes out.

use std::time::Duration;

use tokio::time::Instant;

/// A room that has said nothing for so long is asked (XEP-0410 §3.2).
const QUIET: Duration = Duration::from_secs(15 * 60);
/// How long after the loss of its domain a room is asked: a server that restarts needs a moment.
const FIRST: Duration = Duration::from_secs(2);
/// A room that cannot be asked is asked again after so long, then less and less often.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a room has to let somebody in again.
const ENTRANCE: Duration = Duration::from_secs(60);
/// Whoever returns to a room that he has not heard of for longer is told that he was out.
const SHORT: Duration = Duration::from_secs(300);
/// Whoever is in doubt for so long because the room cannot be reached is told, and brought back when that is possible.
const LONG: Duration = Duration::from_secs(600);

/// How one session stands in one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its client has asked to come in.
    Entering,
    /// It is in, as far as anybody knows.
    In,
    /// It may be out; the room is to be asked at this time.
    Doubtful { at: Instant, absence: Absence },
    /// The room is being asked.
    Asking(Absence),
    /// It is out, and has asked on its client's behalf to be let in again, which may take until this time.
    Returning { until: Instant, absence: Absence },
}

/// A time of which nobody knows whether the session was in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Absence {
    since: Instant,
    /// How often the room could not be asked or did not let it in.
    attempts: u32,
    /// Its client takes it for out.
    is_told: bool,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The domain of the room was lost.
    Lost,
    /// It is there again.
    Back,
    /// The room says that the session is in; `is_new` if the room was made for it.
    Entered { is_new: bool },
    /// The room says that it is out.
    Left,
    /// A presence of the session was answered with an error; the next attempt may end in another way, unless `is_final`.
    Refused { is_final: bool },
    /// The room has answered.
    Answered(Verdict),
    /// Time goes by.
    Time,
}

/// What the answer to a self-ping says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    In,
    Out,
    /// The room cannot be reached.
    Unreachable,
    /// Nothing has come. The room may be there all the same: some have one of the user's clients answer, and that may sleep.
    Silent,
}

/// What is known beside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) now: Instant,
    /// When the room was heard of last.
    pub(super) heard: Instant,
    /// The room has let the session in before.
    pub(super) was_in: bool,
    /// What its client believes of the room can be put right without its knowing.
    pub(super) can_mend: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// Ask the room.
    Ask,
    /// Ask it to let the session in.
    Return,
    /// The same, once its client has been told that it was out.
    TellAndReturn,
    /// The client is told that it may be out: the room cannot be reached.
    Tell,
    /// It is back: whoever has gone meanwhile is to be told to it.
    Mend,
    /// The client is told that it is out and stays out.
    GiveUp,
    /// The same, and the room that was made for it is left again: it is not the one that the client has known.
    Withdraw,
}

/// What becomes of a session in a room, nothing if it is out; and what is to be done.
pub(super) fn step(state: State, event: Event, sight: Sight) -> (Option<State>, Effect) {
    let Sight { now, heard, was_in, can_mend } = sight;
    let stays = (Some(state), Effect::Nothing);
    let absence = Absence { since: now, attempts: 0, is_told: false };
    match (state, event) {
        (_, Event::Left) | (State::Entering, Event::Refused { .. }) => (None, Effect::Nothing),
        // Its client has heard that it is not in.
        (State::Doubtful { .. } | State::Asking(_), Event::Refused { .. }) if !was_in => (None, Effect::Nothing),

        (State::Entering | State::In, Event::Lost) => {
            (Some(State::Doubtful { at: now + FIRST, absence }), Effect::Nothing)
        }
        (State::Entering | State::In, Event::Back) => (Some(State::Doubtful { at: now, absence }), Effect::Nothing),
        (State::Entering | State::In, Event::Time) if heard + QUIET <= now => {
            (Some(State::Asking(absence)), Effect::Ask)
        }
        (State::Entering | State::Doubtful { .. } | State::Asking(_), Event::Entered { .. }) => {
            (Some(State::In), Effect::Nothing)
        }

        (State::Doubtful { absence, .. }, Event::Back) => (Some(State::Doubtful { at: now, absence }), Effect::Nothing),
        (State::Doubtful { at, absence }, Event::Time) if at <= now => (Some(State::Asking(absence)), Effect::Ask),

        (State::Asking(absence), Event::Answered(Verdict::Unreachable)) => later(absence, now, Effect::Tell),
        (State::Asking(absence), Event::Answered(Verdict::Silent)) => later(absence, now, Effect::Nothing),
        (State::Asking(absence), Event::Answered(Verdict::In)) if !absence.is_told => {
            (Some(State::In), Effect::Nothing)
        }
        (State::Asking(absence), Event::Answered(Verdict::In | Verdict::Out)) => {
            let is_quiet = absence.is_told || (can_mend && now.saturating_duration_since(heard) <= SHORT);
            let effect = if is_quiet { Effect::Return } else { Effect::TellAndReturn };
            let absence = Absence { is_told: absence.is_told || !is_quiet, ..absence };
            (Some(State::Returning { until: now + ENTRANCE, absence }), effect)
        }

        (State::Returning { .. }, Event::Entered { is_new: false }) => (Some(State::In), Effect::Mend),
        (State::Returning { .. }, Event::Entered { is_new: true }) => (None, Effect::Withdraw),
        (State::Returning { .. }, Event::Refused { is_final: true }) => (None, Effect::GiveUp),
        (State::Returning { absence, .. }, Event::Refused { is_final: false }) => later(absence, now, Effect::Tell),
        (State::Returning { absence, .. }, Event::Lost) => {
            (Some(State::Doubtful { at: now + FIRST, absence }), Effect::Nothing)
        }
        (State::Returning { until, absence }, Event::Time) if until <= now => later(absence, now, Effect::Tell),

        // News that changes nothing, and answers that come too late.
        (State::In, Event::Entered { .. } | Event::Refused { .. } | Event::Answered(_) | Event::Time)
        | (State::Entering, Event::Answered(_) | Event::Time)
        | (State::Doubtful { .. }, Event::Lost | Event::Refused { .. } | Event::Answered(_) | Event::Time)
        | (State::Asking(_), Event::Lost | Event::Back | Event::Refused { .. } | Event::Time)
        | (State::Returning { .. }, Event::Back | Event::Answered(_) | Event::Time) => stays,
    }
}

/// It did not work; whoever has waited for long is told, if `effect` is that.
fn later(absence: Absence, now: Instant, effect: Effect) -> (Option<State>, Effect) {
    let tells = effect == Effect::Tell && !absence.is_told && now.saturating_duration_since(absence.since) >= LONG;
    let pause = PAUSE.saturating_mul(1_u32.checked_shl(absence.attempts).unwrap_or(u32::MAX)).min(LONGEST_PAUSE);
    let attempts = absence.attempts.saturating_add(1);
    let absence = Absence { attempts, is_told: absence.is_told || tells, ..absence };
    (Some(State::Doubtful { at: now + pause, absence }), if tells { Effect::Tell } else { Effect::Nothing })
}

impl State {
    /// Whether the session may be out.
    pub(super) const fn is_in_doubt(self) -> bool {
        matches!(self, Self::Doubtful { .. } | Self::Asking(_) | Self::Returning { .. })
    }

    /// When time is the next event that matters, for a room that was heard of at `heard`.
    pub(super) fn due(self, heard: Instant) -> Option<Instant> {
        match self {
            Self::Entering | Self::In => Some(heard + QUIET),
            Self::Doubtful { at, .. } => Some(at),
            Self::Asking(_) => None,
            Self::Returning { until, .. } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Play {
        start: Instant,
        state: Option<State>,
        was_in: bool,
        can_mend: bool,
    }

    impl Play {
        fn new() -> Self {
            Self { start: Instant::now(), state: Some(State::In), was_in: true, can_mend: true }
        }

        /// Something happens after `seconds`; the room was heard of at the beginning.
        fn at(&mut self, seconds: u64, event: Event) -> Effect {
            let now = self.start + Duration::from_secs(seconds);
            let sight = Sight { now, heard: self.start, was_in: self.was_in, can_mend: self.can_mend };
            let (state, effect) = step(self.state.unwrap(), event, sight);
            self.state = state;
            effect
        }

        /// The same until time brings about something, which happens at the time that is given.
        fn next(&mut self) -> (u64, Effect) {
            let due = self.state.unwrap().due(self.start).unwrap();
            let seconds = due.duration_since(self.start).as_secs();
            (seconds, self.at(seconds, Event::Time))
        }
    }

    const OUT: Event = Event::Answered(Verdict::Out);
    const UNREACHABLE: Event = Event::Answered(Verdict::Unreachable);
    const ENTERED: Event = Event::Entered { is_new: false };

    // Proves: XEP-0410 §3.2
    #[test]
    fn who_is_out_is_brought_back_without_a_word() {
        let mut play = Play::new();
        assert_eq!(play.at(10, Event::Lost), Effect::Nothing);
        assert_eq!(play.at(11, Event::Time), Effect::Nothing, "the other server needs a moment");
        assert_eq!(play.next(), (12, Effect::Ask));
        assert_eq!(play.at(12, OUT), Effect::Return);
        assert_eq!(play.at(13, ENTERED), Effect::Mend);
        assert_eq!(play.state, Some(State::In));
    }

    // Proves: XEP-0410 §3.2
    #[test]
    fn who_is_in_hears_nothing() {
        let mut play = Play::new();
        play.at(10, Event::Lost);
        play.at(12, Event::Time);
        assert_eq!(play.at(13, Event::Answered(Verdict::In)), Effect::Nothing);
        assert_eq!(play.state, Some(State::In));
        assert_eq!(play.at(14, OUT), Effect::Nothing, "nobody has asked");
    }

    #[test]
    fn a_silent_room_is_asked() {
        let mut play = Play::new();
        assert_eq!(play.next(), (15 * 60, Effect::Ask));
        play.at(15 * 60, Event::Answered(Verdict::In));
        assert_eq!(play.state, Some(State::In));
    }

    #[test]
    fn whoever_comes_back_is_asked_at_once() {
        let mut play = Play::new();
        play.at(10, Event::Lost);
        assert_eq!(play.next(), (12, Effect::Ask));
        play.at(13, UNREACHABLE);
        assert_eq!(play.at(14, Event::Back), Effect::Nothing);
        assert_eq!(play.next(), (14, Effect::Ask));
        // It was lost twice, and nobody has said so in between.
        play.at(15, Event::Answered(Verdict::In));
        play.at(16, Event::Back);
        assert_eq!(play.next(), (16, Effect::Ask));
    }

    #[test]
    fn who_has_not_heard_of_the_room_for_long_is_told_before_he_is_back() {
        for (seconds, can_mend, effect) in
            [(300, true, Effect::Return), (301, true, Effect::TellAndReturn), (5, false, Effect::TellAndReturn)]
        {
            let mut play = Play::new();
            play.can_mend = can_mend;
            play.at(1, Event::Lost);
            play.at(4, Event::Time);
            assert_eq!(play.at(seconds, OUT), effect, "{seconds} {can_mend}");
        }
    }

    #[test]
    fn a_room_that_cannot_be_reached_is_asked_again_and_its_occupant_told_once() {
        let mut play = Play::new();
        play.at(0, Event::Lost);
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let (at, effect) = play.next();
            assert_eq!(effect, Effect::Ask);
            asked.push(at);
            match play.at(at, UNREACHABLE) {
                Effect::Tell => told.push(at),
                effect => assert_eq!(effect, Effect::Nothing),
            }
        }
        assert_eq!(asked, [2, 7, 17, 37, 77, 157, 317, 617, 917, 1217]);
        assert_eq!(told, [617]);
        // He takes himself for out, so he is let in anew although he never was.
        play.at(1300, Event::Back);
        assert_eq!(play.next(), (1300, Effect::Ask));
        assert_eq!(play.at(1300, Event::Answered(Verdict::In)), Effect::Return);
        assert_eq!(play.at(1301, ENTERED), Effect::Mend);
    }

    #[test]
    fn a_room_that_says_nothing_is_asked_again_and_nobody_disturbed() {
        let mut play = Play::new();
        play.at(0, Event::Lost);
        for _ in 0..10 {
            let (at, effect) = play.next();
            assert_eq!(effect, Effect::Ask);
            assert_eq!(play.at(at, Event::Answered(Verdict::Silent)), Effect::Nothing);
        }
    }

    #[test]
    fn who_is_not_let_in_is_told() {
        let returning = || {
            let mut play = Play::new();
            play.at(0, Event::Lost);
            play.at(2, Event::Time);
            play.at(2, OUT);
            play
        };
        let mut refused = returning();
        assert_eq!(refused.at(3, Event::Refused { is_final: true }), Effect::GiveUp);
        assert_eq!(refused.state, None);
        let mut later = returning();
        assert_eq!(later.at(3, Event::Refused { is_final: false }), Effect::Nothing);
        assert_eq!(later.next(), (8, Effect::Ask));
        let mut silent = returning();
        assert_eq!(silent.next(), (62, Effect::Nothing));
        assert!(matches!(silent.state, Some(State::Doubtful { .. })));
        let mut lost = returning();
        assert_eq!(lost.at(3, Event::Lost), Effect::Nothing);
        assert_eq!(lost.next(), (5, Effect::Ask));
        let mut new = returning();
        assert_eq!(new.at(3, Event::Entered { is_new: true }), Effect::Withdraw);
        assert_eq!(new.state, None, "a room of the same name is not the room");
    }

    #[test]
    fn who_is_told_that_he_is_out_is_out() {
        for event in [Event::Lost, Event::Back] {
            let mut play = Play::new();
            play.at(0, event);
            assert_eq!(play.at(1, Event::Left), Effect::Nothing);
            assert_eq!(play.state, None);
        }
        let mut play = Play::new();
        play.state = Some(State::Entering);
        play.at(0, Event::Refused { is_final: true });
        assert_eq!(play.state, None, "his client has heard it");
        // The domain counts as lost before that is said.
        for was_in in [false, true] {
            let mut play = Play { state: Some(State::Entering), was_in, ..Play::new() };
            play.at(0, Event::Lost);
            play.at(0, Event::Refused { is_final: false });
            assert_eq!(play.state.is_some(), was_in);
        }
    }
}
