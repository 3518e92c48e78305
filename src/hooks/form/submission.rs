//! What somebody has filled in: read, and checked against what was asked.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::jid::Jid;
use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

use super::{DataType, FORM_TYPE, Field, FieldType, Form, NS};

/// What somebody has filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Submission(BTreeMap<String, Vec<String>>);

impl Submission {
    /// Reads a form of type `submit`.
    ///
    /// # Errors
    /// `bad-request`: it is none, or a field has no name or that of another.
    pub fn read(form: &Element) -> Result<Self, StanzaError> {
        if !form.is("x", NS) || form.attribute("type") != Some("submit") {
            return Err(StanzaError::new(Condition::BadRequest, "a form of type submit is needed"));
        }
        let mut fields = BTreeMap::new();
        for field in form.elements().filter(|element| element.is("field", NS)) {
            let var = field.attribute("var").ok_or(Condition::BadRequest)?;
            let values = field.elements().filter(|value| value.is("value", NS)).map(Element::text).collect();
            if fields.insert(var.to_owned(), values).is_some() {
                return Err(wrong(var, "is there twice"));
            }
        }
        Ok(Self(fields))
    }

    /// What the form is about, if it says so (XEP-0068 §3).
    #[must_use]
    pub fn about(&self) -> Option<&str> {
        self.text(FORM_TYPE)
    }

    /// The fields with their values, but for the one that says what it is about.
    #[must_use]
    pub fn into_fields(mut self) -> BTreeMap<String, Vec<String>> {
        self.0.remove(FORM_TYPE);
        self.0
    }

    /// Whether there is such a field, be it empty: that may be what somebody wants.
    #[must_use]
    pub fn has(&self, var: &str) -> bool {
        self.0.contains_key(var)
    }

    /// All values of a field; none if it was not filled in.
    #[must_use]
    pub fn all(&self, var: &str) -> &[String] {
        self.0.get(var).map_or(&[], Vec::as_slice)
    }

    /// The first value of a field, if it has one that is not empty.
    #[must_use]
    pub fn text(&self, var: &str) -> Option<&str> {
        self.all(var).first().map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The value of a field that is a choice between two.
    ///
    /// # Errors
    /// `bad-request`: it is something else.
    pub fn boolean(&self, var: &str) -> Result<Option<bool>, StanzaError> {
        self.read_one(var, boolean)
    }

    /// The address in a field.
    ///
    /// # Errors
    /// `bad-request`: it is none.
    pub fn jid(&self, var: &str) -> Result<Option<Jid>, StanzaError> {
        self.read_one(var, jid)
    }

    /// The time in a field.
    ///
    /// # Errors
    /// `bad-request`: it is none.
    pub fn time(&self, var: &str) -> Result<Option<Timestamp>, StanzaError> {
        self.read_one(var, Timestamp::parse)
    }

    fn read_one<T>(&self, var: &str, read: fn(&str) -> Option<T>) -> Result<Option<T>, StanzaError> {
        self.text(var).map(|text| read(text).ok_or_else(|| wrong(var, "has no valid value"))).transpose()
    }
}

impl Form {
    /// Whether there is such a field in it.
    #[must_use]
    pub fn asks_for(&self, var: &str) -> bool {
        self.fields.iter().any(|field| field.var == var)
    }

    /// A field that was filled in though nobody asked for it. Who has no reason to care ignores it
    /// (XEP-0004 §3.1).
    #[must_use]
    pub fn unknown<'a>(&self, submission: &'a Submission) -> Option<&'a str> {
        submission.0.keys().map(String::as_str).find(|var| !self.asks_for(var))
    }

    /// Checks whether it was filled in as it has to be.
    ///
    /// # Errors
    /// `bad-request`, which names the first field that is wrong.
    pub fn check(&self, submission: &Submission) -> Result<(), StanzaError> {
        let checked = |field: &Field| field.check(submission.all(&field.var)).map_err(|why| wrong(&field.var, why));
        self.fields.iter().try_for_each(checked)
    }
}

impl Field {
    fn check(&self, values: &[String]) -> Result<(), &'static str> {
        let mut given = values.iter().map(String::as_str).filter(|value| !value.is_empty()).peekable();
        if given.peek().is_none() {
            return if self.required { Err("is missing") } else { Ok(()) };
        }
        if self.var == FORM_TYPE {
            // XEP-0068 §3.2: where it is left out, what surrounds the form says what it is about.
            return if given.eq(self.values.iter()) { Ok(()) } else { Err("is that of another form") };
        }
        let mut rest = given.clone().skip(1);
        let several = matches!(self.field_type, FieldType::JidMulti | FieldType::ListMulti | FieldType::TextMulti);
        if !several && rest.next().is_some() {
            return Err("has more than one value");
        }
        if self.unchecked || given.all(|value| self.takes(value)) { Ok(()) } else { Err("has no valid value") }
    }

    fn takes(&self, value: &str) -> bool {
        let shape = match self.field_type {
            FieldType::Boolean => boolean(value).is_some(),
            FieldType::JidMulti | FieldType::JidSingle => jid(value).is_some(),
            FieldType::ListMulti | FieldType::ListSingle => self.open || self.options.iter().any(|(it, _)| it == value),
            FieldType::Hidden | FieldType::TextMulti | FieldType::TextPrivate | FieldType::TextSingle => true,
        };
        let meaning = match self.data {
            DataType::Text => true,
            DataType::Time => Timestamp::parse(value).is_some(),
            DataType::Integer(least, most) => value.parse().is_ok_and(|number: i64| (least..=most).contains(&number)),
        };
        shape && meaning
    }
}

