//! What may be on a disk after the power has gone: everything that was synced, and of the rest whatever bad luck leaves.
//!
//! A file is synced in pages. What was written since may be on the disk or not, each sector for itself and in any order,
//! so a sector may have any of the contents that it had since its page was synced, and a file any of its lengths. A name
//! is safe only when its directory was synced; until then it may lead to whatever it led to since. A sync that failed
//! leaves the pages as they are, but the kernel takes them for clean: later syncs do not write them, only another write
//! to the same page makes that happen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::random::Random;
use crate::trace::{Record, What};

const PAGE: usize = 4096;

/// All files of a directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, Name>,
    /// A disk that lies says that it has synced, and has not.
    lies: bool,
    changes: usize,
}

#[derive(Debug, Clone, Default)]
struct File {
    synced: Vec<u8>,
    /// What the processes see.
    seen: Vec<u8>,
    /// Since the last sync of their pages, oldest first; none crosses the border of a page.
    pending: Vec<Change>,
    sizes: Vec<(usize, usize)>,
    /// Where a file that was cut had something before: from there, to there, and since which change not any more.
    cut: Option<(usize, usize, usize)>,
}

#[derive(Debug, Clone)]
struct Change {
    number: usize,
    offset: usize,
    data: Vec<u8>,
    /// A sync of it failed.
    is_clean: bool,
    /// It is only on the disk if the size is that of this change, or a later one.
    needs: usize,
}

#[derive(Debug, Clone, Default)]
struct Name {
    synced: Option<usize>,
    /// With the numbers of the changes.
    pending: Vec<(usize, Option<usize>)>,
}

impl Name {
    fn now(&self) -> Option<usize> {
        self.pending.last().map_or(self.synced, |(_, file)| *file)
    }
}

/// What bad luck does with all that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Luck {
    /// Nothing is lost: a process was killed, and the kernel goes on.
    Kept,
    /// All of it is lost.
    Dropped,
    /// It reached the disk in its order, up to some change.
    Cut,
    /// Every change reached the disk or did not.
    Gaps,
    /// Every sector of this size has some content that it had.
    Torn(usize),
}

impl Luck {
    pub(crate) fn draw(random: &mut Random) -> Self {
        match random.below(10) {
            0 => Self::Kept,
            1 => Self::Dropped,
            2 | 3 => Self::Cut,
            4 | 5 => Self::Gaps,
            6 | 7 => Self::Torn(4096),
            _ => Self::Torn(512),
        }
    }
}

/// The files of a directory by their names.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

impl Disk {
    /// A disk with the files that are in a directory, all of them safe.
    pub(crate) fn holding(files: &Files) -> Self {
        let mut disk = Self::default();
        for (name, bytes) in files {
            let file = File { synced: bytes.clone(), seen: bytes.clone(), ..File::default() };
            disk.names.insert(name.clone(), Name { synced: Some(disk.files.len()), pending: Vec::new() });
            disk.files.push(file);
        }
        disk
    }

    pub(crate) fn lying(mut self) -> Self {
        self.lies = true;
        self
    }

    /// Whether a sync of this path, empty for the directory, would have to do something.
    pub(crate) fn is_dirty(&self, path: &str) -> bool {
        if path.is_empty() {
            return self.names.values().any(|name| !name.pending.is_empty());
        }
        let file = self.names.get(path).and_then(Name::now).and_then(|file| self.files.get(file));
        file.is_some_and(|file| !file.sizes.is_empty() || file.pending.iter().any(|change| !change.is_clean))
    }

    pub(crate) fn apply(&mut self, record: &Record) {
        self.changes += 1;
        let number = self.changes;
        let path = &record.path;
        match &record.what {
            What::Create => {
                let file = self.files.len();
                self.files.push(File::default());
                self.bind(path, Some(file));
            }
            What::Unlink => self.bind(path, None),
            What::Rename { to } => {
                let file = self.names.get(path).and_then(Name::now);
                self.bind(path, None);
                self.bind(to, file);
            }
            What::Write { offset, data } => {
                if let Some(file) = self.now(path) {
                    file.write(number, *offset, data);
                }
            }
            What::Resize { size } => {
                if let Some(file) = self.now(path) {
                    file.resize(number, *size);
                }
            }
            What::Sync if self.lies => {}
            What::Sync if path.is_empty() => {
                for name in self.names.values_mut() {
                    name.synced = name.now();
                    name.pending.clear();
                }
            }
            What::Sync => {
                if let Some(file) = self.now(path) {
                    file.sync();
                }
            }
            What::FailedSync => {
                if let Some(file) = self.now(path) {
                    file.pending.iter_mut().for_each(|change| change.is_clean = true);
                }
            }
            What::Failed | What::Note(_) => {}
        }
    }

