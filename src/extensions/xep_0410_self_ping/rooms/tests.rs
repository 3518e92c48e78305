use super::*;
use crate::stanza::{MessageType, Payload};

const ROMEO: &str = "romeo@montague.lit/orchard";
const HALL: &str = "hall@rooms.capulet.lit";

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

fn in_hall(name: &str) -> Jid {
    jid(&format!("{HALL}/{name}"))
}

/// Rooms, and what is done about them.
struct Play {
    rooms: Rooms,
    start: Moment,
    seconds: u64,
}

impl Play {
    /// Romeo is in the hall, with Juliet and Tybalt.
    fn new() -> Self {
        let start = Moment { now: Instant::now(), time: Timestamp::from_unix_ms(1_000_000_000_000) };
        let mut play = Self { rooms: Rooms::default(), start, seconds: 0 };
        play.told("<x xmlns='http://jabber.org/protocol/muc'><password>sesame</password></x>");
        play.burst(&["juliet", "tybalt", "romeo"]);
        play
    }

    fn moment(&self) -> Moment {
        let by = Duration::from_secs(self.seconds);
        Moment { now: self.start.now + by, time: self.start.time.after(by) }
    }

    fn told(&mut self, payload: &'static str) {
        let presence = Stanza::new(Kind::Presence(PresenceType::Available)).from(jid(ROMEO)).to(in_hall("romeo"));
        self.rooms.told(&presence.payload(Payload::canonical(payload)), self.moment());
    }

    fn hears(&mut self, name: &str, kind: Kind, payload: &str) -> (Passage, Vec<Action>) {
        let stanza = Stanza::new(kind).from(in_hall(name)).to(jid(ROMEO)).id("1");
        let stanza = stanza.payload(Payload::canonical(payload.to_owned()));
        self.rooms.hears(&jid(ROMEO), &stanza, self.moment())
    }

    fn presence(&mut self, name: &str, kind: PresenceType, codes: &[&str]) -> Vec<Action> {
        let codes: String = codes.iter().map(|code| format!("<status code='{code}'/>")).collect();
        let x = format!("<x xmlns='http://jabber.org/protocol/muc#user'><item role='none'/>{codes}</x>");
        let (passage, actions) = self.hears(name, Kind::Presence(kind), &x);
        assert_eq!(passage, Passage::On);
        actions
    }

    /// The room says who is there, the last one being Romeo.
    fn burst(&mut self, names: &[&str]) -> Vec<Action> {
        let (own, others) = names.split_last().unwrap();
        for name in others {
            assert_eq!(self.presence(name, PresenceType::Available, &[]), []);
        }
        self.presence(own, PresenceType::Available, &["110"])
    }

    fn message(&mut self, name: &str, body: &str) -> Passage {
        let (passage, actions) =
            self.hears(name, Kind::Message(MessageType::Groupchat), &format!("<body>{body}</body>"));
        assert_eq!(actions, []);
        passage
    }

    /// The domain is lost, and the room asked and answers.
    fn asked(&mut self, verdict: Verdict) -> Vec<String> {
        self.rooms.peer("montague.lit", "rooms.capulet.lit", PeerChange::Lost, self.moment());
        self.seconds += 2;
        let ask = Action::Ask { session: jid(ROMEO), occupant: in_hall("romeo") };
        assert_eq!(self.rooms.due(10, self.moment()), [ask]);
        let actions = self.rooms.answered(&jid(ROMEO), &in_hall("romeo"), verdict, self.moment());
        texts(actions)
    }
}

/// What is said, to whomever it is said.
fn texts(actions: Vec<Action>) -> Vec<String> {
    let text = |action| match action {
        Action::Ask { .. } => vec!["ask".to_owned()],
        Action::Present(presence) => vec![presence.to_xml()],
        Action::Say(session, stanzas) => {
            assert_eq!(session, jid(ROMEO));
            stanzas
        }
    };
    actions.into_iter().flat_map(text).collect()
}

