//! The configuration of a room as a form (XEP-0045#registrar-formtype-owner): one table says what owners are shown and
//! what their answers mean.
//!
//! Whoever leaves a field out leaves things as they are, and fields that nobody knows are no fault (XEP-0004 §3.1).

use std::collections::BTreeSet;

use crate::hooks::form::{Field, FieldType, Form, FormType, Submission};
use crate::jid::{BareJid, Jid};
use crate::secret::Secret;
use crate::stanza::{Condition, StanzaError};

use super::association::Role;
use super::room_config::{Anonymity, PrivateMessages, Roles, RoomConfig, RoomPassword};

/// What the form is about.
pub(super) const ABOUT: &str = "http://jabber.org/protocol/muc#roomconfig";

const PROTECTED: &str = "muc#roomconfig_passwordprotectedroom";
const SECRET: &str = "muc#roomconfig_roomsecret";
const MAX_OCCUPANTS: &str = "muc#roomconfig_maxusers";
const PRESENCE: &str = "muc#roomconfig_presencebroadcast";
const HISTORY: &str = "muc#maxhistoryfetch";
const ADMINS: &str = "muc#roomconfig_roomadmins";
const OWNERS: &str = "muc#roomconfig_roomowners";

/// Octets of a short text.
const SHORT: usize = 256;

/// Octets of a description.
const LONG: usize = 4096;

/// Addresses in one of the lists.
const MOST_LISTED: usize = 1000;

/// The roles of [`PRESENCE`], and what people read.
const ROLES: [(Role, &str); 3] =
    [(Role::Moderator, "Moderators"), (Role::Participant, "Participants"), (Role::Visitor, "Visitors")];

/// What an owner has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) config: RoomConfig,
    /// All owners from now on, if he has said anything about them.
    pub(super) owners: Option<BTreeSet<BareJid>>,
    /// The same about the admins.
    pub(super) admins: Option<BTreeSet<BareJid>>,
}

/// Something that stands for itself.
struct Setting {
    var: &'static str,
    label: &'static str,
    kind: Kind,
}

enum Kind {
    Text {
        most: usize,
        of: fn(&RoomConfig) -> &str,
        set: fn(&mut RoomConfig, String),
    },
    Switch {
        of: fn(&RoomConfig) -> bool,
        set: fn(&mut RoomConfig, bool),
    },
    /// One of these, each with its name and what people read.
    Choice {
        choices: &'static [(Choice, &'static str, &'static str)],
        of: fn(&RoomConfig) -> Choice,
    },
}

/// One of several that exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    SeesAddresses(Anonymity),
    SendsMessages(PrivateMessages),
}

impl Choice {
    fn set(self, config: &mut RoomConfig) {
        match self {
            Self::SeesAddresses(who) => config.anonymity = who,
            Self::SendsMessages(who) => config.private_messages = who,
        }
    }
}

const fn text(
    (var, label, most): (&'static str, &'static str, usize),
    of: fn(&RoomConfig) -> &str,
    set: fn(&mut RoomConfig, String),
) -> Setting {
    Setting { var, label, kind: Kind::Text { most, of, set } }
}

const fn switch(
    (var, label): (&'static str, &'static str),
    of: fn(&RoomConfig) -> bool,
    set: fn(&mut RoomConfig, bool),
) -> Setting {
    Setting { var, label, kind: Kind::Switch { of, set } }
}

const SEES_ADDRESSES: &[(Choice, &str, &str)] = &[
    (Choice::SeesAddresses(Anonymity::SemiAnonymous), "moderators", "Moderators only"),
    (Choice::SeesAddresses(Anonymity::NonAnonymous), "anyone", "Anyone"),
];

const SENDS_MESSAGES: &[(Choice, &str, &str)] = &[
    (Choice::SendsMessages(PrivateMessages::Anyone), "anyone", "Anyone"),
    (Choice::SendsMessages(PrivateMessages::Participants), "participants", "Anyone with voice"),
    (Choice::SendsMessages(PrivateMessages::Moderators), "moderators", "Moderators only"),
    (Choice::SendsMessages(PrivateMessages::Nobody), "none", "Nobody"),
];

