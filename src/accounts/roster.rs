//! The roster: its items, the roster set and the roster version (RFC 6121 section 2).
//!
//! Reads and writes `jabber:iq:roster`; never decides who may change a roster, and never stores one.

use serde::{Deserialize, Serialize};

use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, ErrorType, Kind, Payload, PresenceType, Stanza, StanzaError};
use crate::xml::Element;

use super::subscription::{Half, State, Subscription};

/// Namespace of roster management (RFC 6121 §2.1).
pub const ROSTER_NS: &str = "jabber:iq:roster";

/// The longest name of an item and of a group, in bytes (RFC 6121 §2.3.3 leaves the number to us).
pub const MAX_NAME: usize = 1023;

/// The most groups that one item may be in.
pub const MAX_GROUPS: usize = 128;

/// A contact as the roster shows it (RFC 6121 §2.1.2); a pending request of the contact is kept beside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    #[serde(with = "address")]
    pub jid: BareJid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default)]
    pub subscription: Subscription,
    /// Whether a request to the contact is pending.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ask: bool,
    /// Whether the contact's next request is approved already (RFC 6121 §3.4).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
}

/// Whether a request of the contact waits for the user's answer; it is not part of the roster item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingIn {
    No,
    Yes,
}

impl Item {
    /// An item without name, groups and subscription.
    #[must_use]
    pub const fn new(jid: BareJid) -> Self {
        Self { jid, name: None, groups: Vec::new(), subscription: Subscription::None, ask: false, approved: false }
    }

    /// The state that item and pending request stand for; `None` is a contact without item.
    #[must_use]
    pub fn state(item: Option<&Self>, pending: PendingIn) -> State {
        item.map_or_else(
            || state_of((Subscription::None, false, false), pending),
            |item| state_of((item.subscription, item.ask, item.approved), pending),
        )
    }

    /// Takes over what a state shows; name and groups stay.
    pub fn set_state(&mut self, state: State) {
        self.subscription = state.subscription();
        self.ask = state.ask();
        self.approved = state.approved;
    }

    /// The `<item/>` of a roster result or push.
    #[must_use]
    pub fn to_element(&self) -> Element {
        let mut item = Element::new("item", ROSTER_NS).with("jid", self.jid.as_str());
        if let Some(name) = &self.name {
            item.set("name", name);
        }
        item.set("subscription", self.subscription.as_str());
        if self.ask {
            item.set("ask", "subscribe");
        }
        if self.approved {
            item.set("approved", "true");
        }
        for group in &self.groups {
            item.push(Element::new("group", ROSTER_NS).with_text(group));
        }
        item
    }

    /// Reads the `<item/>` of a roster result or push, as a client does; `None` if it has no valid address.
    #[must_use]
    pub fn parse(item: &Element) -> Option<Self> {
        if !item.is("item", ROSTER_NS) {
            return None;
        }
        Some(Self {
            jid: BareJid::parse(item.attribute("jid")?).ok()?,
            name: item.attribute("name").filter(|name| !name.is_empty()).map(str::to_owned),
            groups: groups(item).collect(),
            subscription: item.attribute("subscription").and_then(Subscription::parse).unwrap_or_default(),
            ask: item.attribute("ask") == Some("subscribe"),
            approved: matches!(item.attribute("approved"), Some("true" | "1")),
        })
    }
}

/// The state that `(subscription, ask, approved)` of an item and a pending request stand for.
#[must_use]
pub fn state_of((subscription, ask, approved): (Subscription, bool, bool), pending: PendingIn) -> State {
    let half = |subscribed, pending| match (subscribed, pending) {
        (true, _) => Half::Subscribed,
        (false, true) => Half::Pending,
        (false, false) => Half::None,
    };
    State {
        to: half(subscription.has_to(), ask),
        from: half(subscription.has_from(), pending == PendingIn::Yes),
        approved,
    }
}

/// The `<item/>` of the push that tells of a removal (RFC 6121 §2.5.2).
#[must_use]
pub fn removed(jid: &BareJid) -> Element {
    Element::new("item", ROSTER_NS).with("jid", jid.as_str()).with("subscription", "remove")
}

