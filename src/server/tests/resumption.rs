//! Two whole servers that count each other's stanzas (XEP-0198), and a line between them that breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split};
use tokio::sync::watch;
use tokio::time::sleep;

use super::Node;
use crate::session::Security;
use crate::testing::{Client, World, served};

const HERE: &str = "here.example";
const THERE: &str = "there.example";

/// What a line does with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// What goes there arrives, no answer comes back.
    Deaf,
    /// What goes there is lost.
    Swallowing,
    /// The connection is gone, and no other can be had.
    Cut,
}

/// Both ends of one direction.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    lost_in: &[Line],
    line: watch::Receiver<Line>,
) {
    let (mut buffer, mut news) = (vec![0; 4096], line.clone());
    loop {
        let cut = async {
            let _ = news.wait_for(|line| *line == Line::Cut).await;
        };
        let count = tokio::select! {
            biased;
            () = cut => return,
            read = from.read(&mut buffer) => read.unwrap_or(0),
        };
        let is_lost = lost_in.contains(&line.borrow());
        if count == 0 || (!is_lost && to.write_all(&buffer[..count]).await.is_err()) {
            return;
        }
    }
}

/// Has everybody reach `node`, at `address`, by a line.
fn behind(world: &World, address: SocketAddr, node: &Arc<Node>) -> watch::Sender<Line> {
    let mut incoming = world.net.listen(address);
    let node = Arc::clone(node);
    let (state, line) = watch::channel(Line::Open);
    tokio::spawn(async move {
        while let Some(io) = incoming.recv().await {
            let (near, far) = duplex(64 * 1024);
            let (node, line) = (Arc::clone(&node), line.clone());
            tokio::spawn(async move { node.serve_peer(served(far), Security::StartTls).await });
            tokio::spawn(async move {
                let ((from, back), (answers, to)) = (split(io), split(near));
                tokio::select! {
                    () = pass(from, to, &[Line::Swallowing], line.clone()) => {}
                    () = pass(answers, back, &[Line::Swallowing, Line::Deaf], line) => {}
                }
            });
        }
    });
    state
}

/// A client at each end, and the line from here to there.
struct Stage {
    world: World,
    romeo: Client,
    juliet: Client,
    line: watch::Sender<Line>,
    sent: usize,
    got: Vec<usize>,
}

impl Stage {
    async fn new() -> Self {
        let mut world = World::new();
        world.server(HERE).unwrap();
        let there = world.server(THERE).unwrap();
        let line = behind(&world, SocketAddr::from(([192, 0, 2, 2], 5269)), &there);
        let mut romeo = world.login(&format!("romeo@{HERE}/orchard").parse().unwrap()).await.unwrap();
        let mut juliet = world.login(&format!("juliet@{THERE}/balcony").parse().unwrap()).await.unwrap();
        romeo.send("<enable xmlns='urn:xmpp:sm:3'/>").await;
        juliet.send("<presence/>").await;
        world.settle().await;
        Self { world, romeo, juliet, line, sent: 0, got: Vec::new() }
    }

    /// A server has started: its clients log in again.
    async fn restart(&mut self, domain: &str) {
        self.world.restart(domain).await.unwrap();
        if domain == HERE {
            self.romeo = self.world.login(&format!("romeo@{HERE}/orchard").parse().unwrap()).await.unwrap();
            self.romeo.send("<enable xmlns='urn:xmpp:sm:3'/>").await;
        } else {
            self.juliet = self.world.login(&format!("juliet@{THERE}/balcony").parse().unwrap()).await.unwrap();
            self.juliet.send("<presence/>").await;
        }
    }

    async fn send(&mut self, count: usize) {
        for _ in 0..count {
            let id = self.sent;
            let message = format!("<message to='juliet@{THERE}' type='chat' id='{id}'><body>{id}</body></message>");
            self.romeo.send(&message).await;
            self.sent += 1;
        }
        self.world.settle().await;
    }

