//! What the archive answers.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::hooks::paging::{Before, NS as RSM_NS};
use crate::hooks::{Answer, Call, Outbound, Request, Settings};
use crate::jid::{BareJid, Jid};
use crate::live::Live;
use crate::stanza::{CLIENT_NS, Condition, StanzaError};
use crate::storage::{self, End, Position, Range, Storage, Stored};
use crate::xml::{Element, escape_into};

use super::super::xep_0160_offline::api::DELAY_NS;
use super::super::xep_0359_stanza_ids::api::Ids;
use super::api::{FORWARD_NS, NS};
use super::query::{self, FormRequest, Metadata, Query};

/// Results of one page if the client does not say.
const PAGE: usize = 50;

/// How a message ends that has something in it.
const END: &str = "</message>";

/// Octets of a result beside the message itself, about.
const AROUND: usize = 400;

/// Once so many octets were found by their ids, the rest has to be asked for again.
const NAMED_BYTES: usize = 512 * 1024;

pub(in crate::extensions) struct Archive {
    storage: Storage,
    outbound: Arc<dyn Outbound>,
    ids: Arc<Ids>,
    settings: Live<Settings>,
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    entries: Vec<Stored>,
    /// There is nothing more in the direction in which the client reads.
    complete: bool,
    /// How many there are in all.
    count: Option<u64>,
}

impl Archive {
    pub(in crate::extensions) fn new(
        storage: Storage,
        outbound: Arc<dyn Outbound>,
        ids: Arc<Ids>,
        settings: Live<Settings>,
    ) -> Self {
        Self { storage, outbound, ids, settings }
    }

    /// XEP-0313 §4.1: what is found goes to the session that asks, then comes the answer.
    pub(super) async fn page(self: Arc<Self>, call: Call<Query>) -> Answer {
        let owner = self.owner(&call)?;
        let (found, fin) = self.look(&owner, &call.request, || self.outbound.room(&call.from)).await?;
        let queryid = call.request.queryid.as_deref();
        let results: Vec<_> = found.iter().map(|stored| self.message(&owner, &call.from, queryid, stored)).collect();
        self.outbound.write(&call.from, &results);
        Ok(Some(fin))
    }

    /// What is found, as much of it as there is `space` for once it is, and the answer behind it.
    pub(super) async fn look(
        &self,
        owner: &BareJid,
        query: &Query,
        space: impl FnOnce() -> usize,
    ) -> Result<(Vec<Stored>, Element), StanzaError> {
        let found = {
            // Whoever logs in or gets a message does not wait for somebody who looks through a large archive.
            let _turn = self.storage.turn().await;
            self.find(owner, query).await?
        };
        let Some(mut found) = fitting(found, query, space()) else {
            return Err(StanzaError::new(Condition::ResourceConstraint, "there is too much to read already"));
        };
        let set = self.set(owner, &found);
        if query.flipped {
            found.entries.reverse();
        }
        let mut fin = Element::new("fin", NS);
        if found.complete {
            fin.set("complete", "true");
        }
        Ok((found.entries, fin.with_child(set)))
    }

    /// XEP-0313 §4.3: the first and the last entry.
    pub(super) async fn metadata(self: Arc<Self>, call: Call<Metadata>) -> Answer {
        self.held(&self.owner(&call)?).await.map(Some)
    }

    /// The metadata of an archive.
    pub(super) async fn held(&self, owner: &BareJid) -> Result<Element, StanzaError> {
        let mut answer = Element::new(Metadata::NAME, NS);
        for (name, end) in [("start", End::Oldest), ("end", End::Youngest)] {
            let found = self.read(owner, Range::default(), end, 1).await?;
            for stored in found.entries {
                let stamp = stamp(stored.entry.time);
                let id = self.id(owner, stored.position);
                answer.push(Element::new(name, NS).with("id", &id).with("timestamp", &stamp));
            }
        }
        Ok(answer)
    }

    /// XEP-0313 §4.1.5: the fields of the form.
    pub(super) fn form(&self, call: &Call<FormRequest>) -> Answer {
        self.owner(call)?;
        Ok(Some(Element::new(FormRequest::NAME, NS).with_child(query::form().to_element())))
    }

    /// Whether the domain of the account keeps archives.
    pub(super) fn is_kept(&self, owner: &BareJid) -> bool {
        self.settings.load().archives(owner.domain())
    }

    /// Whose archive is asked: one's own and nobody else's.
    fn owner<R>(&self, call: &Call<R>) -> Result<BareJid, StanzaError> {
        if !self.is_kept(&call.to.to_bare()) {
            return Err(Condition::ServiceUnavailable.into());
        }
        call.owner()
    }

