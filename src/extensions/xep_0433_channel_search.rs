//! XEP-0433 Extended Channel Search, version 0.1.0: people find rooms by words.
//!
//! A room service asks here what to answer; which rooms anybody may find is its own business.

use crate::hooks::form::{Field, FieldType, Form, FormType, NS as FORM_NS, Submission};
use crate::hooks::paging::Page;
use crate::hooks::{Entity, Extension, Spec};
use crate::jid::BareJid;
use crate::stanza::{Condition, ErrorType, StanzaError};
use crate::xml::{Element, spelled};

use self::api::{Channel, NS};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0433", version: "0.1.0" },
    name: "channel-search",
    advertises: &[(Entity::Rooms, NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    // The service of rooms asks what to answer.
    install: |_| {},
};

/// What the form is about.
const ABOUT: &str = "urn:xmpp:channel-search:0:search-params";

/// Namespace of what was wrong with a search.
const ERROR_NS: &str = "urn:xmpp:channel-search:0:error";

/// Rooms whose occupants know each other's addresses (XEP-0433#impl-resultitemformat).
const KNOWN_TO_EACH_OTHER: &str = "{urn:xmpp:channel-search:0:anonymity}none";

/// The one kind of service that is searched.
const ROOMS: &str = "xep-0045";

/// Words that are looked for at once.
const MOST_WORDS: usize = 16;

/// Rooms of one page.
const PAGE: usize = 100;

spelled! {
    /// How what was found is sorted: by address, or the rooms with the most people first.
    Order { Users = "{urn:xmpp:channel-search:0:order}nusers", Address = "{urn:xmpp:channel-search:0:order}address" }
}

/// Where words are looked for.
struct Place {
    /// The field that asks for it.
    var: &'static str,
    label: &'static str,
    of: fn(&Channel) -> &str,
}

const PLACES: [Place; 3] = [
    Place { var: "sinname", label: "Look for the words in names", of: |channel| &channel.name },
    Place { var: "sindescription", label: "Look for the words in descriptions", of: |channel| &channel.description },
    Place {
        var: "sinaddress",
        label: "Look for the words in addresses",
        of: |channel| channel.address.local().unwrap_or_default(),
    },
];

/// For services whose rooms can be found.
pub(super) mod api {
    use crate::jid::BareJid;
    use crate::stanza::StanzaError;
    use crate::xml::Element;

    /// Namespace of questions and results, and the feature.
    pub(in crate::extensions) const NS: &str = "urn:xmpp:channel-search:0:search";

    /// The element that asks.
    pub(in crate::extensions) const NAME: &str = "search";

    /// A room that anybody may find.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::extensions) struct Channel {
        pub(in crate::extensions) address: BareJid,
        pub(in crate::extensions) name: String,
        pub(in crate::extensions) description: String,
        pub(in crate::extensions) language: String,
        /// Whether everybody may enter who comes along.
        pub(in crate::extensions) is_open: bool,
        /// Whether its occupants see no more of each other than nicknames.
        pub(in crate::extensions) is_semi_anonymous: bool,
    }

    /// What answers a question about these rooms, of which `users` counts the people. Whoever asks for the form has none of
    /// them looked at, and people are counted where the words are found.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::extensions) fn answer(
        question: &Element,
        channels: impl Iterator<Item = Channel>,
        users: impl Fn(&BareJid) -> usize,
    ) -> Result<Element, StanzaError> {
        super::answer(question, channels, users)
    }
}

/// A room that was found.
struct Found {
    /// What it is sorted by.
    id: String,
    channel: Channel,
    users: usize,
}

fn answer(
    question: &Element,
    channels: impl Iterator<Item = Channel>,
    users: impl Fn(&BareJid) -> usize,
) -> Result<Element, StanzaError> {
    let Some(filled) = question.child("x", FORM_NS) else {
        return Ok(Element::new(api::NAME, NS).with_child(form().to_element()));
    };
    let search = Search::read(filled)?;
    let page = Page::within(question)?.unwrap_or_default();
    let counted = channels.filter(|channel| search.finds(channel)).map(|channel| {
        let users = users(&channel.address);
        Found { id: search.order.id(&channel, users), channel, users }
    });
    let mut found: Vec<Found> = counted.filter(|found| found.users >= search.min_users).collect();
    found.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let (found, set) = Page::shown(Some(&page), found, |found| &found.id, PAGE);
    let items = found.iter().map(Found::to_element);
    Ok(items.chain(set).fold(Element::new("result", NS), Element::with_child))
}

