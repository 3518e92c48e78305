//! A ring alone, and a ring that keeps what its client has not confirmed, against every order of events.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use proptest::prelude::*;

use super::super::marks::{Queued, Settled};
use super::*;
use crate::hooks::TooHigh;
use crate::routing::retained::{Handled, Resumption, Retention};
use crate::stanza::{Kind, Payload, PresenceType};

mod crowd;

fn ring(limit: usize) -> Ring {
    Ring::new(limit, Timestamp::from_unix_ms(0))
}

fn push(ring: &Ring, text: &str) -> Pushed {
    ring.push(|out| out.push_str(text))
}

/// The bytes, or `None` if there are none now.
fn take(ring: &Ring) -> Option<String> {
    let mut out = Vec::new();
    match ring.poll_take(&mut Context::from_waker(Waker::noop()), &mut out) {
        Poll::Ready(Taken::Bytes) => Some(String::from_utf8(out).unwrap()),
        Poll::Ready(Taken::Close(error)) => Some(error.condition.as_str().to_owned()),
        Poll::Ready(other) => panic!("{other:?}"),
        Poll::Pending => None,
    }
}

#[test]
fn only_the_first_writer_wakes() {
    let ring = ring(100);
    assert_eq!(push(&ring, "<a/>"), Pushed::First);
    assert_eq!(push(&ring, "<b/>"), Pushed::Joined);
    ring.wake();
    assert_eq!(take(&ring).as_deref(), Some("<a/><b/>"));
    assert_eq!(take(&ring), None);
    assert_eq!(push(&ring, "<c/>"), Pushed::First);
}

/// A stanza with so many bytes.
fn long(bytes: usize) -> String {
    format!("<a>{}</a>", "x".repeat(bytes.saturating_sub("<a></a>".len())))
}

/// Everything that is left when the session ends.
fn left(ring: &Ring) -> String {
    ring.shut().text.iter().collect()
}

/// How the session ends, once what waits is taken.
fn end(ring: &Ring) -> Option<String> {
    std::iter::from_fn(|| take(ring)).find(|taken| !taken.starts_with('<'))
}

#[test]
fn a_slow_reader_is_closed_and_keeps_what_it_did_not_get() {
    let ring = ring(5);
    push(&ring, "<a/>");
    assert_eq!(push(&ring, "<bb/>"), Pushed::Joined, "one stanza may exceed the limit");
    let mut context = Context::from_waker(Waker::noop());
    assert!(ring.poll_closing(&mut context).is_pending());
    assert_eq!(push(&ring, "<c/>"), Pushed::Joined, "it goes the way of the others");
    let last = long(BEYOND + 5 - "<a/><bb/><c/>".len());
    assert_eq!(push(&ring, &last), Pushed::Joined);
    let Poll::Ready(Taken::Close(error)) = ring.poll_closing(&mut context) else { panic!("still open") };
    assert_eq!(error.condition, StreamCondition::PolicyViolation);
    assert_eq!(push(&ring, "<d/>"), Pushed::Refused, "there is an end to it");
    assert_eq!(left(&ring), format!("<a/><bb/><c/>{last}"));
}

#[test]
fn a_stanza_for_which_there_is_no_room_is_refused_and_none_is_too_long_for_a_client_that_reads() {
    const LIMIT: usize = 100_000;
    let ring = ring(LIMIT);
    let answer = long(10 * LIMIT);
    push(&ring, "<a/>");
    assert_eq!(push(&ring, &answer), Pushed::Joined);
    assert_eq!(take(&ring).map(|taken| taken.len()), Some(4 + answer.len()));
    assert_eq!(take(&ring), None);
    push(&ring, &long(LIMIT / 2 + 1));
    assert_eq!(push(&ring, &answer), Pushed::Refused);
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(ring.poll_closing(&mut context), Poll::Ready(Taken::Close(_))), "what it was to get is not there");
    assert_eq!(left(&ring), long(LIMIT / 2 + 1));
}

#[test]
fn a_client_that_reads_nothing_costs_so_much_and_no_more() {
    const LIMIT: usize = 300_000;
    let lengths = [100, 40_000, 1_000, 100_000, 20, 7_000, 31_744, 31_745];
    for first in 0..lengths.len() {
        for ring in [ring(LIMIT), keeping(LIMIT, 0)] {
            let (mut came, mut hand) = (0, None);
            for number in 0..200 {
                let text = long(lengths[(first + number) % lengths.len()]);
                came += if push(&ring, &text) == Pushed::Refused { 0 } else { text.len() };
                if number == 5 {
                    hand = take(&ring);
                }
            }
            let hand = hand.unwrap();
            let state = ring.lock();
            let kept = state.retained.as_ref().map_or(0, |retained| retained.held());
            let all = state.bytes.len() + hand.len() + kept;
            assert!((LIMIT - 100_000..=LIMIT + BEYOND).contains(&all), "{all} from {first}");
            drop(state);
            ring.give_back(hand.replace(REQUEST, "").into_bytes());
            assert_eq!(left(&ring).len(), came, "nothing of it is lost");
        }
    }
}

