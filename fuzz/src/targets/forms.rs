//! Data forms and pages: what is filled in is checked against what was asked, and a page is a part of its list.

use comity::hooks::form::{DataType, Field, FieldType, Form, FormType, Submission};
use comity::hooks::paging::Page;
use comity::stanza::CLIENT_NS;
use comity::xml::Element;

use crate::gate;
use crate::readers::written_alone;

/// Items that a list has at most.
const ITEMS: usize = 40;
/// Items of a page.
const MOST: usize = 7;

pub(crate) fn run(bytes: &[u8]) {
    for element in gate::elements(bytes) {
        everywhere(&element);
    }
}

/// Whatever stands where, some extension looks there.
fn everywhere(element: &Element) {
    filled_in(element);
    paged(element);
    element.elements().for_each(everywhere);
}

fn filled_in(element: &Element) {
    let Ok(submission) = Submission::read(element) else { return };
    let form = form(element);
    let unknown = form.unknown(&submission).map(str::to_owned);
    match form.check(&submission) {
        Ok(()) => {
            for var in ["boolean", "jid-single", "time"] {
                let is_read = match var {
                    "boolean" => submission.boolean(var).is_ok(),
                    "time" => submission.time(var).is_ok(),
                    _ => submission.jid(var).is_ok(),
                };
                assert!(is_read, "{var} was checked");
            }
            assert!(
                submission.has("required") && submission.text("list-single").is_none_or(|it| it == "1" || it == "2")
            );
        }
        Err(error) => {
            written_alone(&error.to_element().to_xml(CLIENT_NS), CLIENT_NS);
        }
    }
    let fields = submission.clone().into_fields();
    assert!(unknown.is_none_or(|var| fields.contains_key(&var) && submission.has(&var)));
}

/// A form with one field of each type; what somebody said is in it, as in the forms that show what holds.
fn form(said: &Element) -> Form {
    let text = said.text();
    let asked = |field_type: FieldType| Field::new(field_type.as_str(), field_type);
    let form = Form::new(FormType::Form, "urn:example")
        .title(&text)
        .field(asked(FieldType::Boolean))
        .field(asked(FieldType::JidSingle).label(&text))
        .field(asked(FieldType::JidMulti).value(&text))
        .field(asked(FieldType::ListSingle).options(&["1", "2"]))
        .field(asked(FieldType::ListMulti).open())
        .field(Field::new("time", FieldType::TextSingle).data(DataType::Time))
        .field(Field::new("number", FieldType::TextSingle).data(DataType::Integer(-1, 9)))
        .field(Field::new("required", FieldType::TextSingle).required());
    written_alone(&form.to_element().to_xml(CLIENT_NS), CLIENT_NS);
    form
}

fn paged(element: &Element) {
    let Ok(page) = Page::read(element) else { return };
    let all: Vec<String> = (0..ITEMS).map(|number| format!("{:02}", 2 * number)).collect();
    let (shown, set) = Page::shown(Some(&page), all.clone(), |item| item, MOST);
    assert!(shown.len() <= MOST.min(page.max.unwrap_or(MOST)), "{page:?}");
    let begin = all.iter().position(|item| Some(item) == shown.first()).unwrap_or_default();
    assert_eq!(all.get(begin..begin + shown.len()), Some(shown.as_slice()), "a page is a part of its list");
    let is_behind = |item: &String| page.after.as_ref().is_none_or(|after| item > after);
    assert!(shown.iter().all(is_behind), "{page:?}");
    let set = set.unwrap_or_else(|| panic!("nothing says what the page is: {page:?}"));
    let found = written_alone(&set.to_xml(CLIENT_NS), CLIENT_NS);
    assert_eq!(found.elements().count(), if shown.is_empty() { 1 } else { 3 });
}