    /// Everything that was sent has come, once and in order, and nothing else.
    async fn check(&mut self) {
        sleep(Duration::from_secs(20)).await;
        while let Some(element) = self.juliet.received() {
            if element.name() == "message" {
                self.got.push(element.attribute("id").unwrap().parse().unwrap());
            }
        }
        assert_eq!(self.got, (0..self.sent).collect::<Vec<_>>());
        // Who says something has got what came before.
        self.juliet.send("<iq type='get' id='there'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        self.world.settle().await;
        while let Some(element) = self.romeo.received() {
            assert_ne!(element.name(), "message", "{}", element.to_xml(""));
        }
    }

    /// Whether anything waits.
    fn left(&mut self, domain: &str) -> usize {
        let node = self.world.server(domain).unwrap();
        node.federation.queued()
    }
}

// Proves: XEP-0198 §4
#[tokio::test(start_paused = true)]
async fn what_another_server_has_counted_is_done_with() {
    let mut stage = Stage::new().await;
    stage.send(300).await;
    stage.check().await;
    assert_eq!(stage.left(HERE), 0);
    // And the other way, on a stream of its own.
    stage.juliet.send("<enable xmlns='urn:xmpp:sm:3'/>").await;
    stage.juliet.send(&format!("<message to='romeo@{HERE}/orchard' type='chat' id='x'><body>x</body></message>")).await;
    stage.world.settle().await;
    assert!(stage.romeo.pick(|element| element.attribute("id") == Some("x")).is_some());
    assert_eq!(stage.left(THERE), 0);
}

// Proves: XEP-0198 §5
#[tokio::test(start_paused = true)]
async fn a_stream_whose_line_breaks_goes_on_without_gap_or_repetition() {
    let mut stage = Stage::new().await;
    for broken in [Line::Swallowing, Line::Deaf] {
        stage.send(20).await;
        stage.line.send_replace(broken);
        stage.send(20).await;
        assert!(stage.left(HERE) > 0);
        stage.line.send_replace(Line::Cut);
        stage.world.settle().await;
        stage.line.send_replace(Line::Open);
        stage.send(20).await;
        stage.check().await;
    }
    assert_eq!(stage.left(HERE), 0);
}

// Proves: XEP-0198 §5
#[tokio::test(start_paused = true)]
async fn a_server_that_restarts_goes_on_with_the_streams_of_others() {
    let mut stage = Stage::new().await;
    stage.send(20).await;
    stage.line.send_replace(Line::Deaf);
    stage.send(20).await;
    stage.line.send_replace(Line::Cut);
    stage.check().await;
    // The new server is found where the line was.
    stage.restart(THERE).await;
    stage.send(20).await;
    stage.check().await;
    assert_eq!(stage.left(HERE), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_server_had_before_it_restarted_comes_once_although_nobody_knows_the_stream() {
    let mut stage = Stage::new().await;
    // A link on which nothing is counted yet.
    stage.romeo.send(&format!("<iq type='get' id='i' to='{THERE}'><ping xmlns='urn:xmpp:ping'/></iq>")).await;
    stage.world.settle().await;
    stage.line.send_replace(Line::Deaf);
    stage.send(100).await;
    stage.line.send_replace(Line::Cut);
    // What has come is there, and the answer that names the stream is not here.
    stage.check().await;
    assert!(stage.left(HERE) > 0);
    stage.restart(THERE).await;
    stage.send(20).await;
    stage.check().await;
    assert_eq!(stage.left(HERE), 0);
}

#[tokio::test(start_paused = true)]
async fn what_has_come_comes_once_although_both_servers_have_restarted() {
    let mut stage = Stage::new().await;
    stage.send(20).await;
    stage.line.send_replace(Line::Deaf);
    for count in 1..20 {
        stage.send(count).await;
    }
    stage.line.send_replace(Line::Cut);
    stage.check().await;
    // For longer than any stream may be resumed.
    sleep(Duration::from_secs(1800)).await;
    stage.restart(THERE).await;
    stage.restart(HERE).await;
    stage.send(20).await;
    stage.check().await;
    assert_eq!(stage.left(HERE), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_server_sends_once_more_after_it_has_restarted_comes_once() {
    let mut stage = Stage::new().await;
    stage.send(20).await;
    stage.line.send_replace(Line::Deaf);
    stage.send(20).await;
    stage.line.send_replace(Line::Cut);
    stage.send(20).await;
    stage.restart(HERE).await;
    stage.line.send_replace(Line::Open);
    stage.send(20).await;
    stage.check().await;
    assert_eq!(stage.left(HERE), 0);
}
