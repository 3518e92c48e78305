use super::*;
use crate::hooks::TooHigh;
use crate::jid::Jid;
use crate::stanza::{IqType, Kind, MessageType, Payload, PresenceType};

fn message(id: usize, size: usize) -> Stanza<'static> {
    let body = format!("<body>{}</body>", "x".repeat(size));
    Stanza::new(Kind::Message(MessageType::Chat)).id(id.to_string()).payload(Payload::canonical(body))
}

fn queue(sizes: &[usize]) -> Queue {
    let mut queue = Queue::default();
    for (id, size) in sizes.iter().enumerate() {
        queue.push(message(id, *size), None).unwrap();
    }
    queue
}

fn kept(position: u64) -> Option<Kept> {
    let time = Timestamp::from_unix_ms(0);
    Some(Kept { position, time, since: Instant::now(), marked: false, stamped: false })
}

/// Messages of which storage keeps those with an even number, at that position.
fn half_kept(count: usize) -> Queue {
    let mut queue = Queue::default();
    for id in 0..count {
        queue.push(message(id, 10), kept(id as u64).filter(|_| id % 2 == 0)).unwrap();
    }
    queue
}

fn ids(stanzas: &[Stanza<'static>]) -> Vec<String> {
    stanzas.iter().map(|stanza| stanza.id.as_deref().unwrap().to_owned()).collect()
}

/// A probe.
const ASK: &str = "<iq type='get' id='probe'><ping xmlns='urn:xmpp:ping'/></iq>";

/// Hands everything over; gives it.
fn drain(queue: &mut Queue) -> String {
    let mut out = Vec::new();
    while !queue.portion().is_empty() {
        let portion = queue.portion().to_vec();
        assert!(portion.len() <= PORTION);
        out.extend_from_slice(&portion);
        queue.handed_over(portion.len(), Instant::now());
    }
    String::from_utf8(out).unwrap()
}

fn text(ids: impl IntoIterator<Item = usize>) -> String {
    ids.into_iter().map(|id| message(id, 10).to_xml()).collect()
}

#[test]
fn all_is_written_in_order_and_portions() {
    let sizes = [10, 40_000, 0, 5_000, 20_000];
    let mut queue = queue(&sizes);
    let whole: String = sizes.iter().enumerate().map(|(id, size)| message(id, *size).to_xml()).collect();
    assert_eq!(drain(&mut queue), whole);
    assert!(queue.is_empty());
    assert_eq!(queue.cost(), 0);
}

#[test]
fn costs_add_up() {
    let mut queue = Queue::default();
    let added: usize = (0..50).map(|id| queue.push(message(id, id * 100), None).unwrap()).sum();
    assert_eq!(queue.cost(), added);
    let mut freed = 0;
    while !queue.portion().is_empty() {
        let step = queue.portion().len().min(1000);
        freed += queue.handed_over(step, Instant::now());
        assert_eq!(queue.cost(), added - freed);
    }
    assert_eq!(freed, added);
}

#[test]
fn a_stanza_that_was_cut_goes_out_whole_on_the_next_link() {
    let mut queue = queue(&[10, 10, 10]);
    let length = message(0, 10).to_xml().len();
    queue.handed_over(length + 5, Instant::now());
    assert_eq!(queue.len(), 2);
    assert_eq!(queue.link_lost(Instant::now()), Left::default());
    assert_eq!(queue.portion(), text([1, 2]).as_bytes());
}

// Proves: XEP-0478 §3
#[test]
fn what_is_too_large_for_a_link_comes_back() {
    let begin = |queue: &mut Queue, largest| queue.begin((largest, None), Instant::now(), |_| String::new());
    let mut queue = queue(&[10, 20_000, 30, 20_000]);
    queue.handed_over(message(0, 10).to_xml().len() + 5, Instant::now());
    queue.link_lost(Instant::now());
    let before = queue.cost();
    let left = begin(&mut queue, Some(10_000));
    assert_eq!(ids(&left.heads), ["1", "3"]);
    assert_eq!(queue.cost(), before - left.freed);
    let small = queue.push(message(4, 40), None).unwrap();
    assert_eq!(queue.push(message(5, 20_000), None).unwrap_err().id.as_deref(), Some("5"));
    assert_eq!(queue.portion(), (message(2, 30).to_xml() + &message(4, 40).to_xml()).as_bytes());
    assert_eq!(queue.cost(), before - left.freed + small);
    // Another link may take it.
    queue.link_lost(Instant::now());
    assert!(queue.push(message(6, 20_000), None).is_ok());
    assert_eq!(begin(&mut queue, None), Left::default());
}

#[test]
fn what_is_given_up_keeps_its_order_and_loses_its_payload() {
    let mut queue = queue(&[10, 10, 10]);
    queue.handed_over(message(0, 10).to_xml().len(), Instant::now());
    let left = queue.take_all();
    assert_eq!(ids(&left.heads), ["1", "2"]);
    assert_eq!(queue.gone(), 1);
    assert!(left.heads.iter().all(|stanza| stanza.payload.is_empty()));
    assert_eq!(queue.cost(), 0);
}

#[test]
fn what_is_kept_stays_until_a_probe_behind_it_is_answered() {
    let mut queue = half_kept(5);
    let now = Instant::now();
    assert_eq!(queue.probe_due(now), None, "nothing was sent yet");
    assert_eq!(drain(&mut queue), text(0..5));
    assert_eq!((queue.len(), queue.gone()), (5, 0));
    assert_eq!(queue.probe_due(now), Some(now));
    queue.probe("probe".to_owned(), ASK, now);
    assert_eq!(queue.answered("probe"), None, "it has not left yet");
    queue.push(message(5, 10), kept(5)).unwrap();
    assert_eq!(drain(&mut queue), ASK.to_owned() + &text([5]));
    assert_eq!(queue.probe_due(now), None, "one is under way");
    assert_eq!(queue.silent_at().map(|at| at > now), Some(true));
    assert_eq!(queue.settle(3), [0, 2]);
    assert_eq!(queue.answered("another"), None);
    let left = queue.answered("probe").unwrap();
    assert_eq!((left.marked, left.unmarked), (vec![0, 2], vec![4]));
    // What came behind it waits for the next, which keeps its distance.
    assert_eq!((queue.len(), queue.gone()), (1, 6));
    assert_eq!((queue.probe_due(now), queue.silent_at()), (Some(now + SPACING), None));
    assert_eq!(queue.confirm_all().unmarked, [5]);
    assert_eq!((queue.cost(), queue.probe_due(now)), (0, None));
}

#[test]
fn a_busy_link_is_probed_by_volume() {
    let mut queue = Queue::default();
    let now = Instant::now();
    let each = message(0, 1000).to_xml().len();
    for id in 0..200 {
        queue.push(message(id, 1000), kept(id as u64)).unwrap();
    }
    let mut probes = 0;
    while !queue.portion().is_empty() {
        queue.handed_over(queue.portion().len().min(each), now);
        if queue.probe_due(now).is_some() {
            assert!(queue.sent_bytes >= MUCH, "there is more to write");
            queue.probe(probes.to_string(), ASK, now);
            probes += 1;
        }
    }
    assert_eq!(probes, 1, "one is under way at a time");
    queue.answered("0").unwrap();
    assert!(queue.is_empty());
}

#[test]
fn what_is_not_confirmed_goes_out_again_and_nothing_else() {
    let mut queue = half_kept(6);
    let upto = text(0..4).len();
    queue.handed_over(upto + 5, Instant::now());
    assert_eq!(queue.len(), 6);
    queue.probe("probe".to_owned(), ASK, Instant::now());
    let before = queue.cost();
    let left = queue.link_lost(Instant::now());
    assert_eq!(left.heads, [], "delivered as far as anybody will know");
    assert_eq!((queue.gone(), queue.cost()), (2, before - left.freed));
    assert_eq!(queue.answered("probe"), None);
    assert_eq!(drain(&mut queue), text([0, 2, 4, 5]));
}

// Proves: XEP-0203 §2
#[test]
fn what_is_late_says_so_once() {
    let mut queue = half_kept(3);
    let now = Instant::now();
    let stamp = |time: Timestamp| format!("<delay stamp='{time}'/>");
    assert_eq!(queue.begin((None, None), now, stamp), Left::default());
    assert_eq!(drain(&mut queue), text(0..3));
    queue.link_lost(Instant::now());
    for _ in 0..2 {
        queue.begin((None, None), now + LATE, stamp);
        let late = |id| message(id, 10).to_xml().replace("</message>", &(stamp(Timestamp::default()) + "</message>"));
        assert_eq!(drain(&mut queue), late(0) + &late(2));
        queue.link_lost(Instant::now());
    }
    assert_eq!(ids(&queue.begin((Some(20), None), now, stamp).heads), ["0", "2"]);
    let mut out = String::new();
    push_with(&mut out, "<message id='a/>'/>", "<x/>");
    assert_eq!(out, "<message id='a/>'/>");
}

#[test]
fn only_what_is_kept_waits_and_not_for_ever() {
    let mut queue = half_kept(5);
    let begin = Instant::now();
    let left = queue.leave_behind();
    assert_eq!((ids(&left.heads), left.unmarked), (vec!["1".to_owned(), "3".to_owned()], vec![]));
    queue.push(message(5, 10), kept(5).map(|kept| Kept { since: begin + LATE, ..kept })).unwrap();
    queue.push(message(6, 10), None).unwrap();
    assert_eq!(ids(&queue.leave_behind().heads), ["6"]);
    assert_eq!(queue.leave_behind(), Left::default());
    assert!(queue.oldest().unwrap() < begin + LATE);
    assert_eq!(queue.settle(1), [0]);
    let left = queue.expire(begin + LATE / 2);
    assert_eq!(
        (ids(&left.heads), left.marked, left.unmarked),
        (["0", "2", "4"].map(str::to_owned).to_vec(), vec![0], vec![2, 4])
    );
    assert_eq!(queue.oldest(), Some(begin + LATE));
    assert_eq!(drain(&mut queue), text([5]));
    assert_eq!(queue.confirm_all().unmarked, [5]);
    assert_eq!((queue.cost(), queue.oldest()), (0, None));
}

/// What makes a peer count.
const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";

/// A queue on a link that counts if it is asked to.
fn offered(mut queue: Queue) -> Queue {
    assert_eq!(queue.begin((None, Some(ENABLE)), Instant::now(), |_| String::new()), Left::default());
    queue
}

fn named(queue: &mut Queue) {
    queue.counted(Some(("stream".to_owned(), Duration::from_secs(60))));
}

// Proves: XEP-0198 §4
#[test]
fn a_peer_counts_from_the_first_that_is_kept_on() {
    let mut queue = offered(queue(&[10, 10]));
    assert_eq!(drain(&mut queue), text([0, 1]));
    assert!(queue.is_empty() && !queue.is_counted(), "nobody was promised anything");
    let cost = queue.push(message(2, 10), kept(2)).unwrap() + queue.push(message(3, 10), None).unwrap();
    assert_eq!(queue.cost(), cost);
    assert_eq!(drain(&mut queue), ENABLE.to_owned() + &text([2, 3]));
    assert_eq!(queue.len(), 2, "both are counted");
    queue.push(message(4, 10), None).unwrap();
    queue.probe(String::new(), ASK, Instant::now());
    assert_eq!(drain(&mut queue), text([4]) + ASK);
    assert_eq!(queue.answered(""), None, "requests are not what confirms here");
    assert_eq!(queue.acknowledged(0), Ok(Left { freed: 0, ..Left::default() }));
    let left = queue.acknowledged(2).unwrap();
    assert_eq!((left.unmarked, queue.len()), (vec![2], 2));
    assert_eq!(queue.acknowledged(1), Ok(Left::default()), "it has said so before");
    assert_eq!(queue.acknowledged(4), Err(TooHigh { handled: 4, sent: 3 }));
    queue.acknowledged(3).unwrap();
    assert!(queue.is_empty());
    // What is there when a link begins is behind the words.
    let mut queue = offered(half_kept(2));
    assert_eq!(drain(&mut queue), ENABLE.to_owned() + &text([0, 1]));
    let left = queue.uncounted();
    assert_eq!((left.heads, queue.len()), (vec![], 2));
    queue.probe("probe".to_owned(), ASK, Instant::now());
    drain(&mut queue);
    assert_eq!(queue.answered("probe").unwrap().unmarked, [0]);
    assert!(queue.is_empty());
}

// Proves: XEP-0198 §5
#[test]
fn a_stream_that_is_resumed_goes_on_behind_what_was_handled() {
    let mut queue = offered(half_kept(6));
    queue.handed_over(ENABLE.len() + text(0..5).len() + 7, Instant::now());
    named(&mut queue);
    assert_eq!(queue.resumable(Instant::now()), None, "it is not lost");
    queue.acknowledged(1).unwrap();
    assert_eq!(queue.link_lost(Instant::now()), Left::default());
    assert_eq!(queue.resumable(Instant::now()).as_deref(), Some("stream"));
    assert_eq!(queue.resumable(Instant::now() + Duration::from_secs(61)), None);
    assert_eq!(queue.resumed(6), Err(TooHigh { handled: 6, sent: 5 }));
    let left = queue.resumed(3).unwrap();
    assert_eq!((left.heads, left.unmarked), (vec![], vec![2]));
    let mut queue = offered(queue);
    assert_eq!(drain(&mut queue), text(3..6));
    assert_eq!(queue.acknowledged(5).unwrap().unmarked, [4]);
    // A peer that has forgotten a part of it gets nothing twice, and both go on from where it is.
    queue.link_lost(Instant::now());
    assert_eq!(queue.resumed(2), Ok(Left::default()));
    assert_eq!(drain(&mut queue), text([5]));
    queue.acknowledged(3).unwrap();
    assert!(queue.is_empty());
}

// Proves: XEP-0198 §4
#[test]
fn of_a_stream_that_does_not_go_on_messages_go_out_again() {
    let stanza = |kind, id: &str, to: &str| Stanza::new(kind).id(id.to_owned()).to(to.parse::<Jid>().ok());
    let presence = Kind::Presence(PresenceType::Available);
    let sent = [
        stanza(Kind::Message(MessageType::Chat), "m1", "a@b"),
        stanza(Kind::Iq(IqType::Get), "i", "a@b"),
        stanza(Kind::Iq(IqType::Result), "r", "a@b"),
        stanza(presence, "p1", "a@b"),
        stanza(presence, "p2", "a@c"),
        stanza(Kind::Presence(PresenceType::Subscribe), "s", "a@b"),
        stanza(Kind::Message(MessageType::Chat), "m2", "a@b"),
    ];
    let mut queue = Queue::default();
    for (position, stanza) in sent.into_iter().enumerate() {
        queue.push(stanza, kept(1).filter(|_| position == 0)).unwrap();
    }
    let mut queue = offered(queue);
    drain(&mut queue);
    queue.push(stanza(Kind::Presence(PresenceType::Unavailable), "p3", "a@b"), None).unwrap();
    queue.push(stanza(Kind::Iq(IqType::Set), "i2", "a@b"), None).unwrap();
    queue.link_lost(Instant::now());
    let left = queue.not_resumed(Some(1));
    assert_eq!((ids(&left.heads), left.unmarked), (vec!["i".to_owned(), "r".to_owned()], vec![1]));
    let rest = drain(&mut queue);
    let order: Vec<_> = rest.split("id='").skip(1).map(|rest| rest.split_once('\'').unwrap().0).collect();
    assert_eq!(order, ["p2", "s", "m2", "p3", "i2"]);
    assert!(queue.is_empty());
}

#[test]
fn what_a_lost_peer_has_not_confirmed_is_answered_if_it_cannot_be_reached() {
    let mut queue = offered(half_kept(3));
    drain(&mut queue);
    named(&mut queue);
    queue.link_lost(Instant::now());
    assert_eq!(ids(&queue.leave_behind().heads), ["1"]);
    // And the stream goes on all the same.
    assert_eq!(queue.resumed(2).unwrap().unmarked, [0]);
    assert_eq!(drain(&mut queue), text([2]));
}
