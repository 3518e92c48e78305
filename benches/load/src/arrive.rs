//! How clients come and go: one, pairs, many at the same time.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::task::spawn_local;

use crate::chat::{self, Pair};
use crate::client::{Begin, Kit, Session, Site};
use crate::servers::{Make, Server};

/// Pairs that chat.
pub const PAIRS: usize = 100;

/// Does all of these at the same time.
pub async fn together<F, T>(tasks: impl Iterator<Item = F>) -> io::Result<Vec<T>>
where
    F: Future<Output = io::Result<T>> + 'static,
    T: 'static,
{
    let tasks: Vec<_> = tasks.map(spawn_local).collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await.map_err(io::Error::other)??);
    }
    Ok(done)
}

/// How many come at the same time where nothing is measured and many would be too many.
const SOME: usize = 16;

/// Does all of these, some at the same time; what came of them is in their order.
pub async fn some_together<F, T>(mut tasks: impl Iterator<Item = F>) -> io::Result<Vec<T>>
where
    F: Future<Output = io::Result<T>> + 'static,
    T: 'static,
{
    let (mut under_way, mut done) = (VecDeque::new(), Vec::new());
    loop {
        under_way.extend(tasks.by_ref().take(SOME - under_way.len()).map(spawn_local));
        let Some(task) = under_way.pop_front() else { return Ok(done) };
        done.push(task.await.map_err(io::Error::other)??);
    }
}

/// How the session with a number comes into being: an account of this kind, or a connection to a floor.
pub fn enter(
    server: &Server,
    kit: &Kit,
    role: u8,
    group: u64,
    kind: char,
    begin: Begin,
) -> impl Fn(usize) -> Pin<Box<dyn Future<Output = io::Result<Session>>>> + use<> {
    let (site, floor, kit): (Site, bool, Kit) = (server.site.clone(), server.make == Make::Floor, kit.clone());
    move |number| {
        let (site, kit) = (site.clone(), kit.clone());
        Box::pin(async move {
            if floor {
                return Session::floor(&site, role, group, &kit).await;
            }
            let mut session = Session::login(&site, begin, &format!("{kind}{number}"), &kit).await?;
            session.appear().await?;
            Ok(session)
        })
    }
}

/// One whose presence goes to so many members of a group.
pub fn source(
    server: &Server,
    kit: &Kit,
    group: u64,
    contacts: usize,
) -> impl Future<Output = io::Result<Session>> + use<> {
    enter(server, kit, b'S', group | contacts as u64, 'p', Begin::Direct)(contacts)
}

/// Pairs of accounts of this kind from the pair with number `first`, one of each on one server, the other on the other,
/// which may be the same.
pub fn pair_up(
    near: &Server,
    far: &Server,
    kit: &Kit,
    group: u64,
    kind: char,
    first: usize,
) -> impl Future<Output = io::Result<Vec<Pair>>> + use<> {
    let role = if near.archive { b'A' } else { b'R' };
    let enter = |server, number| enter(server, kit, role, group | number, kind, Begin::Direct);
    let doors: Vec<_> = (0..PAIRS as u64).map(|number| (enter(near, number), enter(far, number))).collect();
    let domain = far.site.domain.clone();
    let coming = (first..).zip(doors).map(move |(number, (from, to))| {
        let message = chat::message(&format!("{kind}{}@{domain}/r", 2 * number + 1));
        async move {
            let (from, to) = (from(2 * number).await?, to(2 * number + 1).await?);
            Ok(Pair { from, to, message, acks: None })
        }
    });
    some_together(coming)
}

/// Everybody in these pairs leaves.
pub async fn close(pairs: impl Iterator<Item = Pair>) -> io::Result<()> {
    together(pairs.flat_map(|pair| [pair.from.close(), pair.to.close()])).await.map(drop)
}
