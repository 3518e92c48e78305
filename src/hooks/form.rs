//! Data forms (XEP-0004): what an extension asks people for and what they answer.

use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

/// Namespace of a data form.
pub const NS: &str = "jabber:x:data";

/// What a form is for (XEP-0004 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormType {
    /// To be filled in.
    Form,
    /// Facts.
    Result,
}

/// How a field is shown and filled in (XEP-0004 §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    Boolean,
    Hidden,
    JidMulti,
    JidSingle,
    ListSingle,
    TextMulti,
    TextPrivate,
    TextSingle,
}

/// A form that the server writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    form_type: FormType,
    title: Option<String>,
    instructions: Option<String>,
    fields: Vec<Field>,
    content: Vec<Element>,
}

/// One field of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    var: String,
    field_type: FieldType,
    label: Option<String>,
    required: bool,
    values: Vec<String>,
    options: Vec<String>,
}

/// What somebody has filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Submission(Vec<(String, Vec<String>)>);

impl Form {
    /// A form with `FORM_TYPE` (XEP-0068 §3) as its first field.
    #[must_use]
    pub fn new(form_type: FormType, about: &str) -> Self {
        let about = Field::new("FORM_TYPE", FieldType::Hidden).value(about);
        Self { form_type, title: None, instructions: None, fields: vec![about], content: Vec::new() }
    }

    #[must_use]
    pub fn title(mut self, title: &str) -> Self {
        self.title = Some(title.to_owned());
        self
    }

    #[must_use]
    pub fn instructions(mut self, instructions: &str) -> Self {
        self.instructions = Some(instructions.to_owned());
        self
    }

    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// Something that is no field and has a namespace of its own (XEP-0004 §7).
    #[must_use]
    pub fn content(mut self, content: Element) -> Self {
        self.content.push(content);
        self
    }

    #[must_use]
    pub fn to_element(&self) -> Element {
        let form_type = match self.form_type {
            FormType::Form => "form",
            FormType::Result => "result",
        };
        let mut form = Element::new("x", NS).with("type", form_type);
        for (name, text) in [("title", &self.title), ("instructions", &self.instructions)] {
            if let Some(text) = text {
                form.push(Element::new(name, NS).with_text(text));
            }
        }
        for field in &self.fields {
            form.push(field.to_element());
        }
        self.content.iter().cloned().fold(form, Element::with_child)
    }
}

impl Field {
    #[must_use]
    pub fn new(var: &str, field_type: FieldType) -> Self {
        Self { var: var.to_owned(), field_type, label: None, required: false, values: Vec::new(), options: Vec::new() }
    }

    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.label = Some(label.to_owned());
        self
    }

    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// One more value.
    #[must_use]
    pub fn value(mut self, value: &str) -> Self {
        self.values.push(value.to_owned());
        self
    }

    #[must_use]
    pub fn values(mut self, values: impl IntoIterator<Item = String>) -> Self {
        self.values.extend(values);
        self
    }

    /// What a list offers; each option is its own label.
    #[must_use]
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
        self
    }

    fn to_element(&self) -> Element {
        let mut field = Element::new("field", NS).with("var", &self.var).with("type", self.field_type.as_str());
        if let Some(label) = &self.label {
            field.set("label", label);
        }
        if self.required {
            field.push(Element::new("required", NS));
        }
        let value = |text: &String| Element::new("value", NS).with_text(text);
        for text in &self.values {
            field.push(value(text));
        }
        for text in &self.options {
            field.push(Element::new("option", NS).with("label", text).with_child(value(text)));
        }
        field
    }
}

impl FieldType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Hidden => "hidden",
            Self::JidMulti => "jid-multi",
            Self::JidSingle => "jid-single",
            Self::ListSingle => "list-single",
            Self::TextMulti => "text-multi",
            Self::TextPrivate => "text-private",
            Self::TextSingle => "text-single",
        }
    }
}

impl Submission {
    /// Reads a form of type `submit`.
    ///
    /// # Errors
    /// `bad-request`: it is none, or a field has no name.
    pub fn read(form: &Element) -> Result<Self, StanzaError> {
        if !form.is("x", NS) || form.attribute("type") != Some("submit") {
            return Err(StanzaError::new(Condition::BadRequest, "a form of type submit is needed"));
        }
        let fields = form.elements().filter(|element| element.is("field", NS)).map(|field| {
            let var = field.attribute("var").ok_or_else(|| StanzaError::from(Condition::BadRequest))?;
            let values = field.elements().filter(|value| value.is("value", NS)).map(Element::text).collect();
            Ok((var.to_owned(), values))
        });
        fields.collect::<Result<_, StanzaError>>().map(Self)
    }

    /// All values of a field; none if it was not filled in.
    #[must_use]
    pub fn all(&self, var: &str) -> &[String] {
        self.0.iter().find(|(name, _)| name == var).map_or(&[], |(_, values)| values)
    }

    /// The first value of a field, if it has one that is not empty.
    #[must_use]
    pub fn text(&self, var: &str) -> Option<&str> {
        self.all(var).first().map(String::as_str).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: XEP-0004 §3.2, §12
    #[test]
    fn what_is_asked() {
        let form = Form::new(FormType::Form, "urn:example").title("A title").field(
            Field::new("max_items", FieldType::ListSingle).label("How many").required().value("1").options(&["1", "2"]),
        );
        assert_eq!(
            form.to_element().to_xml(""),
            "<x xmlns='jabber:x:data' type='form'><title>A title</title>\
             <field var='FORM_TYPE' type='hidden'><value>urn:example</value></field>\
             <field var='max_items' type='list-single' label='How many'><required/><value>1</value>\
             <option label='1'><value>1</value></option><option label='2'><value>2</value></option></field></x>"
        );
    }

    // Proves: XEP-0004 §3.1
    #[test]
    fn what_is_answered() {
        let read = |xml: &str| Submission::read(&Element::parse(xml, "").unwrap());
        let submission = read(
            "<x xmlns='jabber:x:data' type='submit'><field var='a'><value>1</value><value>2</value></field>\
             <field var='b'/><field var='c'><value/></field></x>",
        )
        .unwrap();
        assert_eq!(submission.all("a"), ["1", "2"]);
        assert_eq!(submission.text("a"), Some("1"));
        assert_eq!((submission.text("b"), submission.text("c"), submission.text("d")), (None, None, None));
        assert!(read("<x xmlns='jabber:x:data' type='form'/>").is_err());
        assert!(read("<x xmlns='jabber:x:data' type='submit'><field><value>1</value></field></x>").is_err());
    }
}
