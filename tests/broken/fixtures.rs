//! The ways to be broken that were asked for by name, and the table that shows what is made of each of them.

use std::fmt::Write;
use std::path::Path;

use crate::{cases, signatures};

/// What was asked for, and the case that is it.
const FIXTURES: [(&str, &str); 27] = [
    ("expired", "expired"),
    ("not yet valid", "not-yet-valid"),
    ("wrong name", "other-name"),
    ("self-signed", "self-signed"),
    ("self-signed with CA:TRUE", "self-signed-ca"),
    ("serverAuth-only (ours)", "server-auth-only"),
    ("missing intermediate", "missing-intermediate"),
    ("pin mismatch", "other-key-pinned"),
    ("no SRV", "no-srv"),
    ("SRV to \".\"", "root"),
    ("SRV loop", "loop"),
    ("NXDOMAIN", "unknown"),
    ("SERVFAIL", "servfail"),
    ("bogus DNSSEC", "bogus"),
    ("TLSA mismatch", "other-key-in-dns"),
    ("IPv6 black hole", "black-hole"),
    ("dead first target", "dead-first"),
    ("TLS 1.1 only", "old-tls"),
    ("no common cipher", "no-cipher"),
    ("no STARTTLS", "no-starttls"),
    ("STARTTLS stripped", "stripped-and-replaced"),
    ("dialback refused", "dialback-refused"),
    ("dialback lies", "dialback-lies"),
    ("wrong stream id", "other-stream-id"),
    ("slow loris", "slow-loris"),
    ("closes after features", "closes-after-features"),
    ("remote time-out", "silent"),
];

const DOCUMENT: &str = "docs/doctor.md";
const BEGIN: &str = "<!-- fixtures: begin -->\n";
const END: &str = "<!-- fixtures: end -->";

/// What the doctor finds in a case, and what whoever writes there is told.
fn case(name: &str) -> (&'static [&'static str], Option<&'static str>) {
    let here = cases::CASES.iter().map(|case| (case.name, case.kinds, case.told));
    let (_, kinds, told) = here.chain(signatures::CASES).find(|(known, ..)| *known == name).unwrap();
    (kinds, told)
}

fn table() -> String {
    let mut table = "| Broken | The doctor finds | Whoever writes there is told |\n|---|---|---|\n".to_owned();
    for (fixture, name) in FIXTURES {
        let (kinds, told) = case(name);
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
        let told =
            told.map_or_else(|| "nothing: the message arrives".to_owned(), |told| format!("\u{2026} {told} \u{2026}"));
        writeln!(table, "| {fixture} | {} | {told} |", kinds.join(", ")).unwrap();
    }
    table
}

/// With `UPDATE` in the environment the document is written.
#[test]
fn the_generated_table_is_what_is_tested() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{}{END}{tail}", table())).unwrap();
    } else {
        assert_eq!(found, table(), "{DOCUMENT} is stale; run make generate");
    }
}

#[test]
fn each_is_found_and_told() {
    for (fixture, name) in FIXTURES {
        let (kinds, told) = case(name);
        // A message goes by way of another target, if there is one.
        assert!(!kinds.is_empty() && (told.is_some() || fixture == "dead first target"), "{fixture}");
    }
}