/// The `<query/>` of a roster result or push around its items.
#[must_use]
pub fn query(version: Version, items: impl IntoIterator<Item = Element>) -> Element {
    let mut query = Element::new("query", ROSTER_NS).with("ver", &version.to_string());
    for item in items {
        query.push(item);
    }
    query
}

/// What a client asks for with a roster set (RFC 6121 §2.1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterSet {
    /// Create the item, or replace name and groups of the one that is there; the subscription stays.
    Update { jid: BareJid, name: Option<String>, groups: Vec<String> },
    /// Delete the item; if there is none, answer [`not_in_roster`].
    Remove(BareJid),
}

impl RosterSet {
    /// Reads the `<query/>` of a roster set that `owner` sent.
    ///
    /// # Errors
    /// The stanza error of RFC 6121 §2.3.3 that answers it; `not-allowed` for the owner's own address.
    pub fn parse(query: &Element, owner: &BareJid) -> Result<Self, StanzaError> {
        if !query.is("query", ROSTER_NS) {
            return Err(bad("a roster set holds a query element"));
        }
        let mut children = query.elements();
        let item = match (children.next(), children.next()) {
            (Some(item), None) if item.is("item", ROSTER_NS) => item,
            _ => return Err(bad("a roster set holds exactly one item")),
        };
        let jid = Self::contact(item, owner)?;
        // RFC 6121 §2.1.2.5: every other value is ignored.
        if item.attribute("subscription") == Some("remove") {
            return Ok(Self::Remove(jid));
        }
        let name = item.attribute("name").filter(|name| !name.is_empty());
        if name.is_some_and(|name| name.len() > MAX_NAME) {
            return Err(StanzaError::new(Condition::NotAcceptable, "the name is too long"));
        }
        Ok(Self::Update { jid, name: name.map(str::to_owned), groups: Self::groups(item)? })
    }

    /// The contact that the set is about.
    #[must_use]
    pub const fn jid(&self) -> &BareJid {
        match self {
            Self::Update { jid, .. } | Self::Remove(jid) => jid,
        }
    }

    fn contact(item: &Element, owner: &BareJid) -> Result<BareJid, StanzaError> {
        let text = item.attribute("jid").ok_or_else(|| bad("an item has a jid"))?;
        let jid = Jid::parse(text)
            .map_err(|error| StanzaError::new(Condition::JidMalformed, format!("the item's jid: {error}")))?;
        if !jid.is_bare() {
            return Err(bad("an item's jid has no resourcepart"));
        }
        let jid = jid.to_bare();
        // RFC 6121 §2.3.3, interoperability note: everyone sees himself already.
        if jid == *owner {
            return Err(StanzaError::new(Condition::NotAllowed, "an account is not its own contact"));
        }
        Ok(jid)
    }

    fn groups(item: &Element) -> Result<Vec<String>, StanzaError> {
        let mut found: Vec<String> = Vec::new();
        for group in groups(item) {
            if group.is_empty() || group.len() > MAX_NAME {
                return Err(StanzaError::new(Condition::NotAcceptable, "a group's name is empty or too long"));
            }
            if found.contains(&group) {
                return Err(bad("a group is named twice"));
            }
            if found.len() == MAX_GROUPS {
                return Err(StanzaError::new(Condition::NotAcceptable, "the item is in too many groups"));
            }
            found.push(group);
        }
        Ok(found)
    }
}

/// The answer to the removal of a contact who is not in the roster (RFC 6121 §2.5.3).
#[must_use]
pub fn not_in_roster() -> StanzaError {
    StanzaError::from(Condition::ItemNotFound).with_type(ErrorType::Modify)
}

/// Which version of the roster the last modification made (RFC 6121 §2.6); opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

/// What a roster get is answered with (RFC 6121 §2.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The complete roster.
    Complete,
    /// An empty result: the client's copy is current.
    Unchanged,
}

impl Version {
    /// The version that the next modification makes.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// What answers a roster get whose `ver` attribute is `known`.
    ///
    /// A copy of any other age gets the complete roster, which the RFC permits and which needs no history.
    #[must_use]
    pub fn answer(self, known: Option<&str>) -> Answer {
        if known == Some(self.to_string().as_str()) { Answer::Unchanged } else { Answer::Complete }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// A contact's request that waits for the user's answer: the stanza that is delivered whenever a resource
/// becomes available (RFC 6121 §3.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    #[serde(with = "address")]
    pub from: BareJid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// Canonical; empty if it was longer than [`Request::MAX_PAYLOAD`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub payload: String,
}

impl Request {
    /// The longest payload that is kept, in bytes: strangers decide how much is stored (RFC 6121 §3.1.3).
    pub const MAX_PAYLOAD: usize = 8192;