    /// What is on the disk after the power has gone.
    pub(crate) fn after(&self, luck: Luck, random: &mut Random) -> Files {
        let last = match luck {
            Luck::Cut => random.below(self.pending() + 1),
            _ => usize::MAX,
        };
        // Numbers of changes are not dense; the cut is the number of the last change that is kept.
        let cut = self.numbers().into_iter().nth(last.saturating_sub(1)).unwrap_or(usize::MAX);
        let cut = if last == 0 { 0 } else { cut };
        let mut files = Files::new();
        for (name, bound) in &self.names {
            let pending = bound.pending.iter();
            let file = match luck {
                Luck::Kept => bound.now(),
                Luck::Dropped => bound.synced,
                Luck::Cut => {
                    pending.take_while(|(number, _)| *number <= cut).last().map_or(bound.synced, |(_, file)| *file)
                }
                Luck::Gaps | Luck::Torn(_) => {
                    let version = random.below(bound.pending.len() + 1);
                    version.checked_sub(1).map_or(bound.synced, |version| bound.pending[version].1)
                }
            };
            if let Some(file) = file {
                files.insert(name.clone(), self.files[file].after(luck, cut, random));
            }
        }
        files
    }

    fn bind(&mut self, path: &str, file: Option<usize>) {
        let number = self.changes;
        self.names.entry(path.to_owned()).or_default().pending.push((number, file));
    }

    fn now(&mut self, path: &str) -> Option<&mut File> {
        let file = self.names.get(path)?.now()?;
        self.files.get_mut(file)
    }

    /// The numbers of all changes that are not safe.
    fn numbers(&self) -> BTreeSet<usize> {
        let names = self.names.values().flat_map(|name| name.pending.iter().map(|(number, _)| *number));
        let files = self.files.iter().flat_map(|file| {
            file.pending.iter().map(|change| change.number).chain(file.sizes.iter().map(|(number, _)| *number))
        });
        names.chain(files).collect()
    }

    fn pending(&self) -> usize {
        self.numbers().len()
    }
}

impl File {
    fn write(&mut self, number: usize, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.seen.len() {
            self.resize(number, end);
        }
        self.seen[offset..end].copy_from_slice(data);
        self.change(number, offset, data, 0);
    }

    fn change(&mut self, number: usize, offset: usize, data: &[u8], needs: usize) {
        let (mut at, end) = (offset, offset + data.len());
        while at < end {
            let border = ((at / PAGE + 1) * PAGE).min(end);
            let data = data[at - offset..border - offset].to_vec();
            self.pending.push(Change { number, offset: at, data, is_clean: false, needs });
            at = border;
        }
    }

    /// What lies behind a new end is gone at once, together with the end: should the file grow again, there are zeros.
    fn resize(&mut self, number: usize, size: usize) {
        let before = self.seen.len();
        self.seen.resize(size, 0);
        self.sizes.push((number, size));
        if size < before {
            let behind = self.cut.map_or(before, |(_, behind, _)| behind.max(before));
            self.cut = Some((size, behind, number));
        } else if let Some((from, behind, since)) = self.cut {
            let to = behind.min(size);
            if from < to {
                self.change(number, from, &vec![0; to - from], since);
            }
            self.cut = (to < behind).then_some((to, behind, since));
        }
    }

    fn sync(&mut self) {
        let dirty: BTreeSet<usize> =
            self.pending.iter().filter(|change| !change.is_clean).map(|change| change.offset / PAGE).collect();
        self.synced.resize(self.seen.len(), 0);
        self.sizes.clear();
        for page in &dirty {
            let (from, to) = (page * PAGE, ((page + 1) * PAGE).min(self.seen.len()));
            if from < to {
                self.synced[from..to].copy_from_slice(&self.seen[from..to]);
            }
        }
        self.pending.retain(|change| !dirty.contains(&(change.offset / PAGE)));
    }