#[test]
fn an_idle_ring_is_small() {
    // With the counts of its `Arc` that is what allocators give out for 224 bytes.
    assert!(size_of::<Ring>() <= 200, "{}", size_of::<Ring>());
}

#[test]
fn closing_lets_waiting_bytes_go_first() {
    let ring = ring(100);
    push(&ring, "<a/>");
    ring.close(StreamCondition::Conflict.into());
    push(&ring, "<b/>");
    assert_eq!(take(&ring).as_deref(), Some("<a/><b/>"));
    push(&ring, "<c/>");
    assert_eq!(take(&ring).as_deref(), Some("conflict"));
    assert_eq!(left(&ring), "<c/>");
}

#[test]
fn what_comes_behind_the_end_does_not_put_it_off() {
    let ring = ring(1_000_000);
    let (one, other) = (long(50_000), long(40_000));
    push(&ring, &one);
    push(&ring, &other);
    ring.close(StreamCondition::Conflict.into());
    push(&ring, "<c/>");
    assert_eq!(take(&ring), Some(one));
    push(&ring, "<d/>");
    assert_eq!(take(&ring), Some(other));
    assert_eq!(take(&ring).as_deref(), Some("conflict"));
    assert_eq!(left(&ring), "<c/><d/>");
}

#[test]
fn marks_come_out_once_written() {
    let ring = ring(100);
    ring.push_entry(Mark::Undelivered(7), |out| out.push_str("<a/>"));
    ring.push_entry(Mark::Undelivered(8), |out| out.push_str("<b/>"));
    ring.written(4);
    assert_eq!(ring.delivered(Talks::No), [7]);
    ring.written(4);
    assert_eq!(ring.delivered(Talks::No), [8]);
    assert!(ring.delivered(Talks::No).is_empty());
}

#[test]
fn queued_marks_go_once_the_client_speaks_or_become_undelivered() {
    let queued = |position| Mark::Queued(Queued { position, archived: false });
    let settled = |late: &[u64], watched| Settled { late: late.to_vec(), watched, is_over: false };
    let ring = ring(100);
    assert!(ring.needs_watch());
    for (position, text) in [(3, "<a/>"), (5, "<b/>"), (6, "<c/>"), (9, "<d/>")] {
        ring.push_entry(queued(position), |out| out.push_str(text));
    }
    ring.written(4);
    assert!(ring.delivered(Talks::No).is_empty(), "nothing waits in the log");
    ring.written(4);
    assert!(!ring.needs_watch());
    // The second was written, and the client has said nothing since.
    assert_eq!(ring.settle(9), settled(&[5, 6], true));
    assert!(!ring.needs_watch());
    ring.written(8);
    assert_eq!(ring.delivered(Talks::No), [5, 6]);
    assert_eq!(ring.settle(9), settled(&[], false));
    assert!(ring.needs_watch());
}

#[test]
fn marks_of_a_session_that_has_ended_are_looked_after() {
    let queued = Mark::Queued(Queued { position: 3, archived: false });
    let ring = ring(100);
    ring.push_entry(queued, |out| out.push_str("<a/>"));
    take(&ring);
    ring.written(4);
    let remains = ring.shut();
    assert_eq!(remains.marks, [(4, queued)]);
    ring.put_back(remains.marks.into());
    assert_eq!(ring.settle(3), Settled { late: vec![], watched: true, is_over: true });
    assert_eq!(ring.settle(4), Settled { late: vec![3], watched: false, is_over: true });
}

#[test]
fn a_client_that_never_speaks_does_not_fill_the_memory() {
    let ring = ring(100);
    for position in 0..UNSURE as u64 + 1 {
        ring.push_entry(Mark::Queued(Queued { position, archived: false }), |out| out.push('x'));
        take(&ring);
        ring.written(1);
    }
    assert_eq!(ring.positions().len(), UNSURE);
}

