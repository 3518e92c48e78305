//! XEP-0479, the XMPP Compliance Suites 2023: every line that concerns servers, and the tests that show it.
//!
//! A line that is built names its tests; the others say "not yet". The table is written to `docs/compliance.md`.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod inventory;
mod tree;

use std::collections::BTreeSet;

/// Which servers have to have it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Every server.
    Server,
    /// An advanced server.
    Advanced,
}

/// One line of a suite, with the specifications that it asks for.
struct Line {
    suite: &'static str,
    feature: &'static str,
    level: Level,
    providers: &'static [Provider],
}

/// A specification and the tests that show it; there are none where it is not built.
struct Provider {
    spec: &'static str,
    tests: &'static [&'static str],
}

const fn by(spec: &'static str, tests: &'static [&'static str]) -> Provider {
    Provider { spec, tests }
}

const fn not_yet(spec: &'static str) -> Provider {
    Provider { spec, tests: &[] }
}

const fn line(suite: &'static str, feature: &'static str, level: Level, providers: &'static [Provider]) -> Line {
    Line { suite, feature, level, providers }
}

use Level::{Advanced, Server};

/// The lines in their order; what a server has nothing to do with is left out.
const LINES: &[Line] = &[
    line(
        "Core",
        "Core features",
        Server,
        &[by(
            "RFC 6120",
            &[
                "tests/hostile/streams.rs::every_header_is_answered_in_full",
                "tests/hostile/c2s.rs::markup_of_a_user",
                "tests/hostile/s2s.rs::stanzas_of_a_server",
                "src/negotiation/login/tests.rs::every_scram_mechanism_logs_in",
            ],
        )],
    ),
    line(
        "Core",
        "TLS",
        Server,
        &[by(
            "RFC 7590",
            &[
                "tests/hostile/streams.rs::every_header_is_answered_in_full",
                "tests/hostile/s2s.rs::certificates_that_prove_nothing",
                "src/net/tls/tests.rs::certificate_follows_the_asked_name",
            ],
        )],
    ),
    line(
        "Core",
        "Direct TLS",
        Advanced,
        &[by(
            "XEP-0368",
            &[
                "tests/hostile/c2s.rs::nothing_but_tls_on_the_direct_port",
                "src/federation/tests/mod.rs::xep_0368_direct_tls_is_found_and_used",
                "src/net/tls/tests.rs::application_protocols",
            ],
        )],
    ),
    line(
        "Core",
        "Feature discovery",
        Server,
        &[by(
            "XEP-0030",
            &[
                "tests/scenarios/discovery.xmpp::what the domain is, for everybody",
                "tests/scenarios/discovery.xmpp::what an account is, for its owner and for who receives its presence",
            ],
        )],
    ),
    line(
        "Core",
        "Feature broadcasts",
        Advanced,
        &[by("XEP-0115", &["src/session/tests.rs::the_features_of_a_stream_tell_its_limits_and_what_the_server_is"])],
    ),
    line(
        "Core",
        "Server extensibility",
        Server,
        &[by(
            "XEP-0114",
            &[
                "src/components/xep_0114_component.rs::who_knows_the_secret_is_the_component",
                "tests/scenarios/components.xmpp::a component and people talk, whatever the component calls those who are behind it",
            ],
        )],
    ),
    line("Core", "Event publishing", Advanced, &[not_yet("XEP-0163")]),
    line("Web", "Web connection mechanisms", Server, &[not_yet("RFC 7395"), not_yet("XEP-0206")]),
    line(
        "IM",
        "Core features",
        Server,
        &[by(
            "RFC 6121",
            &[
                "tests/scenarios/subscriptions.xmpp::a request, its approval and the presence that follows",
                "tests/scenarios/presence.xmpp::initial presence reaches subscribers, one's own resources and oneself",
                "tests/scenarios/delivery.xmpp::to the bare JID: the resources of the highest priority",
                "tests/scenarios/federation.xmpp::a subscription, presence, messages and the way back, across two domains",
            ],
        )],
    ),
    line("IM", "User avatar compatibility", Advanced, &[not_yet("XEP-0398"), not_yet("XEP-0153")]),
    line(
        "IM",
        "vcard-temp",
        Server,
        &[by(
            "XEP-0054",
            &["tests/scenarios/extensions.xmpp::a card is for everybody, and who has none looks like nobody"],
        )],
    ),
    line(
        "IM",
        "Outbound message synchronization",
        Server,
        &[by("XEP-0280", &["tests/scenarios/carbons.xmpp::a device that wants it sees what the others send and get"])],
    ),
    line(
        "IM",
        "User blocking",
        Advanced,
        &[by(
            "XEP-0191",
            &[
                "tests/scenarios/blocking.xmpp::nothing comes from who is blocked, and to him everybody seems to be offline",
                "tests/scenarios/blocking.xmpp::nothing leaves for who is blocked",
            ],
        )],
    ),
    line(
        "IM",
        "Group chat",
        Server,
        &[
            by(
                "XEP-0045",
                &[
                    "tests/scenarios/rooms.xmpp::somebody makes a room, others come from here and from elsewhere, they talk, and go",
                    "tests/scenarios/rooms.xmpp::who may not enter is told why",
                    "tests/scenarios/rooms_admin.xmpp::an owner kicks and bans somebody of another domain, and looks at the lists",
                    "tests/scenarios/rooms_owner.xmpp::a room is configured, and is the same after a restart",
                ],
            ),
            by("XEP-0249", &["tests/scenarios/rooms_guests.xmpp::a direct invitation is a message like others"]),
        ],
    ),
    line(
        "IM",
        "Advanced group chat",
        Advanced,
        &[
            not_yet("XEP-0048"),
            by("XEP-0313", &["tests/scenarios/rooms.xmpp::a room outlives the server, with what was said there"]),
            not_yet("XEP-0402"),
            by("XEP-0410", &["tests/scenarios/rooms.xmpp::somebody asks whether he is there, and whoever else is"]),
        ],
    ),
    line("IM", "Persistent storage of private data via PubSub", Advanced, &[not_yet("XEP-0223")]),
    line(
        "IM",
        "Private XML storage",
        Advanced,
        &[by(
            "XEP-0049",
            &["tests/scenarios/private_storage.xmpp::what a client keeps, all of the account's clients can read"],
        )],
    ),
    line("IM", "Stream management", Advanced, &[by("XEP-0198", STREAM_MANAGEMENT)]),
    line(
        "IM",
        "History storage and retrieval",
        Advanced,
        &[by(
            "XEP-0313",
            &[
                "tests/scenarios/archive.xmpp::both sides have it, the recipient with the id that came with it",
                "tests/scenarios/archive.xmpp::pages, from both ends",
                "tests/scenarios/archive.xmpp::only some of it: with whom and when",
            ],
        )],
    ),
    line("IM", "File upload", Server, &[not_yet("XEP-0363")]),
    line("Mobile", "Stream management", Server, &[by("XEP-0198", STREAM_MANAGEMENT)]),
    line(
        "Mobile",
        "Client state indication",
        Server,
        &[by(
            "XEP-0352",
            &[
                "src/session/tests.rs::the_features_of_a_stream_tell_its_limits_and_what_the_server_is",
                "tests/scenarios/client_state.xmpp::what nobody misses waits until somebody looks, and of each kind the newest counts",
            ],
        )],
    ),
    line(
        "Mobile",
        "Third party push notifications",
        Advanced,
        &[by(
            "XEP-0357",
            &[
                "tests/scenarios/push.xmpp::a service is told that something has come while the client is away, and nothing of what it is",
                "tests/scenarios/push.xmpp::a service of another domain",
            ],
        )],
    ),
    line("A/V calling", "STUN and TURN server discovery", Server, &[not_yet("XEP-0215")]),
];

const STREAM_MANAGEMENT: &[&str] = &[
    "tests/scenarios/stream_management.xmpp::both sides count from the moment at which it is enabled",
    "tests/scenarios/stream_management.xmpp::a session goes on after a lost connection, and nobody notices",
];

// -- the tests

#[test]
fn every_line_is_shown_by_tests_that_name_its_specification() {
    let tests = inventory::all();
    let named = LINES
        .iter()
        .flat_map(|line| line.providers)
        .flat_map(|provider| provider.tests.iter().map(move |test| (provider.spec, *test)));
    let wrong: Vec<String> = named
        .filter_map(|(spec, name)| match tests.get(name) {
            None => Some(format!("there is no test {name}")),
            Some(test) if !test.text.contains(spec) && !name.contains(&in_names(spec)) => {
                Some(format!("{name} does not name {spec}"))
            }
            Some(_) => None,
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_line_is_there_once() {
    let lines: BTreeSet<(&str, &str)> = LINES.iter().map(|line| (line.suite, line.feature)).collect();
    assert_eq!(lines.len(), LINES.len());
    assert!(LINES.iter().all(|line| !line.providers.is_empty()), "each line asks for something");
}

#[test]
fn the_generated_table_is_fresh() {
    let path = tree::root().join("docs/compliance.md");
    let fresh = document();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &fresh).expect("docs/compliance.md is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == fresh, "docs/compliance.md is stale; run make generate");
}

/// How the name of a test spells a specification: `xep_0368_`.
fn in_names(spec: &str) -> String {
    format!("{}_", spec.to_lowercase().replace(['-', ' '], "_"))
}

// -- the document

fn document() -> String {
    let built = LINES.iter().filter(|line| is_built(line)).count();
    let mut out = format!(
        "# XMPP Compliance Suites 2023\n\n\
         This page is generated from `tests/compliance_2023.rs`: `make generate` writes it, and a test fails when it is \
         stale.\nEvery line of XEP-0479 that concerns servers, with tests that show it: {built} of {} lines are complete.\n\
         What the specifications demand in detail is in [spec-coverage.md](spec-coverage.md).\n\n\
         | Suite | Feature | Needed by | Specification | Tests |\n|---|---|---|---|---|\n",
        LINES.len()
    );
    for line in LINES {
        let level = if line.level == Server { "every server" } else { "advanced servers" };
        for provider in line.providers {
            out +=
                &format!("| {} | {} | {level} | {} | {} |\n", line.suite, line.feature, provider.spec, shown(provider));
        }
    }
    out
}

fn is_built(line: &Line) -> bool {
    line.providers.iter().all(|provider| !provider.tests.is_empty())
}

fn shown(provider: &Provider) -> String {
    let links = provider.tests.iter().map(|name| {
        let (path, test) = name.split_once("::").unwrap_or((name, name));
        format!("[{test}](../{path})")
    });
    let links: Vec<String> = links.collect();
    if links.is_empty() { "not yet".to_owned() } else { links.join(", ") }
}
