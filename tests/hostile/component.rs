//! Hostile programs on the port of components (XEP-0114), where nothing is encrypted.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::markup::{ROWS, Row};
use crate::peer::{Peer, Said};
use crate::scene::{Port, Scene, ended};

const SECRET: &str = "sesame";

const CONFIG: &str =
    "[[components]]\nname = \"irc.a.example\"\nsecret = \"sesame\"\nstanza = 10000\n[archive]\nenabled = false\n";

/// Follows what ends a stream, in the same segment: nobody must get it.
const TRAILER: &str =
    "<message type='chat' to='juliet@a.example' from='x@irc.a.example'><body>smuggled</body></message>";

/// How far an honest component has come before it turns hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing has been said.
    Connected,
    /// The stream is open.
    Opened,
    /// The component has proven who it is.
    Proven,
}

use Stage::{Connected, Opened, Proven};

/// One hostile act, and the error that ends the stream.
struct Case {
    name: String,
    stage: Stage,
    bytes: Vec<u8>,
    condition: &'static str,
}

fn case(name: impl Into<String>, stage: Stage, bytes: impl AsRef<[u8]>, condition: &'static str) -> Case {
    Case { name: name.into(), stage, bytes: bytes.as_ref().to_vec(), condition }
}

fn header(content: &str, attributes: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='{content}' \
         xmlns:stream='http://etherx.jabber.org/streams' {attributes}>"
    )
}

fn honest_header() -> String {
    header("jabber:component:accept", "to='irc.a.example'")
}

fn handshake(id: &str, secret: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{id}{secret}").as_bytes());
    let key: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("<handshake>{key}</handshake>")
}

fn message(attributes: &str, body: &str) -> String {
    format!("<message type='chat' {attributes}><body>{body}</body></message>")
}

/// A connection that has come to `stage`.
async fn arrive(scene: &Scene, stage: Stage) -> Result<Peer, String> {
    let mut peer = scene.dial_component().await;
    if stage >= Opened {
        peer.send(honest_header()).await;
        let Said::Header(header) = peer.next().await? else { return Err("no header came back".into()) };
        if stage >= Proven {
            peer.send(handshake(&header.id.ok_or("a header without id")?, SECRET)).await;
            peer.hear("handshake").await?;
        }
    }
    Ok(peer)
}

impl Case {
    async fn act(&self, scene: &Scene) -> Result<(), String> {
        let mut peer = arrive(scene, self.stage).await?;
        peer.send([&self.bytes, TRAILER.as_bytes()].concat()).await;
        let said = match peer.next().await? {
            Said::Header(_) => peer.next().await?,
            other => other,
        };
        let Said::Error(error) = said else { return Err(format!("instead of an error: {said:?}")) };
        if error.condition.as_str() != self.condition {
            return Err(format!("{error} instead of {}", self.condition));
        }
        ended(peer).await
    }
}

