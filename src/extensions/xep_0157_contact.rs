//! XEP-0157 Contact Addresses for XMPP Services, version 1.1.1: whom to write to about this server, in the
//! form that XEP-0128 has for what a server tells about itself.

use crate::config::{Contact, ContactUri};
use crate::hooks::form::{Field, FieldType, Form, FormType};
use crate::hooks::{Entity, Extension, Registrar, Spec};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0157", version: "1.1.1" },
    name: "contact",
    advertises: &[],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

/// What the form is about.
const ABOUT: &str = "http://jabber.org/network/serverinfo";

fn install(at: &mut Registrar<'_>) {
    let settings = at.settings.clone();
    at.information(Entity::Domain, move || form(&settings.load().contact));
}

/// XEP-0157 §3; `None` if there are no addresses.
fn form(contact: &Contact) -> Option<Form> {
    let fields = [
        ("abuse-addresses", &contact.abuse),
        ("admin-addresses", &contact.admin),
        ("feedback-addresses", &contact.feedback),
        ("sales-addresses", &contact.sales),
        ("security-addresses", &contact.security),
        ("status-addresses", &contact.status),
        ("support-addresses", &contact.support),
    ];
    let mut given = fields.into_iter().filter(|(_, addresses)| !addresses.is_empty()).peekable();
    given.peek()?;
    let form = Form::new(FormType::Result, ABOUT);
    Some(given.fold(form, |form, (var, addresses)| {
        form.field(Field::new(var, FieldType::ListMulti).values(addresses.iter().map(ContactUri::to_string)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: XEP-0157 §3
    #[test]
    fn only_what_is_there_is_told() {
        assert_eq!(form(&Contact::default()), None);
        let abuse = ["mailto:abuse@shakespeare.lit", "xmpp:abuse@shakespeare.lit"];
        let contact = Contact { abuse: abuse.map(|uri| uri.parse().unwrap()).to_vec(), ..Contact::default() };
        assert_eq!(
            form(&contact).unwrap().to_element().to_xml(""),
            "<x xmlns='jabber:x:data' type='result'>\
             <field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field>\
             <field var='abuse-addresses' type='list-multi'><value>mailto:abuse@shakespeare.lit</value>\
             <value>xmpp:abuse@shakespeare.lit</value></field></x>"
        );
    }
}
