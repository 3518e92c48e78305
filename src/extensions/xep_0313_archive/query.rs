//! What a client asks its archive: the form (XEP-0313 §4.1) and the page (XEP-0059).

use crate::clock::Timestamp;
use crate::hooks::Request;
use crate::hooks::form::{DataType, Field, FieldType, Form, FormType, NS as FORM_NS, Submission};
use crate::hooks::paging::Page;
use crate::jid::Jid;
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::api::NS;

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
pub(in crate::extensions) struct Query {
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
        query.page = Page::within(element)?.unwrap_or_default();
        if query.page.index.is_some() {
            return Err(StanzaError::new(Condition::FeatureNotImplemented, "pages have no numbers"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::paging::{Before, NS as RSM_NS};

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
        assert_eq!(page("<max>ten</max>"), Err(Condition::BadRequest));
        assert_eq!(page("<index>3</index>"), Err(Condition::FeatureNotImplemented));
        let many = "<value>x</value>".repeat(MOST_IDS + 1);
        let many = read(&format!("<x xmlns='jabber:x:data' type='submit'><field var='ids'>{many}</field></x>"));
        assert_eq!(many, Err(Condition::PolicyViolation));
        let element = |length| format!("<query xmlns='{NS}' queryid='{}'/>", "q".repeat(length));
        let parsed = |length| Query::parse(&Element::parse(&element(length), "").unwrap()).is_ok();
        assert!(parsed(QUERYID) && !parsed(QUERYID + 1));
    }
}