/// What can be asked for (XEP-0433#impl-searchformfields). Only what is always the same is filled in already: nothing is
/// looked for that nobody has asked for.
fn form() -> Form {
    let yes_or_no = |var, label| Field::new(var, FieldType::Boolean).label(label);
    let orders: Vec<&str> = Order::ALL.iter().map(|order| order.as_str()).collect();
    let words = Form::new(FormType::Form, ABOUT)
        .field(Field::new("q", FieldType::TextSingle).label("Words"))
        .field(yes_or_no("all", "All rooms, whatever the words"));
    PLACES
        .iter()
        .fold(words, |form, place| form.field(yes_or_no(place.var, place.label)))
        .field(Field::new("min_users", FieldType::TextSingle).label("People at least"))
        .field(Field::new("types", FieldType::ListMulti).label("Kinds").open().value(ROOMS).options(&[ROOMS]))
        .field(
            Field::new("key", FieldType::ListSingle).label("Sorted by").value(Order::Users.as_str()).options(&orders),
        )
}

/// What somebody looks for.
struct Search {
    /// In lower case; none if all rooms are wanted.
    words: Vec<String>,
    places: Vec<&'static Place>,
    min_users: usize,
    /// Whether rooms are of the kind that is wanted.
    is_for_rooms: bool,
    order: Order,
}

impl Search {
    fn read(filled: &Element) -> Result<Self, StanzaError> {
        let submission = Submission::read(filled)?;
        let order = match submission.text("key") {
            None => Order::Users,
            Some(key) => Order::parse(key).ok_or_else(|| refused("invalid-sort-key", "there is no such order"))?,
        };
        form().check(&submission)?;
        let (words, all) = (submission.text("q"), submission.boolean("all")?.unwrap_or_default());
        let words = match (words, all) {
            (None, true) => Vec::new(),
            (Some(words), false) => read_words(words)?,
            (None, false) => return Err(refused("no-search-conditions", "look for words or for all rooms")),
            (Some(_), true) => return Err(refused("conflicting-fields", "look for words or for all rooms, not both")),
        };
        let mut places = Vec::new();
        for place in &PLACES {
            if submission.boolean(place.var)? == Some(true) {
                places.push(place);
            }
        }
        if places.is_empty() {
            places.extend(&PLACES);
        }
        let types = submission.all("types");
        let min_users = submission.text("min_users").map(str::parse).transpose();
        Ok(Self {
            words,
            places,
            min_users: min_users
                .map_err(|_| StanzaError::new(Condition::BadRequest, "min_users has no valid value"))?
                .unwrap_or_default(),
            is_for_rooms: types.is_empty() || types.iter().any(|kind| kind == ROOMS),
            order,
        })
    }

    fn finds(&self, channel: &Channel) -> bool {
        if !self.is_for_rooms || self.words.is_empty() {
            return self.is_for_rooms;
        }
        let texts: Vec<String> = self.places.iter().map(|place| (place.of)(channel).to_lowercase()).collect();
        self.words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
    }
}

fn read_words(text: &str) -> Result<Vec<String>, StanzaError> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    if words.is_empty() || words.len() > MOST_WORDS {
        let why = format!("look for at least one word and at most {MOST_WORDS}");
        return Err(refused("invalid-search-terms", &why));
    }
    Ok(words)
}

/// XEP-0433#usecases-search-request: what is wrong is said in words of the protocol as well.
fn refused(name: &str, why: &str) -> StanzaError {
    let mut detail = Element::new(name, ERROR_NS);
    let (condition, error_type) = match name {
        "invalid-sort-key" => (Condition::FeatureNotImplemented, ErrorType::Modify),
        "no-search-conditions" => (Condition::BadRequest, ErrorType::Cancel),
        _ => (Condition::BadRequest, ErrorType::Modify),
    };
    if name == "conflicting-fields" {
        ["all", "q"].iter().for_each(|var| detail.push(Element::new("var", ERROR_NS).with_text(var)));
    }
    StanzaError::new(condition, why).with_type(error_type).with_detail(detail)
}

impl Order {
    /// An id whose order is this one.
    fn id(self, channel: &Channel, users: usize) -> String {
        match self {
            Self::Address => channel.address.to_string(),
            Self::Users => format!("{:020}{}", u64::MAX - users as u64, channel.address),
        }
    }
}

