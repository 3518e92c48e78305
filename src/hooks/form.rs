//! Data forms (XEP-0004, version 2.13.2): what an extension asks people for and what they answer. What a
//! form is about says its `FORM_TYPE` (XEP-0068, version 1.3.0), what its values mean `<validate/>`
//! (XEP-0122, version 1.0.2).

mod submission;

use crate::xml::{Element, spelled};

pub use submission::Submission;

/// Namespace of a data form.
pub const NS: &str = "jabber:x:data";

/// Namespace of what the values of a field mean.
const VALIDATE_NS: &str = "http://jabber.org/protocol/xdata-validate";

/// The name of the field that says what a form is about (XEP-0068 §3).
const FORM_TYPE: &str = "FORM_TYPE";

spelled! {
    /// What a form that the server writes is for (XEP-0004 §3.1): to be filled in, facts, or what it has filled in itself.
    pub FormType { Form = "form", Result = "result", Submit = "submit" }
}

spelled! {
    /// How a field is shown and filled in (XEP-0004 §3.3).
    pub FieldType {
        Boolean = "boolean", Hidden = "hidden", JidMulti = "jid-multi", JidSingle = "jid-single",
        ListMulti = "list-multi", ListSingle = "list-single", TextMulti = "text-multi",
        TextPrivate = "text-private", TextSingle = "text-single",
    }
}

/// What a value means (XEP-0122 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    Text,
    /// As XEP-0082 writes it.
    Time,
    /// A number between these two, which may be meant as well.
    Integer(i64, i64),
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
    /// What a list offers, and what people read.
    options: Vec<(String, String)>,
    data: DataType,
    /// Whether a list takes values that it does not offer.
    open: bool,
    /// Whether whoever asked judges the values himself.
    unchecked: bool,
}

impl Form {
    /// A form with `FORM_TYPE` (XEP-0068 §3) as its first field.
    #[must_use]
    pub fn new(form_type: FormType, about: &str) -> Self {
        let about = Field::new(FORM_TYPE, FieldType::Hidden).value(about);
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
        let mut form = Element::new("x", NS).with("type", self.form_type.as_str());
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
        Self {
            var: var.to_owned(),
            field_type,
            label: None,
            required: false,
            values: Vec::new(),
            options: Vec::new(),
            data: DataType::Text,
            open: false,
            unchecked: false,
        }
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
        self.options = options.iter().map(|&option| (option.to_owned(), option.to_owned())).collect();
        self
    }

    /// What a list offers, each with what people read.
    #[must_use]
    pub fn choices(mut self, choices: &[(&str, &str)]) -> Self {
        self.options = choices.iter().map(|&(value, label)| (value.to_owned(), label.to_owned())).collect();
        self
    }

    /// What its values mean, where that is more than text.
    #[must_use]
    pub const fn data(mut self, data: DataType) -> Self {
        self.data = data;
        self
    }

    /// Has a list take values that it does not offer.
    #[must_use]
    pub const fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// Leaves it to whoever asked what to say about wrong values.
    #[must_use]
    pub const fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    fn to_element(&self) -> Element {
        let mut field = Element::new("field", NS).with("var", &self.var).with("type", self.field_type.as_str());
        if let Some(label) = &self.label {
            field.set("label", label);
        }
        if self.open || self.data != DataType::Text {
            field.push(self.validation());
        }
        if self.required {
            field.push(Element::new("required", NS));
        }
        let value = |text: &String| Element::new("value", NS).with_text(text);
        for text in &self.values {
            field.push(value(text));
        }
        for (text, label) in &self.options {
            field.push(Element::new("option", NS).with("label", label).with_child(value(text)));
        }
        field
    }

    /// XEP-0122 §3.
    fn validation(&self) -> Element {
        let (datatype, range) = match self.data {
            DataType::Text => ("xs:string", None),
            DataType::Time => ("xs:dateTime", None),
            DataType::Integer(least, most) => ("xs:integer", Some((least, most))),
        };
        let method = match range {
            Some((least, most)) => {
                Element::new("range", VALIDATE_NS).with("min", &least.to_string()).with("max", &most.to_string())
            }
            None => Element::new(if self.open { "open" } else { "basic" }, VALIDATE_NS),
        };
        Element::new("validate", VALIDATE_NS).with("datatype", datatype).with_child(method)
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
        let field = Field::new("x", FieldType::ListSingle).choices(&[("1", "One")]).to_element().to_xml(NS);
        assert_eq!(field, "<field var='x' type='list-single'><option label='One'><value>1</value></option></field>");
    }

    // Proves: XEP-0122 §3
    #[test]
    fn what_values_mean() {
        let validate = |field: Field| field.to_element().child("validate", VALIDATE_NS).map(|it| it.to_xml(""));
        let written = |datatype: &str, method: &str| {
            let ns = "http://jabber.org/protocol/xdata-validate";
            Some(format!("<validate xmlns='{ns}' datatype='xs:{datatype}'>{method}</validate>"))
        };
        let text = || Field::new("x", FieldType::TextSingle);
        assert_eq!(validate(text()), None);
        assert_eq!(validate(text().data(DataType::Time)), written("dateTime", "<basic/>"));
        assert_eq!(validate(text().data(DataType::Integer(1, 9))), written("integer", "<range min='1' max='9'/>"));
        assert_eq!(validate(Field::new("x", FieldType::ListMulti).open()), written("string", "<open/>"));
    }
}