#[test]
fn what_was_taken_and_not_written_is_there_at_the_end() {
    let ring = ring(100);
    push(&ring, "<a/>");
    push(&ring, "<b/>");
    take(&ring);
    ring.written(4);
    push(&ring, "<c/>");
    ring.give_back(b"<a/><b/>".to_vec());
    let remains = ring.shut();
    assert_eq!((remains.start, remains.written), (0, 4));
    assert_eq!(remains.text.iter().collect::<String>(), "<a/><b/><c/>");
    assert_eq!(push(&ring, "<d/>"), Pushed::Refused);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn room_comes_with_writing() {
    let count = Arc::<Count>::default();
    let (waker, woken) = (Waker::from(Arc::clone(&count)), || count.0.swap(0, Ordering::Relaxed));
    let mut context = Context::from_waker(&waker);
    let ring = ring(100_000);
    assert_eq!(ring.poll_room(&mut context), Poll::Ready(true));
    push(&ring, &long(40_000));
    push(&ring, &long(30_000));
    assert_eq!(ring.poll_room(&mut context), Poll::Pending);
    assert_eq!(ring.poll_room(&mut context), Poll::Pending);
    take(&ring);
    assert_eq!(woken(), 0, "the task has it in hand, and nobody has read it");
    take(&ring);
    assert_eq!(woken(), 1, "it was written");
    assert_eq!(ring.poll_room(&mut context), Poll::Ready(true));
    push(&ring, &long(60_000));
    assert_eq!(ring.poll_room(&mut context), Poll::Pending);
    take(&ring);
    assert_eq!(woken(), 0);
    assert_eq!((take(&ring), woken()), (None, 1), "nothing is left");
    push(&ring, &long(60_000));
    assert_eq!(ring.poll_room(&mut context), Poll::Pending);
    ring.shut();
    assert_eq!((ring.poll_room(&mut context), woken()), (Poll::Ready(false), 1));
}

const REQUEST: &str = "<r/>";

/// A ring that keeps; the counts begin `before` the point at which they wrap around.
fn keeping(limit: usize, before: u32) -> Ring {
    let ring = ring(limit);
    retain(&ring);
    ring.lock().retained.as_mut().unwrap().begin_at(u64::from(u32::MAX) + 1 - u64::from(before));
    ring
}

fn retain(ring: &Ring) {
    let resumption = Some(Resumption { name: "x".to_owned(), time: std::time::Duration::from_secs(60) });
    ring.retain(Retention { opening: String::new(), request: REQUEST, resumption });
}

fn take_stanzas(ring: &Ring) -> String {
    take(ring).unwrap_or_default().replace(REQUEST, "")
}

// Proves: XEP-0198 §4
#[test]
fn numbers_wrap_around() {
    let ring = keeping(100, 2);
    for stanza in ["<a/>", "<b/>", "<c/>", "<d/>"] {
        push(&ring, stanza);
    }
    take(&ring);
    assert_eq!(ring.confirm(u32::MAX), Ok(false), "one");
    assert_eq!(ring.confirm(0), Ok(false), "two");
    assert_eq!(ring.confirm(1), Ok(false), "three");
    assert_eq!(ring.confirm(0), Ok(false), "it was true before");
    assert_eq!(ring.confirm(3), Err(TooHigh { handled: 3, sent: 2 }));
    assert_eq!(left(&ring), "<d/>");
}

// Proves: XEP-0198 §4
#[test]
fn what_waits_behind_what_was_taken_cannot_be_confirmed() {
    let ring = keeping(1_000_000, 0);
    let long = long(40_000);
    for stanza in ["<a/>", &long, "<b/>", "<c/>"] {
        push(&ring, stanza);
    }
    assert_eq!(take(&ring), Some(format!("<a/>{long}{REQUEST}")));
    assert_eq!(ring.confirm(3), Err(TooHigh { handled: 3, sent: 2 }));
    assert_eq!(ring.confirm(2), Ok(false));
    assert_eq!(take(&ring), Some(format!("<b/><c/>{REQUEST}")));
    assert_eq!(ring.confirm(4), Ok(false));
    assert_eq!((take(&ring), left(&ring).as_str()), (None, ""));
}

#[test]
fn a_client_that_comes_back_gets_all_pieces_in_their_order() {
    let ring = keeping(1_000_000, 0);
    let stanzas: Vec<String> = (0..6).map(|number| format!("<m>{number}</m>{}", long(20_000))).collect();
    stanzas.iter().for_each(|stanza| _ = push(&ring, stanza));
    take(&ring);
    ring.confirm(1).unwrap();
    assert_eq!(ring.unconfirmed(), stanzas[1..].concat());
    ring.give_back(take(&ring).unwrap_or_default().into_bytes());
    ring.leave(Handled::default());
    assert_eq!(ring.unconfirmed(), stanzas[1..].concat());
    ring.resume(2).unwrap();
    let again: String = std::iter::from_fn(|| take(&ring)).collect();
    assert_eq!(again.replace(REQUEST, ""), stanzas[2..].concat());
}

#[test]
fn what_was_never_sent_cannot_be_confirmed() {
    let ring = keeping(100, 0);
    push(&ring, "<a/>");
    assert!(ring.confirm(1).is_err(), "it has not left yet");
    take(&ring);
    assert_eq!(ring.confirm(1), Ok(false));
    assert!(ring.confirm(2).is_err());
}

#[test]
fn before_it_all_began_there_was_nothing_to_confirm() {
    let ring = ring(100);
    retain(&ring);
    push(&ring, "<a/>");
    take(&ring);
    assert_eq!(ring.confirm(u32::MAX), Err(TooHigh { handled: u32::MAX, sent: 1 }));
}

#[test]
fn what_came_before_counting_needs_no_confirmation() {
    let ring = ring(100);
    ring.push_entry(Mark::Undelivered(1), |out| out.push_str("<a/>"));
    take(&ring);
    ring.push_entry(Mark::Undelivered(2), |out| out.push_str("<b/>"));
    ring.retain(Retention { opening: "<go/>".to_owned(), request: REQUEST, resumption: None });
    ring.push_entry(Mark::Undelivered(3), |out| out.push_str("<c/>"));
    ring.written(4);
    assert_eq!(ring.delivered(Talks::No), [1]);
    assert_eq!(take(&ring).as_deref(), Some("<b/><go/><c/><r/>"));
    ring.written(4);
    assert_eq!(ring.delivered(Talks::No), [2]);
    ring.written("<go/><c/><r/>".len());
    assert!(ring.delivered(Talks::No).is_empty());
    let remains = ring.shut();
    assert_eq!((remains.text.iter().collect::<String>().as_str(), remains.written), ("<c/>", remains.start));
}

#[test]
fn a_connection_lost_while_counting_begins_gives_back_what_it_had() {
    let ring = ring(100);
    push(&ring, "<a/>");
    take(&ring);
    ring.retain(Retention { opening: "<go/>".to_owned(), request: REQUEST, resumption: None });
    push(&ring, "<b/>");
    ring.give_back(b"<a/>".to_vec());
    let remains = ring.shut();
    assert_eq!((remains.start, remains.written), (0, 0));
    assert_eq!(remains.text.iter().collect::<String>(), "<a/><go/><b/>");
}

#[test]
fn marks_come_out_once_confirmed() {
    let ring = keeping(100, 1);
    ring.push_entry(Mark::Undelivered(7), |out| out.push_str("<a/>"));
    ring.push_entry(Mark::Undelivered(8), |out| out.push_str("<b/>"));
    take(&ring);
    ring.written(100);
    assert!(ring.delivered(Talks::No).is_empty());
    ring.confirm(0).unwrap();
    assert_eq!(ring.delivered(Talks::No), [7]);
    ring.confirm(1).unwrap();
    assert_eq!(ring.delivered(Talks::No), [8]);
}

#[test]
fn what_is_not_confirmed_counts_against_the_limit() {
    let ring = keeping(600, 0);
    push(&ring, &long(400));
    take(&ring);
    assert_eq!(take(&ring), None);
    assert_eq!(ring.poll_room(&mut Context::from_waker(Waker::noop())), Poll::Pending);
    push(&ring, &long(400));
    take(&ring);
    assert_eq!(take(&ring), None);
    push(&ring, "<c/>");
    assert_eq!(take_stanzas(&ring), "<c/>", "what waits may still go");
    assert_eq!(take(&ring).as_deref(), Some("policy-violation"));
}

#[test]
fn stanzas_are_counted_against_a_limit_too() {
    let ring = keeping(1_000_000, 0);
    for _ in 0..=10_000 {
        push(&ring, "<a/>");
    }
    assert_eq!(end(&ring).as_deref(), Some("policy-violation"));
}

#[test]
fn answers_to_a_client_that_reads_nothing_are_bounded() {
    for ring in [ring(100), keeping(100, 0)] {
        for _ in 0..1000 {
            ring.push_aside(&long(1000));
        }
        let Poll::Ready(Taken::Close(error)) = ring.poll_closing(&mut Context::from_waker(Waker::noop())) else {
            panic!("still open")
        };
        assert_eq!(error.condition, StreamCondition::PolicyViolation);
        assert!(ring.lock().held() <= 100 + BEYOND + 1000);
    }
}

#[test]
fn a_claim_comes_before_everything_else() {
    let ring = keeping(100, 0);
    push(&ring, "<a/>");
    assert!(ring.claim("y").is_none());
    let claim = ring.claim("x");
    assert!(claim.is_some());
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(ring.poll_take(&mut context, &mut Vec::new()), Poll::Ready(Taken::Inherited));
    assert_eq!(ring.poll_closing(&mut context), Poll::Ready(Taken::Inherited));
    ring.leave(Handled { count: 3, ..Handled::default() });
    let Poll::Ready(Some(heir)) = ring.poll_heir(&mut context) else { panic!("nobody has claimed it") };
    assert!(!heir.is_closed());
    ring.resume(0).unwrap();
    assert_eq!(take(&ring).as_deref(), Some("<a/><r/>"));
}

/// Something that happens to a session.
#[derive(Debug, Clone)]
enum Step {
    Push,
    /// Something long.
    PushMuch,
    /// The session's task writes.
    Take,
    /// The client reads so many stanzas of what is on the wire.
    Read(usize),
    Confirm,
    /// The connection is lost with all that is on the wire.
    Cut,
    Resume,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Push),
        1 => Just(Step::PushMuch),
        3 => Just(Step::Take),
        3 => (1..4_usize).prop_map(Step::Read),
        2 => Just(Step::Confirm),
        1 => Just(Step::Cut),
        1 => Just(Step::Resume),
    ];
    proptest::collection::vec(step, 0..200)
}

