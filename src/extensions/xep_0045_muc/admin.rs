//! What admins and moderators ask: the lists of affiliations and roles, and changes of them (XEP-0045 §8, §9).
//!
//! A request may name several people. All of it happens or nothing (§9.2).

use std::collections::{BTreeMap, BTreeSet};

use crate::hooks::paging::Page;
use crate::hooks::{Answer, Verb};
use crate::jid::{BareJid, Jid};
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::association::{Affiliation, Role};
use super::command::Call;
use super::effect::Effects;
use super::item::{Status, Why};
use super::leaving::Removal;
use super::occupant::{Affiliated, Number, Occupant};
use super::privileges::{
    AffiliationPrivilege, RolePrivilege, Standing, affiliation_may, may_change_affiliation, may_change_role, role_may,
};
use super::reason;
use super::room::Room;
use super::room_config::Anonymity;

/// Requests of admins and moderators.
pub(super) const NS: &str = "http://jabber.org/protocol/muc#admin";

/// People of one request: everybody in the room hears of each of them.
const MOST_ITEMS: usize = 250;

/// People of one page.
const PAGE: usize = 1000;

/// What an admin or moderator asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Affiliated(Affiliation, Option<Page>),
    InRole(Role, Option<Page>),
    Change(Vec<Wish>),
}

/// What is to become of somebody.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    to: Target,
    reason: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// The nick is the one that is kept for him; an empty one takes it away (§9.5).
    Affiliation {
        user: Whom,
        to: Affiliation,
        nick: Option<String>,
    },
    Role {
        nick: String,
        to: Role,
    },
}

/// Whose affiliation it is.
#[derive(Debug, PartialEq, Eq)]
enum Whom {
    User(BareJid),
    /// Who is called so at the moment.
    Occupant(String),
}

/// A wish that was found to be right.
enum Step {
    Affiliation { user: BareJid, to: Affiliation, nick: Option<String>, is_new: bool, why: Why },
    Role { number: Number, to: Role, why: Why },
}

impl Request {
    pub(super) fn parse(verb: Verb, element: &Element) -> Result<Self, StanzaError> {
        let mut items = element.elements().filter(|item| item.is("item", NS));
        if verb == Verb::Set {
            let wishes = items.map(Wish::parse).collect::<Result<Vec<_>, _>>()?;
            return match wishes.len() {
                0 => Err(bad("nobody is named")),
                1..=MOST_ITEMS => Ok(Self::Change(wishes)),
                _ => Err(StanzaError::new(Condition::NotAcceptable, format!("at most {MOST_ITEMS} at once"))),
            };
        }
        let (Some(item), None) = (items.next(), items.next()) else { return Err(bad("one list at a time")) };
        let page = Page::within(element)?;
        match association(item)? {
            Association::Affiliation(Affiliation::None) | Association::Role(Role::None) => {
                Err(bad("there is no such list"))
            }
            Association::Affiliation(affiliation) => Ok(Self::Affiliated(affiliation, page)),
            Association::Role(role) => Ok(Self::InRole(role, page)),
        }
    }
}

enum Association {
    Affiliation(Affiliation),
    Role(Role),
}

/// XEP-0045#bizrules-iq: an item is about one of the two.
fn association(item: &Element) -> Result<Association, StanzaError> {
    match (item.attribute("affiliation"), item.attribute("role")) {
        (Some(affiliation), None) => Affiliation::parse(affiliation).map(Association::Affiliation),
        (None, Some(role)) => Role::parse(role).map(Association::Role),
        _ => None,
    }
    .ok_or_else(|| bad("an item is about an affiliation or about a role"))
}

impl Wish {
    fn parse(item: &Element) -> Result<Self, StanzaError> {
        let nick = item.attribute("nick").map(str::to_owned);
        let jid = item.attribute("jid").map(|jid| Jid::parse(jid).map(|jid| jid.to_bare()));
        let jid = jid.transpose().map_err(|error| StanzaError::new(Condition::JidMalformed, error.to_string()))?;
        let to = match (association(item)?, jid, nick) {
            // §10.3: whoever is named by one of his sessions is meant himself.
            (Association::Affiliation(to), Some(user), nick) => {
                Target::Affiliation { user: Whom::User(user), to, nick }
            }
            (Association::Affiliation(to), None, Some(nick)) => {
                Target::Affiliation { user: Whom::Occupant(nick), to, nick: None }
            }
            (Association::Role(to), _, Some(nick)) => Target::Role { nick, to },
            _ => return Err(bad("an item names an address or a nick")),
        };
        Ok(Self { to, reason: reason::read(item, NS)? })
    }
}

