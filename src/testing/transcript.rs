//! Wire transcripts: what named clients send and receive, readable without knowing the server.
//!
//! ```text
//! # Lines that begin with # are comments; indented lines continue the one before.
//! romeo = romeo@montague.example/orchard      logs in and binds; the account and its server are made
//! romeo> <presence/>                          sends
//! romeo< <presence from='*' to='*'/>          the next stanza that comes, `*` for any value
//! juliet< nothing                             nothing has come, nor will come of what was sent so far
//! romeo closes                                the stream is closed in order
//! romeo vanishes                              the connection is cut
//! ```
//! At the end nobody may have received anything that the transcript does not tell.

use std::collections::BTreeMap;

use super::client::Client;
use super::pattern::mismatch;
use super::world::World;
use crate::jid::Jid;
use crate::xml::Element;

/// Plays a transcript.
///
/// # Panics
/// Where the server does not do what the transcript says; the message names the line.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub async fn run(script: &str) {
    let mut stage = Stage { world: World::new(), clients: BTreeMap::new() };
    for (number, line) in logical_lines(script) {
        if let Err(problem) = stage.play(&line).await {
            panic!("line {number}: {line}\n{problem}");
        }
    }
    stage.world.settle().await;
    for (name, client) in &mut stage.clients {
        if let Some(found) = client.received() {
            panic!(
                "at the end {name} has received {}, which the transcript does not tell",
                found.to_xml("jabber:client")
            );
        }
    }
}

struct Stage {
    world: World,
    clients: BTreeMap<String, Client>,
}

impl Stage {
    async fn play(&mut self, line: &str) -> Result<(), String> {
        let (name, rest) = line.split_at(line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len()));
        let rest = rest.trim();
        if let Some(jid) = rest.strip_prefix('=') {
            let jid: Jid = jid.trim().parse().map_err(|error| format!("{error}"))?;
            let client = self.world.login(&jid).await?;
            self.clients.insert(name.to_owned(), client);
            return Ok(());
        }
        let world = &self.world;
        let client = self.clients.get_mut(name).ok_or_else(|| format!("nobody is called {name}"))?;
        match rest {
            "closes" => client.close().await,
            "vanishes" => client.vanish(),
            "< nothing" => {
                world.settle().await;
                match client.received() {
                    Some(found) => return Err(format!("received {}", found.to_xml("jabber:client"))),
                    None => return Ok(()),
                }
            }
            _ => return exchange(world, client, rest).await,
        }
        world.settle().await;
        Ok(())
    }
}

async fn exchange(world: &World, client: &mut Client, rest: &str) -> Result<(), String> {
    if let Some(xml) = rest.strip_prefix('>') {
        client.send(xml.trim()).await;
        return Ok(());
    }
    let Some(xml) = rest.strip_prefix('<') else { return Err("this is no line of a transcript".into()) };
    let expected = Element::parse(xml.trim(), "jabber:client").map_err(|error| error.to_string())?;
    world.settle().await;
    let found = client.received().ok_or("nothing was received")?;
    match mismatch(&expected, &found) {
        None => Ok(()),
        Some(difference) => Err(format!("received {}\n{difference}", found.to_xml("jabber:client"))),
    }
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
