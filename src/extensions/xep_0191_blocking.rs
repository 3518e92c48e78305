//! XEP-0191 Blocking Command, version 1.3: the words. What blocking does is routing's; it is polite: subscriptions stay,
//! and the account seems to be offline.

use std::sync::Arc;

use crate::hooks::{Answer, Call, Entity, Extension, Interest, Outbound, Registrar, Request, Spec, Unblocked, Wanted};
use crate::jid::Jid;
use crate::stanza::{Condition, ErrorType, StanzaError};
use crate::storage::{Receipt, Storage};
use crate::xml::Element;

use super::xep_0377_reports::api::{Report, Reports};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0191", version: "1.3" },
    name: "blocking",
    advertises: &[(Entity::Domain, NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

const NS: &str = "urn:xmpp:blocking";

fn install(at: &mut Registrar<'_>) {
    let it = Arc::new(Blocking {
        outbound: Arc::clone(at.outbound),
        storage: at.storage.clone(),
        reports: Reports::new(at),
    });
    at.iq_get(Entity::Account, &it, Blocking::list);
    at.iq_set(Entity::Account, &it, Blocking::block);
    at.iq_set(Entity::Account, &it, Blocking::unblock);
    at.refusal(refusal());
}

/// XEP-0191 §3.3: what a client hears that writes to somebody who is blocked.
fn refusal() -> StanzaError {
    StanzaError::from(Condition::NotAcceptable)
        .with_type(ErrorType::Cancel)
        .with_detail(Element::new("blocked", "urn:xmpp:blocking:errors"))
}

struct Blocking {
    outbound: Arc<dyn Outbound>,
    storage: Storage,
    reports: Reports,
}

impl Blocking {
    /// XEP-0191 §3.2: whoever has asked for the list is told of its changes.
    async fn list(self: Arc<Self>, call: Call<List>) -> Answer {
        let owner = call.owner()?;
        let receipt = self.outbound.interest(&call.from, Interest::Blocklist, Wanted::Yes);
        let blocked = self.outbound.blocked(&owner);
        self.durable(receipt).await?;
        Ok(Some(items(List::NAME, blocked.iter().map(String::as_str))))
    }

    /// XEP-0191 §3.3.
    async fn block(self: Arc<Self>, call: Call<Block>) -> Answer {
        let owner = call.owner()?;
        let whom: Vec<Jid> = call.request.0.iter().map(|(jid, _)| jid.clone()).collect();
        let push = items(Block::NAME, whom.iter().map(Jid::as_str));
        let receipt = self.outbound.block(&owner, whom, &push)?;
        self.durable(receipt).await?;
        for (jid, report) in &call.request.0 {
            if let Some(report) = report {
                self.reports.hand_on(&owner, jid, report).await;
            }
        }
        Ok(None)
    }

    /// XEP-0191 §3.4, §3.5.
    async fn unblock(self: Arc<Self>, call: Call<Unblock>) -> Answer {
        let owner = call.owner()?;
        let push = match &call.request.0 {
            Unblocked::These(whom) => items(Unblock::NAME, whom.iter().map(Jid::as_str)),
            Unblocked::All => items(Unblock::NAME, []),
        };
        let receipt = self.outbound.unblock(&owner, call.request.0, &push);
        self.durable(receipt).await?;
        Ok(None)
    }

    async fn durable(&self, receipt: Receipt) -> Result<(), StanzaError> {
        let durable = self.storage.durable(receipt).await;
        durable.map_err(|_| Condition::InternalServerError.into())
    }
}

fn items<'a>(name: &str, addresses: impl IntoIterator<Item = &'a str>) -> Element {
    let mut list = Element::new(name, NS);
    addresses.into_iter().for_each(|address| list.push(Element::new("item", NS).with("jid", address)));
    list
}

/// The items of a request, with their addresses.
fn read(element: &Element) -> Result<Vec<(Jid, &Element)>, StanzaError> {
    let items = element.elements().filter(|item| item.is("item", NS));
    let read = |item: &Element| {
        let jid = item.attribute("jid").ok_or(Condition::BadRequest)?;
        Jid::parse(jid).map_err(|_| StanzaError::from(Condition::JidMalformed))
    };
    items.map(|item| Ok((read(item)?, item))).collect()
}

/// The question for the list.
struct List;

impl Request for List {
    const NAME: &'static str = "blocklist";
    const NS: &'static str = NS;

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}

/// Whom to block, and what for.
#[derive(Debug)]
struct Block(Vec<(Jid, Option<Report>)>);

impl Request for Block {
    const NAME: &'static str = "block";
    const NS: &'static str = NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        let items = read(element)?;
        if items.is_empty() {
            return Err(Condition::BadRequest.into());
        }
        let items: Result<_, StanzaError> =
            items.into_iter().map(|(jid, item)| Ok((jid, Report::read(item)?))).collect();
        Ok(Self(items?))
    }
}