/// The two spellings of each truth value (XEP-0004 §3.3).
fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn jid(text: &str) -> Option<Jid> {
    Jid::parse(text).ok()
}

fn wrong(var: &str, why: &str) -> StanzaError {
    StanzaError::new(Condition::BadRequest, format!("{var} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::form::FormType;

    fn read(fields: &str) -> Submission {
        let xml = format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>");
        Submission::read(&Element::parse(&xml, "").unwrap()).unwrap()
    }

    fn filled(var: &str, values: &[&str]) -> Submission {
        let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
        read(&format!("<field var='{var}'>{values}</field>"))
    }

    #[test]
    fn what_is_answered() {
        let submission = read(
            "<field var='a'><value>1</value><value>2</value></field><field var='b'/><field var='c'><value/></field>",
        );
        assert_eq!(submission.all("a"), ["1", "2"]);
        assert_eq!(submission.text("a"), Some("1"));
        assert_eq!((submission.text("b"), submission.text("c"), submission.text("d")), (None, None, None));
        for xml in [
            "<x xmlns='jabber:x:data' type='form'/>",
            "<x xmlns='jabber:x:data'/>",
            "<x xmlns='jabber:x:data' type='submit'><field><value>1</value></field></x>",
            "<x xmlns='jabber:x:data' type='submit'><field var='a'/><field var='b'/><field var='a'/></x>",
        ] {
            assert!(Submission::read(&Element::parse(xml, "").unwrap()).is_err(), "{xml}");
        }
    }

    #[test]
    fn values_have_types() {
        for (text, truth) in [("1", true), ("true", true), ("0", false), ("false", false)] {
            assert_eq!(filled("x", &[text]).boolean("x"), Ok(Some(truth)));
        }
        let jid = filled("x", &["Juliet@Capulet.lit"]).jid("x").unwrap().unwrap();
        assert_eq!(jid.as_str(), "juliet@capulet.lit");
        let time = filled("x", &["1970-01-01T00:00:01Z"]).time("x").unwrap().unwrap();
        assert_eq!(time.unix_ms(), 1000);
        let empty = filled("x", &[""]);
        assert_eq!((empty.boolean("x"), empty.jid("x"), empty.time("x")), (Ok(None), Ok(None), Ok(None)));
        let odd = filled("x", &["@"]);
        let refused = Some(wrong("x", "has no valid value"));
        assert_eq!((odd.boolean("x").err(), odd.jid("x").err()), (refused.clone(), refused.clone()));
        assert_eq!(odd.time("x").err(), refused);
    }

    #[test]
    fn what_was_asked_is_checked() {
        use FieldType::{Boolean, JidMulti, JidSingle, ListMulti, ListSingle, TextMulti, TextPrivate, TextSingle};
        let field = |field_type| Field::new("x", field_type);
        let list = |field_type| field(field_type).options(&["a", "b"]);
        let number = || field(TextSingle).data(DataType::Integer(-1, 9));
        let (missing, many, odd) = (Some("is missing"), Some("has more than one value"), Some("has no valid value"));
        for (field, values, fault) in [
            (field(TextSingle), vec![], None),
            (field(TextSingle).required(), vec![], missing),
            (field(TextSingle).required(), vec![""], missing),
            (field(TextSingle).required(), vec!["", "a"], None),
            (field(TextSingle), vec!["a", "b"], many),
            (field(TextPrivate), vec!["a", "b"], many),
            (field(TextMulti), vec!["a", "", "b"], None),
            (field(Boolean), vec!["true"], None),
            (field(Boolean), vec!["yes"], odd),
            (field(JidSingle), vec!["a@b.example/c"], None),
            (field(JidSingle), vec!["a@b.example", "c@b.example"], many),
            (field(JidMulti), vec!["a@b.example", "c@b.example"], None),
            (field(JidMulti), vec!["a@b.example", "@"], odd),
            (list(ListSingle), vec!["b"], None),
            (list(ListSingle), vec!["c"], odd),
            (list(ListSingle).open(), vec!["c"], None),
            (list(ListMulti), vec!["a", "b"], None),
            (list(ListMulti), vec!["a", "c"], odd),
            (field(ListMulti).open(), vec!["a", "c"], None),
            (number(), vec!["-1"], None),
            (number(), vec!["9"], None),
            (number(), vec!["10"], odd),
            (number(), vec!["1.5"], odd),
            (number(), vec!["99999999999999999999"], odd),
            (field(TextSingle).data(DataType::Time), vec!["2003-10-06T11:22:00-07:00"], None),
            (field(TextSingle).data(DataType::Time), vec!["yesterday"], odd),
        ] {
            let form = Form::new(FormType::Form, "urn:example").field(field.clone());
            let expected = fault.map_or(Ok(()), |why| Err(wrong("x", why)));
            assert_eq!(form.check(&filled("x", &values)), expected, "{field:?} {values:?}");
        }
    }

    // Proves: XEP-0068 §3, XEP-0004 §3.1
    #[test]
    fn a_form_is_about_something_and_ignores_the_rest() {
        let form = Form::new(FormType::Form, "urn:example").field(Field::new("x", FieldType::TextSingle));
        let about = |about: &str| filled("FORM_TYPE", &[about]);
        assert_eq!(form.check(&about("urn:example")), Ok(()));
        assert_eq!(form.check(&about("urn:other")), Err(wrong("FORM_TYPE", "is that of another form")));
        assert_eq!(form.check(&Submission::default()), Ok(()));
        assert_eq!(form.check(&filled("y", &["1", "2"])), Ok(()));
        assert_eq!(form.unknown(&filled("y", &[])), Some("y"));
        assert_eq!(form.unknown(&filled("x", &[])), None);
    }
}
