//! Storage on disk: what stands in the data directory, who may open it, and what survives.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use comity::jid::BareJid;
use comity::storage::{
    Cell, CreateError, Direction, End, Entry, Error, Map, Marks, Options, Position, Queued, Range, Receipt,
    SCHEMA_VERSION, Storage, Writes,
};
use rusqlite::Connection;

const TITLE: Cell<String> = Cell::new("title");
const ROSTER: Map<Vec<String>> = Map::new("roster");

/// A data directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("storage-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self) -> Result<Storage, Error> {
        Storage::open(&self.0, Options::default())
    }

    fn database(&self) -> PathBuf {
        self.0.join("comity.sqlite")
    }

    fn raw(&self) -> Connection {
        Connection::open(self.database()).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

fn entry(body: &str, marks: Marks) -> Entry {
    Entry {
        direction: Direction::Received,
        peer: "juliet@capulet.lit/balcony".into(),
        time: 1_700_000_000_123,
        marks,
        payload: format!("<message><body>{body}</body></message>").into(),
    }
}

fn title(owner: &BareJid, text: &str) -> Writes {
    let mut writes = Writes::new();
    TITLE.put(&mut writes, owner, &text.to_owned()).unwrap();
    writes
}

async fn append(storage: &Storage, owner: &BareJid, body: &str) -> Position {
    let mut writes = Writes::new();
    let position = writes.append(owner, storage.slot(), entry(body, Marks::UNDELIVERED));
    storage.durable(storage.submit(writes)).await.unwrap();
    position
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let (directory, romeo) = (Directory::new("reopening"), jid("romeo@verona.lit"));
    let storage = directory.open().unwrap();
    storage.create(&romeo, title(&romeo, "Montague")).await.unwrap();
    let first = append(&storage, &romeo, "Wherefore").await;
    let unused = storage.slot().position();
    storage.close().await.unwrap();
    assert!(matches!(TITLE.get(&storage, &romeo).await, Err(Error::Closed)));

    // The handle of the closed storage is still alive: closing alone lets the directory go.
    let again = directory.open().unwrap();
    assert_eq!(TITLE.get(&again, &romeo).await.unwrap().as_deref(), Some("Montague"));
    assert_eq!(again.owners("verona.lit").await.unwrap(), std::slice::from_ref(&romeo));
    let second = append(&again, &romeo, "art thou").await;
    assert!(unused > first && second > unused, "a position that was handed out is not used again");
    let page = again.undelivered(&romeo, None, 10).await.unwrap();
    assert_eq!(page.entries.iter().map(|stored| stored.position).collect::<Vec<_>>(), [first, second]);
    assert_eq!(page.entries[0].entry, entry("Wherefore", Marks::UNDELIVERED));
    again.close().await.unwrap();
}

#[tokio::test]
async fn what_was_on_its_way_when_the_server_ended_waits_again() {
    let (directory, romeo) = (Directory::new("queued"), jid("romeo@verona.lit"));
    let storage = directory.open().unwrap();
    storage.create(&romeo, Writes::new()).await.unwrap();
    let mut writes = Writes::new();
    writes.append(&romeo, storage.slot(), entry("arrived", Marks::QUEUED | Marks::ARCHIVED));
    storage.submit(writes);
    let mut writes = Writes::new();
    writes.hand_over(storage.settled());
    let position = writes.append(&romeo, storage.slot(), entry("perhaps", Marks::QUEUED));
    writes.queue(&romeo, position, Queued { session: 1, number: 5 });
    storage.submit(writes);
    storage.close().await.unwrap();
    // Twice, as nothing changes by it.
    for _ in 0..2 {
        let again = directory.open().unwrap();
        let page = again.undelivered(&romeo, None, 10).await.unwrap();
        let marks = Marks::QUEUED | Marks::UNDELIVERED;
        assert_eq!(page.entries.iter().map(|it| &it.entry).collect::<Vec<_>>(), [&entry("perhaps", marks)]);
        let owner = romeo.clone();
        let queued = again.read(move |view| view.queued(&owner)).await.unwrap();
        assert_eq!(queued, [(position, Queued { session: 1, number: 5 })]);
        again.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_secret_stays_with_the_data() {
    let (directory, other) = (Directory::new("secret"), Directory::new("secret-other"));
    let storage = directory.open().unwrap();
    let secret = *storage.secret();
    storage.close().await.unwrap();
    let again = directory.open().unwrap();
    assert_eq!(again.secret(), &secret);
    again.close().await.unwrap();
    let other = other.open().unwrap();
    assert_ne!(other.secret(), &secret);
    other.close().await.unwrap();
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_leaves_one_file() {
    let directory = Directory::new("closing");
    let storage = directory.open().unwrap();
    let verona = jid("verona.lit");
    let receipts: Vec<_> = (0..5000).map(|number| storage.submit(title(&verona, &number.to_string()))).collect();
    storage.close().await.unwrap();
    assert!(receipts.iter().all(|receipt| storage.is_durable(*receipt)));
    let mut files: Vec<_> = fs::read_dir(&directory.0).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["comity.lock", "comity.sqlite"]);
    let again = directory.open().unwrap();
    assert_eq!(TITLE.get(&again, &verona).await.unwrap().as_deref(), Some("4999"));
    again.close().await.unwrap();
}

#[tokio::test]
async fn only_the_servers_user_can_read_the_data() {
    let directory = Directory::new("permissions");
    let storage = directory.open().unwrap();
    storage.durable(storage.submit(title(&jid("verona.lit"), "x"))).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.0), 0o700);
    let mut seen = 0;
    for file in fs::read_dir(&directory.0).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 5, "the lock, the database, its two files, and the note of what was synced");
    storage.close().await.unwrap();

    fs::set_permissions(directory.database(), fs::Permissions::from_mode(0o644)).unwrap();
    let again = directory.open().unwrap();
    assert_eq!(mode(&directory.database()), 0o600);
    again.close().await.unwrap();
}

