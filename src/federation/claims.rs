//! Keys of ours that another server is about to judge (XEP-0220 §2.1.1), each made for the id that it has given its stream. A
//! server that asks about one of them with another id can only be told that it is wrong; then the fault is its own.
//!
//! It must never decide whether a key is right.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::federation::xep_0220_dialback::Signer;
use crate::routing::Pair;

/// All that nobody has answered yet.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<Vec<Arc<Open>>>);

#[derive(Debug)]
struct Open {
    pair: Pair,
    id: String,
    /// The other server has asked about the key with another id.
    is_misread: AtomicBool,
}

/// One of them; it is forgotten with this.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Arc<Claims>,
    open: Arc<Open>,
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Open>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key for stream `id` is on its way to `pair.remote`.
    pub(crate) fn open(self: &Arc<Self>, pair: &Pair, id: &str) -> Claim {
        let open = Arc::new(Open { pair: pair.clone(), id: id.to_owned(), is_misread: AtomicBool::new(false) });
        self.lock().push(Arc::clone(&open));
        Claim { claims: Arc::clone(self), open }
    }

    /// `pair.remote` has asked about a key that is not the one for the id that it has named.
    pub(crate) fn note(&self, pair: &Pair, key: &str, secret: &Signer) {
        for open in self.lock().iter().filter(|open| open.pair == *pair) {
            if secret.verify(&pair.remote, &pair.local, &open.id, key) {
                open.is_misread.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Claim {
    /// Whether the other server has mixed up its streams.
    pub(crate) fn is_misread(&self) -> bool {
        self.open.is_misread.load(Ordering::Relaxed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().retain(|open| !Arc::ptr_eq(open, &self.open));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_of_an_open_claim_shows_that_ids_are_mixed_up() {
        let (claims, secret) = (Arc::<Claims>::default(), Signer::new(b"secret"));
        let pair = |remote: &str| Pair { local: "here.example".into(), remote: remote.into() };
        let key = |remote: &str, id: &str| secret.key(remote, "here.example", id);
        let claim = claims.open(&pair("there.example"), "1");
        claims.note(&pair("there.example"), &key("there.example", "2"), &secret);
        claims.note(&pair("other.example"), &key("there.example", "1"), &secret);
        claims.note(&pair("there.example"), "", &secret);
        assert!(!claim.is_misread());
        claims.note(&pair("there.example"), &key("there.example", "1"), &secret);
        assert!(claim.is_misread());
        drop(claim);
        assert!(claims.lock().is_empty());
    }
}