fn bad(why: &str) -> StanzaError {
    StanzaError::new(Condition::BadRequest, why)
}

impl Room {
    pub(super) fn asked_by_admin(&mut self, call: &Call<'_>, request: Request, effects: &mut Effects) -> Answer {
        match request {
            Request::Affiliated(affiliation, page) => self.affiliated(call, affiliation, page.as_ref()).map(Some),
            Request::InRole(role, page) => self.in_role(call, role, page.as_ref()).map(Some),
            Request::Change(wishes) => {
                let steps = self.judge(call, wishes)?;
                steps.into_iter().for_each(|step| self.take_step(call, step, effects));
                Ok(None)
            }
        }
    }

    /// Who calls, as far as his power goes.
    pub(super) fn standing_of(&self, call: &Call<'_>) -> Standing {
        let role = self.occupant_of(call).map_or(Role::None, |occupant| occupant.role);
        Standing { affiliation: self.affiliation_of(call), role }
    }

    /// Who does something to others, as they are told.
    pub(super) fn why(&self, call: &Call<'_>, reason: Option<String>) -> Why {
        Why { actor: self.occupant_of(call).map(|occupant| occupant.nick().to_owned()), reason }
    }

    /// §9.2, §9.5, §10.5, §10.8.
    fn affiliated(
        &self,
        call: &Call<'_>,
        affiliation: Affiliation,
        page: Option<&Page>,
    ) -> Result<Element, StanzaError> {
        let own = self.affiliation_of(call);
        let is_hidden = self.config.anonymity == Anonymity::SemiAnonymous;
        let may = match affiliation {
            Affiliation::Outcast => affiliation_may(own, AffiliationPrivilege::BanMembersAndUnaffiliated, &self.config),
            // Not even admins see who stands above them where addresses are hidden.
            Affiliation::Admin | Affiliation::Owner if is_hidden => own == Affiliation::Owner,
            _ => affiliation_may(own, AffiliationPrivilege::RetrieveMemberList, &self.config),
        };
        if !may {
            return Err(Condition::Forbidden.into());
        }
        let listed = self.affiliations.iter().filter(|(_, known)| known.affiliation == affiliation);
        let listed: Vec<(&BareJid, &Affiliated)> = listed.collect();
        let (shown, set) = Page::shown(page, listed, |(user, _)| user.as_str(), PAGE);
        let nicks: BTreeMap<&BareJid, &str> = self.occupants.iter().map(|it| (&it.user, it.nick())).collect();
        let items = shown.into_iter().map(|(user, known)| {
            let mut item =
                Element::new("item", NS).with("affiliation", affiliation.as_str()).with("jid", user.as_str());
            let nick = known.nick.as_deref().or_else(|| nicks.get(user).copied());
            // Outcasts have none (XEP-0045#bizrules-iq).
            if let Some(nick) = nick.filter(|_| affiliation != Affiliation::Outcast) {
                item.set("nick", nick);
            }
            if let Some(reason) = known.reason.as_ref().filter(|_| affiliation == Affiliation::Outcast) {
                item.push(Element::new("reason", NS).with_text(reason));
            }
            item
        });
        Ok(list(items, set))
    }

    /// §8.5, §9.8.
    fn in_role(&self, call: &Call<'_>, role: Role, page: Option<&Page>) -> Result<Element, StanzaError> {
        let own = self.standing_of(call);
        let is_admin = affiliation_may(own.affiliation, AffiliationPrivilege::AssignModeratorRole, &self.config);
        let may = is_admin || (role != Role::Moderator && role_may(own.role, RolePrivilege::GrantVoice, &self.config));
        if !may {
            return Err(Condition::Forbidden.into());
        }
        let mut listed: Vec<_> = self.occupants.iter().filter(|occupant| occupant.role == role).collect();
        listed.sort_unstable_by(|one, other| one.nick().cmp(other.nick()));
        let (shown, set) = Page::shown(page, listed, |occupant| occupant.nick(), PAGE);
        let items = shown.into_iter().map(|occupant| {
            let item = Element::new("item", NS).with("affiliation", occupant.affiliation.as_str());
            let jid = occupant.first().map_or_else(|| occupant.user.as_jid(), |session| &session.jid);
            item.with("jid", jid.as_str()).with("nick", occupant.nick()).with("role", role.as_str())
        });
        Ok(list(items, set))
    }