/// Who is said to be gone.
fn gone_of(actions: Vec<Action>) -> Vec<String> {
    let name = |text: String| text.split("from='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    texts(actions).into_iter().map(name).collect()
}

// Proves: XEP-0410 §3.2; XEP-0045 §7.2.14
#[test]
fn who_has_dropped_out_enters_again_and_gets_what_is_new() {
    let mut play = Play::new();
    play.told("<show>away</show>");
    play.seconds = 60;
    assert_eq!(play.message("tybalt", "old"), Passage::On);
    assert_eq!(
        play.asked(Verdict::Out),
        ["<presence from='romeo@montague.lit/orchard' to='hall@rooms.capulet.lit/romeo'><show>away</show>\
          <x xmlns='http://jabber.org/protocol/muc'><history since='2001-09-09T01:47:35.000Z'/>\
          <password>sesame</password></x></presence>"]
    );
    // Tybalt has gone meanwhile, and Mercutio come.
    assert_eq!(gone_of(play.burst(&["juliet", "mercutio", "romeo"])), ["hall@rooms.capulet.lit/tybalt"]);
    assert_eq!(play.message("tybalt", "old"), Passage::Ends, "he has it");
    assert_eq!(play.message("tybalt", "new"), Passage::On);
    play.seconds += 60;
    assert_eq!(play.message("tybalt", "old"), Passage::On, "somebody says it again");
}

#[test]
fn who_is_in_hears_nothing_of_it() {
    let mut play = Play::new();
    assert_eq!(play.asked(Verdict::In), [""; 0]);
    assert_eq!(play.rooms.due(10, play.moment()), []);
    assert_eq!(play.message("tybalt", "a"), Passage::On);
    assert_eq!(play.message("tybalt", "a"), Passage::On, "whatever comes is what was said");
}

// Proves: XEP-0045 §11.1
#[test]
fn who_is_not_let_in_again_is_told_in_words_that_his_client_expects() {
    let mut play = Play::new();
    play.asked(Verdict::Out);
    let error = "<error type='auth'><registration-required xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    let (passage, actions) = play.hears("romeo", Kind::Presence(PresenceType::Error), error);
    assert_eq!(passage, Passage::Ends, "his client has not asked");
    assert_eq!(
        texts(actions),
        ["<presence type='unavailable' from='hall@rooms.capulet.lit/romeo' to='romeo@montague.lit/orchard'>\
          <x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none'>\
          <reason>the connection was lost, and the room does not let you in again: registration-required</reason>\
          </item><status code='110'/><status code='333'/></x></presence>"]
    );
    assert!(play.rooms.is_empty());
}

#[test]
fn a_room_that_was_made_anew_is_left_again() {
    let mut play = Play::new();
    play.asked(Verdict::Out);
    let texts = texts(play.presence("romeo", PresenceType::Available, &["110", "201"]));
    assert_eq!(
        texts[0],
        "<presence type='unavailable' from='romeo@montague.lit/orchard' to='hall@rooms.capulet.lit/romeo'/>"
    );
    assert!(texts[1].contains("the room does not exist any more"), "{}", texts[1]);
    assert!(play.rooms.is_empty());
}

#[test]
fn whose_entrance_was_lost_enters_as_he_wanted_to() {
    let start = Play::new().start;
    let mut play = Play { rooms: Rooms::default(), start, seconds: 0 };
    play.told("<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='3'/></x>");
    assert_eq!(
        play.asked(Verdict::Out),
        ["<presence from='romeo@montague.lit/orchard' to='hall@rooms.capulet.lit/romeo'>\
          <x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='3'/></x></presence>"]
    );
    assert_eq!(play.presence("romeo", PresenceType::Available, &["110", "201"]), [], "he wanted to make it");
    assert!(!play.rooms.is_empty());
}

#[test]
fn whoever_was_away_for_long_or_among_too_many_is_told_first() {
    for is_long in [true, false] {
        let mut play = Play::new();
        if is_long {
            play.rooms.peer("montague.lit", "rooms.capulet.lit", PeerChange::Lost, play.moment());
            play.seconds = 400;
        } else {
            play.presence(&"x".repeat(300), PresenceType::Available, &[]);
        }
        let texts = play.asked(Verdict::Out);
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].contains("<status code='333'/>"), "{}", texts[0]);
        assert!(texts[1].contains("<history since="), "{}", texts[1]);
        assert_eq!(play.burst(&["juliet", "romeo"]), [], "his client knows of nobody any more");
    }
}

#[test]
fn a_name_may_change() {
    let mut play = Play::new();
    play.told("<status>as Benvolio</status>");
    assert_eq!(play.presence("romeo", PresenceType::Unavailable, &["303", "110"]), []);
    assert_eq!(play.presence("benvolio", PresenceType::Available, &["110"]), []);
    play.rooms.peer("montague.lit", "rooms.capulet.lit", PeerChange::Back, play.moment());
    let ask = Action::Ask { session: jid(ROMEO), occupant: in_hall("benvolio") };
    assert_eq!(play.rooms.due(10, play.moment()), [ask]);
}

