//! What a room says about an occupant beside his presence: one `<x/>` of `muc#user` (XEP-0045§7.2.2, §17.3).

use crate::jid::Jid;
use crate::xml::{Element, spelled};

use super::api::USER_NS;
use super::association::{Affiliation, Role};

spelled! {
    /// XEP-0045§15.6.2, those that a room of ours gives.
    pub(super) Status {
        NonAnonymous = "100", ConfigurationChanged = "104", SelfPresence = "110", Logged = "170", NotLogged = "171",
        NowNonAnonymous = "172", NowSemiAnonymous = "173", Created = "201", NickAssigned = "210", Banned = "301",
        NickChanged = "303", Kicked = "307", AffiliationLost = "321", MembersOnly = "322", Shutdown = "332",
        TechnicalProblem = "333",
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
    pub(super) fn to_element(self) -> Element {
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
pub(super) fn x(item: Option<Element>, statuses: &[Status]) -> Element {
    let mut x = Element::new("x", USER_NS);
    item.into_iter().for_each(|item| x.push(item));
    let mut statuses = statuses.to_vec();
    statuses.sort_unstable_by_key(|status| status.as_str());
    for status in statuses {
        x.push(Element::new("status", USER_NS).with("code", status.as_str()));
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: XEP-0045 §7.2.2, §15.6.2
    #[test]
    fn what_is_said_of_an_occupant() {
        let jid = "hag66@shakespeare.lit/pda".parse().unwrap();
        let why = Why { actor: Some("Fluellen".to_owned()), reason: Some("Avaunt!".to_owned()) };
        let item =
            Item { affiliation: Affiliation::Member, role: Role::None, jid: Some(&jid), nick: None, why: Some(&why) };
        assert_eq!(
            x(Some(item.to_element()), &[Status::Kicked, Status::SelfPresence]).to_xml(""),
            "<x xmlns='http://jabber.org/protocol/muc#user'>\
             <item affiliation='member' jid='hag66@shakespeare.lit/pda' role='none'>\
             <actor nick='Fluellen'/><reason>Avaunt!</reason></item>\
             <status code='110'/><status code='307'/></x>"
        );
        assert_eq!(x(None, &[]).to_xml(""), "<x xmlns='http://jabber.org/protocol/muc#user'/>");
    }

    #[test]
    fn codes_are_in_their_order() {
        assert!(Status::ALL.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
    }
}
