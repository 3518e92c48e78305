//! Power loss at every moment of a workload: what was safe is there, and the storage opens.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use comity::storage::{Options, Storage};

use crate::disk::{self, Disk, Files, Luck};
use crate::random::Random;
use crate::state::{self, Fault, State};
use crate::trace::{Record, Stage, parse, scratch};
use crate::workload::{Model, Said, Terms, Workload};
use crate::writer;

/// In `make check`; `FAULTS_POINTS` asks for more.
const POINTS: usize = 400;

/// A workload and what it began with.
pub(crate) struct Case {
    workload: Workload,
    begin: Model,
    files: Files,
}

impl Case {
    pub(crate) fn new(terms: Terms, files: &Files) -> Self {
        let state = if files.is_empty() { State::default() } else { state_of(files) };
        Self { workload: Workload::new(terms), begin: Model::starting_with(state), files: files.clone() }
    }

    /// Opens what a crash left and says how many jobs are in it.
    pub(crate) fn verify(&self, directory: &Path, said: &Said) -> Result<u64, String> {
        let storage = Storage::open(directory, Options::default()).map_err(|error| format!("refused: {error}"))?;
        let verified = self.compare(&storage, said);
        // The next files have the same names, and what closes later would remove them.
        close(&storage)?;
        verified
    }

    fn compare(&self, storage: &Storage, said: &Said) -> Result<u64, String> {
        let found = state::read(storage).map_err(|fault| match fault {
            Fault::Found(text) => format!("damaged: {text}"),
            Fault::Silent(text) => format!("contradicts itself: {text}"),
        })?;
        let count = found.count;
        if count < said.safe {
            return Err(format!("lost: {} jobs were safe, {count} are there", said.safe));
        }
        let expected = self.begin.clone().after(&self.workload, said, count);
        if found != expected {
            return Err(format!("of {count} jobs something else came:\n{}", difference(&expected, &found)));
        }
        let next = storage.slot().position().number();
        if next <= said.highest {
            return Err(format!("position {next} is given again, {} was known", said.highest));
        }
        Ok(count)
    }
}

/// What storage makes of files that are whole.
fn state_of(files: &Files) -> State {
    let directory = place("whole");
    disk::write(&directory, files);
    let storage = Storage::open(&directory, Options::default()).unwrap();
    let state = state::read(&storage).unwrap();
    close(&storage).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    state
}

fn close(storage: &Storage) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(storage.close()).map_err(|lost| format!("could not be closed: {lost}"))
}

fn place(name: &str) -> PathBuf {
    scratch().join(format!("{name}-{:?}", std::thread::current().id()))
}

fn difference(expected: &State, found: &State) -> String {
    let mut text = String::new();
    for name in expected.owners.keys().chain(found.owners.keys()) {
        let (expected, found) = (expected.owners.get(name), found.owners.get(name));
        if expected != found {
            writeln!(text, "{name}: expected {expected:#?}\nfound {found:#?}").unwrap();
        }
    }
    text
}

/// A recorded run with the points at which the power goes.
struct Campaign<'a> {
    case: &'a Case,
    records: &'a [Record],
    points: usize,
    seed: u64,
    /// The disk says that it has synced, and has not.
    lies: bool,
}

