//! Every write and every sync of a workload fails once: nothing is said to be safe that is not, a full disk is waited for,
//! and after a sync that failed the process ends.

use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::disk::{self, Disk, Files, Luck};
use crate::points::Case;
use crate::random::Random;
use crate::trace::{Call, Errno, Lasts, Plan, Record, Stage, What, scratch};
use crate::workload::{Said, Terms};
use crate::writer::{self, LOST, REFUSED};

/// Of so many calls one fails in `make check`; with `FAULTS_EVERY=1` each does.
const EVERY: usize = 9;
/// So many processes run at once; they wait most of the time.
const AT_ONCE: usize = 6;

/// It has everything: several accounts, rests with checkpoints, a second opening.
const TERMS: Terms = Terms { seed: 5, length: 24, sample: None };

/// How many calls of a kind a run without faults makes.
fn calls(call: Call) -> usize {
    let stage = Stage::new(&format!("calls-{call:?}"));
    assert!(writer::start(&stage, TERMS, None).wait().unwrap().success());
    let records = stage.records();
    let is_write = |what: &What| matches!(what, What::Write { .. } | What::Resize { .. } | What::Create);
    let count = records.iter().filter(|record| match call {
        Call::Write => is_write(&record.what),
        Call::Sync => record.what == What::Sync,
    });
    count.count()
}

/// What came of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The call never came.
    Unreached,
    /// It ended by itself, with everything done.
    Finished,
    /// It went on when there was space again.
    Resumed,
    /// It could not be opened, and when it was started again it went on.
    Refused,
    /// It ended with an error, and when it was started again it went on.
    Ended,
}

/// Goes through every number of a call, several at once.
fn every(name: &str, call: Call, run: impl Fn(usize) -> Result<Outcome, String> + Sync) -> Vec<Outcome> {
    let every = std::env::var("FAULTS_EVERY").ok().map_or(EVERY, |text| text.parse().unwrap());
    let numbers: Vec<usize> = (1..=calls(call)).step_by(every).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match run(*number) {
                        Ok(outcome) => outcomes.lock().unwrap().push(outcome),
                        Err(why) => failed.lock().unwrap().push(format!("{name}, number {number}: {why}")),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} failed, the first: {}", failed.len(), numbers.len(), failed[0]);
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort();
    let counted = outcomes.chunk_by(|one, other| one == other).map(|same| format!("{} {:?}", same.len(), same[0]));
    println!("{name}, {} calls: {}", numbers.len(), counted.collect::<Vec<_>>().join(", "));
    outcomes
}

/// One run of the workload with a fault.
struct Run {
    stage: Stage,
    case: Case,
}

impl Run {
    fn new(name: &str, number: usize) -> Self {
        let stage = Stage::new(&format!("{name}-{number}"));
        Self { case: Case::new(TERMS, &Files::new()), stage }
    }

    /// Whether everything that was said to be safe would be there if the power went now.
    fn audit(&self, records: &[Record]) -> Result<u64, String> {
        let mut disk = Disk::default();
        records.iter().for_each(|record| disk.apply(record));
        let files = disk.after(Luck::Dropped, &mut Random::new(0));
        let directory = scratch().join(format!("audit-{:?}", std::thread::current().id()));
        disk::write(&directory, &files);
        let verified = self.case.verify(&directory, &Said::in_all(records));
        let _ = std::fs::remove_dir_all(directory);
        verified
    }

    /// Starts it again without faults: it must do what is left, and all of it must be safe.
    fn finish(&self) -> Result<(), String> {
        let status = writer::start(&self.stage, TERMS, None).wait().unwrap();
        if !status.success() {
            return Err(format!("started again it ended with {status}: {}", self.last_word()));
        }
        self.finished()
    }

    fn finished(&self) -> Result<(), String> {
        let records = self.stage.records();
        let count = self.audit(&records)?;
        let there = self.case.verify(&self.stage.data(), &Said::in_all(&records))?;
        if count == TERMS.length && there == count {
            Ok(())
        } else {
            Err(format!("{count} and {there} jobs at the end"))
        }
    }

    fn last_word(&self) -> String {
        let mut notes = self.stage.records().into_iter().filter_map(|record| match record.what {
            What::Note(note) => Some(note),
            _ => None,
        });
        notes.next_back().unwrap_or_default()
    }

