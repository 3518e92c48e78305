//! Storage that writes when the test says so.

use std::pin::pin;
use std::time::Duration;

use crate::storage::Stepper;

/// Runs `work` while storage writes, every ten milliseconds.
pub async fn writing<T>(stepper: &mut Stepper, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => break done,
            () = tokio::time::sleep(Duration::from_millis(10)) => stepper.step(),
        }
    }
}
