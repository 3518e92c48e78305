//! Panics of tasks, which nobody else would hear of.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// How many there were in this thread since it has asked for the first time. Other tests have other threads.
pub fn panics() -> usize {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            HERE.with(|here| here.set(here.get() + 1));
            before(info);
        }));
    });
    HERE.get()
}
