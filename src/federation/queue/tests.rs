use super::*;
use crate::stanza::{IqType, Kind, MessageType};

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

fn ask() -> Stanza<'static> {
    Stanza::new(Kind::Iq(IqType::Get)).id("probe").payload(Payload::canonical("<ping xmlns='urn:xmpp:ping'/>"))
}

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
    assert_eq!(queue.link_lost(), Left::default());
    assert_eq!(queue.portion(), text([1, 2]).as_bytes());
}

// Proves: XEP-0478 §3
#[test]
fn what_is_too_large_for_a_link_comes_back() {
    let begin = |queue: &mut Queue, largest| queue.begin(largest, Instant::now(), |_| String::new());
    let mut queue = queue(&[10, 20_000, 30, 20_000]);
    queue.handed_over(message(0, 10).to_xml().len() + 5, Instant::now());
    queue.link_lost();
    let before = queue.cost();
    let left = begin(&mut queue, Some(10_000));
    assert_eq!(ids(&left.heads), ["1", "3"]);
    assert_eq!(queue.cost(), before - left.freed);
    let small = queue.push(message(4, 40), None).unwrap();
    assert_eq!(queue.push(message(5, 20_000), None).unwrap_err().id.as_deref(), Some("5"));
    assert_eq!(queue.portion(), (message(2, 30).to_xml() + &message(4, 40).to_xml()).as_bytes());
    assert_eq!(queue.cost(), before - left.freed + small);
    // Another link may take it.
    queue.link_lost();
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
    queue.probe("probe".to_owned(), ask(), now);
    assert_eq!(queue.answered("probe"), None, "it has not left yet");
    queue.push(message(5, 10), kept(5)).unwrap();
    assert_eq!(drain(&mut queue), ask().to_xml() + &text([5]));
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
            queue.probe(probes.to_string(), ask(), now);
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
    queue.probe("probe".to_owned(), ask(), Instant::now());
    let before = queue.cost();
    let left = queue.link_lost();
    assert_eq!(ids(&left.heads), ["1", "3"], "delivered as far as anybody will know");
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
    assert_eq!(queue.begin(None, now, stamp), Left::default());
    assert_eq!(drain(&mut queue), text(0..3));
    queue.link_lost();
    for _ in 0..2 {
        queue.begin(None, now + LATE, stamp);
        let late = |id| message(id, 10).to_xml().replace("</message>", &(stamp(Timestamp::default()) + "</message>"));
        assert_eq!(drain(&mut queue), late(0) + &late(2));
        queue.link_lost();
    }
    assert_eq!(ids(&queue.begin(Some(20), now, stamp).heads), ["0", "2"]);
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
    assert_eq!((ids(&left.heads), left.marked, left.unmarked), (["0", "2", "4"].map(str::to_owned).to_vec(), vec![0], vec![2, 4]));
    assert_eq!(queue.oldest(), Some(begin + LATE));
    assert_eq!(drain(&mut queue), text([5]));
    assert_eq!(queue.confirm_all().unmarked, [5]);
    assert_eq!((queue.cost(), queue.oldest()), (0, None));
}