    /// Looks at every wish before anything happens: what was wished for before it counts as done.
    fn judge(&self, call: &Call<'_>, wishes: Vec<Wish>) -> Result<Vec<Step>, StanzaError> {
        let own = self.standing_of(call);
        let mut ahead = Ahead { affiliations: BTreeMap::new(), nicks: BTreeSet::new(), owners: self.owners() };
        let mut steps = Vec::with_capacity(wishes.len());
        for Wish { to, reason } in wishes {
            let why = self.why(call, reason);
            steps.push(match to {
                Target::Role { nick, to } => match self.judge_role(own, &nick, to)? {
                    Some(number) => Step::Role { number, to, why },
                    None => continue,
                },
                Target::Affiliation { user, to, nick } => {
                    let user = self.whom(own, user)?;
                    let from = ahead.of(self, &user);
                    self.judge_affiliation(call, own.affiliation, (&user, from, to))?;
                    let nick = nick.filter(|_| to >= Affiliation::Member);
                    let nick = nick.map(|nick| self.judge_nick(&user, &nick)).transpose()?;
                    ahead.note((&user, from, to), nick.as_deref())?;
                    Step::Affiliation { user, to, nick, is_new: from == Affiliation::None, why }
                }
            });
        }
        self.check_known(ahead.affiliations.iter().map(|(user, to)| (user, *to)))?;
        Ok(steps)
    }

    /// Who is meant.
    fn whom(&self, own: Standing, user: Whom) -> Result<BareJid, StanzaError> {
        match user {
            Whom::User(user) => Ok(user),
            // Nobody learns who is here by asking for changes that he may not make.
            Whom::Occupant(_) if own.affiliation < Affiliation::Admin => Err(Condition::Forbidden.into()),
            Whom::Occupant(nick) => self.occupant_called(&nick).map(|occupant| occupant.user.clone()),
        }
    }

    /// The occupant of that nick.
    pub(super) fn occupant_called(&self, nick: &str) -> Result<&Occupant, StanzaError> {
        let address = self.jid.with_resource(nick).map_err(|_| StanzaError::from(Condition::JidMalformed))?;
        let none = || StanzaError::new(Condition::ItemNotFound, format!("nobody is called {nick:?}"));
        self.occupants.called(&address).ok_or_else(none)
    }

    /// §8.2 to §8.5, §9.6 to §9.8. Nobody is named who has the role already: whoever sends a whole list names many who do.
    fn judge_role(&self, own: Standing, nick: &str, to: Role) -> Result<Option<Number>, StanzaError> {
        let is_admin = affiliation_may(own.affiliation, AffiliationPrivilege::AssignModeratorRole, &self.config);
        let kind =
            if to == Role::None { RolePrivilege::KickParticipantsAndVisitors } else { RolePrivilege::GrantVoice };
        if !is_admin && !role_may(own.role, kind, &self.config) {
            return Err(Condition::Forbidden.into());
        }
        let occupant = self.occupant_called(nick)?;
        let target = Standing { affiliation: occupant.affiliation, role: occupant.role };
        if target.role == to {
            return Ok(None);
        }
        if may_change_role(own, target, to) {
            return Ok(Some(occupant.number));
        }
        // §9.6 is for admins; whatever else is refused is so because of whom it would befall (§8.2, §8.4, §9.7).
        Err(if to == Role::Moderator && !is_admin { Condition::Forbidden } else { Condition::NotAllowed }.into())
    }

