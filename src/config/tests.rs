use std::path::{Path, PathBuf};

use super::{Addresses, Config, ConfigError, FederationMode, Period, SECTIONS, Shape, Size, example, explain, manual};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/comity/comity.toml"))
}

/// The message without the name of the file.
fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string().replace("/etc/comity/comity.toml:", "")
}

fn one_domain() -> Config {
    Config::of_domain("example.org".parse().unwrap())
}

#[test]
fn one_line_is_complete() {
    let config = parse("domain = \"Example.ORG\"").unwrap();
    assert_eq!(config, one_domain());
    assert_eq!(config.domains.len(), 1);
    assert_eq!(config.listen.c2s, Addresses::any(5222));
    assert_eq!(config.limits.unauthenticated_bytes, Size::mib(256));
    assert_eq!(config.limits.authentication_deadline, Period::seconds(30));
    assert!(!config.federation.accept_dialback);
    assert_eq!(config.certificate_of(&config.domains[0]), None);
}

#[test]
fn every_key_can_be_set() {
    let config = parse(
        r#"
        data_dir = "data"
        [[domains]]
        name = "one.example"
        [[domains]]
        name = "two.example"
        certificate = "two.pem"
        key = "/keys/two.key"
        [listen]
        c2s = ["127.0.0.1:15222", "[::1]:15222"]
        c2s_without_tls = true
        s2s_tls = []
        [tls]
        certificate = "one.pem"
        key = "one.key"
        trust_anchors = ["ca.pem"]
        [dns]
        servers = ["127.0.0.1:5353", "::1"]
        [federation]
        mode = "listed"
        allow = ["friend.example"]
        accept_dialback = true
        idle_timeout = "2h"
        [limits]
        client_stanza = 20000
        ring_bytes = "2MiB"
        [log]
        level = "info,comity=debug"
        format = "json"
        "#,
    )
    .unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/comity/data"));
    let [one, two] = config.domains.as_slice() else { panic!("two domains") };
    let certificate =
        |domain| config.certificate_of(domain).map(|(certificate, key)| (certificate.to_owned(), key.to_owned()));
    assert_eq!(certificate(one), Some((PathBuf::from("/etc/comity/one.pem"), PathBuf::from("/etc/comity/one.key"))));
    assert_eq!(certificate(two), Some((PathBuf::from("/etc/comity/two.pem"), PathBuf::from("/keys/two.key"))));
    assert!(config.listen.c2s.is_loopback() && config.listen.c2s_without_tls);
    assert!(!config.listen.s2s.is_loopback());
    assert!(config.listen.s2s_tls.as_slice().is_empty());
    assert_eq!(config.dns.servers[1].to_string(), "[::1]:53");
    assert_eq!(config.federation.mode, FederationMode::Listed);
    assert_eq!(config.limits.client_stanza.bytes(), 20_000);
}

#[test]
fn unknown_keys_have_place_and_suggestion() {
    for (text, message) in [
        ("domain = \"a.example\"\n[lsten]\n", "2:2: unknown key lsten; did you mean listen?"),
        ("domian = \"a.example\"", "1:1: unknown key domian; did you mean domain?"),
        (
            "domain = \"a.example\"\n[federation]\n  acept_dialback = true",
            "3:3: unknown key acept_dialback in [federation]; did you mean accept_dialback?",
        ),
        ("domain = \"a.example\"\nc2s_tls = []", "2:1: unknown key c2s_tls; it belongs in [listen]"),
        (
            "[listen]\ndata_dir = \"/x\"",
            "2:1: unknown key data_dir in [listen]; it belongs at the top of the file, before the first section",
        ),
        ("domain = \"a.example\"\nbanana = 1", "2:1: unknown key banana; comity config explain lists all keys"),
        ("\nlisten.banana = 1", "2:8: unknown key banana in [listen]; comity config explain lists all keys"),
    ] {
        assert_eq!(refused(text), message);
    }
}

