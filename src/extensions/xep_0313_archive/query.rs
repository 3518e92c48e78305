//! What a client asks its archive: the form (XEP-0313 §4.1) and the page (XEP-0059).

use crate::clock::Timestamp;
use crate::hooks::Request;
use crate::hooks::form::{DataType, Field, FieldType, Form, FormType, NS as FORM_NS, Submission};
use crate::jid::Jid;
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::api::NS;

/// XEP-0059.
pub(in crate::extensions) const RSM_NS: &str = "http://jabber.org/protocol/rsm";

/// Ids that one query may name.
const MOST_IDS: usize = 250;

/// Octets that a `queryid` may have: every result repeats it.
const QUERYID: usize = 256;

/// What can be asked for (XEP-0313 §4.1.5).
pub(super) fn form() -> Form {
    let text = |var| Field::new(var, FieldType::TextSingle);
    Form::new(FormType::Form, NS)
        .field(Field::new("with", FieldType::JidSingle))
        .field(text("start").data(DataType::Time))
        .field(text("end").data(DataType::Time))
        .field(text("before-id"))
        .field(text("after-id"))
        // All ids that there are would make a long list.
        .field(Field::new("ids", FieldType::ListMulti).open())
        .field(Field::new("include-groupchat", FieldType::Boolean))
}

/// A query as it was sent; ids are not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Query {
    /// Comes back with every result.
    pub(super) queryid: Option<String>,
    pub(super) with: Option<Jid>,
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
    pub(super) before_id: Option<String>,
    pub(super) after_id: Option<String>,
    pub(super) ids: Option<Vec<String>>,
    pub(super) page: Page,
    /// The youngest result comes first.
    pub(super) flipped: bool,
}

/// Which results of a query are wanted (XEP-0059).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::extensions) struct Page {
    pub(in crate::extensions) max: Option<usize>,
    pub(in crate::extensions) after: Option<String>,
    pub(in crate::extensions) before: Option<Before>,
}

/// Where a page ends that is asked for backwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::extensions) enum Before {
    TheEnd,
    Id(String),
}

/// Asks which fields the form has.
pub(super) struct FormRequest;

/// Asks from when to when the archive reaches (XEP-0313 §4.3).
pub(super) struct Metadata;

impl Request for Query {
    const NAME: &'static str = "query";
    const NS: &'static str = NS;

    fn parse(element: &Element) -> Result<Self, StanzaError> {
        if element.attribute("node").is_some() {
            return Err(StanzaError::new(Condition::ItemNotFound, "there is one archive, and it has no node"));
        }
        if element.attribute("queryid").is_some_and(|id| id.len() > QUERYID) {
            return Err(StanzaError::new(Condition::BadRequest, format!("a queryid has at most {QUERYID} bytes")));
        }
        let mut query = Self {
            queryid: element.attribute("queryid").map(str::to_owned),
            flipped: element.child("flip-page", NS).is_some(),
            ..Self::default()
        };
        if let Some(form) = element.child("x", FORM_NS) {
            query.read_form(form)?;
        }
        if let Some(set) = element.child("set", RSM_NS) {
            query.page = Page::read(set)?;
        }
        Ok(query)
    }
}

impl Request for FormRequest {
    const NAME: &'static str = "query";
    const NS: &'static str = NS;

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}

impl Request for Metadata {
    const NAME: &'static str = "metadata";
    const NS: &'static str = NS;

    fn parse(_: &Element) -> Result<Self, StanzaError> {
        Ok(Self)
    }
}

impl Query {
    /// A field that was left empty restricts nothing.
    fn read_form(&mut self, element: &Element) -> Result<(), StanzaError> {
        let (form, submission) = (form(), Submission::read(element)?);
        if let Some(name) = form.unknown(&submission) {
            // XEP-0313 §4.1.5: to ignore it would give more than was asked for.
            return Err(StanzaError::new(Condition::FeatureNotImplemented, format!("there is no field {name:?}")));
        }
        form.check(&submission)?;
        let text = |var| submission.text(var).map(str::to_owned);
        self.with = submission.jid("with")?;
        self.start = submission.time("start")?;
        self.end = submission.time("end")?;
        self.before_id = text("before-id");
        self.after_id = text("after-id");
        // There are no messages of rooms in the archive of an account, whatever is asked for (§4.1.4).
        submission.boolean("include-groupchat")?;
        let ids = submission.all("ids");
        if ids.len() > MOST_IDS {
            return Err(StanzaError::new(Condition::PolicyViolation, "too many ids"));
        }
        self.ids = Some(ids.to_vec()).filter(|ids| !ids.is_empty());
        Ok(())
    }
}