impl Found {
    /// XEP-0433#impl-resultitemformat.
    fn to_element(&self) -> Element {
        let Self { channel, users, .. } = self;
        let mut item = Element::new("item", NS).with("address", channel.address.as_str());
        let mut push = |name, text: &str| {
            if !text.is_empty() {
                item.push(Element::new(name, NS).with_text(text));
            }
        };
        push("name", &channel.name);
        push("description", &channel.description);
        push("language", &channel.language);
        push("nusers", &users.to_string());
        push("service-type", ROOMS);
        // Some take it to mean yes wherever it stands.
        push("is-open", if channel.is_open { "true" } else { "" });
        push("anonymity-mode", if channel.is_semi_anonymous { "muc_semianonymous" } else { KNOWN_TO_EACH_OTHER });
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(local: &str, name: &str, description: &str) -> Channel {
        Channel {
            address: format!("{local}@rooms.example").parse().unwrap(),
            name: name.to_owned(),
            description: description.to_owned(),
            language: String::new(),
            is_open: true,
            is_semi_anonymous: true,
        }
    }

    fn channels() -> Vec<Channel> {
        vec![
            channel("heath", "A lonely heath", ""),
            channel("coven", "A dark cave", "For all good witches"),
            channel("inverness", "Macbeth's castle", "Dark and gloomy"),
        ]
    }

    fn users(room: &BareJid) -> usize {
        if room.local() == Some("coven") { 7 } else { 3 }
    }

    /// What a question with these fields is answered with: the localparts, or what is wrong.
    fn found(fields: &[(&str, &str)]) -> Result<Vec<String>, String> {
        asked(fields, "").map(|result| {
            let items = result.elements().filter(|element| element.is("item", NS));
            items.map(|item| item.attribute("address").unwrap().split('@').next().unwrap().to_owned()).collect()
        })
    }

    fn asked(fields: &[(&str, &str)], set: &str) -> Result<Element, String> {
        let fields: String =
            fields.iter().map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>")).collect();
        let xml = format!("<search xmlns='{NS}'>{set}<x xmlns='jabber:x:data' type='submit'>{fields}</x></search>");
        answer(&Element::parse(&xml, "").unwrap(), channels().into_iter(), users).map_err(|error| {
            let detail = error.detail.as_ref().map(|detail| detail.name().to_owned()).unwrap_or_default();
            format!("{} {} {detail}", error.condition.as_str(), error.error_type.as_str())
        })
    }

    // Proves: XEP-0433#usecases-search-form, §5, XEP-0433 §4.2.1
    #[test]
    fn whoever_sends_no_form_gets_one() {
        let nobody = std::iter::from_fn(|| panic!("no room is looked at"));
        let given = answer(&Element::new(api::NAME, NS), nobody, users).unwrap();
        let form = given.child("x", FORM_NS).unwrap().to_xml(FORM_NS);
        assert!(given.is("search", NS) && form.starts_with("<x type='form'><field var='FORM_TYPE' type='hidden'>"));
        for (var, kind) in [
            ("q", "text-single"),
            ("all", "boolean"),
            ("sinname", "boolean"),
            ("sindescription", "boolean"),
            ("sinaddress", "boolean"),
            ("types", "list-multi"),
            ("key", "list-single"),
        ] {
            assert!(form.contains(&format!("<field var='{var}' type='{kind}'")), "{form}");
        }
    }

    // Proves: XEP-0433#usecases-search-request, §5, §6.1, XEP-0433 §6.2
    #[test]
    fn words_are_found_where_somebody_looks() {
        let places = |local: &[&str]| Ok(local.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(found(&[("all", "1")]), places(&["coven", "heath", "inverness"]));
        assert_eq!(found(&[("q", "DARK")]), places(&["coven", "inverness"]));
        assert_eq!(found(&[("q", "dark witch")]), places(&["coven"]));
        assert_eq!(found(&[("q", "heath")]), places(&["heath"]));
        assert_eq!(found(&[("q", "dark"), ("sinname", "true")]), places(&["coven"]));
        assert_eq!(found(&[("q", "dark"), ("sindescription", "true")]), places(&["inverness"]));
        assert_eq!(found(&[("q", "inver"), ("sinaddress", "1"), ("sinname", "0")]), places(&["inverness"]));
        // Who has chosen no place has all.
        let none = [("q", "dark"), ("sinname", "0"), ("sindescription", "0"), ("sinaddress", "0")];
        assert_eq!(found(&none), places(&["coven", "inverness"]));
        assert_eq!(found(&[("q", "rooms.example")]), places(&[]));
        assert_eq!(found(&[("all", "true"), ("min_users", "4")]), places(&["coven"]));
        assert_eq!(found(&[("all", "true"), ("types", "xep-0369")]), places(&[]));
        assert_eq!(found(&[("all", "true"), ("types", "xep-0045"), ("colour", "red")]).unwrap().len(), 3);
        assert_eq!(found(&[("FORM_TYPE", ABOUT), ("all", "true")]).unwrap().len(), 3);
    }

    #[test]
    fn people_are_counted_where_the_words_are_found() {
        let xml = format!(
            "<search xmlns='{NS}'><x xmlns='jabber:x:data' type='submit'><field var='q'><value>witches</value></field>\
             </x></search>"
        );
        let counted = std::cell::RefCell::new(Vec::new());
        let count = |room: &BareJid| {
            counted.borrow_mut().push(room.local().unwrap().to_owned());
            1
        };
        let result = answer(&Element::parse(&xml, "").unwrap(), channels().into_iter(), count).unwrap();
        assert!(result.to_xml(NS).contains("<nusers>1</nusers>"));
        assert_eq!(counted.into_inner(), ["coven"]);
    }

    // Proves: XEP-0433#usecases-search-request-unsuppsortkey, #usecases-search-request-searchinvalid,
    // §4.2.2.2, §4.2.2.3, §4.2.2.6, §4.2.2.7,
    // #usecases-support-request-conflictingoptions, #usecases-search-request-nosearch
    #[test]
    fn what_makes_no_sense() {
        let wrong = |fields: &[(&str, &str)]| found(fields).unwrap_err();
        let key = [("q", "x"), ("key", "colour")];
        assert_eq!(wrong(&key), "feature-not-implemented modify invalid-sort-key");
        assert_eq!(wrong(&[("q", " ")]), "bad-request modify invalid-search-terms");
        assert_eq!(wrong(&[("q", &"x ".repeat(MOST_WORDS + 1))]), "bad-request modify invalid-search-terms");
        assert_eq!(wrong(&[("q", "x"), ("all", "true")]), "bad-request modify conflicting-fields");
        assert_eq!(wrong(&[]), "bad-request cancel no-search-conditions");
        assert_eq!(wrong(&[("all", "false")]), "bad-request cancel no-search-conditions");
        assert_eq!(wrong(&[("all", "true"), ("min_users", "many")]), "bad-request modify ");
        assert_eq!(wrong(&[("all", "perhaps")]), "bad-request modify ");
        assert_eq!(wrong(&[("all", "true"), ("FORM_TYPE", "urn:x")]), "bad-request modify ");
    }

    // Proves: XEP-0433#impl-searchformfields, #impl-resultitemformat, XEP-0059 §2.2, XEP-0433 §6.2
    #[test]
    fn results_come_in_order_and_in_pages() {
        let by = |order: &'static str| ("key", order);
        let (users, address) = (by(Order::Users.as_str()), by(Order::Address.as_str()));
        assert_eq!(found(&[("all", "1"), users]).unwrap(), ["coven", "heath", "inverness"]);
        assert_eq!(found(&[("q", "e"), address]).unwrap(), ["coven", "heath", "inverness"]);
        let set = "<set xmlns='http://jabber.org/protocol/rsm'><max>1</max></set>";
        let first = asked(&[("all", "1"), users], set).unwrap().to_xml(NS);
        let id = "18446744073709551608coven@rooms.example";
        assert_eq!(
            first,
            format!(
                "<result><item address='coven@rooms.example'><name>A dark cave</name>\
                 <description>For all good witches</description><nusers>7</nusers>\
                 <service-type>xep-0045</service-type><is-open>true</is-open>\
                 <anonymity-mode>muc_semianonymous</anonymity-mode></item>\
                 <set xmlns='http://jabber.org/protocol/rsm'><first index='0'>{id}</first><last>{id}</last>\
                 <count>3</count></set></result>"
            )
        );
        let set = format!("<set xmlns='http://jabber.org/protocol/rsm'><after>{id}</after></set>");
        let rest = asked(&[("all", "1"), users], &set).unwrap();
        assert_eq!(rest.elements().filter(|element| element.is("item", NS)).count(), 2);
        // Nothing at all has no pages.
        assert_eq!(asked(&[("q", "banquo")], &set).unwrap().to_xml(NS), "<result/>");
        let closed = Channel { is_open: false, is_semi_anonymous: false, ..channel("x", "", "") };
        let closed = Found { id: String::new(), channel: closed, users: 0 };
        assert_eq!(
            closed.to_element().to_xml(NS),
            format!(
                "<item address='x@rooms.example'><nusers>0</nusers><service-type>xep-0045</service-type>\
                 <anonymity-mode>{KNOWN_TO_EACH_OTHER}</anonymity-mode></item>"
            )
        );
    }
}
