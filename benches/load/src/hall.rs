//! The occupants of a room: they come in, listen and count, while one more speaks.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::client::Session;
use crate::count::Counter;
use crate::meter::{Length, Measured, measure};

/// How many come in at the same time.
const TOGETHER: usize = 16;

/// A message must have reached everyone within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody must have heard something within this time as long as not all have come in.
const STALL: Duration = Duration::from_secs(30);

/// Who says nothing for so long has nothing more to say.
const QUIET: Duration = Duration::from_millis(700);

/// All of them.
pub struct Hall {
    shared: Rc<Shared>,
    members: Vec<JoinHandle<io::Result<Session>>>,
}

#[derive(Default)]
struct Shared {
    presences: Cell<u64>,
    messages: Cell<u64>,
    leaving: Cell<bool>,
    sleepers: RefCell<Vec<Waker>>,
    /// The speaker, and the count of messages that it waits for.
    waiting: RefCell<Option<(u64, Waker)>>,
}

impl Shared {
    fn hear(&self, presences: usize, messages: usize) {
        self.presences.set(self.presences.get() + presences as u64);
        let heard = self.messages.get() + messages as u64;
        self.messages.set(heard);
        let mut waiting = self.waiting.borrow_mut();
        if waiting.as_ref().is_some_and(|(until, _)| heard >= *until)
            && let Some((_, waker)) = waiting.take()
        {
            waker.wake();
        }
    }

    async fn heard(&self, until: u64) {
        poll_fn(|context| {
            if self.messages.get() >= until {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some((until, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Hall {
    /// Has these come in, each with its own words, a few at a time; who has no words is in already.
    pub fn open(sessions: Vec<Session>, words: impl Fn(usize) -> Option<String>) -> Self {
        let (shared, gate) = (Rc::new(Shared::default()), Rc::new(Semaphore::new(TOGETHER)));
        let members = sessions
            .into_iter()
            .enumerate()
            .map(|(number, session)| spawn_local(attend(session, words(number), Rc::clone(&shared), Rc::clone(&gate))));
        Self { members: members.collect(), shared }
    }

    /// Waits until so many presences have come and nobody hears anything more; how many have come then.
    pub async fn settle(&self, presences: u64) -> io::Result<u64> {
        let heard = || self.shared.presences.get() + self.shared.messages.get();
        let (mut before, mut since) = (u64::MAX, Instant::now());
        loop {
            if before != heard() {
                (before, since) = (heard(), Instant::now());
            }
            sleep(QUIET).await;
            let lost = self.members.iter().filter(|member| member.is_finished()).count();
            if lost > 0 {
                return Err(io::Error::other(format!("{lost} occupants are gone")));
            }
            match self.shared.presences.get() {
                _ if before != heard() => {}
                come if come >= presences => return Ok(come),
                come if since.elapsed() > STALL => {
                    return Err(io::Error::other(format!("{come} of {presences} presences have come")));
                }
                _ => {}
            }
        }
    }

    /// Somebody speaks again and again, and waits each time until all members have heard it: whoever has several messages at
    /// hand may put them into one flush for each member, and that is then what is measured.
    pub async fn speak(
        &self,
        mut speaker: Session,
        message: Rc<[u8]>,
        roots: &[u32],
        length: Length,
    ) -> io::Result<(Session, Measured)> {
        let reach = self.members.len() as u64;
        let (stop, latencies) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
        let (shared, stopping, noted) = (Rc::clone(&self.shared), Rc::clone(&stop), Rc::clone(&latencies));
        let task = spawn_local(async move {
            while !stopping.get() {
                let (started, until) = (Instant::now(), shared.messages.get() + reach);
                speaker.send(&message).await?;
                // Its own copies are not counted.
                poll_fn(|context| Poll::Ready(speaker.poll_input(context, |_| {}))).await?;
                timeout(PATIENCE, shared.heard(until)).await.map_err(|_| {
                    let missing = until.saturating_sub(shared.messages.get());
                    io::Error::other(format!("{missing} of {reach} copies of a message did not arrive"))
                })?;
                noted.borrow_mut().push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok::<_, io::Error>(speaker)
        });
        let measured = measure(roots, length, || self.shared.messages.get(), || latencies.borrow_mut().clear()).await;
        stop.set(true);
        let speaker = task.await.map_err(io::Error::other)??;
        let measured = measured?.with_latencies(latencies.take());
        Ok((speaker, measured))
    }

    /// All go, a few at a time.
    pub async fn close(self) -> io::Result<()> {
        self.shared.leaving.set(true);
        self.shared.sleepers.take().into_iter().for_each(Waker::wake);
        for member in self.members {
            let session = member.await.map_err(io::Error::other)??;
            timeout(PATIENCE, session.close()).await??;
        }
        Ok(())
    }
}

/// Comes in and counts until the hall is closed.
async fn attend(
    mut session: Session,
    words: Option<String>,
    shared: Rc<Shared>,
    gate: Rc<Semaphore>,
) -> io::Result<Session> {
    let mut permit = None;
    if let Some(words) = words {
        permit = Some(gate.acquire().await.map_err(io::Error::other)?);
        session.send(words.as_bytes()).await?;
    }
    let (mut presences, mut messages) = (Counter::new("<presence"), Counter::new("<message"));
    // The code of one's own presence, in whatever quotes: without them, ids would have it.
    let mut own = [Counter::new("'110'"), Counter::new("\"110\"")];
    let mut is_first = true;
    poll_fn(|context| {
        if shared.leaving.get() {
            return Poll::Ready(Ok(()));
        }
        if std::mem::take(&mut is_first) {
            shared.sleepers.borrow_mut().push(context.waker().clone());
        }
        let (mut came, mut said, mut is_in) = (0, 0, false);
        let polled = session.poll_input(context, |bytes| {
            came += presences.count(bytes);
            said += messages.count(bytes);
            is_in |= permit.is_some() && own.iter_mut().map(|own| own.count(bytes)).sum::<usize>() > 0;
        });
        if let Err(error) = polled {
            return Poll::Ready(Err(error));
        }
        if is_in {
            permit = None;
        }
        shared.hear(came, said);
        Poll::Pending
    })
    .await?;
    Ok(session)
}