    /// What is kept of a request from `from`.
    #[must_use]
    pub fn of(from: BareJid, stanza: &Stanza<'_>) -> Self {
        let payload = stanza.payload.as_str();
        Self {
            from,
            id: stanza.id.as_deref().map(str::to_owned),
            lang: stanza.lang.as_deref().map(str::to_owned),
            payload: if payload.len() > Self::MAX_PAYLOAD { String::new() } else { payload.to_owned() },
        }
    }

    /// The request as it is delivered to `user`.
    #[must_use]
    pub fn stanza(&self, user: &BareJid) -> Stanza<'static> {
        let mut stanza = Stanza::new(Kind::Presence(PresenceType::Subscribe))
            .from(Jid::from(self.from.clone()))
            .to(Jid::from(user.clone()))
            .payload(Payload::canonical(self.payload.clone()));
        stanza.id = self.id.clone().map(Into::into);
        stanza.lang = self.lang.clone().map(Into::into);
        stanza
    }
}

fn groups(item: &Element) -> impl Iterator<Item = String> {
    item.elements().filter(|child| child.is("group", ROSTER_NS)).map(Element::text)
}

fn bad(text: &str) -> StanzaError {
    StanzaError::new(Condition::BadRequest, text)
}

/// A bare JID at rest: its text.
mod address {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::jid::BareJid;

