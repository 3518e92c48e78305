//! Where a test listens to what is written on a stream, before it is encrypted. In a server that is
//! not built for tests there is nothing here: no field, no code.

use std::io;
use std::task::Poll;

/// Is told what is written.
#[cfg(any(test, feature = "testing"))]
pub type Listener = Box<dyn FnMut(&[u8]) + Send>;

/// The place of a listener.
#[derive(Default)]
pub(super) struct Tap {
    /// In a box of its own: it is seldom there.
    #[cfg(any(test, feature = "testing"))]
    pub(super) listener: Option<Box<Listener>>,
}

impl Tap {
    /// A front part of `bytes` has been `taken`.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn wrote(&mut self, bytes: &[u8], taken: &Poll<io::Result<usize>>) {
        if let (Some(listener), Poll::Ready(Ok(length))) = (&mut self.listener, taken) {
            listener(bytes.get(..*length).unwrap_or(bytes));
        }
    }

    /// Nobody listens.
    #[cfg(not(any(test, feature = "testing")))]
    pub(super) const fn wrote(&mut self, _: &[u8], _: &Poll<io::Result<usize>>) {}
}