#[tokio::test]
async fn a_directory_is_open_once() {
    let directory = Directory::new("lock");
    let storage = directory.open().unwrap();
    let error = directory.open().unwrap_err();
    assert!(matches!(&error, Error::InUse { holder: Some(holder), .. } if *holder == std::process::id()), "{error}");
    storage.durable(storage.submit(title(&jid("verona.lit"), "still works"))).await.unwrap();
    storage.close().await.unwrap();
    directory.open().unwrap().close().await.unwrap();
}

#[tokio::test]
async fn newer_data_are_refused_and_left_alone() {
    let directory = Directory::new("newer");
    directory.open().unwrap().close().await.unwrap();
    let raw = directory.raw();
    raw.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    raw.execute("UPDATE version SET number = number + 1", []).unwrap();
    drop(raw);
    let before = fs::read(directory.database()).unwrap();
    let error = directory.open().unwrap_err();
    assert!(matches!(error, Error::Newer { found, known } if found == known + 1 && known == SCHEMA_VERSION));
    assert!(error.to_string().contains("newer version"), "{error}");
    assert_eq!(fs::read(directory.database()).unwrap(), before);
}

#[test]
fn the_database_of_another_program_is_refused() {
    let directory = Directory::new("foreign");
    fs::create_dir_all(&directory.0).unwrap();
    directory.raw().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    assert!(matches!(directory.open().unwrap_err(), Error::Foreign { .. }));
    fs::write(directory.database(), "this is no database, but a longer text than the header of one would be").unwrap();
    assert!(matches!(directory.open().unwrap_err(), Error::Corrupt(_)));
}