impl Campaign<'_> {
    /// Goes through all points, or the one that `FAULTS_POINT` names; returns what failed.
    fn run(&self) -> Vec<(usize, String)> {
        let only = std::env::var("FAULTS_POINT").ok().map(|text| text.parse::<usize>().unwrap());
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let share = self.points.div_ceil(threads);
        std::thread::scope(|scope| {
            let parts: Vec<_> = (0..threads)
                .map(|part| {
                    let points = part * share..((part + 1) * share).min(self.points);
                    scope.spawn(move || self.part(points.filter(|point| only.is_none_or(|only| only == *point))))
                })
                .collect();
            parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
        })
    }

    fn part(&self, points: impl Iterator<Item = usize>) -> Vec<(usize, String)> {
        let directory = place("point");
        let mut disk = Disk::holding(&self.case.files);
        if self.lies {
            disk = disk.lying();
        }
        let (mut said, mut done) = (Said::default(), 0);
        let mut failed = Vec::new();
        for point in points {
            // Spread over the whole run, its end included.
            let moment = point * self.records.len() / (self.points - 1).max(1);
            for record in &self.records[done..moment.min(self.records.len())] {
                disk.apply(record);
                said.hear(record);
            }
            done = moment.min(self.records.len());
            let mut random = Random::new(self.seed ^ (point as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
            let luck = Luck::draw(&mut random);
            let mut files = disk.after(luck, &mut random);
            scribble(&mut files, &mut random);
            disk::write(&directory, &files);
            if let Err(why) = self.case.verify(&directory, &said) {
                failed.push((point, format!("after {done} of {} changes, {luck:?}: {why}", self.records.len())));
            }
        }
        let _ = std::fs::remove_dir_all(directory);
        let _ = std::fs::remove_dir(scratch());
        failed
    }
}

/// Nobody syncs the index of the write-ahead log, and nobody needs it after a crash: anything may be in it.
fn scribble(files: &mut Files, random: &mut Random) {
    if let Some(index) = files.get_mut("comity.sqlite-shm") {
        match random.below(3) {
            0 => {
                files.remove("comity.sqlite-shm");
            }
            1 => index.iter_mut().for_each(|byte| *byte = u8::try_from(random.below(256)).unwrap()),
            _ => {}
        }
    }
}

/// Records a run of a workload without faults.
fn record(name: &str, terms: Terms) -> (Case, Vec<u8>) {
    let stage = Stage::new(name);
    let files = writer::prepare(&stage, terms);
    let status = writer::start(&stage, terms, None).wait().unwrap();
    assert!(status.success(), "{name}: {status}");
    (Case::new(terms, &files), std::fs::read(stage.trace()).unwrap())
}

fn points() -> usize {
    std::env::var("FAULTS_POINTS").ok().map_or(POINTS, |text| text.parse().unwrap())
}

/// The runs: from nothing, and from the data of every older schema.
fn runs() -> Vec<(String, Terms)> {
    let fresh = (1..=4).map(|seed| (format!("fresh-{seed}"), Terms { seed, length: 120, sample: None }));
    let older = (1..=comity::storage::SCHEMA_VERSION)
        .map(|version| (format!("schema-{version}"), Terms { seed: 9, length: 12, sample: Some(version) }));
    fresh.chain(older).collect()
}

#[test]
fn what_was_durable_is_there_after_every_crash() {
    let runs = runs();
    let points = points().div_ceil(runs.len());
    let mut all = 0;
    for (name, terms) in runs {
        let (case, trace) = if let Some(path) = std::env::var_os("FAULTS_REPLAY") {
            // Of the run that it was, by its name: a trace belongs to the terms of its workload.
            if !path.to_string_lossy().ends_with(&format!("{name}.trace")) {
                continue;
            }
            let stage = Stage::new(&name);
            (Case::new(terms, &writer::prepare(&stage, terms)), std::fs::read(path).unwrap())
        } else {
            record(&name, terms)
        };
        let records = parse(&trace);
        let campaign = Campaign { case: &case, records: &records, points, seed: terms.seed, lies: false };
        let failed = campaign.run();
        if let Some((point, why)) = failed.first() {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.trace"));
            std::fs::write(&kept, &trace).unwrap();
            panic!(
                "{name}: {} of {points} points failed, the first is {point} (again with FAULTS_REPLAY={} \
                 FAULTS_POINTS={} FAULTS_POINT={point}):\n{why}",
                failed.len(),
                kept.display(),
                self::points(),
            );
        }
        all += points;
    }
    println!("{all} crash points: nothing lost, nothing refused");
}

/// The harness would see it if what storage relies on were missing.
#[test]
fn a_disk_that_lies_is_found_out() {
    let (case, trace) = record("lying", Terms { seed: 1, length: 60, sample: None });
    let campaign = Campaign { case: &case, records: &parse(&trace), points: 100, seed: 1, lies: true };
    let failed = campaign.run();
    let lost = failed.iter().filter(|(_, why)| why.contains("lost:")).count();
    assert!(lost > 10, "{lost} of {} are losses: {failed:?}", failed.len());
    println!("a disk that does not sync: {} of 100 crash points fail, {lost} of them with losses", failed.len());
}
