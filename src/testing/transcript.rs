//! Wire transcripts: what named clients send and receive, readable without knowing the server.
//!
//! ```text
//! # Lines that begin with # are comments; indented lines continue the one before.
//! server verona.example: [limits] roster_items = 9; offline_messages = 9     its configuration
//! account juliet@verona.example               who logs in has an account anyway
//! romeo@verona.example <-> juliet@verona.example   see each other's presence, since long ago
//! romeo@verona.example -> juliet@verona.example    he sees hers; both before anybody logs in
//! romeo = romeo@verona.example/orchard        logs in and binds; the account and its server are made
//! romeo = romeo@verona.example/orchard interested available     has got the roster, sent presence
//! romeo = romeo@verona.example with <bind xmlns='urn:xmpp:bind:0'/>    by SASL2, and this is what he asks for besides;
//!                                             what comes of it comes next
//! romeo = romeo@verona.example token $t with <fast xmlns='urn:xmpp:fast:0'/>      the same with a token
//! irc = component irc.verona.example          connects as a component of the server above
//! romeo> <presence/>                          sends
//! romeo> 20 x <presence/>                     sends it as often
//! romeo< <presence from='*' to='*'/>          the next stanza that comes, `*` for any value
//! romeo< 20 x <presence from='*' to='*'/>     as often
//! romeo< <presence id='$x' from='*' to='*'/>  any value, which is called $x in what follows
//! romeo<~ <presence from='*' to='*'/>         comes now, the order does not matter
//! romeo<~ 20 x <presence from='*' to='*'/>    as often
//! juliet< nothing                             nothing has come, nor will come of what was sent so far
//! juliet< anything                            whatever has come so far
//! romeo closes                                the stream is closed in order
//! romeo vanishes                              the connection is cut
//! romeo resumes                               asks for his session on a new connection (XEP-0198) and
//!                                             says that he has handled what has come
//! romeo resumes h=2                           says another number
//! tybalt resumes romeo                        asks for that session, with his own password if he has
//!                                             logged in, otherwise with romeo's
//! romeo stalls                                reads nothing more, until:
//! romeo reads on
//! wait 90                                     seconds
//! restart verona.example                      its clients are gone, its storage is not; who had a session
//!                                             may resume it
//! ```
//! At the end nobody may have received anything that the transcript does not tell.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::Client;
use super::pattern::{mismatch, name_values};
use super::world::{Options, World};
use crate::accounts::roster::ROSTER_NS;
use crate::jid::{BareJid, Jid};
use crate::stanza::CLIENT_NS;
use crate::stream::STREAMS_NS;
use crate::xml::Element;

/// Plays a transcript.
///
/// # Panics
/// Where the server does not do what the transcript says; the message names the line.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub async fn run(script: &str) {
    let mut stage =
        Stage { world: World::new(), clients: BTreeMap::new(), former: BTreeMap::new(), names: BTreeMap::new() };
    for (number, line) in logical_lines(script) {
        // Longer names first, so that none is taken for the beginning of another.
        let line = stage.names.iter().rev().fold(line, |line, (name, value)| line.replace(name, value));
        if let Err(problem) = stage.play(&line).await {
            panic!("line {number}: {line}\n{problem}");
        }
    }
    stage.world.settle().await;
    for (name, client) in &mut stage.clients {
        if let Some(found) = client.received() {
            panic!("at the end {name} has received {}, which the transcript does not tell", found.to_xml(CLIENT_NS));
        }
    }
}

struct Stage {
    world: World,
    clients: BTreeMap<String, Client>,
    /// Those of servers that have been restarted since.
    former: BTreeMap<String, Client>,
    /// Values that came, by what the transcript calls them.
    names: BTreeMap<String, String>,
}

impl Stage {
    async fn play(&mut self, line: &str) -> Result<(), String> {
        if let Some((one, other)) = line.split_once("<->").filter(|_| !line.contains("< ")) {
            let (one, other) = (bare(one)?, bare(other)?);
            self.world.subscribe(&one, &other).await?;
            return self.world.subscribe(&other, &one).await;
        }
        if let Some((subscriber, contact)) = line.split_once(" -> ").filter(|_| !line.contains('<')) {
            return self.world.subscribe(&bare(subscriber)?, &bare(contact)?).await;
        }
        match line.split_once(' ') {
            Some(("server", rest)) => {
                let (domain, config) = rest.split_once(':').ok_or("a server has a configuration")?;
                let config = config.trim().replacen("] ", "]\n", 1).replace("; ", "\n");
                self.world.server_with(domain.trim(), &Options { config }).map(drop)
            }
            Some(("account", jid)) => self.world.account(&bare(jid)?.into()).await,
            Some(("wait", seconds)) => {
                let time = Duration::from_secs(seconds.trim().parse().map_err(|_| "wait how many seconds?")?);
                self.world.clock.advance(time);
                tokio::time::sleep(time).await;
                Ok(())
            }
            Some(("restart", domain)) => {
                let domain = domain.trim();
                self.world.restart(domain).await?;
                let here = |client: &Client| client.jid.as_ref().is_some_and(|jid| jid.domain() == domain);
                self.former.extend(self.clients.extract_if(.., |_, client| here(client)));
                Ok(())
            }
            _ => self.client(line).await,
        }
    }