/// Judges every case on one server, whose witnesses see all of them.
async fn judge(cases: &[Case]) {
    let mut scene = Scene::configured(Port::Client, CONFIG).await;
    let mut failures = Vec::new();
    for case in cases {
        let outcome = case.act(&scene).await.and(scene.undisturbed().await);
        // The place of the component is free again: an honest one gets it.
        let honest = match arrive(&scene, Proven).await {
            Ok(peer) => peer.cut().await,
            Err(problem) => Err(format!("and then: {problem}")),
        };
        scene.world.settle().await;
        if let Err(problem) = outcome.and(honest) {
            failures.push(format!("{} ({:?}, {}): {problem}", case.name, case.stage, case.condition));
            scene = Scene::configured(Port::Client, CONFIG).await;
        }
    }
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// The rows that mean the same on every port.
fn markup_at(stage: Stage) -> Vec<Case> {
    let everywhere = |row: &&Row| !row.class.starts_with("namespaces") && !row.class.starts_with("first-level");
    let named = |row: &Row| format!("class {}: {}", row.class, String::from_utf8_lossy(row.bytes));
    ROWS.iter().filter(everywhere).map(|row| case(named(row), stage, row.bytes, row.condition)).collect()
}

#[tokio::test(start_paused = true)]
async fn markup_before_the_handshake() {
    judge(&markup_at(Opened)).await;
}

#[tokio::test(start_paused = true)]
async fn markup_of_a_component() {
    judge(&markup_at(Proven)).await;
}

// Proves: XEP-0114 §3
#[tokio::test(start_paused = true)]
async fn headers() {
    let to = "to='irc.a.example'";
    let long = "x".repeat(5000);
    judge(&[
        case("a client", Connected, header("jabber:client", to), "invalid-namespace"),
        case("a server", Connected, header("jabber:server", to), "invalid-namespace"),
        case("the other method", Connected, header("jabber:component:connect", to), "invalid-namespace"),
        case("HTTP", Connected, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "bad-format"),
        case("nobody", Connected, header("jabber:component:accept", "to='x.a.example'"), "host-unknown"),
        case("a domain of accounts", Connected, header("jabber:component:accept", "to='a.example'"), "host-unknown"),
        case("no address", Connected, header("jabber:component:accept", "to='@@'"), "host-unknown"),
        case("to nobody", Connected, header("jabber:component:accept", ""), "improper-addressing"),
        case("too long", Connected, header("jabber:component:accept", &format!("{to} x='{long}'")), "policy-violation"),
    ])
    .await;
}

// Proves: XEP-0114 §3
#[tokio::test(start_paused = true)]
async fn before_the_handshake() {
    let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
    judge(&[
        case("the secret itself", Opened, "<handshake>sesame</handshake>", "not-authorized"),
        case("no key", Opened, "<handshake/>", "not-authorized"),
        case("a key for another stream", Opened, handshake("x", SECRET), "not-authorized"),
        case("a key without secret", Opened, handshake("", SECRET), "not-authorized"),
        case("a stanza", Opened, message("to='juliet@a.example' from='x@irc.a.example'", "x"), "not-authorized"),
        case("a stanza that is wrong", Opened, message("to='@' from='x@irc.a.example'", "x"), "not-authorized"),
        case("STARTTLS, which there is not", Opened, starttls, "not-authorized"),
        case("SASL, which there is not", Opened, auth, "not-authorized"),
        case("more than a stranger may", Opened, format!("<handshake>{}", "0".repeat(9000)), "policy-violation"),
    ])
    .await;
}

// Proves: XEP-0114 §3
#[tokio::test(start_paused = true)]
async fn as_a_component() {
    let to = "to='juliet@a.example'";
    judge(&[
        case("as an account", Proven, message(&format!("{to} from='romeo@a.example'"), "x"), "invalid-from"),
        case("as the server", Proven, message(&format!("{to} from='a.example'"), "x"), "invalid-from"),
        case("as somebody below it", Proven, message(&format!("{to} from='x@y.irc.a.example'"), "x"), "invalid-from"),
        case("as somebody elsewhere", Proven, message(&format!("{to} from='x@evil.example'"), "x"), "invalid-from"),
        case("as an account, to nobody", Proven, message("to='@' from='romeo@a.example'", "x"), "invalid-from"),
        case("as nobody", Proven, message(to, "x"), "improper-addressing"),
        case("to nobody", Proven, message("from='x@irc.a.example'", "x"), "improper-addressing"),
        case(
            "more than it may",
            Proven,
            message(&format!("{to} from='x@irc.a.example'"), &"x".repeat(10_000)),
            "policy-violation",
        ),
        case("a second handshake", Proven, "<handshake/>", "unsupported-stanza-type"),
        case("an element nobody knows", Proven, "<x xmlns='urn:example'/>", "unsupported-stanza-type"),
        case("text", Proven, "x", "bad-format"),
        case(
            "a stanza of clients",
            Proven,
            "<message xmlns='jabber:client' to='juliet@a.example' from='x@irc.a.example'><body>x</body></message>",
            "invalid-namespace",
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stranger_has_not_for_ever() {
    let mut scene = Scene::configured(Port::Client, CONFIG).await;
    for stage in [Connected, Opened] {
        let mut peer = arrive(&scene, stage).await.expect("a connection");
        tokio::time::sleep(scene.deadline()).await;
        assert!(matches!(peer.next().await, Ok(Said::End)), "{stage:?}");
        peer.gone().await.expect("the server lets go");
        scene.undisturbed().await.expect("nobody has noticed");
    }
    // Who has proven to be somebody may be silent.
    let mut peer = arrive(&scene, Proven).await.expect("a component");
    tokio::time::sleep(2 * scene.deadline()).await;
    assert!(matches!(peer.next().await, Ok(Said::Nothing)));
    peer.cut().await.expect("the server lets go");
    scene.undisturbed().await.expect("nobody has noticed");
}