const SETTINGS: [Setting; 15] = [
    text(("muc#roomconfig_roomname", "Name", SHORT), |it| &it.name, |it, name| it.name = name),
    text(("muc#roomconfig_roomdesc", "Description", LONG), |it| &it.description, |it, text| it.description = text),
    text(("muc#roomconfig_lang", "Language", SHORT), |it| &it.language, |it, language| it.language = language),
    switch(
        ("muc#roomconfig_persistentroom", "The room stays when nobody is in it"),
        |it| it.persistent,
        |it, on| it.persistent = on,
    ),
    switch(("muc#roomconfig_publicroom", "Everybody can find it"), |it| it.public, |it, on| it.public = on),
    switch(
        ("muc#roomconfig_membersonly", "Only members may enter"),
        |it| it.members_only,
        |it, on| it.members_only = on,
    ),
    switch(
        ("muc#roomconfig_moderatedroom", "Moderators decide who may speak"),
        |it| it.moderated,
        |it, on| it.moderated = on,
    ),
    Setting {
        var: "muc#roomconfig_whois",
        label: "Who sees real addresses",
        kind: Kind::Choice { choices: SEES_ADDRESSES, of: |it| Choice::SeesAddresses(it.anonymity) },
    },
    switch(
        ("muc#roomconfig_changesubject", "Participants may change the subject"),
        |it| it.change_subject,
        |it, on| it.change_subject = on,
    ),
    switch(("muc#roomconfig_allowinvites", "Occupants may invite others"), |it| it.invites, |it, on| it.invites = on),
    Setting {
        var: "muc#roomconfig_allowpm",
        label: "Who may send private messages",
        kind: Kind::Choice { choices: SENDS_MESSAGES, of: |it| Choice::SendsMessages(it.private_messages) },
    },
    switch(
        ("muc#roomconfig_enablelogging", "What is said is kept for others to read"),
        |it| it.archive,
        |it, on| it.archive = on,
    ),
    switch(
        ("muc#roomconfig_allowregister", "People may ask to become members"),
        |it| it.registration,
        |it, on| it.registration = on,
    ),
    switch(
        ("muc#roomconfig_listoccupants", "Everybody can see who is in the room"),
        |it| it.occupants_listed,
        |it, on| it.occupants_listed = on,
    ),
    text(("muc#roomconfig_pubsub", "Node of the room", SHORT), |it| &it.pubsub, |it, node| it.pubsub = node),
];

/// The form, filled in with what is set.
pub(super) fn form(room: &BareJid, config: &RoomConfig, owners: &[BareJid], admins: &[BareJid]) -> Form {
    let title = format!("Configuration of {room}");
    let form =
        SETTINGS.iter().fold(Form::new(FormType::Form, ABOUT).title(&title), |form, it| form.field(it.field(config)));
    let password = config.password.as_ref().map(|password| password.0.reveal().to_owned());
    let most = config.max_occupants.map_or_else(|| "none".to_owned(), |most| most.to_string());
    let roles: Vec<(&str, &str)> = ROLES.iter().map(|(role, label)| (role.as_str(), *label)).collect();
    let shown = ROLES.iter().filter(|(role, _)| config.presence_broadcast.contains(*role));
    let addresses = |var, label, all: &[BareJid]| {
        Field::new(var, FieldType::JidMulti).label(label).values(all.iter().map(ToString::to_string))
    };
    form.field(yes_or_no(PROTECTED, "A password is needed to enter", password.is_some()))
        .field(Field::new(SECRET, FieldType::TextPrivate).label("Password").values(password))
        .field(
            Field::new(MAX_OCCUPANTS, FieldType::ListSingle).label("Occupants at most").open().value(&most).choices(&[
                ("10", "10"),
                ("20", "20"),
                ("50", "50"),
                ("100", "100"),
                ("500", "500"),
                ("none", "No limit"),
            ]),
        )
        .field(
            Field::new(PRESENCE, FieldType::ListMulti)
                .label("Whose presence is shown")
                .values(shown.map(|(role, _)| role.as_str().to_owned()))
                .choices(&roles),
        )
        .field(
            Field::new(HISTORY, FieldType::TextSingle)
                .label("Messages that are shown to who enters, at most")
                .value(&config.history.to_string()),
        )
        .field(addresses(ADMINS, "Admins", admins))
        .field(addresses(OWNERS, "Owners", owners))
}

