//! What storage has: values that are read are written as they were, and a log that has been mended is in order.

use std::fmt::Debug;

use comity::accounts::clients::Client;
use comity::accounts::contact::Contact;
use comity::accounts::credentials::Credentials;
use comity::accounts::directory::Account;
use comity::accounts::preferences::Preferences;
use comity::accounts::tokens::Slots;
use comity::stream::{ContentNamespace, read_back};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn run(bytes: &[u8]) {
    mended(bytes);
    let Ok(text) = str::from_utf8(bytes) else { return };
    value::<Account>(text);
    value::<Client>(text);
    value::<Contact>(text);
    value::<Credentials>(text);
    value::<Preferences>(text);
    value::<Slots>(text);
    entries(text);
}

/// A value of a cell or a map.
fn value<T: Serialize + DeserializeOwned + Debug>(text: &str) {
    let Ok(read) = serde_json::from_str::<T>(text) else { return };
    let written = serde_json::to_string(&read).expect("what was read can be written");
    let again: T = serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(serde_json::to_string(&again).ok(), Some(written), "{read:?}");
}

/// Stanzas as logs have them: each ends where the next one begins.
fn entries(text: &str) {
    let mut begin = 0;
    for (end, stanza) in read_back(text, ContentNamespace::Client) {
        assert!(begin < end && text.is_char_boundary(end), "{text}");
        begin = end;
        let written = stanza.to_xml();
        assert_eq!(read_back(&written, ContentNamespace::Client).next(), Some((written.len(), stanza)));
    }
}

/// The write-ahead log of SQLite.
fn mended(bytes: &[u8]) {
    let mut log = bytes.to_vec();
    if comity::storage::mend_log(&mut log) {
        assert_eq!(log.len(), bytes.len());
        let mut again = log.clone();
        assert!(comity::storage::mend_log(&mut again) && again == log, "mended twice");
    }
}
