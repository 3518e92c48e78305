//! What lets a client notice that somebody on the way has changed what it was offered: attributes of the challenge of
//! SCRAM that whoever does not know the password cannot change (XEP-0474 §6.1, version 0.5.0; XEP-0515 §4.1, version 0.1.0).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::accounts::credentials::ScramHash;
use crate::net::TlsVersion;

/// What a client has been shown before it chose.
#[derive(Debug, Clone)]
pub struct Shown<'a> {
    /// The mechanisms of the profile that it uses, and of no other.
    pub mechanisms: Vec<&'a str>,
    /// The types of channel binding (XEP-0440).
    pub bindings: Vec<&'a str>,
    /// Where the stream is inside TLS.
    pub tls: Option<TlsVersion>,
}

impl Shown<'_> {
    /// The attributes, with a comma in front of each; `hash` is that of the mechanism in use.
    #[must_use]
    pub fn attributes(mut self, hash: ScramHash) -> String {
        // Strings are ordered by their octets, as the XEP wants it.
        self.mechanisms.sort_unstable();
        self.bindings.sort_unstable();
        let mut text = self.mechanisms.join("\u{1e}");
        if !self.bindings.is_empty() {
            text.push('\u{1f}');
            text.push_str(&self.bindings.join("\u{1e}"));
        }
        let hashed = STANDARD.encode(hash.digest(text.as_bytes()));
        let version = match self.tls {
            None => "",
            Some(TlsVersion::Tls12) => ",t=0303",
            Some(TlsVersion::Tls13) => ",t=0304",
        };
        format!(",h={hashed}{version}")
    }
}
