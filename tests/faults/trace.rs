//! What a process did to its files, as `shim.c` writes it down, and how a process is started under it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One change of a file or of the directory, or what somebody said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Below the directory; empty for the directory itself.
    pub(crate) path: String,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Create,
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    Resize {
        size: usize,
    },
    Sync,
    /// The kernel said that it could not. What was to be synced it takes for clean from then on.
    FailedSync,
    Unlink,
    Rename {
        to: String,
    },
    /// The call that was to come here failed, because the plan says so.
    Failed,
    /// What the process says.
    Note(String),
}

const HEAD: usize = 15;

/// All records that are complete.
pub(crate) fn parse(mut bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((record, length)) = first(bytes) {
        records.push(record);
        bytes = &bytes[length..];
    }
    records
}

fn first(bytes: &[u8]) -> Option<(Record, usize)> {
    let head = bytes.get(..HEAD)?;
    let path_end = HEAD + usize::from(u16::from_le_bytes(head[1..3].try_into().unwrap()));
    let number = usize::try_from(u64::from_le_bytes(head[3..11].try_into().unwrap())).unwrap();
    let end = path_end + usize::try_from(u32::from_le_bytes(head[11..15].try_into().unwrap())).unwrap();
    let (path, data) = (bytes.get(HEAD..path_end)?, bytes.get(path_end..end)?);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let what = match head[0] {
        b'C' => What::Create,
        b'W' => What::Write { offset: number, data: data.to_vec() },
        b'T' => What::Resize { size: number },
        b'S' => What::Sync,
        b'F' => What::FailedSync,
        b'U' => What::Unlink,
        b'R' => What::Rename { to: text(data) },
        b'E' => What::Failed,
        b'N' => What::Note(text(data)),
        other => panic!("a record of kind {other}"),
    };
    Some((Record { path: text(path), what }, end))
}

/// The trace of the process that this one is, for its own notes.
pub(crate) struct Notes(std::fs::File);

impl Notes {
    pub(crate) fn open(trace: &Path) -> Self {
        Self(OpenOptions::new().append(true).create(true).open(trace).unwrap())
    }

    /// One system call, so that it stands between the records of what came before and what comes after.
    pub(crate) fn say(&mut self, text: &str) {
        let mut record = vec![b'N', 0, 0];
        record.extend(0_u64.to_le_bytes());
        record.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        record.extend(text.as_bytes());
        assert_eq!(self.0.write(&record).unwrap(), record.len());
    }
}

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) call: Call,
    /// Counted from one.
    pub(crate) number: usize,
    pub(crate) error: Errno,
    pub(crate) lasts: Lasts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Write,
    Sync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errno {
    /// EIO
    Io = 5,
    /// ENOSPC
    NoSpace = 28,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    Once,
    /// As long as the file [`Stage::full`] exists.
    While,
}

/// A data directory with its trace and what else belongs to a watched process.
pub(crate) struct Stage {
    root: PathBuf,
}

impl Stage {
    pub(crate) fn new(name: &str) -> Self {
        let root = scratch().join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("data")).unwrap();
        Self { root: root.canonicalize().unwrap() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn trace(&self) -> PathBuf {
        self.root.join("trace")
    }

    pub(crate) fn full(&self) -> PathBuf {
        self.root.join("full")
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        parse(&std::fs::read(self.trace()).unwrap_or_default())
    }

    /// Puts `command` behind the shim.
    pub(crate) fn watch(&self, command: &mut Command, plan: Option<Plan>) {
        watch(command, &self.data(), &self.trace(), &self.full(), plan);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What a failed test leaves behind is needed to find out why.
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.root);
            // It may hold what others are at.
            let _ = std::fs::remove_dir(scratch());
        }
    }
}

/// Puts `command` behind the shim, which watches the directory `data`.
pub(crate) fn watch(command: &mut Command, data: &Path, trace: &Path, full: &Path, plan: Option<Plan>) {
    command.env("LD_PRELOAD", shim()).env("FAULTS_DIRECTORY", data).env("FAULTS_TRACE", trace).env("FAULTS_FULL", full);
    if let Some(plan) = plan {
        let call = if plan.call == Call::Write { "write" } else { "sync" };
        let lasts = if plan.lasts == Lasts::Once { "once" } else { "while" };
        command.env("FAULTS_PLAN", format!("{call} {} {} {lasts}", plan.number, plan.error as i32));
    }
}

/// A place for many small files that need not survive anything: in memory, if there is one.
pub(crate) fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
    base.join(format!("comity-faults-{}", std::process::id()))
}

/// The shim, built once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.so");
        let new = library.with_extension(std::process::id().to_string());
        let mut cc = Command::new("cc");
        cc.args(["-std=gnu11", "-O1", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]);
        cc.arg(&new).arg(source).args(["-ldl", "-lpthread"]);
        assert!(cc.status().unwrap().success(), "the shim cannot be built");
        std::fs::rename(new, &library).unwrap();
        library
    })
}
