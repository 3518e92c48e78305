//! What a room says about an occupant beside his presence: one `<x/>` of `muc#user` (XEP-0045 §7.2.2, §17.3).

use crate::jid::Jid;
use crate::xml::Element;

use super::super::MUC_USER_NS as USER_NS;
use super::association::{Affiliation, Role};

/// XEP-0045 §16.6.2, those that a room of ours gives, in the order of their codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    NonAnonymous,
    ConfigurationChanged,
    SelfPresence,
    Logged,
    NotLogged,
    NowNonAnonymous,
    NowSemiAnonymous,
    Created,
    NickAssigned,
    Banned,
    NickChanged,
    Kicked,
    AffiliationLost,
    MembersOnly,
    Shutdown,
    TechnicalProblem,
}

impl Status {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::NonAnonymous => "100",
            Self::ConfigurationChanged => "104",
            Self::SelfPresence => "110",
            Self::Logged => "170",
            Self::NotLogged => "171",
            Self::NowNonAnonymous => "172",
            Self::NowSemiAnonymous => "173",
            Self::Created => "201",
            Self::NickAssigned => "210",
            Self::Banned => "301",
            Self::NickChanged => "303",
            Self::Kicked => "307",
            Self::AffiliationLost => "321",
            Self::MembersOnly => "322",
            Self::Shutdown => "332",
            Self::TechnicalProblem => "333",
        }
    }
}

/// Who has done something to an occupant, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Why {
    /// The nick of who has done it, if he is in the room.
    pub(super) actor: Option<String>,
    pub(super) reason: Option<String>,
}

/// What is said of an occupant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) affiliation: Affiliation,
    pub(super) role: Role,
    /// His real address, for those who see it.
    pub(super) jid: Option<&'a Jid>,
    /// What he is called from now on.
    pub(super) nick: Option<&'a str>,
    pub(super) why: Option<&'a Why>,
}

impl Item<'_> {
    /// Of somebody who is nothing here.
    pub(super) const NOBODY: Self =
        Self { affiliation: Affiliation::None, role: Role::None, jid: None, nick: None, why: None };

    fn to_element(self) -> Element {
        let mut item = Element::new("item", USER_NS).with("affiliation", self.affiliation.as_str());
        if let Some(jid) = self.jid {
            item.set("jid", jid.as_str());
        }
        if let Some(nick) = self.nick {
            item.set("nick", nick);
        }
        item.set("role", self.role.as_str());
        let Some(why) = self.why else { return item };
        if let Some(actor) = &why.actor {
            item.push(Element::new("actor", USER_NS).with("nick", actor));
        }
        if let Some(reason) = &why.reason {
            item.push(Element::new("reason", USER_NS).with_text(reason));
        }
        item
    }
}

/// The `<x/>` with these children; codes come last and in their order.
pub(super) fn x(item: Option<Item<'_>>, statuses: &[Status]) -> Element {
    let mut x = Element::new("x", USER_NS);
    item.into_iter().for_each(|item| x.push(item.to_element()));
    let mut statuses = statuses.to_vec();
    statuses.sort_unstable();
    for status in statuses {
        x.push(Element::new("status", USER_NS).with("code", status.code()));
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: XEP-0045 §7.2.2, §16.6.2
    #[test]
    fn what_is_said_of_an_occupant() {
        let jid = "hag66@shakespeare.lit/pda".parse().unwrap();
        let why = Why { actor: Some("Fluellen".to_owned()), reason: Some("Avaunt!".to_owned()) };
        let item =
            Item { affiliation: Affiliation::Member, role: Role::None, jid: Some(&jid), nick: None, why: Some(&why) };
        assert_eq!(
            x(Some(item), &[Status::Kicked, Status::SelfPresence]).to_xml(""),
            "<x xmlns='http://jabber.org/protocol/muc#user'>\
             <item affiliation='member' jid='hag66@shakespeare.lit/pda' role='none'>\
             <actor nick='Fluellen'/><reason>Avaunt!</reason></item>\
             <status code='110'/><status code='307'/></x>"
        );
        assert_eq!(x(None, &[]).to_xml(""), "<x xmlns='http://jabber.org/protocol/muc#user'/>");
    }
}