    async fn client(&mut self, line: &str) -> Result<(), String> {
        let (name, rest) = line.split_at(line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len()));
        let rest = rest.trim();
        if let Some(login) = rest.strip_prefix('=') {
            return self.log_in(name, login.trim()).await;
        }
        if let Some(whose) = rest.strip_prefix("resumes") {
            return self.resume(name, whose.trim()).await;
        }
        let world = &self.world;
        let client = self.clients.get_mut(name).ok_or_else(|| format!("nobody is called {name}"))?;
        match rest {
            "closes" => client.close().await,
            "vanishes" => client.vanish(),
            "stalls" => client.stall(),
            "reads on" => client.read_on(),
            "< nothing" => {
                world.settle().await;
                match client.received() {
                    Some(found) => return Err(format!("received {}", found.to_xml(CLIENT_NS))),
                    None => return Ok(()),
                }
            }
            "< anything" => {
                world.settle().await;
                while client.received().is_some() {}
                return Ok(());
            }
            _ => return exchange(world, client, rest, &mut self.names).await,
        }
        world.settle().await;
        Ok(())
    }

    async fn resume(&mut self, name: &str, how: &str) -> Result<(), String> {
        let handled = how.strip_prefix("h=").map(str::parse).transpose().map_err(|_| "h is a number")?;
        let whose = if handled.is_some() || how.is_empty() { name } else { how };
        let find = |name| self.clients.get(name).or_else(|| self.former.get(name));
        let session = find(whose).ok_or_else(|| format!("nobody is called {whose}"))?;
        let jid = find(name).unwrap_or(session).jid.clone().ok_or("a client has an address")?;
        let connection = self.world.authenticated(&jid).await?;
        let find = |name| self.clients.get(name).or_else(|| self.former.get(name));
        let session = find(whose).ok_or("somebody is gone")?;
        let mut client = session.resume(connection, handled).await;
        if let Some(mut old) = self.clients.remove(name) {
            old.vanish();
            client.inherit(old);
        }
        self.clients.insert(name.to_owned(), client);
        self.world.settle().await;
        Ok(())
    }

    async fn log_in(&mut self, name: &str, login: &str) -> Result<(), String> {
        if let Some(component) = login.strip_prefix("component ") {
            let client = self.world.component(component.trim()).await?;
            self.clients.insert(name.to_owned(), client);
            return Ok(());
        }
        if let Some((who, wishes)) = login.split_once(" with ") {
            let (jid, token) = who.split_once(" token ").map_or((who, None), |(jid, token)| (jid, Some(token.trim())));
            let jid = jid.trim().parse().map_err(|error| format!("{error}"))?;
            let client = self.world.enter(&jid, token, wishes).await?;
            self.clients.insert(name.to_owned(), client);
            return Ok(());
        }
        let mut words = login.split_whitespace();
        let jid: Jid = words.next().unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
        let mut client = self.world.login(&jid).await?;
        for word in words {
            let (sent, answer) = match word {
                "interested" => {
                    let get = format!("<iq type='get' id='roster'><query xmlns='{ROSTER_NS}'/></iq>");
                    (get, "<iq type='result' id='roster' from='*' to='*'>*</iq>".to_owned())
                }
                "available" => {
                    let own = client.jid.as_ref().unwrap_or(&jid);
                    ("<presence/>".to_owned(), format!("<presence from='{own}' to='{}'/>", own.bare_str()))
                }
                _ => return Err(format!("{word}: a client is interested or available")),
            };
            client.send(&sent).await;
            self.world.settle().await;
            let expected = parse(&answer)?;
            client.pick(|found| mismatch(&expected, found).is_none()).ok_or_else(|| format!("{word}: no answer"))?;
        }
        self.clients.insert(name.to_owned(), client);
        Ok(())
    }
}

async fn exchange(
    world: &World,
    client: &mut Client,
    rest: &str,
    names: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    if let Some(xml) = rest.strip_prefix('>') {
        let (times, xml) = repeated(xml);
        for _ in 0..times {
            client.send(xml).await;
        }
        return Ok(());
    }
    let Some(xml) = rest.strip_prefix('<') else { return Err("this is no line of a transcript".into()) };
    world.settle().await;
    if let Some(xml) = xml.strip_prefix('~') {
        let (times, xml) = repeated(xml);
        let expected = parse(xml)?;
        if (0..times).all(|_| client.pick(|found| mismatch(&expected, found).is_none()).is_some()) {
            return Ok(());
        }
        let next = client.received().map_or_else(|| "nothing".to_owned(), |found| found.to_xml(CLIENT_NS));
        return Err(format!("it has not come; next is {next}"));
    }
    let (times, xml) = repeated(xml);
    let expected = parse(xml)?;
    for _ in 0..times {
        let found = client.received().ok_or("nothing was received")?;
        if let Some(difference) = mismatch(&expected, &found) {
            return Err(format!("received {}\n{difference}", found.to_xml(CLIENT_NS)));
        }
        name_values(&expected, &found, names);
    }
    Ok(())
}

/// How often, and what.
fn repeated(text: &str) -> (usize, &str) {
    let text = text.trim();
    let counted = text.split_once(" x ").and_then(|(times, xml)| Some((times.parse().ok()?, xml.trim())));
    counted.unwrap_or((1, text))
}

fn parse(xml: &str) -> Result<Element, String> {
    // The one prefix that everybody knows.
    let declared = format!("<stream:error xmlns:stream='{STREAMS_NS}'");
    let xml = xml.trim().replacen("<stream:error", &declared, 1);
    Element::parse(&xml, CLIENT_NS).map_err(|error| error.to_string())
}

fn bare(text: &str) -> Result<BareJid, String> {
    text.trim().parse().map_err(|error| format!("{text}: {error}"))
}

/// Lines without comments, those that are indented joined to the one before, with their numbers.
fn logical_lines(script: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, line) in script.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some((_, before)) if line.starts_with(' ') => {
                before.push(' ');
                before.push_str(line.trim());
            }
            _ => lines.push((at + 1, line.trim().to_owned())),
        }
    }
    lines
}