    async fn find(&self, owner: &BareJid, query: &Query) -> Result<Found, StanzaError> {
        let milliseconds = |time: Timestamp| u64::try_from(time.unix_ms()).unwrap_or_default();
        if query.end.is_some_and(|end| end.unix_ms() < 0) {
            return Ok(Found { complete: true, ..Found::default() });
        }
        let mut range = Range {
            since: query.start.map(milliseconds),
            until: query.end.map(milliseconds),
            peer: query.with.clone(),
            ..Range::default()
        };
        let known = [&query.after_id, &query.page.after].into_iter().flatten();
        let after = self.known(owner, known.collect()).await?;
        range.after = after.into_iter().max();
        let page_end = match &query.page.before {
            Some(Before::Id(id)) => Some(id),
            _ => None,
        };
        let known = [query.before_id.as_ref(), page_end].into_iter().flatten();
        range.before = self.known(owner, known.collect()).await?.into_iter().min();
        let end = if query.page.before.is_some() { End::Youngest } else { End::Oldest };
        if let Some(ids) = &query.ids {
            let positions = self.known(owner, ids.iter().collect()).await?;
            return self.named(owner, positions, range, (end, query.page.max)).await;
        }
        let most = self.settings.load().archive.as_ref().map_or(PAGE, |archive| archive.page);
        let limit = query.page.max.unwrap_or(PAGE).min(most);
        if limit == 0 {
            return self.count(owner, range).await;
        }
        self.read(owner, range, end, limit).await
    }

