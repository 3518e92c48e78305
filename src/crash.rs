//! Moments in which a test has the process end, as if by SIGKILL, words at which a task panics, a storage that promises
//! what it has not kept, and a system that has no randomness left.
//!
//! A signal from outside hits the long moments and hardly ever the short ones, so the short ones are named here; and a
//! harness that looks for losses must be seen to find some. Only builds for tests have any of it: in a server that is
//! built to be used these functions are empty.

/// Named moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A group of changes is complete and about to be committed.
    Commit,
    /// It is on disk, and nobody has been told yet.
    Committed,
    /// The write-ahead log is moved into the database.
    Checkpoint,
    /// A session has lost its connection and waits.
    Detach,
    /// A client gets its session back: before and after it is told so.
    Resume,
    /// What has not arrived is marked; what has arrived is about to be forgotten.
    Settle,
    /// At a start: what had been handed to sessions waits again, before and after that is committed.
    Requeue,
    /// Some of the old messages are deleted.
    Retention,
}

/// The process has come to this point.
#[inline]
pub fn at(point: Point) {
    #[cfg(any(test, feature = "testing"))]
    armed::at(point);
    #[cfg(not(any(test, feature = "testing")))]
    let _ = point;
}

/// Somebody has said these words.
#[inline]
pub fn hear(words: impl FnOnce() -> String) {
    #[cfg(any(test, feature = "testing"))]
    armed::hear(words);
    #[cfg(not(any(test, feature = "testing")))]
    let _ = words;
}

/// Whether storage says that everything is durable at once and keeps it in memory for a while.
#[inline]
#[must_use]
pub fn is_careless() -> bool {
    #[cfg(any(test, feature = "testing"))]
    return armed::is_careless();
    #[cfg(not(any(test, feature = "testing")))]
    false
}

/// Whether the operating system gives no random octets.
#[inline]
#[must_use]
pub fn is_without_randomness() -> bool {
    #[cfg(any(test, feature = "testing"))]
    return armed::is_without_randomness();
    #[cfg(not(any(test, feature = "testing")))]
    false
}

#[cfg(any(test, feature = "testing"))]
pub use armed::{CARELESS, NO_RANDOMNESS, PANIC, VARIABLE};

#[cfg(any(test, feature = "testing"))]
mod armed {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::Point;

    /// The environment variable that says where: `NAME:PASSING:MICROSECONDS`, so long after so many passings. They are
    /// counted from when the file exists that is named behind another colon, if there is one. The variable is of the whole
    /// process, and so is its end.
    pub const VARIABLE: &str = "COMITY_CRASH";

    /// Its value for a storage that promises what it has not kept.
    pub const CARELESS: &str = "careless";

    /// How its value begins for a task that panics; the words at which it does so follow.
    pub const PANIC: &str = "panic:";

    /// How its value begins for a system that gives no random octets from when the file exists whose name follows.
    pub const NO_RANDOMNESS: &str = "no-randomness:";

    static MISHAP: OnceLock<Option<Mishap>> = OnceLock::new();

    #[derive(Debug)]
    enum Mishap {
        Careless,
        Panic { at: String },
        NoRandomness { file: PathBuf },
        End { at: Point, passings: AtomicU64, delay: Duration, file: Option<PathBuf> },
    }

    impl Point {
        pub const ALL: [Self; 8] = [
            Self::Commit,
            Self::Committed,
            Self::Checkpoint,
            Self::Detach,
            Self::Resume,
            Self::Settle,
            Self::Requeue,
            Self::Retention,
        ];
    }

    impl Mishap {
        fn read() -> Option<Self> {
            let text = std::env::var(VARIABLE).ok()?;
            if text == CARELESS {
                return Some(Self::Careless);
            }
            if let Some(words) = text.strip_prefix(PANIC) {
                return Some(Self::Panic { at: words.to_owned() });
            }
            if let Some(file) = text.strip_prefix(NO_RANDOMNESS) {
                return Some(Self::NoRandomness { file: PathBuf::from(file) });
            }
            let mut parts = text.splitn(4, ':');
            let name = parts.next()?;
            let at = Point::ALL.into_iter().find(|point| format!("{point:?}") == name)?;
            let mut number = || parts.next()?.parse().ok();
            let passings = AtomicU64::new(number()?);
            let delay = Duration::from_micros(number()?);
            Some(Self::End { at, passings, delay, file: parts.next().map(PathBuf::from) })
        }
    }

    fn mishap() -> Option<&'static Mishap> {
        MISHAP.get_or_init(Mishap::read).as_ref()
    }

    pub(super) fn is_careless() -> bool {
        matches!(mishap(), Some(Mishap::Careless))
    }

    pub(super) fn is_without_randomness() -> bool {
        matches!(mishap(), Some(Mishap::NoRandomness { file }) if file.exists())
    }

    #[expect(clippy::panic, reason = "that is what is asked for")]
    pub(super) fn hear(words: impl FnOnce() -> String) {
        let Some(Mishap::Panic { at }) = mishap() else { return };
        let words = words();
        if words.contains(at) {
            panic!("somebody says {words}");
        }
    }

    pub(super) fn at(point: Point) {
        let Some(Mishap::End { at, passings, delay, file }) = mishap() else { return };
        if *at != point
            || !file.as_ref().is_none_or(|file| file.exists())
            || passings.fetch_sub(1, Ordering::Relaxed) != 1
        {
            return;
        }
        let delay = *delay;
        if delay.is_zero() {
            end();
        }
        // Meanwhile it goes on, so that the end comes somewhere in the middle of what follows.
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            end();
        });
    }

    fn end() -> ! {
        // Nobody comes back from this; if somebody does, there is another way.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}