    /// Whether it came to the call that was to fail.
    fn has_failed(&self) -> bool {
        self.failures() > 0
    }

    fn failures(&self) -> usize {
        self.stage.records().iter().filter(|record| record.what == What::Failed).count()
    }

    /// A fault that comes once.
    fn once(&self, call: Call, number: usize, error: Errno) -> Result<ExitStatus, String> {
        let plan = Plan { call, number, error, lasts: Lasts::Once };
        let status = writer::start(&self.stage, TERMS, Some(plan)).wait().unwrap();
        self.audit(&self.stage.records())?;
        Ok(status)
    }
}

fn is_orderly_end(status: ExitStatus) -> bool {
    [Some(LOST), Some(REFUSED)].contains(&status.code())
}

#[test]
fn without_space_nothing_is_acknowledged_and_with_space_it_goes_on() {
    let outcomes = every("no space at a write", Call::Write, |number| {
        let run = Run::new("space", number);
        std::fs::write(run.stage.full(), "").unwrap();
        let plan = Plan { call: Call::Write, number, error: Errno::NoSpace, lasts: Lasts::While };
        let mut child = writer::start(&run.stage, TERMS, Some(plan));
        // It has been tried again, or it has ended.
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if run.failures() > 2 {
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        run.audit(&run.stage.records())?;
        std::fs::remove_file(run.stage.full()).unwrap();
        let Some(status) = ended else {
            let status = child.wait().unwrap();
            return match status.code() {
                Some(0) => run.finished().map(|()| Outcome::Resumed),
                // It was about to open the data a second time.
                Some(REFUSED) => run.finish().map(|()| Outcome::Refused),
                _ => Err(format!("there was space again, and it ended with {status}: {}", run.last_word())),
            };
        };
        match status.code() {
            Some(0) if run.has_failed() => run.finished().map(|()| Outcome::Finished),
            Some(0) => run.finished().map(|()| Outcome::Unreached),
            Some(REFUSED) => run.finish().map(|()| Outcome::Refused),
            _ => Err(format!("it ended with {status}: {}", run.last_word())),
        }
    });
    assert!(outcomes.contains(&Outcome::Resumed));
}

#[test]
fn a_write_that_fails_is_not_acknowledged() {
    let outcomes = every("an error at a write", Call::Write, |number| {
        let run = Run::new("write", number);
        let status = run.once(Call::Write, number, Errno::Io)?;
        match status.code() {
            Some(0) if run.has_failed() => run.finished().map(|()| Outcome::Finished),
            Some(0) => run.finished().map(|()| Outcome::Unreached),
            _ if is_orderly_end(status) => run.finish().map(|()| Outcome::Ended),
            _ => Err(format!("it ended with {status}: {}", run.last_word())),
        }
    });
    assert!(outcomes.contains(&Outcome::Ended));
}

#[test]
fn a_sync_that_fails_is_the_end() {
    for error in [Errno::Io, Errno::NoSpace] {
        let outcomes = every(&format!("{error:?} at a sync"), Call::Sync, |number| {
            let run = Run::new(&format!("sync-{error:?}"), number);
            let status = run.once(Call::Sync, number, error)?;
            let records = run.stage.records();
            let Some(place) = records.iter().position(|record| record.what == What::FailedSync) else {
                return run.finished().map(|()| Outcome::Unreached);
            };
            if is_orderly_end(status) {
                return run.finish().map(|()| Outcome::Ended);
            }
            // SQLite looks away when a sync of the directory fails, so there must be nothing that it was for; or nothing
            // in the data yet, when the first page is written with a journal.
            let mut disk = Disk::default();
            records[..place].iter().for_each(|record| disk.apply(record));
            let path = &records[place].path;
            let is_empty = !records[..place].iter().any(|record| matches!(record.what, What::Note(_)));
            if status.success() && path.is_empty() && (is_empty || !disk.is_dirty(path)) {
                return run.finished().map(|()| Outcome::Finished);
            }
            Err(format!("a sync of \"{path}\" failed, and it ended with {status}"))
        });
        assert!(outcomes.contains(&Outcome::Ended));
    }
}