/// Whom to block no more.
#[derive(Debug, PartialEq, Eq)]
struct Unblock(Unblocked);

impl Request for Unblock {
    const NAME: &'static str = "unblock";
    const NS: &'static str = NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        let items = read(element)?;
        if items.is_empty() && element.elements().next().is_some() {
            // Who means something else must not find that he has unblocked all.
            return Err(Condition::BadRequest.into());
        }
        if items.is_empty() {
            return Ok(Self(Unblocked::All));
        }
        Ok(Self(Unblocked::These(items.into_iter().map(|(jid, _)| jid).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::blocklist::Blocklist;
    use crate::stanza::CLIENT_NS;
    use crate::testing::World;

    fn parse<R: Request>(xml: &str) -> Result<R, Condition> {
        R::parse(&Element::parse(xml, NS).unwrap()).map_err(|error| error.condition)
    }

    // Proves: XEP-0191 §3.3, §3.4, §3.5
    #[test]
    fn what_is_asked() {
        let romeo = Jid::parse("romeo@montague.example").unwrap();
        let block = parse::<Block>("<block><item jid='Romeo@montague.example'/><x/></block>").unwrap();
        assert!(block.0.iter().map(|(jid, _)| jid).eq([&romeo]));
        let unblock = parse::<Unblock>("<unblock><item jid='romeo@montague.example'/></unblock>");
        assert_eq!(unblock, Ok(Unblock(Unblocked::These(vec![romeo]))));
        assert_eq!(parse("<unblock/>"), Ok(Unblock(Unblocked::All)));
        for (xml, condition) in [
            ("<block/>", Condition::BadRequest),
            ("<block><x/></block>", Condition::BadRequest),
            ("<block><item/></block>", Condition::BadRequest),
            ("<block><item jid='a.example'/><item/></block>", Condition::BadRequest),
            ("<block><item jid='@'/></block>", Condition::JidMalformed),
        ] {
            assert_eq!(parse::<Block>(xml).unwrap_err(), condition, "{xml}");
        }
        for (xml, condition) in [
            ("<unblock><x/></unblock>", Condition::BadRequest),
            ("<unblock><item/></unblock>", Condition::BadRequest),
            ("<unblock><item jid='@'/></unblock>", Condition::JidMalformed),
        ] {
            assert_eq!(parse::<Unblock>(xml).unwrap_err(), condition, "{xml}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_is_too_long_is_refused() {
        let mut world = World::new();
        let mut juliet = world.login(&"juliet@capulet.example/balcony".parse().unwrap()).await.unwrap();
        let items = |count: usize| -> String { (0..count).map(|it| format!("<item jid='{it}@x.example'/>")).collect() };
        for (count, outcome) in [(Blocklist::MOST + 1, "error"), (Blocklist::MOST, "result"), (1, "result")] {
            juliet.send(&format!("<iq type='set' id='1'><block xmlns='{NS}'>{}</block></iq>", items(count))).await;
            let answer = juliet.next().await.unwrap();
            assert_eq!(answer.attribute("type"), Some(outcome), "{count}: {}", answer.to_xml(CLIENT_NS));
            assert_eq!(answer.to_xml(CLIENT_NS).contains("resource-constraint"), outcome == "error");
        }
        juliet.send(&format!("<iq type='set' id='2'><block xmlns='{NS}'><item jid='y.example'/></block></iq>")).await;
        assert_eq!(juliet.next().await.unwrap().attribute("type"), Some("error"));
        juliet.send(&format!("<iq type='get' id='3'><blocklist xmlns='{NS}'/></iq>")).await;
        let list = juliet.next().await.unwrap();
        assert_eq!(list.child(List::NAME, NS).map(|list| list.elements().count()), Some(Blocklist::MOST));
    }
}