#[tokio::test]
async fn a_damaged_entry_is_found_and_left_out() {
    let (directory, romeo) = (Directory::new("damage"), jid("romeo@verona.lit"));
    let storage = directory.open().unwrap();
    storage.create(&romeo, Writes::new()).await.unwrap();
    let mut positions = Vec::new();
    for body in ["first", "second", "third", "fourth", "fifth"] {
        positions.push(append(&storage, &romeo, body).await);
    }
    storage.close().await.unwrap();
    let raw = directory.raw();
    raw.execute("UPDATE log SET payload = replace(payload, 'second', 'sezond')", []).unwrap();
    raw.execute("UPDATE log SET payload = CAST(x'ff' AS TEXT) WHERE payload LIKE '%third%'", []).unwrap();
    raw.execute("DELETE FROM log WHERE payload LIKE '%fourth%'", []).unwrap();
    drop(raw);
    let storage = directory.open().unwrap();
    let page = storage.undelivered(&romeo, None, 10).await.unwrap();
    assert_eq!(page.damaged, positions[1..4]);
    let payloads: Vec<_> = page.entries.iter().map(|stored| &*stored.entry.payload).collect();
    assert_eq!(payloads, ["<message><body>first</body></message>", "<message><body>fifth</body></message>"]);
    // Whoever replaces what it says does not heal it.
    let mut writes = Writes::new();
    positions.iter().for_each(|position| writes.replace(&romeo, *position, "<message/>".into()));
    storage.durable(storage.submit(writes)).await.unwrap();
    let page = storage.undelivered(&romeo, None, 10).await.unwrap();
    assert_eq!(page.damaged, positions[1..4]);
    assert!(page.entries.iter().all(|stored| &*stored.entry.payload == "<message/>"));
    storage.close().await.unwrap();
}

