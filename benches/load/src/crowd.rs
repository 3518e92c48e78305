//! Many idle sessions, and presence that one more client broadcasts to them.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::client::Session;
use crate::count::Counter;
use crate::meter::{Length, Measured, measure};

/// How many clients log in at the same time while a crowd gathers.
const TOGETHER: usize = 32;

/// A broadcast must have reached everyone within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sessions that only listen.
pub struct Crowd {
    shared: Rc<Shared>,
    members: Vec<JoinHandle<io::Result<Session>>>,
    /// From the start of each login to the end, in microseconds.
    pub logins: Vec<u32>,
}

#[derive(Default)]
struct Shared {
    heard: Cell<u64>,
    leaving: Cell<bool>,
    sleepers: RefCell<Vec<Waker>>,
    /// The broadcaster, and the count it waits for.
    waiting: RefCell<Option<(u64, Waker)>>,
}

impl Shared {
    fn hear(&self, count: usize) {
        let heard = self.heard.get() + count as u64;
        self.heard.set(heard);
        let mut waiting = self.waiting.borrow_mut();
        if waiting.as_ref().is_some_and(|(until, _)| heard >= *until)
            && let Some((_, waker)) = waiting.take()
        {
            waker.wake();
        }
    }

    async fn heard(&self, until: u64) {
        poll_fn(|context| {
            if self.heard.get() >= until {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some((until, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Crowd {
    /// Gathers `count` sessions, `together` at a time; `enter` makes the one with this number.
    pub async fn gather<F>(
        count: usize,
        together: Option<usize>,
        enter: impl Fn(usize) -> F + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = io::Result<Session>>,
    {
        let shared = Rc::new(Shared::default());
        let (next, enter) = (Rc::new(Cell::new(0)), Rc::new(enter));
        let mut workers = Vec::new();
        for _ in 0..together.unwrap_or(TOGETHER).min(count) {
            let (next, enter, shared) = (Rc::clone(&next), Rc::clone(&enter), Rc::clone(&shared));
            workers.push(spawn_local(async move {
                let (mut members, mut logins) = (Vec::new(), Vec::new());
                while next.get() < count {
                    let number = next.replace(next.get() + 1);
                    let started = Instant::now();
                    let session = enter(number).await?;
                    logins.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
                    members.push(spawn_local(listen(session, Rc::clone(&shared))));
                }
                Ok::<_, io::Error>((members, logins))
            }));
        }
        let mut crowd = Self { shared, members: Vec::new(), logins: Vec::new() };
        for worker in workers {
            let (members, logins) = worker.await.map_err(io::Error::other)??;
            crowd.members.extend(members);
            crowd.logins.extend(logins);
        }
        Ok(crowd)
    }

    /// Broadcasts presence from `source` to `reach` members again and again: the next one when all have got the last.
    pub async fn broadcast(
        &self,
        mut source: Session,
        reach: usize,
        roots: &[u32],
        length: Length,
    ) -> io::Result<(Session, Measured)> {
        let (stop, latencies) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
        let (shared, stopping, noted) = (Rc::clone(&self.shared), Rc::clone(&stop), Rc::clone(&latencies));
        let task = spawn_local(async move {
            let mut turn = 0_u64;
            while !stopping.get() {
                turn += 1;
                let started = Instant::now();
                let until = shared.heard.get() + reach as u64;
                let presence = format!("<presence><show>away</show><status>Round {turn:>10}</status></presence>");
                source.send(presence.as_bytes()).await?;
                poll_fn(|context| Poll::Ready(source.poll_input(context, |_| {}))).await?;
                let all = timeout(PATIENCE, shared.heard(until)).await;
                all.map_err(|_| {
                    let missing = until - shared.heard.get();
                    io::Error::other(format!("{missing} of {reach} presences of broadcast {turn} did not arrive"))
                })?;
                noted.borrow_mut().push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok::<_, io::Error>(source)
        });
        let measured = measure(roots, length, || self.shared.heard.get(), || latencies.borrow_mut().clear()).await;
        stop.set(true);
        let source = task.await.map_err(io::Error::other)??;
        let measured = measured?.with_latencies(latencies.take());
        Ok((source, measured))
    }

    /// All leave in order, a few at a time.
    pub async fn leave(self) -> io::Result<()> {
        self.disperse(|session| session.close()).await?.into_iter().collect()
    }

    /// The same, but first everyone asks the server for something; tells how many got an answer.
    pub async fn roll_call(self) -> io::Result<u64> {
        let answers = self.disperse(|mut session| async move {
            session.synchronise().await?;
            session.close().await
        });
        Ok(answers.await?.iter().filter(|answer| answer.is_ok()).count() as u64)
    }

    async fn disperse<F>(self, farewell: impl Fn(Session) -> F + Copy + 'static) -> io::Result<Vec<io::Result<()>>>
    where
        F: Future<Output = io::Result<()>>,
    {
        self.shared.leaving.set(true);
        for sleeper in self.shared.sleepers.take() {
            sleeper.wake();
        }
        let (mut members, mut done) = (self.members.into_iter(), Vec::new());
        loop {
            let some: Vec<_> = members.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                return Ok(done);
            }
            let going = some.into_iter().map(|member| {
                spawn_local(async move {
                    let session = member.await.map_err(io::Error::other)??;
                    timeout(PATIENCE, farewell(session)).await?
                })
            });
            for one in going.collect::<Vec<_>>() {
                done.push(one.await.map_err(io::Error::other)?);
            }
        }
    }
}

/// Waits until nobody in any of these crowds has heard anything for a while, and checks that all are still there.
pub async fn settle(crowds: &[Crowd]) -> io::Result<()> {
    let heard = || crowds.iter().map(|crowd| crowd.shared.heard.get()).sum::<u64>();
    let mut before = u64::MAX;
    while before != heard() {
        before = heard();
        sleep(Duration::from_millis(700)).await;
    }
    let lost = crowds.iter().flat_map(|crowd| &crowd.members).filter(|member| member.is_finished()).count();
    if lost > 0 { Err(io::Error::other(format!("{lost} sessions were closed"))) } else { Ok(()) }
}

/// Counts presence until the crowd leaves.
async fn listen(mut session: Session, shared: Rc<Shared>) -> io::Result<Session> {
    let (mut presences, mut first) = (Counter::new("<presence"), true);
    poll_fn(|context| {
        if shared.leaving.get() {
            return Poll::Ready(Ok(()));
        }
        if std::mem::take(&mut first) {
            shared.sleepers.borrow_mut().push(context.waker().clone());
        }
        let mut count = 0;
        if let Err(error) = session.poll_input(context, |bytes| count += presences.count(bytes)) {
            return Poll::Ready(Err(error));
        }
        if count > 0 {
            shared.hear(count);
        }
        Poll::Pending
    })
    .await?;
    Ok(session)
}
