//! Who has an account and who knows whom.
//!
//! `c0`, `c1` ... chat in pairs and know nobody; `u0`, `u1` ... stand in a ring and know their neighbours; `p200`
//! knows the first 200 of them and is known by them, and so on. `d0`, `d1` ... chat as well, where there are any.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use crate::client::{Begin, Kit, Session};
use crate::servers::Server;

/// The accounts of one server.
#[derive(Debug, Clone)]
pub struct Population {
    /// How many chat.
    pub chatting: usize,
    /// How many of a second kind.
    pub others: usize,
    /// How many stand in the ring.
    pub ring: usize,
    /// To how many neighbours on each side.
    pub reach: usize,
    /// The sizes of the rosters of those who broadcast.
    pub broadcasters: Vec<usize>,
    /// The DNS server that knows all domains of the run.
    pub dns: SocketAddr,
}

impl Population {
    pub fn users(&self) -> impl Iterator<Item = String> {
        let chatting = (0..self.chatting).map(|number| format!("c{number}"));
        let ring = (0..self.ring).map(|number| format!("u{number}"));
        let others = (0..self.others).map(|number| format!("d{number}"));
        chatting.chain(others).chain(ring).chain(self.broadcasters.iter().map(|contacts| format!("p{contacts}")))
    }

    /// Whom this user knows; always mutual.
    pub fn contacts(&self, user: &str) -> Vec<String> {
        let Some((kind, number)) = user.split_at_checked(1) else { return Vec::new() };
        let number: usize = number.parse().unwrap_or(0);
        match kind {
            "p" => (0..number.min(self.ring)).map(|number| format!("u{number}")).collect(),
            "u" => {
                let mut near: Vec<usize> = (1..=self.reach)
                    .flat_map(|step| [(number + step) % self.ring, (number + self.ring - step) % self.ring])
                    .collect();
                near.sort_unstable();
                near.dedup();
                let near = near.into_iter().filter(|other| *other != number).map(|other| format!("u{other}"));
                let fans = self.broadcasters.iter().filter(|contacts| number < **contacts);
                near.chain(fans.map(|contacts| format!("p{contacts}"))).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// How many pairs make friends before everyone is waited for.
const CHUNK: usize = 1000;

/// Fills the rosters by way of the protocol: everyone asks and everyone agrees. For servers whose storage is not ours
/// to write.
pub async fn befriend(server: &Server, population: &Population, kit: &Kit) -> io::Result<()> {
    let mut sessions = BTreeMap::new();
    let mut pairs = Vec::new();
    for user in population.users() {
        let contacts = population.contacts(&user);
        if contacts.is_empty() {
            continue;
        }
        sessions.insert(user.clone(), Session::login(&server.site, Begin::Direct, &user, kit).await?);
        pairs.extend(contacts.into_iter().filter(|contact| user < *contact).map(|contact| (user.clone(), contact)));
    }
    for chunk in pairs.chunks(CHUNK) {
        for kind in ["subscribe", "subscribed"] {
            let mut letters: BTreeMap<&str, String> = BTreeMap::new();
            for (one, other) in chunk {
                for (from, to) in [(one, other), (other, one)] {
                    let stanza = format!("<presence type='{kind}' to='{to}@{}'/>", server.site.domain);
                    letters.entry(from).or_default().push_str(&stanza);
                }
            }
            for (user, letter) in &letters {
                if let Some(session) = sessions.get_mut(*user) {
                    session.send(letter.as_bytes()).await?;
                }
            }
            for user in letters.keys() {
                if let Some(session) = sessions.get_mut(*user) {
                    session.synchronise().await?;
                }
            }
        }
    }
    for session in sessions.into_values() {
        session.close().await?;
    }
    Ok(())
}