impl Page {
    pub(in crate::extensions) fn read(set: &Element) -> Result<Self, StanzaError> {
        let text = |name| set.child(name, RSM_NS).map(Element::text);
        if text("index").is_some() {
            return Err(StanzaError::new(Condition::FeatureNotImplemented, "pages have no numbers"));
        }
        let max = match text("max") {
            None => None,
            Some(max) if !max.is_empty() && max.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(max.parse().unwrap_or(usize::MAX))
            }
            Some(_) => return Err(bad("max")),
        };
        let before = text("before").map(|id| if id.is_empty() { Before::TheEnd } else { Before::Id(id) });
        Ok(Self { max, after: text("after").filter(|id| !id.is_empty()), before })
    }
}

fn bad(name: &str) -> StanzaError {
    StanzaError::new(Condition::BadRequest, format!("{name} has no valid value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inside: &str) -> Result<Query, Condition> {
        let element = Element::parse(&format!("<query xmlns='{NS}' queryid='q'>{inside}</query>"), "").unwrap();
        Query::parse(&element).map_err(|error| error.condition)
    }

    fn form(fields: &[(&str, &str)]) -> Result<Query, Condition> {
        let fields: String = [("FORM_TYPE", NS)]
            .iter()
            .chain(fields)
            .map(|(name, value)| format!("<field var='{name}'><value>{value}</value></field>"))
            .collect();
        read(&format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>"))
    }

    fn page(inside: &str) -> Result<Page, Condition> {
        read(&format!("<set xmlns='{RSM_NS}'>{inside}</set>")).map(|query| query.page)
    }

    // Proves: XEP-0313 §4.1
    #[test]
    fn what_clients_ask() {
        let query = form(&[("with", "Juliet@capulet.lit"), ("start", "2010-06-07T00:00:00Z"), ("end", "")]).unwrap();
        assert_eq!(query.with.unwrap().as_str(), "juliet@capulet.lit");
        assert_eq!((query.start.is_some(), query.end), (true, None));
        assert_eq!(form(&[("ids", "a")]).unwrap().ids, Some(vec!["a".to_owned()]));
        for value in ["true", "false", "1", "0", ""] {
            assert_eq!(form(&[("include-groupchat", value)]).unwrap(), form(&[]).unwrap());
        }
        assert!(read("<flip-page/>").unwrap().flipped);
        assert_eq!(page("<max>10</max>").unwrap(), Page { max: Some(10), ..Page::default() });
        assert_eq!(page("<before/>").unwrap().before, Some(Before::TheEnd));
        assert_eq!(page("<before>x</before>").unwrap().before, Some(Before::Id("x".to_owned())));
        assert_eq!(page("<after>x</after><max>99999999999999999999999</max>").unwrap().max, Some(usize::MAX));
    }

    #[test]
    fn what_makes_no_sense() {
        for (name, value) in [
            ("with", "@"),
            ("start", "yesterday"),
            ("start", "2010-13-07T00:00:00Z"),
            ("end", "99999999-01-01T00:00:00Z"),
            ("FORM_TYPE", "jabber:iq:search"),
            ("include-groupchat", "perhaps"),
        ] {
            assert_eq!(form(&[(name, value)]), Err(Condition::BadRequest), "{name} {value}");
        }
        assert_eq!(form(&[("colour", "red")]), Err(Condition::FeatureNotImplemented));
        for max in ["-1", "", "+1", "1.5", "ten", " 1"] {
            assert_eq!(page(&format!("<max>{max}</max>")), Err(Condition::BadRequest), "{max}");
        }
        assert_eq!(page("<index>3</index>"), Err(Condition::FeatureNotImplemented));
        let many = "<value>x</value>".repeat(MOST_IDS + 1);
        let many = read(&format!("<x xmlns='jabber:x:data' type='submit'><field var='ids'>{many}</field></x>"));
        assert_eq!(many, Err(Condition::PolicyViolation));
        let element = |length| format!("<query xmlns='{NS}' queryid='{}'/>", "q".repeat(length));
        let parsed = |length| Query::parse(&Element::parse(&element(length), "").unwrap()).is_ok();
        assert!(parsed(QUERYID) && !parsed(QUERYID + 1));
    }
}
