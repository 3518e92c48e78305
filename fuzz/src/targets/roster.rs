//! Rosters, times and what else people ask for: what is read is within its bounds and comes back as it was.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use comity::accounts::roster::{Item, RosterSet};
use comity::clock::Timestamp;
use comity::jid::BareJid;
use comity::stanza::CLIENT_NS;
use comity::xml::Element;

use crate::gate;
use crate::readers::written_alone;

static OWNER: LazyLock<BareJid> = LazyLock::new(|| BareJid::parse("juliet@example.com").expect("an address"));

pub(crate) fn run(bytes: &[u8]) {
    for element in gate::elements(bytes) {
        everywhere(&element);
    }
}

fn everywhere(element: &Element) {
    match RosterSet::parse(element, &OWNER) {
        Ok(set) => {
            assert!(*set.jid() != *OWNER, "somebody is his own contact");
            if let RosterSet::Update { name, groups, .. } = set {
                assert!(name.is_none_or(|name| !name.is_empty()));
                let different: BTreeSet<&String> = groups.iter().collect();
                assert!(different.len() == groups.len() && groups.iter().all(|group| !group.is_empty()), "{groups:?}");
            }
        }
        Err(error) => {
            written_alone(&error.to_element().to_xml(CLIENT_NS), CLIENT_NS);
        }
    }
    if let Some(item) = Item::parse(element) {
        let written = item.to_element();
        written_alone(&written.to_xml(CLIENT_NS), CLIENT_NS);
        assert_eq!(Item::parse(&written), Some(item));
    }
    let texts = element.attributes().map(|(_, value)| value.to_owned()).chain([element.text()]);
    for text in texts {
        time(&text);
    }
    element.elements().for_each(everywhere);
}

fn time(text: &str) {
    let Some(time) = Timestamp::parse(text) else { return };
    let written = time.to_string();
    // The hours around the years 0 and 9999 may have no spelling of four digits in UTC.
    let is_spelled = written.len() == "2000-01-01T00:00:00.000Z".len() && !written.starts_with('-');
    assert!(!is_spelled || Timestamp::parse(&written) == Some(time), "{text}: {written}");
}
