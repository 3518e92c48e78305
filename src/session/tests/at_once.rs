//! Whoever has something for a client writes it to its connection, if nobody is at it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::{AsyncRead, DuplexStream, ReadBuf};

use crate::clock::Timestamp;
use crate::net::Transport;
use crate::routing::{Outlet, Pushed, Ring};
use crate::session::line::{Ends, Line};
use crate::stream::StreamCondition;

/// The task of a session, which somebody may wake.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A session with a client whose system takes `room` bytes that it has not read.
struct Session {
    ring: Arc<Ring>,
    line: Line,
    client: DuplexStream,
    task: Arc<Task>,
}

impl Session {
    fn new(room: usize) -> Self {
        let (client, server) = tokio::io::duplex(room);
        let ring = Arc::new(Ring::new(1 << 20, Timestamp::from_unix_ms(0)));
        let line = Line::new(Transport::plain(server, None), &ring);
        let mut session = Self { ring, line, client, task: Arc::default() };
        session.work();
        session
    }

    /// Somebody has this for the client.
    fn say(&self, text: &str) {
        if self.ring.push(|out| out.push_str(text)) == Pushed::First {
            self.ring.flush();
        }
    }

    /// The session's task has its turn. Says whether the session goes on.
    fn work(&mut self) -> bool {
        let waker = Waker::from(Arc::clone(&self.task));
        let mut context = Context::from_waker(&waker);
        let done = self.line.with(|Ends { transport, outgoing }| outgoing.poll_flush(transport, &mut context));
        done.is_some_and(|done| done.is_pending())
    }

    fn wakes(&self) -> usize {
        self.task.0.swap(0, Ordering::Relaxed)
    }

    /// What the client has got, without waiting.
    fn got(&mut self) -> String {
        let mut text = Vec::new();
        loop {
            let mut piece = [0; 100];
            let mut piece = ReadBuf::new(&mut piece);
            let read = Pin::new(&mut self.client).poll_read(&mut Context::from_waker(Waker::noop()), &mut piece);
            if !matches!(read, Poll::Ready(Ok(()))) || piece.filled().is_empty() {
                return String::from_utf8(text).unwrap();
            }
            text.extend_from_slice(piece.filled());
        }
    }
}

#[test]
fn a_client_has_it_before_its_session_has_had_a_turn() {
    let mut session = Session::new(100);
    session.say("<a/>");
    session.say("<b/>");
    assert_eq!((session.got().as_str(), session.wakes()), ("<a/><b/>", 0));
}

#[test]
fn what_a_connection_does_not_take_goes_out_when_it_does() {
    let mut session = Session::new(6);
    session.say("<first/>");
    assert_eq!(session.wakes(), 1, "what is left is for the task");
    assert!(session.work());
    // It waits for its client now, and what comes is no reason to look.
    session.say("<second/>");
    assert_eq!(session.wakes(), 0);
    let mut all = session.got();
    // Whoever waits for a client is told when it has read.
    while session.wakes() > 0 {
        assert!(session.work());
        all.push_str(&session.got());
    }
    assert_eq!(all, "<first/><second/>");
}

#[test]
fn what_is_being_written_is_not_overtaken() {
    let mut session = Session::new(100);
    let ring = Arc::clone(&session.ring);
    let waker = Waker::from(Arc::clone(&session.task));
    let pushed = session.line.with(|Ends { transport, outgoing }| {
        // Somebody else comes while the task is at it.
        ring.push(|out| out.push_str("<a/>"));
        ring.flush();
        ring.push(|out| out.push_str("<b/>"));
        outgoing.poll_flush(transport, &mut Context::from_waker(&waker)).is_pending()
    });
    assert_eq!((pushed, session.got().as_str(), session.wakes()), (Some(true), "<a/><b/>", 1));
}

#[test]
fn what_a_task_says_to_its_own_client_goes_out_together() {
    let mut session = Session::new(100);
    session.ring.tend();
    session.say("<a/>");
    session.say("<b/>");
    assert_eq!((session.got().as_str(), session.wakes()), ("", 0));
    assert!(session.work());
    assert_eq!(session.got(), "<a/><b/>");
    session.say("<c/>");
    assert_eq!(session.got(), "<c/>", "its turn is over");
}