    pub(super) fn serialize<S: Serializer>(jid: &BareJid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(jid.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BareJid, D::Error> {
        BareJid::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> BareJid {
        BareJid::parse("juliet@example.com").unwrap()
    }

    fn set(children: &str) -> Result<RosterSet, StanzaError> {
        let query = Element::parse(&format!("<query xmlns='jabber:iq:roster'>{children}</query>"), "").unwrap();
        RosterSet::parse(&query, &owner())
    }

    // Proves: RFC 6121 §2.1.2.3, §2.3.3, RFC 7622 §4
    #[test]
    fn malformed_sets_are_refused_with_the_error_of_the_rfc() {
        let long = "x".repeat(MAX_NAME + 1);
        let many: String = (0..=MAX_GROUPS).map(|n| format!("<group>{n}</group>")).collect();
        for (children, condition) in [
            (String::new(), Condition::BadRequest),
            ("<item jid='a@b'/><item jid='c@d'/>".into(), Condition::BadRequest),
            ("<item jid='a@b'/><x/>".into(), Condition::BadRequest),
            ("<x jid='a@b'/>".into(), Condition::BadRequest),
            ("<item xmlns='other' jid='a@b'/>".into(), Condition::BadRequest),
            ("<item/>".into(), Condition::BadRequest),
            ("<item jid=''/>".into(), Condition::JidMalformed),
            ("<item jid='@b'/>".into(), Condition::JidMalformed),
            ("<item jid='a@b/c'/>".into(), Condition::BadRequest),
            ("<item jid='juliet@example.com'/>".into(), Condition::NotAllowed),
            (format!("<item jid='a@b' name='{long}'/>"), Condition::NotAcceptable),
            (format!("<item jid='a@b'><group>{long}</group></item>"), Condition::NotAcceptable),
            (format!("<item jid='a@b'>{many}</item>"), Condition::NotAcceptable),
            ("<item jid='a@b'><group/></item>".into(), Condition::NotAcceptable),
            ("<item jid='a@b'><group>x</group><group>x</group></item>".into(), Condition::BadRequest),
        ] {
            let found = set(&children).unwrap_err();
            assert_eq!(found.condition, condition, "{children}");
        }
        let foreign = Element::new("query", "jabber:iq:other");
        assert!(RosterSet::parse(&foreign, &owner()).is_err());
        assert_eq!(not_in_roster().error_type, ErrorType::Modify);
    }

    // Proves: RFC 6121 §2.1.2.1, §2.1.2.2, §2.1.2.5, §2.1.5
    #[test]
    fn a_set_updates_or_removes_and_ignores_what_only_the_server_decides() {
        let jid = BareJid::parse("nurse@example.com").unwrap();
        let name = "x".repeat(MAX_NAME);
        assert_eq!(
            set(&format!(
                "<item jid='nurse@example.com' name='{name}' subscription='both' ask='subscribe' approved='true'>\
                 <group>Servants</group><group>Friends</group></item>"
            )),
            Ok(RosterSet::Update {
                jid: jid.clone(),
                name: Some(name),
                groups: vec!["Servants".to_owned(), "Friends".to_owned()],
            })
        );
        assert_eq!(
            set("<item jid='nurse@example.com' name=''/>"),
            Ok(RosterSet::Update { jid: jid.clone(), name: None, groups: Vec::new() })
        );
        let removal = set("<item jid='nurse@example.com' subscription='remove'/>").unwrap();
        assert_eq!(removal.jid(), &jid);
        assert_eq!(removal, RosterSet::Remove(jid.clone()));
        assert_eq!(removed(&jid).to_xml(ROSTER_NS), "<item jid='nurse@example.com' subscription='remove'/>");
    }

    #[test]
    fn an_item_survives_the_wire_and_the_store() {
        let mut item = Item::new(BareJid::parse("romeo@example.net").unwrap());
        for (to, from, approved) in [
            (Half::None, Half::None, true),
            (Half::Pending, Half::None, false),
            (Half::Subscribed, Half::None, true),
            (Half::Pending, Half::Subscribed, false),
            (Half::Subscribed, Half::Subscribed, false),
        ] {
            let state = State { to, from, approved };
            item.set_state(state);
            assert_eq!(Item::state(Some(&item), PendingIn::No), state);
            assert_eq!(Item::parse(&item.to_element()), Some(item.clone()));
            let stored = serde_json::to_string(&item).unwrap();
            assert_eq!(serde_json::from_str::<Item>(&stored).unwrap(), item, "{stored}");
            item.name = Some("Romeo & <co>".to_owned());
            item.groups.push(format!("group {}", item.groups.len()));
        }
        let pending = Item::state(None, PendingIn::Yes);
        assert_eq!(pending, State { from: Half::Pending, ..State::default() });
        assert!(Item::parse(&Element::new("item", ROSTER_NS)).is_none());
        assert!(serde_json::from_str::<Item>(r#"{"jid":""}"#).is_err());
    }

    // Proves: RFC 6121 §2.1.2.3
    #[test]
    fn the_wire_form_of_an_item() {
        let mut item = Item::new(BareJid::parse("romeo@example.net").unwrap());
        item.ask = true;
        item.approved = true;
        item.groups.push("A".to_owned());
        assert_eq!(
            item.to_element().to_xml(ROSTER_NS),
            "<item jid='romeo@example.net' subscription='none' ask='subscribe' approved='true'><group>A</group></item>"
        );
    }

    // Proves: RFC 6121 §2.1.1, §2.6.3
    #[test]
    fn only_the_current_version_is_answered_without_a_roster() {
        let version = Version::default().next();
        assert_eq!(version.answer(Some(&version.to_string())), Answer::Unchanged);
        for known in [None, Some(""), Some("v0"), Some("1"), Some("v2")] {
            assert_eq!(version.answer(known), Answer::Complete, "{known:?}");
        }
        assert_ne!(version.to_string(), version.next().to_string());
        assert_eq!(query(version, []).to_xml(""), "<query xmlns='jabber:iq:roster' ver='v1'/>");
    }

    #[test]
    fn a_request_is_delivered_as_it_came_unless_it_was_huge() {
        let from = BareJid::parse("romeo@example.net").unwrap();
        let kind = Kind::Presence(PresenceType::Subscribe);
        let stanza = Stanza::new(kind).id("x1").payload(Payload::canonical("<status>hi</status>"));
        let request = Request::of(from.clone(), &stanza);
        let stored: Request = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        assert_eq!(
            stored.stanza(&owner()).to_xml(),
            "<presence type='subscribe' id='x1' from='romeo@example.net' to='juliet@example.com'>\
             <status>hi</status></presence>"
        );
        let huge = Stanza::new(kind).payload(Payload::canonical("x".repeat(Request::MAX_PAYLOAD + 1)));
        assert_eq!(Request::of(from, &huge).payload, "");
    }
}