#[test]
fn all_unknown_keys_are_told_at_once() {
    let message = refused("zzzzzzz = 1\n[limits]\nroster_item = 5\n[lgo]\nlevel = 1");
    assert_eq!(
        message.lines().collect::<Vec<_>>(),
        [
            "1:1: unknown key zzzzzzz; comity config explain lists all keys",
            "3:1: unknown key roster_item in [limits]; did you mean roster_items?",
            "4:2: unknown key lgo; did you mean log?",
        ]
    );
}

#[test]
fn wrong_values_have_place_and_reason() {
    for (text, message) in [
        ("domain = 5", "1:10: wrong value of domain: invalid type: integer `5`, expected a string"),
        (
            "domain = \"romeo@a.example\"",
            "1:10: wrong value of domain: \"romeo@a.example\" is an address, not a domain",
        ),
        (
            "domain = \"a.example\"\n[federation]\nmode = \"opne\"",
            "3:8: wrong value of federation.mode: \"opne\" is none of \"open\", \"closed\", \"listed\"; did you mean \"open\"?",
        ),
        (
            "domain = \"a.example\"\n[listen]\nc2s = \"127.0.0.1\"",
            "3:7: wrong value of listen.c2s: \"127.0.0.1\" is no address with a port; write it like \"127.0.0.1:5222\"",
        ),
        (
            "domain = \"a.example\"\n[limits]\nauthentication_deadline = \"30\"",
            "3:27: wrong value of limits.authentication_deadline: \"30\" is no time span; write a number and a unit, \
             such as \"30s\", \"10m\" or \"2h\"",
        ),
        ("domain = \"a.example\"\nlisten = \"[::]:5222\"", "2:1: listen is a section; write it as [listen]"),
        ("[domains]\nname = \"a.example\"", "1:2: domains is a section that repeats; write it as [[domains]]"),
    ] {
        assert_eq!(refused(text), message);
    }
    assert!(
        refused("domain = \"a.example\"\n[log]\nlevel = \"loud\"")
            .starts_with("3:9: wrong value of log.level: \"loud\" is no level")
    );
    assert!(
        refused("domain = \"a.example\"\n[limits]\nroster_items = -1")
            .starts_with("3:16: wrong value of limits.roster_items")
    );
    assert!(refused("domain = \"a.example\"\ndomain = \"b.example\"").starts_with("2:1: duplicate key"));
    assert!(refused("domain = a.example").starts_with("1:10: "));
}

// Proves: RFC 6120 §13.12
#[test]
fn contact_addresses_are_uris() {
    let contact = |uri: &str| format!("domain = \"a.example\"\n[contact]\nabuse = [\"{uri}\"]");
    for uri in [
        "mailto:abuse@example.org",
        "mailto:abuse@example.org?subject=Abuse%20of%20a.example",
        "xmpp:abuse@example.org",
        "xmpp:help@rooms.example.org?join",
        "xmpp:a%C3%A4@example.org",
        "https://example.org/status#now",
    ] {
        let config = parse(&contact(uri)).unwrap_or_else(|error| panic!("{uri}: {error}"));
        assert_eq!(config.contact.abuse.iter().map(ToString::to_string).collect::<Vec<_>>(), [uri]);
    }
    let odd = "has characters that a URI must not have";
    for (uri, why) in [
        ("abuse@example.org", "is no address of a kind that clients know"),
        ("http://example.org", "is no address of a kind that clients know"),
        ("mailto:abuse", "names nobody"),
        ("mailto:@example.org", "names nobody"),
        ("xmpp:", "names nobody"),
        ("xmpp:@example.org", "names nobody"),
        ("https:example.org", "names nobody"),
        ("https:///status", "names nobody"),
        ("mailto:a b@example.org", odd),
        ("mailto:\u{e4}@example.org", odd),
        ("mailto:a%2@example.org", odd),
        ("mailto:a@example.org?subject=%FF", odd),
        ("https://example.org/<x>", odd),
    ] {
        let message = refused(&contact(uri));
        let start = format!("\"{uri}\" {why}; write \"mailto:name@example.org\"");
        assert!(message.starts_with("3:") && message.contains(&start), "{message}");
    }
    assert!(refused("domain = \"a.example\"\n[contact]\nabuse = 5").starts_with("3:9: wrong value of contact.abuse"));
}