#[test]
fn a_session_that_is_to_end_is_ended_by_its_task() {
    let mut session = Session::new(100);
    session.ring.push(|out| out.push_str("<a/>"));
    session.ring.close(StreamCondition::Conflict.into());
    session.ring.flush();
    assert_eq!(session.got(), "");
    assert_ne!(session.wakes(), 0);
    assert!(!session.work());
    assert_eq!(session.got(), "<a/>");
}

#[test]
fn nothing_is_written_once_a_session_has_left_its_connection() {
    let session = Session::new(6);
    session.say("<first/>");
    let Session { ring, line, mut client, .. } = session;
    drop(line);
    ring.push(|out| out.push_str("<second/>"));
    ring.flush();
    let mut got = String::new();
    let mut reading = Box::pin(tokio::io::AsyncReadExt::read_to_string(&mut client, &mut got));
    assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    drop(reading);
    assert_eq!(got, "<first");
    let mut left = Vec::new();
    assert!(ring.poll_take(&mut Context::from_waker(Waker::noop()), &mut left).is_ready());
    assert_eq!(String::from_utf8(left).unwrap(), "<first/><second/>");
}

/// A connection that takes nothing any more, which its session's task finds out in the middle of an attempt.
struct Full {
    ring: Arc<Ring>,
    task: Arc<Task>,
}

impl Outlet for Full {
    fn write_now(&self) -> bool {
        let waker = Waker::from(Arc::clone(&self.task));
        assert!(self.ring.poll_closing(&mut Context::from_waker(&waker)).is_pending());
        false
    }
}

#[test]
fn a_task_that_begins_to_wait_while_somebody_writes_is_told() {
    let (ring, task) = (Arc::new(Ring::new(100, Timestamp::from_unix_ms(0))), Arc::<Task>::default());
    let full = Arc::new(Full { ring: Arc::clone(&ring), task: Arc::clone(&task) });
    let outlet: Arc<dyn Outlet> = full;
    ring.connect(Arc::downgrade(&outlet));
    assert_eq!(ring.push(|out| out.push_str("<a/>")), Pushed::First);
    ring.flush();
    assert_eq!(task.0.load(Ordering::Relaxed), 1);
}

/// A connection in the middle of whose use somebody panics.
struct Broken;

impl Outlet for Broken {
    fn write_now(&self) -> bool {
        panic!("in the middle of a write");
    }
}

#[test]
fn a_panic_of_somebody_who_writes_leaves_the_task_its_work() {
    let (ring, task) = (Arc::new(Ring::new(100, Timestamp::from_unix_ms(0))), Arc::<Task>::default());
    let outlet: Arc<dyn Outlet> = Arc::new(Broken);
    ring.connect(Arc::downgrade(&outlet));
    let waker = Waker::from(Arc::clone(&task));
    assert!(ring.poll_take(&mut Context::from_waker(&waker), &mut Vec::new()).is_pending());
    ring.push(|out| out.push_str("<a/>"));
    let flushing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ring.flush()));
    assert!(flushing.is_err() && task.0.load(Ordering::Relaxed) == 1);
}

#[test]
fn nothing_follows_on_a_connection_that_somebody_has_left_in_doubt() {
    let mut session = Session::new(100);
    let panicking =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| session.line.with(|_| panic!("in the middle"))));
    assert!(panicking.is_err());
    session.say("<a/>");
    assert!(session.wakes() > 0 && !session.work(), "the session ends");
    let Session { ring, line, mut client, .. } = session;
    let Ends { mut transport, outgoing } = line.close().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    assert!(transport.poll_write(&mut context, b"</stream:stream>").is_ready());
    drop((transport, outgoing));
    let mut got = String::new();
    let mut reading = Box::pin(tokio::io::AsyncReadExt::read_to_string(&mut client, &mut got));
    assert!(reading.as_mut().poll(&mut context).is_ready());
    drop(reading);
    assert_eq!(got, "");
    let mut left = Vec::new();
    assert!(ring.poll_take(&mut context, &mut left).is_ready());
    assert_eq!(left, b"<a/>");
}

#[test]
fn much_at_once_is_left_to_the_task() {
    let mut session = Session::new(100_000);
    session.say(&"<a/>".repeat(5_000));
    assert_eq!((session.got().len(), session.wakes()), (0, 1));
    assert!(session.work());
    assert_eq!(session.got().len(), 20_000);
}
