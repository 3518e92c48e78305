//! Panics of this process. Each is a defect of the program; it ends the task in which it happens and nothing else, and an
//! operator sees how many there were, and where.

use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Has every panic of this process counted and its place logged from now on. What it says is nowhere: it may repeat what
/// somebody has sent.
pub fn watch() {
    std::panic::set_hook(Box::new(|panic| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic, by a defect of this server");
    }));
}

/// How many there were since [`watch`].
#[must_use]
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}