// Proves: RFC 6120 §13.12
#[test]
fn what_contradicts_itself_is_refused() {
    for (text, message) in [
        ("", "1:1: no domain; begin the file with a line such as domain = \"example.org\""),
        (
            "domain = \"a.example\"\n[[domains]]\nname = \"b.example\"",
            "1:1: both domain and [[domains]]; give this one a [[domains]] of its own",
        ),
        (
            "[[domains]]\nname = \"a.example\"\n[[domains]]\nname = \"A.example\"",
            "4:8: the domain a.example is there twice",
        ),
        (
            "[[domains]]\nkey = \"x\"",
            "1:1: domains[1] has no name\n2:1: a key without certificate; add certificate = \"...\" beside it",
        ),
        (
            "domain = \"a.example\"\n[tls]\ncertificate = \"x.pem\"",
            "3:1: a certificate without key; add key = \"...\" beside it",
        ),
        (
            "domain = \"a.example\"\n[federation]\nmode = \"listed\"",
            "3:8: mode \"listed\" without a list; name the domains in federation.allow, or say \"closed\"",
        ),
        (
            "domain = \"a.example\"\nadmins = [\"me@a.example\", \"me@b.example\"]",
            "2:10: me@b.example is no account of a domain of this server",
        ),
        (
            "domain = \"a.example\"\n[federation]\nallow = [\"b.example\"]",
            "3:1: federation.allow only counts with mode = \"listed\"; set federation.mode = \"listed\"",
        ),
        (
            "domain = \"a.example\"\n[listen]\nc2s = [\"127.0.0.1:5222\", \"[::]:5223\"]\nc2s_without_tls = true",
            "4:1: listen.c2s_without_tls would let other machines log in without encryption; \
             let listen.c2s name loopback addresses only, such as \"127.0.0.1:5222\"",
        ),
        (
            "domain = \"a.example\"\n[listen]\nc2s_without_tls = true",
            "3:1: listen.c2s_without_tls would let other machines log in without encryption; \
             let listen.c2s name loopback addresses only, such as \"127.0.0.1:5222\"",
        ),
        (
            "domain = \"a.example\"\n[limits]\nclient_stanza = \"1KiB\"",
            "3:17: limits.client_stanza is below 10000 bytes, the least that RFC 6120 allows",
        ),
        ("domain = \"a.example\"\n[limits]\nclient_burst = \"61m\"", "3:16: limits.client_burst is more than an hour"),
        (
            "domain = \"a.example\"\n[limits]\nauthentication_deadline = \"0s\"",
            "3:27: limits.authentication_deadline is zero",
        ),
        (
            "domain = \"a.example\"\n[[components]]\nname = \"A.example\"\nsecret = \"s\"",
            "3:8: a.example is a domain of accounts on this server; give the component a domain of its own",
        ),
        (
            "domain = \"a.example\"\n[[components]]\nname = \"b.example\"\n\
             [[components]]\nname = \"b.example\"\nsecret = \"s\"\nsecret_file = \"f\"\nstanza = 9999",
            "3:8: components[1] has no secret; add secret = \"...\" or secret_file = \"...\" to it\n\
             5:8: the component b.example is there twice\n7:1: both secret and secret_file; remove one of them\n\
             8:10: components[2].stanza is below 10000 bytes, the least that RFC 6120 allows",
        ),
        ("domain = \"a.example\"\n[[components]]\nsecret = \"s\"", "2:1: components[1] has no name"),
        (
            "domain = \"a.example\"\n[services]\nrooms = [\"A.example\"]",
            "3:9: a.example is the name of something else already; give the rooms a domain of their own",
        ),
        (
            "domain = \"a.example\"\n[rooms]\ncreate = \"anyone\"",
            "3:10: wrong value of rooms.create: \"anyone\" is none of \"local\", \"admins\", \"anybody\"",
        ),
        ("domain = \"a.example\"\n[limits]\nserver_burst = \"61m\"", "3:16: limits.server_burst is more than an hour"),
    ] {
        assert_eq!(refused(text), message);
    }
}