/// A session with a client that behaves.
struct Model {
    ring: Ring,
    before: u32,
    pushed: usize,
    /// What the session's task is writing.
    writing: String,
    wire: VecDeque<usize>,
    read: Vec<usize>,
    connected: bool,
}

impl Model {
    fn new(before: u32) -> Self {
        let ring = keeping(usize::MAX, before);
        let (writing, wire, read) = (String::new(), VecDeque::new(), Vec::new());
        Self { ring, before, pushed: 0, writing, wire, read, connected: true }
    }

    /// What the client has handled, as it says so.
    fn handled(&self) -> u32 {
        u32::try_from(self.read.len()).unwrap().wrapping_sub(self.before)
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Push => {
                push(&self.ring, &format!("<m>é{}</m>", self.pushed));
                self.pushed += 1;
            }
            Step::PushMuch => {
                push(&self.ring, &format!("<m>é{}<x>{}</x></m>", self.pushed, "x".repeat(20_000)));
                self.pushed += 1;
            }
            Step::Take if self.connected => {
                self.ring.written(self.writing.len());
                self.writing = take(&self.ring).unwrap_or_default();
                self.wire.extend(stanzas(&self.writing));
            }
            Step::Read(count) => {
                let count = (*count).min(self.wire.len());
                self.read.extend(self.wire.drain(..count));
            }
            Step::Confirm if self.connected => assert_eq!(self.ring.confirm(self.handled()), Ok(false)),
            Step::Cut if self.connected => {
                self.connected = false;
                self.wire.clear();
                self.ring.give_back(std::mem::take(&mut self.writing).into_bytes());
                self.ring.leave(Handled::default());
            }
            Step::Resume if !self.connected => {
                self.connected = true;
                self.ring.resume(self.handled()).unwrap();
            }
            _ => {}
        }
    }
}

