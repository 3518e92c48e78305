//! Drives the writer: from its own thread in production, step by step in tests.

use std::sync::Arc;
use std::time::Duration;

use super::Lost;
use super::handle::Shared;
use super::progress::End;
use super::queue::Next;
use super::writer::{Advance, Backend, Job, Writer};
use crate::crash;

/// How long nothing must have come before the writer uses the moment to tidy up.
const IDLE: Duration = Duration::from_millis(100);
/// How often a full disk is asked for room.
const ROOM: Duration = Duration::from_millis(250);

/// How long a storage that promises what it has not kept does not keep it.
const CARELESS: Duration = Duration::from_secs(3);

/// Starts the thread of `writer`, which ends when the queue is closed or a commit fails. `held` is let go at the end.
pub(super) fn spawn<B, H>(writer: Writer<B>, shared: Arc<Shared>, held: H) -> std::io::Result<()>
where
    B: Backend + 'static,
    H: Send + 'static,
{
    let work = move || {
        let guard = EndGuard(&shared);
        let end = run(writer, &shared);
        // The lock on the data goes before anybody hears of the end, so that it can be opened again at once.
        drop(held);
        guard.0.finish(end);
    };
    std::thread::Builder::new().name("storage".to_owned()).spawn(work).map(drop)
}

fn run<B: Backend>(writer: Writer<B>, shared: &Shared) -> End {
    work(writer, shared).map_or_else(End::Lost, |()| End::Closed)
}

fn work<B: Backend>(mut writer: Writer<B>, shared: &Shared) -> Result<(), Lost> {
    loop {
        match shared.queue.wait(writer.has_leftovers().then_some(IDLE)) {
            Next::Commit(jobs) => {
                if crash::is_careless() {
                    std::thread::sleep(CARELESS);
                }
                step(&mut writer, jobs, shared)?;
            }
            Next::Idle => writer.idle()?,
            Next::Close => return writer.close(),
        }
        // Nothing is taken from the queue meanwhile, so it fills and holds those who ask it.
        while writer.has_no_room() {
            let is_last = shared.queue.rest(ROOM);
            step(&mut writer, Vec::new(), shared)?;
            if is_last && writer.has_no_room() {
                return writer.close();
            }
        }
    }
}

/// One step of the writer with its effects.
pub(super) fn step<B: Backend>(writer: &mut Writer<B>, jobs: Vec<Job>, shared: &Shared) -> Result<(), Lost> {
    // In this order: what is settled was submitted before the queue is asked.
    let settled = shared.positions.settled();
    let advance = Advance { next: shared.positions.next(), settled, latest: shared.queue.last() };
    let Some(done) = writer.step(jobs, advance)? else { return Ok(()) };
    crash::at(crash::Point::Committed);
    shared.progress.publish(done.durable);
    for (answer, verdict) in done.answers {
        // Whoever no longer listens need not know.
        let _ = answer.send(verdict);
    }
    writer.relieve()
}

/// A writer that panics is lost; nobody may wait for it for ever.
struct EndGuard<'a>(&'a Shared);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.finish(End::Lost(Lost::new("the writer panicked")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::{Bounds, Checkpoint};
    use super::super::{Durable, Error, Options, Receipt, Writes};
    use super::*;

    struct Panics;

    impl Backend for Panics {
        fn commit(&mut self, _: &[Job], _: Option<u64>, _: Option<u64>) -> Result<Vec<Receipt>, Error> {
            panic!("on purpose");
        }

        fn checkpoint(&mut self, _: Checkpoint) -> Result<(), Error> {
            Ok(())
        }

        fn abandon(&mut self) {}
    }

    #[tokio::test]
    async fn nobody_waits_for_a_writer_that_panicked() {
        let shared = Shared::new(Options::default(), 1);
        let writer = Writer::new(Panics, Bounds { reserved: 1 << 20, indexed: 1 });
        spawn(writer, Arc::clone(&shared), ()).unwrap();
        let receipt = shared.queue.push(Writes::new(), None);
        let lost = Durable::new(shared, receipt).await.unwrap_err();
        assert!(lost.to_string().contains("panicked"), "{lost}");
    }
}