#[test]
fn what_holds_for_another_domain_and_contradicts_itself_is_refused() {
    for (text, message) in [
        ("domain = \"a.example\"\n[[peers]]\nstreams = 1", "2:1: peers[1] has no name"),
        (
            "domain = \"a.example\"\n[[peers]]\nname = \"A.example\"\n\
             [[peers]]\nname = \"b.example\"\n[[peers]]\nname = \"B.example\"",
            "3:8: a.example is a domain of this server\n7:8: the domain b.example is there twice",
        ),
        (
            "domain = \"a.example\"\n[services]\nrooms = [\"rooms.a.example\"]\n\
             [[components]]\nname = \"irc.a.example\"\nsecret = \"s\"\n\
             [[peers]]\nname = \"irc.a.example\"\n[[peers]]\nname = \"rooms.a.example\"",
            "8:8: irc.a.example is a domain of this server\n10:8: rooms.a.example is a domain of this server",
        ),
        (
            "domain = \"a.example\"\n[federation]\nmode = \"closed\"\n\
             [[peers]]\nname = \"b.example\"\nfederate = true",
            "6:12: federation.mode = \"closed\" has no exceptions; set federation.mode = \"listed\"",
        ),
        (
            "domain = \"a.example\"\n[federation]\nmode = \"listed\"\nallow = [\"b.example\"]\n\
             [[peers]]\nname = \"b.example\"\nfederate = false",
            "7:12: b.example is in federation.allow, too",
        ),
    ] {
        assert_eq!(refused(text), message);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nonexistent/comity.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/comity.toml: cannot be read: "), "{error}");
}

#[test]
fn the_example_is_the_default_commented_or_not() {
    let text = example("example.org", None, &[]);
    assert_eq!(parse(&text).unwrap(), one_domain());
    let mut section = "";
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| {
            if let Some(name) = line.trim_start_matches('#').strip_prefix('[') {
                section = name.trim_matches(['[', ']']);
            }
            let Some((name, _)) = line.strip_prefix('#').and_then(|line| line.split_once(" = ")) else { return line };
            let known = SECTIONS.iter().find(|known| known.name == section).unwrap();
            let key = known.keys.iter().find(|key| key.name == name);
            let has_default = key.is_some_and(|key| super::example::default(known, key).is_some());
            if known.shape == Shape::Once && has_default { &line[1..] } else { line }
        })
        .collect();
    assert!(uncommented.contains(&"idle_timeout = \"10m\""), "{uncommented:?}");
    assert_eq!(parse(&uncommented.join("\n")).unwrap(), one_domain());
}

#[test]
fn the_example_takes_a_data_directory() {
    let rooms = ["rooms.example.org".parse().unwrap()];
    let config = parse(&example("example.org", Some(Path::new("my \"data\"")), &rooms)).unwrap();
    assert_eq!(config.services.rooms, rooms);
    assert_eq!(config.data_dir, Path::new("/etc/comity/my \"data\""));
}

#[test]
fn each_example_of_a_key_is_accepted() {
    for section in SECTIONS.iter().filter(|section| section.shape == Shape::Repeated || section.name == "tls") {
        let keys: Vec<_> = section
            .keys
            .iter()
            // A component has its secret here or in a file.
            .filter(|key| key.name != "secret_file")
            .filter_map(|key| key.example.map(|example| format!("{} = {example}", key.name)))
            .collect();
        let text = match (section.name, section.shape) {
            ("domains", _) => format!("[[domains]]\n{}", keys.join("\n")),
            (name, Shape::Repeated) => format!("domain = \"a.example\"\n[[{name}]]\n{}", keys.join("\n")),
            (name, Shape::Once) => format!("domain = \"a.example\"\n[{name}]\n{}", keys.join("\n")),
        };
        assert!(parse(&text).is_ok(), "{text}");
    }
}

