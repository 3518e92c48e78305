//! The watched process: this test's own executable, run a second time, does a workload and says what is safe.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use comity::storage::{CreateError, Lost, Options, Position, Storage};

use crate::disk;
use crate::state::{COUNT, DOMAINS, jid};
use crate::trace::{Notes, Plan, Stage, parse};
use crate::workload::{Said, Step, Terms, Workload};

const WORKLOAD: &str = "FAULTS_WORKLOAD";
const TEST: &str = "writer::the_watched_process";

/// How the process ends when the storage is lost.
pub(crate) const LOST: i32 = 3;
/// How it ends when the storage does not open.
pub(crate) const REFUSED: i32 = 4;

/// Starts it on `stage`.
pub(crate) fn start(stage: &Stage, terms: Terms, plan: Option<Plan>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let sample = terms.sample.unwrap_or(0);
    command.env(WORKLOAD, format!("{} {} {sample}", terms.seed, terms.length));
    stage.watch(&mut command, plan);
    command.spawn().unwrap()
}

/// Prepares the data with which a workload begins.
pub(crate) fn prepare(stage: &Stage, terms: Terms) -> disk::Files {
    if let Some(version) = terms.sample {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let sample = samples.join(format!("schema-{version}/comity.sqlite"));
        std::fs::copy(sample, stage.data().join("comity.sqlite")).unwrap();
    }
    disk::read(&stage.data())
}

/// Without a watcher it does a workload of its own, whose end is checked as after every fault.
#[test]
fn the_watched_process() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Ok(words) = std::env::var(WORKLOAD) {
        let words: Vec<i64> = words.split(' ').map(|word| word.parse().unwrap()).collect();
        let (seed, length) = (words[0].unsigned_abs(), words[1].unsigned_abs());
        let terms = Terms { seed, length, sample: Some(words[2]).filter(|it| *it > 0) };
        let path = |name| PathBuf::from(std::env::var_os(name).unwrap());
        let end = runtime.block_on(run(&path("FAULTS_DIRECTORY"), &path("FAULTS_TRACE"), terms));
        std::process::exit(end);
    }
    let (stage, terms) = (Stage::new("unwatched"), Terms { seed: 1, length: 60, sample: None });
    assert_eq!(runtime.block_on(run(&stage.data(), &stage.trace(), terms)), 0);
    let said = Said::in_all(&stage.records());
    assert_eq!(said.safe, 60);
    let case = crate::points::Case::new(terms, &disk::Files::new());
    assert_eq!(case.verify(&stage.data(), &said), Ok(60));
}

struct Process {
    data: PathBuf,
    notes: Notes,
    said: Said,
    storage: Storage,
    /// Jobs of which nobody has said yet that they are safe.
    waiting: Vec<(u64, Durable)>,
}

type Durable = Pin<Box<dyn Future<Output = Result<(), Lost>> + Send>>;

async fn run(data: &Path, trace: &Path, terms: Terms) -> i32 {
    let said = Said::in_all(&parse(&std::fs::read(trace).unwrap_or_default()));
    let mut notes = Notes::open(trace);
    let workload = Workload::new(terms);
    let Some((storage, done)) = open(data, &mut notes) else { return REFUSED };
    let mut process = Process { data: data.to_owned(), notes, said, storage, waiting: Vec::new() };
    let is_first = |step: &Step| matches!(step, Step::Submit(number) if *number > done);
    for step in workload.steps.iter().skip_while(|step| !is_first(step)) {
        if let Err(end) = process.take(step, &workload).await {
            return end;
        }
    }
    if process.storage.close().await.is_err() { LOST } else { 0 }
}

fn open(data: &Path, notes: &mut Notes) -> Option<(Storage, u64)> {
    match Storage::open(data, Options::default()) {
        Ok(storage) => {
            let done = storage.read_blocking(|view| view.cell(&COUNT, &jid(DOMAINS[0]))).unwrap().unwrap_or(0);
            notes.say(&format!("opened {done} {}", storage.slot().position().number()));
            Some((storage, done))
        }
        Err(error) => {
            notes.say(&format!("refused {error}"));
            None
        }
    }
}

impl Process {
    async fn take(&mut self, step: &Step, workload: &Workload) -> Result<(), i32> {
        match step {
            Step::Submit(number) => self.submit(*number, workload),
            Step::Wait => {
                for (number, durable) in std::mem::take(&mut self.waiting) {
                    durable.await.map_err(|_| LOST)?;
                    self.notes.say(&format!("safe {number}"));
                }
            }
            // Longer than the writer waits before it tidies up.
            Step::Rest => tokio::time::sleep(Duration::from_millis(130)).await,
            Step::Look => {
                let storage = self.storage.clone();
                tokio::spawn(async move {
                    let looks = storage.read(|view| {
                        view.exists(&jid(DOMAINS[0]))?;
                        std::thread::sleep(Duration::from_millis(200));
                        Ok(())
                    });
                    looks.await
                });
            }
            Step::Waste(count) => (0..*count).for_each(|_| drop(self.storage.slot())),
            Step::Reopen => {
                self.storage.close().await.map_err(|_| LOST)?;
                self.storage = open(&self.data, &mut self.notes).ok_or(REFUSED)?.0;
            }
        }
        Ok(())
    }

    fn submit(&mut self, number: u64, workload: &Workload) {
        let job = &workload.jobs[usize::try_from(number - 1).unwrap()];
        let (storage, said, notes) = (&self.storage, &self.said, std::cell::RefCell::new(&mut self.notes));
        let mut took = Vec::new();
        let take = |entry| {
            let slot = storage.slot();
            let position = slot.position().number();
            notes.borrow_mut().say(&format!("took {entry} {position}"));
            took.push((entry, position));
            slot
        };
        let known = |entry| said.places.get(&entry).copied().map(Position::new);
        let hand_over = || {
            let upto = storage.settled();
            notes.borrow_mut().say(&format!("hands {number} {}", upto.number()));
            upto
        };
        let writes = job.writes(number, take, known, hand_over);
        self.said.places.extend(took);
        let durable: Durable = match job.creates {
            None => Box::pin(self.storage.durable(self.storage.submit(writes))),
            Some(account) => {
                let created = self.storage.create(&jid(account), writes);
                Box::pin(async {
                    match created.await {
                        Ok(_) => Ok(()),
                        Err(CreateError::Lost(lost)) => Err(lost),
                        Err(CreateError::Exists) => panic!("an account exists that was not created"),
                    }
                })
            }
        };
        self.waiting.push((number, durable));
    }
}