    /// The positions that have these ids; all of them must be there still.
    async fn known(&self, owner: &BareJid, ids: Vec<&String>) -> Result<Vec<Position>, StanzaError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let unknown = || StanzaError::new(Condition::ItemNotFound, "the archive has no such id");
        let positions: Option<Vec<_>> = ids.into_iter().map(|id| self.ids.position(owner, id)).collect();
        let positions = positions.ok_or_else(unknown)?;
        self.settle().await?;
        let (asked, whose) = (positions.clone(), owner.clone());
        let all = self.storage.read(move |view| {
            let mut all = true;
            for position in asked {
                all = all && view.is_archived(&whose, position)?;
            }
            Ok(all)
        });
        if all.await.map_err(|error| failed(&error))? { Ok(positions) } else { Err(unknown()) }
    }

    /// The entries at these positions that are in `range`, as many as are wanted from that end.
    async fn named(
        &self,
        owner: &BareJid,
        mut positions: Vec<Position>,
        range: Range,
        (end, max): (End, Option<usize>),
    ) -> Result<Found, StanzaError> {
        positions.sort_unstable();
        positions.dedup();
        if end == End::Youngest {
            positions.reverse();
        }
        let owner = owner.clone();
        // Whoever asks for none wants to know how many there are.
        let limit = max.filter(|max| *max > 0).unwrap_or(usize::MAX);
        let entries = self.storage.read(move |view| {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for position in positions {
                let outside = range.after.is_some_and(|after| position <= after)
                    || range.before.is_some_and(|before| position >= before);
                if outside {
                    continue;
                }
                let after = Some(Position::new(position.number().saturating_sub(1)));
                let before = Some(Position::new(position.number().saturating_add(1)));
                let only = Range { after, before, ..range.clone() };
                for stored in view.archived(&owner, &only, End::Oldest, 1)?.entries {
                    if entries.len() >= limit || bytes > NAMED_BYTES {
                        return Ok((entries, false));
                    }
                    bytes += stored.entry.payload.len();
                    entries.push(stored);
                }
            }
            Ok((entries, true))
        });
        let (mut entries, complete) = entries.await.map_err(|error| failed(&error))?;
        if max == Some(0) {
            let count = Some(entries.len() as u64);
            return Ok(Found { complete: entries.is_empty(), entries: Vec::new(), count });
        }
        if end == End::Youngest {
            entries.reverse();
        }
        Ok(Found { entries, complete, count: None })
    }

    async fn count(&self, owner: &BareJid, range: Range) -> Result<Found, StanzaError> {
        self.settle().await?;
        let owner = owner.clone();
        let count = self.storage.read(move |view| view.archived_count(&owner, &range)).await;
        let count = count.map_err(|error| failed(&error))?;
        Ok(Found { entries: Vec::new(), complete: count == 0, count: Some(count) })
    }

    async fn read(&self, owner: &BareJid, mut range: Range, end: End, limit: usize) -> Result<Found, StanzaError> {
        // What comes to stand before something that was shown would never be asked for.
        let settled = self.settle().await?;
        let is_whole = range.after.is_none() && range.before.is_none();
        range.before = Some(range.before.map_or(settled, |before| before.min(settled)));
        let owner = owner.clone();
        let page = self.storage.read(move |view| view.archived(&owner, &range, end, limit)).await;
        let page = page.map_err(|error| failed(&error))?;
        let complete = page.more.is_none();
        let count = (is_whole && complete).then_some(page.entries.len() as u64);
        Ok(Found { entries: page.entries, complete, count })
    }

    /// Waits until everything is readable that was written so far; returns up to where it is complete.
    async fn settle(&self) -> Result<Position, StanzaError> {
        let settled = self.storage.settled();
        let durable = self.storage.durable(self.storage.latest()).await;
        durable.map_err(|_| Condition::InternalServerError)?;
        Ok(settled)
    }

    fn id(&self, owner: &BareJid, position: Position) -> String {
        let mut id = String::new();
        self.ids.write(&mut id, owner, position);
        id
    }

    /// XEP-0059 §2.6; entries are in their order.
    fn set(&self, owner: &BareJid, found: &Found) -> Element {
        let mut set = Element::new("set", RSM_NS);
        let mut push = |name, text: &str| set.push(Element::new(name, RSM_NS).with_text(text));
        if let (Some(first), Some(last)) = (found.entries.first(), found.entries.last()) {
            push("first", &self.id(owner, first.position));
            push("last", &self.id(owner, last.position));
        }
        if let Some(count) = found.count {
            push("count", &count.to_string());
        }
        set
    }

    /// One result, as it goes out (XEP-0313 §4.2).
    fn message(&self, owner: &BareJid, to: &Jid, queryid: Option<&str>, stored: &Stored) -> String {
        let mut out = String::with_capacity(stored.entry.payload.len() + AROUND);
        for (name, address) in [("<message from='", owner.as_str()), ("' to='", to.as_str())] {
            out.push_str(name);
            escape_into(&mut out, address);
        }
        out.push_str("'>");
        self.result(&mut out, owner, queryid, (stored, ""));
        out.push_str("</message>");
        out
    }

    /// The result in it; in the message that was found stands `more` behind everything else.
    pub(super) fn result(
        &self,
        out: &mut String,
        owner: &BareJid,
        queryid: Option<&str>,
        (stored, more): (&Stored, &str),
    ) {
        let mut put = |texts: &[&str], value: &str| {
            texts.iter().for_each(|text| out.push_str(text));
            escape_into(out, value);
        };
        put(&["<result xmlns='"], NS);
        if let Some(queryid) = queryid {
            put(&["' queryid='"], queryid);
        }
        put(&["' id='"], &self.id(owner, stored.position));
        put(&["'><forwarded xmlns='"], FORWARD_NS);
        put(&["'><delay xmlns='", DELAY_NS, "' stamp='"], &stamp(stored.entry.time));
        // A forwarded message names its namespace.
        put(&["'/><message xmlns='"], CLIENT_NS);
        out.push('\'');
        let payload = stored.entry.payload.strip_prefix("<message").unwrap_or("/>");
        match payload.strip_suffix(END).filter(|_| !more.is_empty()) {
            Some(payload) => [payload, more, END].into_iter().for_each(|text| out.push_str(text)),
            None => out.push_str(payload),
        }
        out.push_str("</forwarded></result>");
    }
}

/// As much of a page as there is `space` for, from the end that the client reads from; `None` if that is nothing.
fn fitting(mut found: Found, query: &Query, space: usize) -> Option<Found> {
    let size = |stored: &Stored| stored.entry.payload.len() + AROUND;
    let backwards = query.page.before.is_some();
    let (mut left, mut taken) = (space, 0_usize);
    let mut fits = |stored: &&Stored| {
        // One goes through if anything does, or nobody would ever see it.
        let fits = left >= size(stored) || (taken == 0 && space > 0);
        left = left.saturating_sub(size(stored));
        taken += 1;
        fits
    };
    let all = found.entries.len();
    let fitting = if backwards {
        found.entries.iter().rev().take_while(&mut fits).count()
    } else {
        found.entries.iter().take_while(&mut fits).count()
    };
    if fitting == all {
        return Some(found);
    }
    if fitting == 0 {
        return None;
    }
    if backwards {
        found.entries.drain(..all - fitting);
    } else {
        found.entries.truncate(fitting);
    }
    (found.complete, found.count) = (false, None);
    Some(found)
}

fn stamp(time: u64) -> String {
    Timestamp::from_unix_ms(time.try_into().unwrap_or(i64::MAX)).to_string()
}

fn failed(error: &storage::Error) -> StanzaError {
    tracing::error!(%error, "an archive could not be read");
    Condition::InternalServerError.into()
}