/// What the answers make of the configuration.
///
/// # Errors
/// `bad-request`: an answer is none; `not-acceptable`: it cannot be had (§10.1.3).
pub(super) fn read(submission: &Submission, config: &RoomConfig, room: &BareJid) -> Result<Decision, StanzaError> {
    form(room, config, &[], &[]).check(submission)?;
    let mut config = config.clone();
    for setting in &SETTINGS {
        setting.read(submission, &mut config)?;
    }
    config.password = read_password(submission, config.password)?;
    match submission.text(MAX_OCCUPANTS) {
        None => {}
        Some("none") => config.max_occupants = None,
        Some(number) => config.max_occupants = Some(read_number(MAX_OCCUPANTS, number, 1, usize::MAX)?),
    }
    if let Some(number) = submission.text(HISTORY) {
        config.history = read_number(HISTORY, number, 0, RoomConfig::MOST_HISTORY)?;
    }
    if submission.has(PRESENCE) {
        let shown = |role: Role| submission.all(PRESENCE).iter().any(|name| name == role.as_str());
        config.presence_broadcast = Roles {
            moderator: shown(Role::Moderator),
            participant: shown(Role::Participant),
            visitor: shown(Role::Visitor),
        };
    }
    Ok(Decision { config, owners: read_addresses(submission, OWNERS)?, admins: read_addresses(submission, ADMINS)? })
}

fn read_password(submission: &Submission, current: Option<RoomPassword>) -> Result<Option<RoomPassword>, StanzaError> {
    let given = submission.text(SECRET);
    match (submission.boolean(PROTECTED)?, given) {
        (Some(false), _) => Ok(None),
        (_, Some(given)) if given.len() > SHORT => Err(unacceptable(SECRET, "is too long")),
        (_, Some(given)) => Ok(Some(RoomPassword(Secret::new(given.to_owned())))),
        // §10.1.3: a room that needs a password has one.
        (Some(true), None) if current.is_none() || submission.has(SECRET) => {
            Err(unacceptable(SECRET, "must not be empty"))
        }
        (Some(true) | None, None) => Ok(current),
    }
}

fn read_number(var: &str, text: &str, least: usize, most: usize) -> Result<usize, StanzaError> {
    let number = text.trim().parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| unacceptable(var, "is no number that can be had"))
}

fn read_addresses(submission: &Submission, var: &str) -> Result<Option<BTreeSet<BareJid>>, StanzaError> {
    if !submission.has(var) {
        return Ok(None);
    }
    let given = submission.all(var).iter().filter(|jid| !jid.is_empty());
    let jids: Result<BTreeSet<_>, _> = given.map(|jid| Jid::parse(jid).map(|jid| jid.to_bare())).collect();
    let jids = jids.map_err(|_| StanzaError::new(Condition::BadRequest, format!("{var} has no valid value")))?;
    if jids.len() > MOST_LISTED {
        return Err(unacceptable(var, "is too long"));
    }
    Ok(Some(jids))
}

fn unacceptable(var: &str, why: &str) -> StanzaError {
    StanzaError::new(Condition::NotAcceptable, format!("{var} {why}"))
}

fn yes_or_no(var: &str, label: &str, on: bool) -> Field {
    Field::new(var, FieldType::Boolean).label(label).value(if on { "1" } else { "0" })
}

impl Setting {
    fn field(&self, config: &RoomConfig) -> Field {
        let Self { var, label, kind } = self;
        match kind {
            Kind::Text { of, .. } => {
                let text = Some(of(config).to_owned()).filter(|text| !text.is_empty());
                Field::new(var, FieldType::TextSingle).label(label).values(text)
            }
            Kind::Switch { of, .. } => yes_or_no(var, label, of(config)),
            Kind::Choice { choices, of } => {
                let chosen = choices.iter().find(|(choice, ..)| *choice == of(config));
                let chosen = chosen.map(|(_, name, _)| (*name).to_owned());
                let all: Vec<(&str, &str)> = choices.iter().map(|(_, name, label)| (*name, *label)).collect();
                Field::new(var, FieldType::ListSingle).label(label).values(chosen).choices(&all)
            }
        }
    }