    fn after(&self, luck: Luck, cut: usize, random: &mut Random) -> Vec<u8> {
        if luck == Luck::Kept {
            return self.seen.clone();
        }
        let mut bytes = self.synced.clone();
        let sized = match luck {
            Luck::Kept | Luck::Dropped => None,
            Luck::Cut => self.sizes.iter().take_while(|(number, _)| *number <= cut).last(),
            Luck::Gaps | Luck::Torn(_) => random.below(self.sizes.len() + 1).checked_sub(1).map(|it| &self.sizes[it]),
        };
        let (since, size) = sized.copied().unwrap_or((0, bytes.len()));
        let pending: Vec<&Change> = self.pending.iter().filter(|change| change.needs <= since).collect();
        let longest = self.sizes.iter().map(|it| it.1).max().unwrap_or(0).max(bytes.len());
        bytes.resize(longest, 0);
        let mut put = |change: &Change, from: usize, to: usize| {
            let (from, to) = (from.max(change.offset), to.min(change.offset + change.data.len()).min(longest));
            if from < to {
                bytes[from..to].copy_from_slice(&change.data[from - change.offset..to - change.offset]);
            }
        };
        match luck {
            Luck::Kept | Luck::Dropped => {}
            Luck::Cut => pending.iter().take_while(|it| it.number <= cut).for_each(|it| put(it, 0, usize::MAX)),
            Luck::Gaps => {
                let mut lost = BTreeMap::new();
                for change in &pending {
                    if !*lost.entry(change.number).or_insert_with(|| random.below(2) == 0) {
                        put(change, 0, usize::MAX);
                    }
                }
            }
            Luck::Torn(sector) => {
                // How many changes of each sector reached the disk, and how many there are.
                let mut sectors: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
                let of = |change: &Change| change.offset / sector..=(change.offset + change.data.len() - 1) / sector;
                for number in pending.iter().copied().flat_map(of) {
                    sectors.entry(number).or_default().1 += 1;
                }
                sectors.values_mut().for_each(|it| it.0 = random.below(it.1 + 1));
                let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
                for change in &pending {
                    for number in of(change) {
                        let before = seen.entry(number).or_default();
                        *before += 1;
                        if *before <= sectors[&number].0 {
                            put(change, number * sector, (number + 1) * sector);
                        }
                    }
                }
            }
        }
        bytes.resize(size, 0);
        bytes
    }
}

/// Fills an empty directory.
pub(crate) fn write(directory: &Path, files: &Files) {
    let _ = std::fs::remove_dir_all(directory);
    std::fs::create_dir_all(directory).unwrap();
    for (name, bytes) in files {
        std::fs::write(directory.join(name), bytes).unwrap();
    }
}

/// What is in a directory now.
pub(crate) fn read(directory: &Path) -> Files {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn what_was_synced_stays_and_the_rest_may_go() {
    let record = |path: &str, what| Record { path: path.to_owned(), what };
    let put = |offset, text: &str| What::Write { offset, data: text.as_bytes().to_vec() };
    let mut disk = Disk::default();
    for what in [What::Create, put(0, "old"), What::Sync] {
        disk.apply(&record("file", what));
    }
    let mut random = Random::new(1);
    assert!(disk.after(Luck::Dropped, &mut random).is_empty(), "its name is not safe");
    assert!(disk.is_dirty("") && !disk.is_dirty("file"));
    disk.apply(&record("", What::Sync));
    disk.apply(&record("file", put(1, "new")));
    let after = |disk: &Disk, luck, random: &mut Random| String::from_utf8(disk.after(luck, random)["file"].clone());
    assert_eq!(after(&disk, Luck::Dropped, &mut random).unwrap(), "old");
    assert_eq!(after(&disk, Luck::Kept, &mut random).unwrap(), "onew");
    let torn: BTreeSet<String> = (0..99).map(|_| after(&disk, Luck::Torn(512), &mut random).unwrap()).collect();
    assert!(torn.iter().eq(["old", "old\0", "one", "onew"]), "{torn:?}");

    // The kernel does not write again what it failed to write, only what was written again.
    disk.apply(&record("file", What::FailedSync));
    disk.apply(&record("file", What::Sync));
    assert!(after(&disk, Luck::Dropped, &mut random).unwrap().starts_with("old"));
    disk.apply(&record("file", put(0, "o")));
    disk.apply(&record("file", What::Sync));
    assert_eq!(after(&disk, Luck::Dropped, &mut random).unwrap(), "onew");
}