/// The numbers of the stanzas in a text.
fn stanzas(text: &str) -> Vec<usize> {
    text.split("<m>é").skip(1).map(|part| part.split('<').next().unwrap().parse().unwrap()).collect()
}

proptest! {
    #[test]
    fn whatever_happens_everything_arrives_once_and_in_order(steps in steps(), before in 0..20_u32) {
        let mut model = Model::new(before);
        for step in &steps {
            model.play(step);
        }
        model.play(&Step::Resume);
        // There may be several pieces.
        for _ in 0..=steps.len() {
            model.play(&Step::Take);
            model.play(&Step::Read(usize::MAX));
        }
        prop_assert_eq!(&model.read, &(0..model.pushed).collect::<Vec<_>>());
    }

    #[test]
    fn whatever_happens_the_rest_is_what_was_not_confirmed(steps in steps(), before in 0..20_u32) {
        let mut model = Model::new(before);
        let mut confirmed = 0;
        for step in &steps {
            let connected = model.connected;
            model.play(step);
            if matches!((step, connected), (Step::Confirm, true) | (Step::Resume, false)) {
                confirmed = model.read.len();
            }
        }
        let remains = model.ring.shut();
        let text: String = remains.text.iter().collect();
        prop_assert_eq!(stanzas(&text), (confirmed..model.pushed).collect::<Vec<_>>());
        prop_assert!(remains.written <= remains.start);
    }
}