#[test]
fn who_leaves_in_whatever_way_is_forgotten() {
    let mut kicked = Play::new();
    assert_eq!(kicked.presence("tybalt", PresenceType::Unavailable, &["307"]), []);
    assert!(!kicked.rooms.is_empty());
    kicked.presence("romeo", PresenceType::Unavailable, &["307", "110"]);
    assert!(kicked.rooms.is_empty() && kicked.rooms.names == 0);
    let mut leaving = Play::new();
    leaving.rooms.told(&unavailable(jid(ROMEO), in_hall("romeo")), leaving.moment());
    assert!(leaving.rooms.is_empty() && leaving.rooms.names == 0);
    let mut gone = Play::new();
    gone.rooms.leave(&jid(ROMEO), &jid("elsewhere.lit"));
    assert!(!gone.rooms.is_empty());
    gone.rooms.gone(&jid("romeo@montague.lit/tomb"));
    assert!(!gone.rooms.is_empty());
    // Under whatever name he was known there.
    gone.presence("benvolio", PresenceType::Available, &["110", "210"]);
    gone.rooms.gone(&jid(ROMEO));
    assert!(gone.rooms.is_empty() && gone.rooms.names == 0);
    for rooms in [kicked.rooms, leaving.rooms, gone.rooms] {
        assert!(rooms.sessions.is_empty() && rooms.next().is_none());
    }
}

#[test]
fn who_is_in_doubt_for_longer_is_asked_first() {
    let mut play = Play::new();
    let enter = |play: &mut Play, room: &str| {
        let presence = Stanza::new(Kind::Presence(PresenceType::Available)).from(jid(ROMEO)).to(jid(room));
        let x = Payload::canonical("<x xmlns='http://jabber.org/protocol/muc'/>");
        play.rooms.told(&presence.payload(x), play.moment());
    };
    let rooms = ["a@a.lit/romeo", "b@b.lit/romeo", "c@c.lit/romeo"];
    rooms.iter().for_each(|room| enter(&mut play, room));
    for room in [2, 0, 1] {
        play.rooms.peer("montague.lit", jid(rooms[room]).domain(), PeerChange::Lost, play.moment());
        play.seconds += 1;
    }
    play.seconds += 9;
    for room in [2, 0, 1] {
        let ask = Action::Ask { session: jid(ROMEO), occupant: jid(rooms[room]) };
        assert_eq!(play.rooms.due(1, play.moment()), [ask]);
    }
    // What a room says puts off when it is asked.
    assert_eq!(play.message("tybalt", "a"), Passage::On);
    play.seconds += 899;
    assert_eq!(play.rooms.due(9, play.moment()), []);
    play.seconds += 1;
    assert_eq!(play.rooms.due(9, play.moment()).len(), 1);
}

#[test]
fn only_rooms_of_the_domain_are_asked_and_not_all_at_once() {
    let mut play = Play::new();
    for (local, remote) in [("montague.lit", "capulet.lit"), ("verona.lit", "rooms.capulet.lit")] {
        play.rooms.peer(local, remote, PeerChange::Back, play.moment());
    }
    assert_eq!(play.rooms.due(10, play.moment()), []);
    for number in 0..5 {
        let session = jid(&format!("romeo@montague.lit/{number}"));
        let presence = Stanza::new(Kind::Presence(PresenceType::Available)).from(session).to(in_hall("romeo"));
        let x = Payload::canonical("<x xmlns='http://jabber.org/protocol/muc'/>");
        play.rooms.told(&presence.payload(x), play.moment());
    }
    play.rooms.peer("montague.lit", "rooms.capulet.lit", PeerChange::Back, play.moment());
    assert_eq!(play.rooms.due(4, play.moment()).len(), 4);
    assert_eq!(play.rooms.due(4, play.moment()).len(), 2);
    assert_eq!(play.rooms.due(4, play.moment()), []);
}

#[test]
fn presence_that_is_no_entrance_is_none() {
    let mut rooms = Rooms::default();
    let moment = Play::new().start;
    let presence = Stanza::new(Kind::Presence(PresenceType::Available)).from(jid(ROMEO));
    rooms.told(&presence.clone().to(jid("juliet@capulet.lit/balcony")), moment);
    let x = Payload::canonical("<x xmlns='http://jabber.org/protocol/muc'/>");
    rooms.told(&presence.to(jid(HALL)).payload(x), moment);
    assert!(rooms.is_empty(), "a room is entered under a name");
}