#[tokio::test]
async fn what_says_where_to_look_in_an_archive_is_put_right() {
    let (directory, romeo) = (Directory::new("index"), jid("romeo@verona.lit"));
    let storage = directory.open().unwrap();
    storage.create(&romeo, Writes::new()).await.unwrap();
    let mut known = Vec::new();
    for round in 0..2 {
        let mut writes = Writes::new();
        for number in 0..500 {
            let peer = format!("peer{}@capulet.lit", number % 3);
            let entry = Entry { peer: format!("{peer}/x").into(), ..entry("x", Marks::ARCHIVED) };
            known.push((peer, writes.append(&romeo, storage.slot(), entry)));
        }
        storage.durable(storage.submit(writes)).await.unwrap();
        // What comes next has both indexed.
        if round == 0 {
            (0..5000).for_each(|_| drop(storage.slot()));
        }
    }
    storage.close().await.unwrap();
    for damage in [
        "DELETE FROM exchanged WHERE upto = (SELECT max(upto) FROM exchanged)",
        "UPDATE exchanged SET first = first + 64",
        "UPDATE exchanged SET peer = peer + 1",
        "INSERT INTO exchanged SELECT owner, peer, upto - 1, upto - 1 FROM exchanged",
        "UPDATE archived SET peer = peer + 1",
        "UPDATE archived SET time = time + 1",
    ] {
        let raw = directory.raw();
        assert!(raw.execute(damage, []).unwrap() > 0, "{damage}");
        drop(raw);
        let storage = directory.open().unwrap();
        for (peer, end) in (0..3).flat_map(|peer| [(peer, End::Oldest), (peer, End::Youngest)]) {
            let (owner, peer) = (romeo.clone(), format!("peer{peer}@capulet.lit"));
            let expected: Vec<_> = known.iter().filter(|it| it.0 == peer).map(|it| it.1).collect();
            let since = Some(1_700_000_000_000);
            let range = Range { peer: Some(peer.parse().unwrap()), since, ..Range::default() };
            let page = storage.read(move |view| view.archived(&owner, &range, end, 1000)).await.unwrap();
            let found: Vec<_> = page.entries.iter().map(|stored| stored.position).collect();
            assert_eq!((found, page.damaged), (expected, vec![]), "{damage}");
        }
        storage.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_row_that_changes_its_owner_is_damaged() {
    let (directory, romeo, paris) = (Directory::new("owner"), jid("romeo@verona.lit"), jid("paris@verona.lit"));
    let storage = directory.open().unwrap();
    storage.create(&romeo, Writes::new()).await.unwrap();
    storage.create(&paris, Writes::new()).await.unwrap();
    let secret = append(&storage, &romeo, "secret").await;
    storage.close().await.unwrap();
    directory
        .raw()
        .execute_batch("UPDATE log SET owner = 3 - owner; UPDATE undelivered SET owner = 3 - owner")
        .unwrap();
    let storage = directory.open().unwrap();
    let page = storage.undelivered(&paris, None, 10).await.unwrap();
    assert_eq!((page.entries, page.damaged), (vec![], vec![secret]));
    storage.close().await.unwrap();
}

#[tokio::test]
async fn a_failed_commit_is_never_acknowledged() {
    let (directory, romeo) = (Directory::new("lost"), jid("romeo@verona.lit"));
    let storage = directory.open().unwrap();
    let created = storage.create(&romeo, title(&romeo, "before")).await.unwrap();
    directory.raw().execute_batch("DROP TABLE log").unwrap();
    let mut writes = title(&romeo, "after");
    writes.append(&romeo, storage.slot(), entry("x", Marks::UNDELIVERED));
    let failed = storage.submit(writes);
    let lost = storage.durable(failed).await.unwrap_err();
    assert!(lost.to_string().contains("no such table"), "{lost}");
    assert_eq!(storage.lost().await, lost);
    storage.durable(created).await.unwrap();
    assert_eq!(storage.durable(storage.submit(title(&romeo, "later"))).await, Err(lost.clone()));
    assert_eq!(storage.create(&jid("a@verona.lit"), Writes::new()).await, Err(CreateError::Lost(lost.clone())));
    assert_eq!(TITLE.get(&storage, &romeo).await.unwrap().as_deref(), Some("before"), "the group failed as a whole");
    assert_eq!(storage.close().await, Err(lost));
}

#[tokio::test]
async fn the_last_handle_that_goes_writes_what_is_queued() {
    let directory = Directory::new("dropped");
    let storage = directory.open().unwrap();
    let durable = storage.durable(storage.submit(title(&jid("verona.lit"), "parting")));
    drop(storage);
    durable.await.unwrap();
    let title: String = directory.raw().query_row("SELECT value FROM cells", [], |row| row.get(0)).unwrap();
    assert_eq!(title, "\"parting\"");
}

#[tokio::test]
async fn pressure_holds_until_there_is_room() {
    let directory = Directory::new("pressure");
    let storage = Storage::open(&directory.0, Options { queue: 100_000, ..Options::default() }).unwrap();
    let (verona, text) = (jid("verona.lit"), "x".repeat(1000));
    let mut last = Receipt::NONE;
    for _ in 0..2000 {
        storage.pressure().await;
        last = storage.submit(title(&verona, &text));
    }
    storage.durable(last).await.unwrap();
    storage.close().await.unwrap();
}

#[tokio::test]
async fn many_readers_see_what_the_writer_acknowledged() {
    let directory = Directory::new("readers");
    let storage = directory.open().unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|number| {
            let storage = storage.clone();
            tokio::spawn(async move {
                let owner = jid(&format!("user{number}@verona.lit"));
                storage.create(&owner, Writes::new()).await.unwrap();
                for round in 0..10 {
                    let mut writes = Writes::new();
                    ROSTER.put(&mut writes, &owner, &format!("key{round}"), &vec![round.to_string()]).unwrap();
                    storage.durable(storage.submit(writes)).await.unwrap();
                    assert_eq!(ROSTER.all(&storage, &owner).await.unwrap().len(), round + 1);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(storage.owners("verona.lit").await.unwrap().len(), 32);
    storage.close().await.unwrap();
}

#[tokio::test]
async fn a_receipt_wakes_only_when_it_is_reached() {
    let (storage, mut stepper) = Storage::open_stepped().unwrap();
    let verona = jid("verona.lit");
    let mut context = Context::from_waker(Waker::noop());
    let first = storage.submit(title(&verona, "first"));
    let mut durable = pin!(storage.durable(first));
    assert!(durable.as_mut().poll(&mut context).is_pending());
    assert_eq!(TITLE.get(&storage, &verona).await.unwrap(), None);
    stepper.step();
    assert_eq!(durable.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    assert_eq!(TITLE.get(&storage, &verona).await.unwrap().as_deref(), Some("first"));
    let second = storage.submit(title(&verona, "second"));
    let mut durable = pin!(storage.durable(second));
    assert!(durable.as_mut().poll(&mut context).is_pending());
    stepper.lose();
    assert!(matches!(durable.as_mut().poll(&mut context), Poll::Ready(Err(_))));
    storage.durable(first).await.unwrap();
}

#[tokio::test]
async fn a_crash_in_memory_loses_what_was_not_written() {
    let (storage, mut stepper) = Storage::open_stepped().unwrap();
    let verona = jid("verona.lit");
    storage.submit(title(&verona, "written"));
    stepper.step();
    let seen = storage.slot().position();
    let receipt = storage.submit(title(&verona, "not written"));
    assert!(stepper.has_work() && !storage.is_durable(receipt));
    stepper.pretend();
    assert!(storage.is_durable(receipt), "the lie that the simulation must find out");
    let (again, mut after) = Storage::reopen_stepped(stepper.crash()).unwrap();
    storage.submit(title(&verona, "too late"));
    after.step();
    assert_eq!(TITLE.get(&again, &verona).await.unwrap().as_deref(), Some("written"));
    assert_eq!(again.secret(), storage.secret());
    assert!(again.slot().position() > seen);
}

/// What the sample of a schema version holds; `UPDATE=1` writes the sample of the current version.
async fn write_sample(path: &Path) {
    let _ = fs::remove_dir_all(path);
    let storage = Storage::open(path, Options::default()).unwrap();
    let (romeo, juliet, verona) = (jid("romeo@verona.lit"), jid("juliet@capulet.lit"), jid("verona.lit"));
    for owner in [&romeo, &juliet] {
        storage.create(owner, title(owner, "House")).await.unwrap();
    }
    let mut writes = title(&verona, "Verona");
    ROSTER.put(&mut writes, &romeo, "juliet@capulet.lit", &vec!["Capulet".to_owned()]).unwrap();
    ROSTER.put(&mut writes, &romeo, "benvolio@verona.lit", &vec![]).unwrap();
    writes.append(&romeo, storage.slot(), entry("offline é", Marks::UNDELIVERED));
    writes.append(&romeo, storage.slot(), entry("both", Marks::UNDELIVERED | Marks::ARCHIVED));
    let sent = Entry { direction: Direction::Sent, ..entry("archived", Marks::ARCHIVED) };
    writes.append(&juliet, storage.slot(), sent);
    storage.durable(storage.submit(writes)).await.unwrap();
    storage.close().await.unwrap();
    fs::remove_file(path.join("comity.lock")).unwrap();
}

#[tokio::test]
async fn the_sample_of_every_schema_version_can_be_read() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    if std::env::var_os("UPDATE").is_some() {
        write_sample(&samples.join(format!("schema-{SCHEMA_VERSION}"))).await;
    }
    for version in 1..=SCHEMA_VERSION {
        let directory = Directory::new(&format!("sample-{version}"));
        fs::create_dir_all(&directory.0).unwrap();
        fs::copy(samples.join(format!("schema-{version}/comity.sqlite")), directory.database()).unwrap();
        let found: i64 = directory.raw().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(found, version);

        let storage = directory.open().unwrap();
        let (romeo, juliet) = (jid("romeo@verona.lit"), jid("juliet@capulet.lit"));
        assert_eq!(storage.owners("verona.lit").await.unwrap(), std::slice::from_ref(&romeo));
        assert_eq!(storage.owners("capulet.lit").await.unwrap(), std::slice::from_ref(&juliet));
        assert_eq!(TITLE.get(&storage, &romeo).await.unwrap().as_deref(), Some("House"));
        assert_eq!(TITLE.get(&storage, &jid("verona.lit")).await.unwrap().as_deref(), Some("Verona"));
        let roster = ROSTER.all(&storage, &romeo).await.unwrap();
        assert_eq!(
            roster,
            [("benvolio@verona.lit".into(), vec![]), ("juliet@capulet.lit".into(), vec!["Capulet".to_owned()])]
        );
        let page = storage.undelivered(&romeo, None, 10).await.unwrap();
        let entries: Vec<_> = page.entries.into_iter().map(|stored| stored.entry).collect();
        let both = entry("both", Marks::UNDELIVERED | Marks::ARCHIVED);
        assert_eq!(entries, [entry("offline é", Marks::UNDELIVERED), both]);
        let page = storage.page(&juliet, None, 10).await.unwrap();
        assert_eq!(page.entries[0].entry.direction, Direction::Sent);
        assert!(storage.slot().position() > page.entries[0].position);
        storage.close().await.unwrap();
    }
}
