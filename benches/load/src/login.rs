//! Logins one after the other, a few at the same time: connect, TLS, authenticate, bind, close.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;

use tokio::task::spawn_local;

use crate::client::Session;
use crate::meter::{Length, Measured, measure};

/// Logins at the same time.
pub const TOGETHER: usize = 16;

/// Measures logins; `enter` makes the session of the account with this number, below `accounts`. Also tells which
/// part of the TLS sessions was resumed.
pub async fn run<F>(
    accounts: usize,
    roots: &[u32],
    length: Length,
    enter: impl Fn(usize) -> F + 'static,
) -> io::Result<(Measured, f64)>
where
    F: Future<Output = io::Result<Session>>,
{
    let enter = Rc::new(enter);
    let (done, resumed, stop) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(false)));
    let mut tasks = Vec::new();
    for first in 0..TOGETHER {
        let enter = Rc::clone(&enter);
        let (done, resumed, stop) = (Rc::clone(&done), Rc::clone(&resumed), Rc::clone(&stop));
        tasks.push(spawn_local(async move {
            let mut account = first;
            while !stop.get() {
                let session = enter(account).await?;
                if session.resumed() {
                    resumed.set(resumed.get() + 1);
                }
                session.close().await?;
                done.set(done.get() + 1);
                account = if account + TOGETHER < accounts { account + TOGETHER } else { first };
            }
            Ok::<_, io::Error>(())
        }));
    }
    let measured = measure(roots, length, || done.get(), || {}).await;
    stop.set(true);
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    let part = resumed.get() as f64 / done.get().max(1) as f64;
    Ok((measured?, part))
}
