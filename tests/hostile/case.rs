//! Cases: what is sent when, and what must come of it.

use comity::stanza::{Condition, StanzaError};

use crate::peer::{Peer, Said, well_formed};
use crate::scene::{Port, Scene, Stage, ended, let_go};

const SASL_NS: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// Follows what ends a stream, in the same segment: nobody must get it.
const TRAILER: &str =
    "<message type='chat' to='juliet@a.example' from='mallory@evil.example'><body>smuggled</body></message>";

/// What a hostile client does.
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Byte after byte, each read before the next is sent.
    Trickle(Vec<u8>),
    /// Waits for an element that is no stanza.
    Hear(&'static str),
    /// Waits for the answer to a header.
    Opened,
    /// Waits for so many stanzas.
    Stanzas(usize),
}

/// What must come of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// The stream ends with this error; a header of the server's stands before it.
    Stream(&'static str),
    /// SASL fails like this; the stream goes on and an honest login succeeds on it.
    Sasl(&'static str),
    /// The stanza is answered with this error, on the port of servers to its sender at the other
    /// server; the stream goes on.
    Stanza(&'static str),
    /// The answer is an element that contains these words; the stream goes on.
    Says([&'static str; 3]),
    /// juliet gets a message with this body from the full JID of mallory; the stream goes on.
    Reaches(&'static str),
    /// Nothing happens; the stream goes on.
    Nothing,
    /// The connection ends without another word.
    Cut,
    /// The stream is closed in good order.
    Closes,
    /// The connection, on which nothing more is sent, can be cut by the peer without effect.
    HangsUp,
}

/// One hostile act.
pub(crate) struct Case {
    pub(crate) name: String,
    stage: Stage,
    steps: Vec<Step>,
    outcome: Outcome,
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, stage: Stage, outcome: Outcome) -> Self {
        Self { name: name.into(), stage, steps: Vec::new(), outcome }
    }

    /// A case with one piece.
    pub(crate) fn sending(name: impl Into<String>, stage: Stage, bytes: impl AsRef<[u8]>, outcome: Outcome) -> Self {
        Self::new(name, stage, outcome).send(bytes)
    }

    pub(crate) fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.step(Step::Send(bytes.as_ref().to_vec()))
    }

    pub(crate) fn trickle(self, bytes: impl AsRef<[u8]>) -> Self {
        self.step(Step::Trickle(bytes.as_ref().to_vec()))
    }

    pub(crate) fn hear(self, name: &'static str) -> Self {
        self.step(Step::Hear(name))
    }

    pub(crate) fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    async fn act(&self, scene: &Scene, peer: &mut Peer) -> Result<(), String> {
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Send(bytes) if at + 1 == self.steps.len() && matches!(self.outcome, Outcome::Stream(_)) => {
                    let trailer = match scene.port {
                        Port::Client => TRAILER.replace(" from='mallory@evil.example'", ""),
                        Port::Server => TRAILER.to_owned(),
                    };
                    peer.send([bytes, trailer.as_bytes()].concat()).await;
                }
                Step::Send(bytes) => peer.send(bytes).await,
                Step::Trickle(bytes) => peer.trickle(bytes).await,
                Step::Hear(name) => drop(peer.hear(name).await?),
                Step::Stanzas(count) => {
                    for _ in 0..*count {
                        peer.stanza().await?;
                    }
                }
                Step::Opened => {
                    let Said::Header(_) = peer.next().await? else { return Err("no header came back".into()) };
                    peer.hear("features").await?;
                }
            }
        }
        Ok(())
    }

    async fn result(&self, scene: &mut Scene, mut peer: Peer) -> Result<(), String> {
        match self.outcome {
            Outcome::Stream(condition) => {
                let said = opened(&mut peer).await?;
                let Said::Error(error) = said else { return Err(format!("instead of an error: {said:?}")) };
                if error.condition.as_str() != condition {
                    return Err(format!("{error} instead of {condition}"));
                }
                ended(peer).await
            }
            Outcome::Sasl(condition) => {
                let failure = peer.hear("failure").await?;
                if failure.child(condition, SASL_NS).is_none() {
                    return Err(format!("{} instead of {condition}", failure.to_xml("")));
                }
                well_formed(&peer.heard)?;
                self.go_on(scene, peer).await
            }
            Outcome::Stanza(condition) => {
                let answer = scene.answer(&mut peer).await?;
                let error = answer.child("error", "jabber:client").and_then(StanzaError::condition_of);
                if answer.attribute("type") != Some("error") || error.map(Condition::as_str) != Some(condition) {
                    return Err(format!("{} instead of {condition}", answer.to_xml("jabber:client")));
                }
                self.go_on(scene, peer).await
            }
            Outcome::Says(words) => {
                let Said::Nonza(answer) = peer.next().await? else { return Err("no element came back".into()) };
                let answer = answer.to_xml("jabber:server");
                if let Some(missing) = words.iter().find(|word| !answer.contains(**word)) {
                    return Err(format!("{answer} without {missing}"));
                }
                self.go_on(scene, peer).await
            }
            Outcome::Reaches(body) => {
                let got = scene.reached().await.ok_or("nothing has reached juliet")?;
                let text = got.child("body", "jabber:client").map(comity::xml::Element::text);
                if (text.as_deref(), got.attribute("from")) != (Some(body), Some(scene.port.mallory())) {
                    return Err(format!("juliet got {}", got.to_xml("jabber:client")));
                }
                scene.part(peer).await
            }
            Outcome::Nothing => match peer.next().await? {
                Said::Nothing => scene.part(peer).await,
                other => Err(format!("instead of nothing: {other:?}")),
            },
            Outcome::Cut => {
                let rest = peer.rest().await.ok_or("the connection does not end")?;
                let text = String::from_utf8_lossy(&rest);
                if text.contains('<') {
                    return Err(format!("the server wrote {text:?}"));
                }
                peer.gone().await
            }
            Outcome::Closes => match opened(&mut peer).await? {
                Said::Closing => let_go(peer).await,
                other => Err(format!("instead of a closing tag: {other:?}")),
            },
            Outcome::HangsUp => peer.cut().await,
        }
    }

    /// The stream works as if nothing had happened.
    async fn go_on(&self, scene: &mut Scene, mut peer: Peer) -> Result<(), String> {
        scene.advance(&mut peer, self.stage.max(Stage::Opened), Stage::Bound).await?;
        scene.part(peer).await
    }

    async fn judge(&self, scene: &mut Scene) -> Result<(), String> {
        let mut peer = scene.arrive(self.stage).await.map_err(|problem| format!("on the way there: {problem}"))?;
        let outcome = match self.act(scene, &mut peer).await {
            Ok(()) => self.result(scene, peer).await,
            Err(problem) => Err(format!("{problem} (the connection is cut: {:?})", peer.cut().await)),
        };
        outcome.and(scene.undisturbed().await)
    }
}

/// What comes behind a header and its features, if they come.
async fn opened(peer: &mut Peer) -> Result<Said, String> {
    loop {
        match peer.next().await? {
            Said::Header(_) | Said::Features(_) => {}
            other => return Ok(other),
        }
    }
}

/// Judges every case on one server, whose witnesses see all of them.
pub(crate) async fn judge(port: Port, cases: &[Case]) {
    let mut scene = Scene::new(port).await;
    let mut failures = Vec::new();
    for case in cases {
        if let Err(problem) = case.judge(&mut scene).await {
            failures.push(format!("{} ({:?}, {:?}): {problem}", case.name, case.stage, case.outcome));
            // What one case has left behind must not be held against the next.
            scene = Scene::new(port).await;
        }
    }
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}
