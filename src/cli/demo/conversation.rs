//! The scripted conversation: every step is printed only after it was seen on the receiving side.

use super::client::Client;
use super::stage::Stage;
use crate::cli::output::{Failure, Output};
use crate::jid::{BareJid, Jid};
use crate::stanza::{CLIENT_NS, IqType, Kind, MessageType, PresenceType, Stanza};
use crate::xml::Element;

/// Plays all steps.
pub(super) async fn play(stage: &Stage, output: &mut Output<'_>) -> Result<(), Failure> {
    let Some((juliet, romeo)) = stage.people() else {
        return Err(Failure::Failed("a conversation needs two".into()));
    };
    let mut scene = Scene { steps: 0, output };
    let mut hers = log_in(stage, &juliet, &mut scene).await?;
    let mut his = log_in(stage, &romeo, &mut scene).await?;
    subscribe(&mut scene, (&mut his, &romeo), (&mut hers, &juliet)).await?;
    subscribe(&mut scene, (&mut hers, &juliet), (&mut his, &romeo)).await?;
    say(&mut scene, (&mut hers, &juliet), (&mut his, &romeo), "Wherefore art thou Romeo?").await?;
    say(&mut scene, (&mut his, &romeo), (&mut hers, &juliet), "Call me but love.").await?;

    his.close().await.map_err(Failure::Failed)?;
    seen(&mut hers, "he is gone", presence(PresenceType::Unavailable, &romeo)).await?;
    scene.step(format_args!("{romeo} logs out; {juliet} sees that he is gone."))?;
    let words = "Parting is such sweet sorrow.";
    hers.send(&chat(&romeo, words)).await.map_err(Failure::Failed)?;
    // Stanzas between two domains keep their order: once the ping is answered, the message is there.
    hers.send(&ping(&romeo)).await.map_err(Failure::Failed)?;
    seen(&mut hers, "his server answered", |stanza| stanza.kind == Kind::Iq(IqType::Result)).await?;
    let his = log_in(stage, &romeo, &mut scene).await?;
    let late = his.earlier(text(&juliet, words));
    let stamp =
        late.and_then(|it| it.payload.elements().iter().find_map(|it| it.attribute("stamp").map(str::to_owned)));
    let stamp = stamp.ok_or_else(|| Failure::Failed("it was not seen that the message waited".into()))?;
    scene.step(format_args!("{juliet} wrote to him meanwhile, at {stamp}; he reads it now: \"{words}\""))?;
    his.close().await.map_err(Failure::Failed)?;
    hers.close().await.map_err(Failure::Failed)?;
    scene.output.line(format_args!("\nAll {} steps were seen on the receiving side.", scene.steps))
}

/// What was shown so far.
struct Scene<'a, 'b> {
    steps: usize,
    output: &'a mut Output<'b>,
}

impl Scene<'_, '_> {
    fn step(&mut self, text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
        self.steps += 1;
        self.output.line(format_args!("{:>3}. {text}", self.steps))
    }
}

async fn log_in(stage: &Stage, person: &BareJid, scene: &mut Scene<'_, '_>) -> Result<Client, Failure> {
    let mut client = stage.log_in(person).await?;
    // Who has not asked for the roster is told nothing of subscriptions (RFC 6121 §3.1.6).
    let roster = Element::new("query", crate::accounts::roster::ROSTER_NS);
    client.send(&Stanza::new(Kind::Iq(IqType::Get)).id("roster").payload(roster)).await.map_err(Failure::Failed)?;
    let available = Stanza::new(Kind::Presence(PresenceType::Available));
    client.send(&available).await.map_err(Failure::Failed)?;
    seen(&mut client, "the own presence came back", presence(PresenceType::Available, person)).await?;
    scene.step(format_args!("{person} logs in (TLS, SCRAM with channel binding)."))?;
    Ok(client)
}

/// `one` asks to see the presence of `other`, who agrees.
async fn subscribe(
    scene: &mut Scene<'_, '_>,
    (one, asker): (&mut Client, &BareJid),
    (other, asked): (&mut Client, &BareJid),
) -> Result<(), Failure> {
    let to = |kind, to: &BareJid| Stanza::new(Kind::Presence(kind)).to(Jid::from(to.clone()));
    one.send(&to(PresenceType::Subscribe, asked)).await.map_err(Failure::Failed)?;
    seen(other, "the request arrived", presence(PresenceType::Subscribe, asker)).await?;
    scene.step(format_args!("{asker} asks to see the presence of {asked}, who is asked."))?;
    other.send(&to(PresenceType::Subscribed, asker)).await.map_err(Failure::Failed)?;
    seen(one, "the approval arrived", presence(PresenceType::Subscribed, asked)).await?;
    seen(one, "the presence arrived", presence(PresenceType::Available, asked)).await?;
    scene.step(format_args!("{asked} agrees; {asker} sees that {asked} is online."))
}

async fn say(
    scene: &mut Scene<'_, '_>,
    (one, from): (&mut Client, &BareJid),
    (other, to): (&mut Client, &BareJid),
    words: &str,
) -> Result<(), Failure> {
    one.send(&chat(to, words)).await.map_err(Failure::Failed)?;
    seen(other, "the message arrived", text(from, words)).await?;
    scene.step(format_args!("{from} writes and {to} reads: \"{words}\""))
}

async fn seen(
    client: &mut Client,
    what: &str,
    wanted: impl Fn(&Stanza<'_>) -> bool,
) -> Result<Stanza<'static>, Failure> {
    client.until(what, wanted).await.map_err(Failure::Failed)
}

fn chat(to: &BareJid, words: &str) -> Stanza<'static> {
    let body = Element::new("body", CLIENT_NS).with_text(words);
    Stanza::new(Kind::Message(MessageType::Chat)).to(Jid::from(to.clone())).payload(body)
}

fn ping(to: &BareJid) -> Stanza<'static> {
    let to = BareJid::of_domain(to.domain()).ok().map(Jid::from);
    let ping = Element::new("ping", crate::extensions::PING_NS);
    Stanza::new(Kind::Iq(IqType::Get)).id("arrived").to(to).payload(ping)
}

fn is_from(stanza: &Stanza<'_>, person: &BareJid) -> bool {
    stanza.from.as_ref().is_some_and(|from| from.bare_str() == person.as_str())
}

fn presence(kind: PresenceType, person: &BareJid) -> impl Fn(&Stanza<'_>) -> bool {
    move |stanza| stanza.kind == Kind::Presence(kind) && is_from(stanza, person)
}

fn text(person: &BareJid, words: &str) -> impl Fn(&Stanza<'_>) -> bool {
    move |stanza| {
        matches!(stanza.kind, Kind::Message(MessageType::Chat))
            && is_from(stanza, person)
            && stanza.payload.elements().iter().any(|it| it.is("body", CLIENT_NS) && it.text() == words)
    }
}
