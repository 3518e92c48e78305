//! Answers of the DNS: what is taken out of them is what a name may be, and belongs to records that are there.

use comity::jid::a_labels;
use comity::net::dns::{Told, told};

pub(crate) fn run(bytes: &[u8]) {
    let Some(Told { records, services, addresses, keys, aliases }) = told(bytes) else { return };
    assert_eq!(told(bytes).map(|again| again.services), Some(services.clone()), "read twice");
    assert!(services.len() + addresses.len() + keys.len() + aliases.len() <= records, "something out of nothing");
    for service in &services {
        // RFC 2782: the root alone says that there is no such service.
        assert!(
            service.target == "." || !service.target.ends_with('.') || service.target.ends_with("\\."),
            "{service:?}"
        );
        assert!(service.target.is_ascii() && !service.target.is_empty(), "{service:?}");
        // It is compared with certificates and shown to people: octets that are no letters are spelled out.
        assert!(!service.target.contains(char::is_control), "{service:?}");
        if let Some(name) = a_labels(&service.target) {
            assert!(name.len() <= 255, "{service:?}");
        }
    }
    assert!(aliases.iter().all(|alias| alias.is_ascii() && !alias.contains(char::is_control)), "{aliases:?}");
    for key in &keys {
        let shown = key.to_string();
        assert!(shown.ends_with(|last: char| last.is_ascii_hexdigit() || last == ' '), "{shown}");
        assert!(key.data.len() < bytes.len(), "{shown}");
    }
}