    /// §9.1 to §9.5, §10.3 to §10.8.
    fn judge_affiliation(
        &self,
        call: &Call<'_>,
        own: Affiliation,
        (user, from, to): (&BareJid, Affiliation, Affiliation),
    ) -> Result<(), StanzaError> {
        if !affiliation_may(own, AffiliationPrivilege::EditMemberList, &self.config) {
            return Err(Condition::Forbidden.into());
        }
        let caller = call.from.to_bare();
        let befalls_caller = caller == *user || (user.local().is_none() && caller.domain() == user.domain());
        if to == Affiliation::Outcast && befalls_caller {
            return Err(StanzaError::new(Condition::Conflict, "nobody bans himself"));
        }
        if may_change_affiliation(own, from, to) {
            return Ok(());
        }
        // §9.1 has another word for bans than §10.5 and §10.8 for the lists of admins and owners.
        Err(if to == Affiliation::Outcast { Condition::NotAllowed } else { Condition::Forbidden }.into())
    }

    /// The nick as it is kept for somebody if he can have it (§7.10); an empty one keeps none.
    pub(super) fn judge_nick(&self, user: &BareJid, nick: &str) -> Result<String, StanzaError> {
        if nick.is_empty() {
            return Ok(String::new());
        }
        // XEP-0045#bizrules-jids: what nobody can see is no nick, and does not belong to one.
        let address = self.jid.with_resource(nick.trim()).ok();
        let nick = address.as_ref().and_then(Jid::resource);
        let (Some(address), Some(nick)) = (&address, nick) else {
            return Err(StanzaError::new(Condition::JidMalformed, "nobody can be called so"));
        };
        let is_kept = self.reserved_for(nick).is_some_and(|other| other != user);
        let is_used = self.occupants.called(address).is_some_and(|occupant| occupant.user != *user);
        if is_kept || is_used {
            return Err(StanzaError::new(Condition::Conflict, "somebody else is called so"));
        }
        Ok(nick.to_owned())
    }

    fn take_step(&mut self, call: &Call<'_>, step: Step, effects: &mut Effects) {
        match step {
            Step::Role { number, to: Role::None, why } => {
                self.remove(number, &Removal { statuses: &[Status::Kicked], why }, effects);
            }
            Step::Role { number, to, why } => self.become_role(number, to, &why, effects),
            Step::Affiliation { user, to, nick, is_new, why } => {
                self.set_affiliation(&user, (to, nick.as_deref()), &why, effects);
                // §9.5: whoever may enter from now on should know.
                if is_new && to == Affiliation::Member && self.config.members_only {
                    self.invite_member(call, &user, why.reason, effects);
                }
            }
        }
    }

    /// Keeps a nick for somebody whose affiliation is known; an empty one takes it away.
    pub(super) fn keep_nick(&mut self, user: &BareJid, nick: String, effects: &mut Effects) {
        let nick = Some(nick).filter(|nick| !nick.is_empty());
        let known = self.affiliations.get(user).cloned();
        let known = known.map(|known| Affiliated { nick, ..known });
        self.note_affiliated(user, known, effects);
    }
}

/// How things stand once everything before has happened.
struct Ahead {
    affiliations: BTreeMap<BareJid, Affiliation>,
    /// That are kept for somebody from now on.
    nicks: BTreeSet<String>,
    owners: usize,
}

impl Ahead {
    fn of(&self, room: &Room, user: &BareJid) -> Affiliation {
        self.affiliations.get(user).copied().unwrap_or_else(|| room.kept_affiliation(user))
    }

    /// Somebody becomes something else. The last owner stays (§10.4), and no two people have one nick.
    fn note(
        &mut self,
        (user, from, to): (&BareJid, Affiliation, Affiliation),
        nick: Option<&str>,
    ) -> Result<(), StanzaError> {
        self.owners += usize::from(to == Affiliation::Owner);
        self.owners = self.owners.saturating_sub(usize::from(from == Affiliation::Owner));
        if from == Affiliation::Owner && self.owners == 0 {
            return Err(StanzaError::new(Condition::Conflict, "a room has at least one owner"));
        }
        if nick.is_some_and(|nick| !nick.is_empty() && !self.nicks.insert(nick.to_owned())) {
            return Err(StanzaError::new(Condition::Conflict, "two people cannot have one nick"));
        }
        self.affiliations.insert(user.clone(), to);
        Ok(())
    }
}

/// A list, or a page of it.
fn list(items: impl Iterator<Item = Element>, set: Option<Element>) -> Element {
    items.chain(set).fold(Element::new("query", NS), Element::with_child)
}