#[test]
fn generated_files_are_fresh() {
    for (name, fresh) in
        [("config.example.toml", example("example.org", None, &[])), ("docs/configuration.md", manual())]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap_or_default(),
            fresh,
            "{name} is stale; run UPDATE=1 cargo test"
        );
    }
}

#[test]
fn explains_value_default_and_line() {
    let text = "domain = \"a.example\"\n\n[limits]\nring_bytes = \"2MiB\"\n";
    let config = parse(text).unwrap();
    let all = explain(&config, text, None).unwrap();
    let one = |key: &str| all.iter().find(|explained| explained.key == key).unwrap();
    let ring = one("limits.ring_bytes");
    assert_eq!(
        (ring.default.as_deref(), ring.value.as_deref(), ring.line),
        (Some("\"704KiB\""), Some("\"2MiB\""), Some(4))
    );
    let domain = one("domain");
    assert_eq!(
        (domain.default.as_deref(), domain.value.as_deref(), domain.line),
        (None, Some("\"a.example\""), Some(1))
    );
    let listen = one("listen.c2s");
    assert_eq!((listen.value.as_deref(), listen.line), (Some("\"[::]:5222\""), None));
    assert_eq!(one("tls.certificate").value, None);
    assert!(!all.iter().any(|explained| explained.key.starts_with("domains")));
}

#[test]
fn a_secret_is_never_shown() {
    let text = "domain = \"a.example\"\n[[components]]\nname = \"b.a.example\"\nsecret = \"hush hush\"\n";
    let config = parse(text).unwrap();
    assert_eq!(config.components[0].secret.as_ref().map(crate::secret::Secret::reveal), Some("hush hush"));
    let all = explain(&config, text, Some("components")).unwrap();
    assert!(all.iter().any(|one| one.key == "components[1].secret" && one.value.is_some() && one.line == Some(4)));
    assert!(!format!("{all:?} {config:?}").contains("hush"));
    for wrong in ["12345", "12.345", "true", "[12345]", "{ a = 12345 }", "2012-12-12T12:12:12Z"] {
        let message =
            refused(&format!("domain = \"a.example\"\n[[components]]\nname = \"b.example\"\nsecret = {wrong}"));
        assert!(message.contains("a secret is a text in quotes") && !message.contains("12"), "{message}");
    }
    assert!(refused("domain = \"a.example\"\n[[components]]\nsecret = \"\"").contains("an empty text is no secret"));
}

#[test]
fn explains_what_is_asked_for() {
    let text = "[[domains]]\nname = \"a.example\"\n[[domains]]\nname = \"b.example\"\n";
    let config = parse(text).unwrap();
    let keys = |wanted: &str| {
        explain(&config, text, Some(wanted)).map(|all| all.into_iter().map(|one| one.key).collect::<Vec<_>>())
    };
    assert_eq!(keys("dns.servers"), Ok(vec!["dns.servers".to_owned()]));
    assert_eq!(keys("domains.name"), Ok(vec!["domains[1].name".to_owned(), "domains[2].name".to_owned()]));
    assert_eq!(keys("domains[2].name"), Ok(vec!["domains[2].name".to_owned()]));
    assert_eq!(keys("tls").map(|keys| keys.len()), Ok(4));
    assert_eq!(keys("dns.server"), Err(Some("dns.servers".to_owned())));
    assert_eq!(keys("c2s_tls"), Err(Some("listen.c2s_tls".to_owned())));
    assert_eq!(keys("banana"), Err(None));
}
