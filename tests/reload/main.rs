//! Configuration and certificates of a running server: which certificate is shown to whom, several domains, and
//! what happens when all of it changes under traffic.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod answers;
mod domains;
mod drill;
mod probe;
#[path = "../site/mod.rs"]
mod site;
#[path = "../site/zone.rs"]
#[expect(dead_code, reason = "others do more with it")]
mod zone;

/// What a program printed.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