    fn read(&self, submission: &Submission, config: &mut RoomConfig) -> Result<(), StanzaError> {
        match &self.kind {
            Kind::Text { most, set, .. } => {
                if submission.has(self.var) {
                    let text = submission.text(self.var).unwrap_or_default();
                    if text.len() > *most {
                        return Err(unacceptable(self.var, "is too long"));
                    }
                    set(config, text.to_owned());
                }
            }
            Kind::Switch { set, .. } => {
                if let Some(on) = submission.boolean(self.var)? {
                    set(config, on);
                }
            }
            Kind::Choice { choices, .. } => {
                let named = submission.text(self.var);
                let chosen = named.and_then(|named| choices.iter().find(|(_, name, _)| *name == named));
                chosen.into_iter().for_each(|(choice, ..)| choice.set(config));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::form::NS as FORM_NS;
    use crate::xml::Element;

    fn room() -> BareJid {
        "coven@chat.example".parse().unwrap()
    }

    fn submission(fields: &[(&str, &[&str])]) -> Submission {
        let fields: String = fields
            .iter()
            .map(|(var, values)| {
                let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
                format!("<field var='{var}'>{values}</field>")
            })
            .collect();
        let xml = format!("<x xmlns='{FORM_NS}' type='submit'>{fields}</x>");
        Submission::read(&Element::parse(&xml, "").unwrap()).unwrap()
    }

    fn answered(fields: &[(&str, &[&str])], config: &RoomConfig) -> Result<Decision, Condition> {
        read(&submission(fields), config, &room()).map_err(|error| error.condition)
    }

    /// The form with all that is in it, sent back.
    fn sent_back(config: &RoomConfig, owners: &[BareJid], admins: &[BareJid]) -> Submission {
        let shown = form(&room(), config, owners, admins).to_element();
        let fields: Vec<(String, Vec<String>)> = shown
            .elements()
            .filter(|field| field.is("field", FORM_NS))
            .map(|field| {
                let values = field.elements().filter(|value| value.is("value", FORM_NS)).map(Element::text);
                (field.attribute("var").unwrap().to_owned(), values.collect())
            })
            .collect();
        let fields: Vec<(&str, Vec<&str>)> =
            fields.iter().map(|(var, values)| (var.as_str(), values.iter().map(String::as_str).collect())).collect();
        let fields: Vec<(&str, &[&str])> = fields.iter().map(|(var, values)| (*var, values.as_slice())).collect();
        submission(&fields)
    }

    fn unusual() -> RoomConfig {
        RoomConfig {
            name: "A Dark Cave".to_owned(),
            description: "For all good witches".to_owned(),
            language: "en".to_owned(),
            persistent: true,
            public: false,
            members_only: true,
            moderated: true,
            password: Some(RoomPassword(Secret::new("cauldronburn".to_owned()))),
            anonymity: Anonymity::NonAnonymous,
            max_occupants: Some(25),
            change_subject: true,
            invites: false,
            private_messages: PrivateMessages::Moderators,
            presence_broadcast: Roles { moderator: true, participant: false, visitor: false },
            archive: false,
            history: 7,
            registration: false,
            occupants_listed: true,
            pubsub: "xmpp:pubsub.example?;node=coven".to_owned(),
            avatar: Vec::new(),
        }
    }

    // Proves: XEP-0045 §10.2
    #[test]
    fn what_is_shown_and_sent_back_changes_nothing() {
        let people: Vec<BareJid> =
            ["bard@shakespeare.lit", "crone1@shakespeare.lit"].map(|it| it.parse().unwrap()).into();
        for config in [RoomConfig::default(), unusual()] {
            let decision = read(&sent_back(&config, &people, &people[..1]), &config, &room()).unwrap();
            assert_eq!(decision.config, config);
            assert_eq!(decision.owners, Some(people.iter().cloned().collect()));
            assert_eq!(decision.admins, Some(people[..1].iter().cloned().collect()));
        }
        // Each setting is read by itself: with all of them the one becomes the other.
        let decision = read(&sent_back(&unusual(), &[], &[]), &RoomConfig::default(), &room()).unwrap();
        assert_eq!(decision.config, unusual());
        let password = [(PROTECTED, ["0"].as_slice())];
        let mut plain = read(&sent_back(&RoomConfig::default(), &[], &[]), &unusual(), &room()).unwrap().config;
        assert_eq!(plain.password, None, "{password:?}");
        // An empty text is left out of the form that is shown.
        (plain.name, plain.description, plain.language, plain.pubsub) = Default::default();
        assert_eq!(plain, RoomConfig::default());
    }

    // Proves: XEP-0045 §10.1.3, XEP-0004 §3.1
    #[test]
    fn whoever_leaves_something_out_leaves_it_as_it_is() {
        let config = unusual();
        let nothing = Decision { config: config.clone(), owners: None, admins: None };
        assert_eq!(answered(&[], &config), Ok(nothing.clone()));
        assert_eq!(answered(&[("muc#roomconfig_colour", &["red"]), ("FORM_TYPE", &[ABOUT])], &config), Ok(nothing));
        let renamed = answered(&[("muc#roomconfig_roomname", &["The Heath"])], &config).unwrap().config;
        assert_eq!(renamed, RoomConfig { name: "The Heath".to_owned(), ..config.clone() });
        // What is empty is not the same as what is not there.
        let emptied = [("muc#roomconfig_roomname", [].as_slice()), (PRESENCE, &[]), (OWNERS, &[]), (ADMINS, &[""])];
        let decision = answered(&emptied, &config).unwrap();
        assert_eq!((decision.owners, decision.admins), (Some(BTreeSet::new()), Some(BTreeSet::new())));
        let silent = Roles { moderator: false, participant: false, visitor: false };
        assert_eq!(decision.config, RoomConfig { name: String::new(), presence_broadcast: silent, ..config });
    }

    // Proves: XEP-0045 §10.1.3
    #[test]
    fn a_room_that_needs_a_password_has_one() {
        let password = |fields: &[(&str, &[&str])], config: &RoomConfig| {
            answered(fields, config).map(|it| it.config.password.map(|password| password.0.reveal().to_owned()))
        };
        let (open, closed) = (RoomConfig::default(), unusual());
        let is = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(password(&[(PROTECTED, &["1"]), (SECRET, &["x"])], &open), is("x"));
        assert_eq!(password(&[(SECRET, &["x"])], &open), is("x"));
        assert_eq!(password(&[(PROTECTED, &["1"])], &closed), is("cauldronburn"));
        assert_eq!(password(&[(PROTECTED, &["0"]), (SECRET, &["x"])], &closed), Ok(None));
        assert_eq!(password(&[(PROTECTED, &["1"])], &open), Err(Condition::NotAcceptable));
        assert_eq!(password(&[(PROTECTED, &["1"]), (SECRET, &[""])], &closed), Err(Condition::NotAcceptable));
        let long = "x".repeat(SHORT + 1);
        assert_eq!(password(&[(SECRET, &[&long])], &open), Err(Condition::NotAcceptable));
    }

    #[test]
    fn what_cannot_be_had() {
        let wrong = |var: &str, value: &str| answered(&[(var, &[value])], &RoomConfig::default()).map(|_| ());
        for (var, value) in [
            ("muc#roomconfig_persistentroom", "perhaps"),
            ("muc#roomconfig_whois", "nobody"),
            ("muc#roomconfig_allowpm", "some"),
            (PRESENCE, "none"),
            (OWNERS, "@"),
            ("FORM_TYPE", "urn:other"),
        ] {
            assert_eq!(wrong(var, value), Err(Condition::BadRequest), "{var} {value}");
        }
        let long = "x".repeat(LONG + 1);
        for (var, value) in [
            (MAX_OCCUPANTS, "0"),
            (MAX_OCCUPANTS, "many"),
            (HISTORY, "-1"),
            (HISTORY, "101"),
            ("muc#roomconfig_roomdesc", &long),
        ] {
            assert_eq!(wrong(var, value), Err(Condition::NotAcceptable), "{var} {value}");
        }
        assert_eq!(wrong(MAX_OCCUPANTS, "none"), Ok(()));
    }
}
