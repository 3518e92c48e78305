//! What passwords, tokens and proofs leave behind in memory (decision 0018).
//!
//! Whatever holds one on the heap is a [`zeroize::Zeroizing`]. On the stack lie copies that nobody owns any more: registers
//! that were spilled, values that were moved, what a library has worked with.

/// Of the stack below its caller this much is overwritten: more than a login reaches, with its record of TLS.
const DEPTH: usize = 64 * 1024;

/// Overwrites what functions that have returned have left on the stack of this thread.
#[inline(never)]
pub fn wipe_stack() {
    let stack = [0_u8; DEPTH];
    std::hint::black_box(&stack);
}
