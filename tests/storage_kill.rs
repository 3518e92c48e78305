//! What was acknowledged is there after SIGKILL.
//!
//! The test runs its own executable a second time as the process that writes, so that it can be killed at any moment.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use comity::jid::BareJid;
use comity::storage::{Direction, Entry, Map, Marks, Options, Position, Storage, Writes};

const CHILD: &str = "COMITY_STORAGE_KILL";
const TEST: &str = "acknowledged_is_there_after_sigkill";
const CYCLES: u64 = 8;
const SENT: Map<u64> = Map::new("sent");

fn owner() -> BareJid {
    BareJid::parse("romeo@verona.lit").unwrap()
}

fn payload(position: Position) -> String {
    format!("<message id='{0}'><body>{0}</body></message>", position.number())
}

/// Says something to the test in one system call. The empty line ends what the test harness may have begun.
fn say(word: &str, position: Position) {
    std::io::stdout().write_all(format!("\n{word} {}\n", position.number()).as_bytes()).unwrap();
}

/// Writes until it is killed: says `took` before a position can become known, and `safe` after its receipt is durable.
async fn write_for_ever(directory: &Path) {
    let storage = Storage::open(directory, Options::default()).unwrap();
    let _ = storage.create(&owner(), Writes::new()).await;
    let tasks: Vec<_> = (1..=4)
        .map(|size| {
            let storage = storage.clone();
            tokio::spawn(async move {
                loop {
                    let mut writes = Writes::new();
                    let mut positions = Vec::new();
                    for _ in 0..size {
                        let slot = storage.slot();
                        let position = slot.position();
                        say("took", position);
                        let entry = Entry {
                            direction: Direction::Received,
                            peer: "juliet@capulet.lit".into(),
                            time: position.number(),
                            marks: Marks::UNDELIVERED,
                            payload: payload(position).into(),
                        };
                        writes.append(&owner(), slot, entry);
                        let key = position.number().to_string();
                        SENT.put(&mut writes, &owner(), &key, &position.number()).unwrap();
                        positions.push(position);
                    }
                    storage.durable(storage.submit(writes)).await.unwrap();
                    positions.into_iter().for_each(|position| say("safe", position));
                }
            })
        })
        .collect();
    let lost = storage.lost().await;
    drop(tasks);
    panic!("{lost}");
}

/// Runs the writing process until it has acknowledged `enough` positions and kills it. Returns what it took and what it
/// acknowledged.
fn run_and_kill(directory: &Path, enough: usize) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(CHILD, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut took, mut safe) = (BTreeSet::new(), BTreeSet::new());
    let mut killed = false;
    let mut line = String::new();
    // After the kill the rest of the pipe is read: it was acknowledged, too. A line that was cut off was not.
    while output.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        match line.trim_end().split_once(' ') {
            Some(("took", number)) => assert!(took.insert(number.parse().unwrap()), "{number} was handed out twice"),
            Some(("safe", number)) => assert!(safe.insert(number.parse().unwrap())),
            _ => {}
        }
        line.clear();
        if safe.len() >= enough && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    let status = child.wait().unwrap();
    assert!(killed && !status.success(), "the writing process ended by itself: {status}");
    (took, safe)
}

async fn read(directory: &Path) -> (BTreeMap<u64, String>, Vec<(String, u64)>) {
    let storage = Storage::open(directory, Options::default()).unwrap();
    let mut entries = BTreeMap::new();
    let mut after = None;
    loop {
        let page = storage.undelivered(&owner(), after, 500).await.unwrap();
        assert_eq!(page.damaged, []);
        entries.extend(
            page.entries.into_iter().map(|stored| (stored.position.number(), stored.entry.payload.to_string())),
        );
        let Some(more) = page.more else { break };
        after = Some(more);
    }
    let sent = SENT.all(&storage, &owner()).await.unwrap();
    storage.close().await.unwrap();
    (entries, sent)
}

// Proves: XEP-0313 §3.2
#[test]
fn acknowledged_is_there_after_sigkill() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(directory) = std::env::var_os(CHILD) {
        return runtime.block_on(write_for_ever(&PathBuf::from(directory)));
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("storage-kill-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let (mut took, mut safe) = (BTreeSet::new(), BTreeSet::new());
    for cycle in 0..CYCLES {
        // Odd numbers of acknowledgements, so that the signal comes at different places of a group.
        let (now_took, now_safe) = run_and_kill(&directory, 40 + 37 * usize::try_from(cycle).unwrap());
        assert!(took.is_disjoint(&now_took), "a position was used again after the kill");
        took.extend(now_took);
        safe.extend(now_safe);
        let (entries, sent) = runtime.block_on(read(&directory));
        for number in &safe {
            assert_eq!(entries.get(number), Some(&payload(Position::new(*number))), "acknowledged, but lost: {number}");
        }
        assert!(entries.keys().all(|number| took.contains(number)), "an entry that nobody wrote");
        let sent: BTreeSet<_> = sent.into_iter().map(|(_, number)| number).collect();
        assert!(sent.iter().eq(entries.keys()), "a job was applied in part");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
