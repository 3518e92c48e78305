//! Somebody who sees the presence of all who get messages, and they see his: it is there afresh when a session is back,
//! and not before.

use std::collections::BTreeSet;

use comity::testing::Client;
use comity::xml::Element;

use crate::cast::{ACCOUNTS, Cut, DOMAIN, PASSWORD, Reader, leave, upto};
use crate::ledger::Finding;
use crate::site::Site;

pub(crate) const ACCOUNT: &str = "watcher";

/// Who sees everybody's presence.
pub(crate) struct Watcher {
    client: Option<Client>,
    /// Of whom he has seen that he is there.
    seen: BTreeSet<String>,
}

/// His address.
pub(crate) fn jid() -> String {
    format!("{ACCOUNT}@{DOMAIN}/w")
}

/// A presence that says in which cycle it was sent.
pub(crate) fn presence(cycle: u32) -> String {
    format!("<presence><status>{cycle}</status></presence>")
}

/// Who says in this cycle that he is there.
pub(crate) fn is_there(element: &Element, cycle: u32) -> Option<&str> {
    let status = element.elements().find(|it| it.name() == "status").map(Element::text);
    let is_there = element.name() == "presence" && element.attribute("type").is_none();
    element.attribute("from").filter(|_| is_there && status == Some(cycle.to_string()))
}

impl Watcher {
    /// Has him and the others see each other.
    pub(crate) async fn befriend(site: &Site) -> Self {
        let mut his = log_in(site, ACCOUNT, "setup").await.unwrap();
        let his_own = format!("{ACCOUNT}@{DOMAIN}");
        for account in ACCOUNTS {
            his.send(&format!("<presence type='subscribe' to='{account}@{DOMAIN}'/>")).await;
        }
        ping(&mut his).await.unwrap();
        for account in ACCOUNTS {
            let mut other = log_in(site, account, "setup").await.unwrap();
            let both = ["subscribed", "subscribe"].map(|kind| format!("<presence type='{kind}' to='{his_own}'/>"));
            other.send(&both.concat()).await;
            leave(other).await.unwrap();
        }
        for account in ACCOUNTS {
            his.send(&format!("<presence type='subscribed' to='{account}@{DOMAIN}'/>")).await;
        }
        leave(his).await.unwrap();
        Self { client: None, seen: BTreeSet::new() }
    }

    /// Another cycle begins.
    pub(crate) fn begin(&mut self) {
        self.client = None;
        self.seen.clear();
    }

    /// Logs in when nobody whom he sees is there; says who seems to be, all the same.
    pub(crate) async fn come(&mut self, site: &Site, cycle: u32) -> Result<Vec<Finding>, Cut> {
        let mut client = log_in(site, ACCOUNT, "w").await.map_err(Cut)?;
        client.send(&presence(cycle)).await;
        let own = jid();
        let all = upto(&mut client, |element| is_there(element, cycle) == Some(own.as_str())).await?;
        let all = all.into_iter().chain(ping(&mut client).await?);
        let readers: Vec<String> = Reader::ALL.iter().map(|reader| reader.jid().to_string()).collect();
        let early = all.filter_map(|element| {
            let is_there = element.name() == "presence" && element.attribute("type").is_none();
            element.attribute("from").filter(|_| is_there).map(str::to_owned)
        });
        let early = early.filter(|from| readers.contains(from));
        let findings = early.map(|of| Finding::Presence { whose: own.clone(), of }).collect();
        self.client = Some(client);
        Ok(findings)
    }

    /// Takes in what has come.
    pub(crate) async fn look(&mut self, cycle: u32) -> Result<(), Cut> {
        let Some(client) = &mut self.client else { return Ok(()) };
        let all = ping(client).await?;
        self.seen.extend(all.iter().filter_map(|element| is_there(element, cycle)).map(str::to_owned));
        Ok(())
    }

    /// Whether he has seen that this one is there.
    pub(crate) fn has_seen(&self, jid: &str) -> bool {
        self.seen.contains(jid)
    }

    pub(crate) async fn leave(&mut self) -> Result<(), Cut> {
        match self.client.take() {
            Some(client) => leave(client).await.map(drop),
            None => Ok(()),
        }
    }
}

async fn log_in(site: &Site, account: &str, resource: &str) -> Result<Client, String> {
    site.log_in(&format!("{account}@{DOMAIN}/{resource}"), PASSWORD).await
}

/// Everything that comes before the answer to a request, when all before that is done with.
async fn ping(client: &mut Client) -> Result<Vec<Element>, Cut> {
    client.send("<iq type='get' id='ping'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    upto(client, |element| element.attribute("id") == Some("ping")).await
}
