//! A value that many read while somebody replaces it: what the operator has set.
//!
//! Must never know what the value means.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

/// A value that can be replaced. Clones are handles to the same one.
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The value of this moment, for a short look: it takes no lock and counts nothing.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<T>> {
        self.0.load()
    }

    /// The value of this moment, for somebody who holds on to it while he waits.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Whoever looks from now on sees `value`.
    pub fn replace(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&*self.load()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Live;

    #[test]
    fn clones_see_what_is_new_and_holders_keep_what_they_have() {
        let one = Live::new(1);
        let (other, held) = (one.clone(), one.get());
        other.replace(2);
        assert_eq!((**one.load(), *held), (2, 1));
    }
}
