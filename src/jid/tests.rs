//! The rows of RFC 7622 §3.5, the contextual rules one by one, and properties that hold for any text.

use std::borrow::{Borrow, Cow};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use proptest::prelude::*;

use super::precis::{Derived, StringClass, allows, derived};
use super::*;

fn parts(text: &str) -> (Option<String>, String, Option<String>) {
    let jid = Jid::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    (jid.local().map(str::to_owned), jid.domain().to_owned(), jid.resource().map(str::to_owned))
}

fn expect_parts(text: &str, local: Option<&str>, domain: &str, resource: Option<&str>) {
    assert_eq!(parts(text), (local.map(str::to_owned), domain.to_owned(), resource.map(str::to_owned)), "{text:?}");
}

// -- the examples of the specification

// Proves: RFC 7622 §3.2, §5
#[test]
fn rfc_7622_table_1_is_accepted() {
    expect_parts("juliet@example.com", Some("juliet"), "example.com", None);
    expect_parts("juliet@example.com/foo", Some("juliet"), "example.com", Some("foo"));
    expect_parts("juliet@example.com/foo bar", Some("juliet"), "example.com", Some("foo bar"));
    expect_parts("juliet@example.com/foo@bar", Some("juliet"), "example.com", Some("foo@bar"));
    expect_parts("foo\\20bar@example.com", Some("foo\\20bar"), "example.com", None);
    expect_parts("fussball@example.com", Some("fussball"), "example.com", None);
    expect_parts("fu\u{DF}ball@example.com", Some("fu\u{DF}ball"), "example.com", None);
    expect_parts("\u{3C0}@example.com", Some("\u{3C0}"), "example.com", None);
    expect_parts("\u{3A3}@example.com/foo", Some("\u{3C3}"), "example.com", Some("foo"));
    expect_parts("\u{3C3}@example.com/foo", Some("\u{3C3}"), "example.com", Some("foo"));
    expect_parts("\u{3C2}@example.com/foo", Some("\u{3C2}"), "example.com", Some("foo"));
    expect_parts("king@example.com/\u{265A}", Some("king"), "example.com", Some("\u{265A}"));
    expect_parts("example.com", None, "example.com", None);
    expect_parts("example.com/foobar", None, "example.com", Some("foobar"));
    expect_parts("a.example.com/b@example.net", None, "a.example.com", Some("b@example.net"));
}

// Proves: RFC 7622 §3.3
#[test]
fn rfc_7622_table_2_is_refused() {
    assert_eq!(Jid::parse("\"juliet\"@example.com"), Err(JidError::Localpart));
    assert_eq!(Jid::parse("foo bar@example.com"), Err(JidError::Localpart));
    // Row 18, a leading space in the resourcepart, is withdrawn by erratum 4560: OpaqueString keeps it.
    expect_parts("juliet@example.com/ foo", Some("juliet"), "example.com", Some(" foo"));
    assert_eq!(Jid::parse("@example.com/"), Err(JidError::Localpart));
    assert_eq!(Jid::parse("henry\u{2163}@example.com"), Err(JidError::Localpart));
    assert_eq!(Jid::parse("\u{265A}@example.com"), Err(JidError::Localpart));
    assert_eq!(Jid::parse("juliet@"), Err(JidError::Domainpart));
    assert_eq!(Jid::parse("/foobar"), Err(JidError::Domainpart));
}

// -- localparts

// Proves: RFC 7622 §3.3.1
#[test]
fn localparts_exclude_what_would_break_addresses() {
    for excluded in " \"&'/:<>@".chars().chain((0..0x20).map(char::from)).chain(['\u{7F}', '\u{A0}', '\u{3000}']) {
        assert_eq!(localpart(&format!("a{excluded}b")), Err(JidError::Localpart), "{excluded:?}");
    }
    for allowed in "!#$%()*+,-.;=?[\\]^_`{|}~".chars() {
        assert_eq!(localpart(&format!("a{allowed}b")).unwrap(), format!("a{allowed}b"));
    }
}

// Proves: RFC 7622 §3.3.1
#[test]
fn localparts_cannot_gain_an_excluded_character_by_width_mapping() {
    for wide in ['\u{FF20}', '\u{FF0F}', '\u{FF1A}', '\u{FF02}', '\u{FF06}', '\u{FF07}', '\u{FF1C}', '\u{FF1E}'] {
        assert_eq!(localpart(&format!("a{wide}b")), Err(JidError::Localpart), "{wide:?}");
    }
}

// Proves: RFC 7622 §3.3
#[test]
fn localparts_are_mapped_by_width_case_and_composition() {
    for (given, prepared) in [
        ("\u{FF2A}\u{FF55}\u{FF4C}\u{FF49}\u{FF45}\u{FF54}", "juliet"),
        ("\u{FF76}\u{FF9E}\u{FF97}\u{FF7D}", "\u{30AC}\u{30E9}\u{30B9}"),
        ("JULIET", "juliet"),
        ("\u{C9}mile", "\u{E9}mile"),
        ("E\u{301}mile", "\u{E9}mile"),
        ("Stra\u{DF}e", "stra\u{DF}e"),
        ("STRA\u{1E9E}E", "stra\u{DF}e"),
        ("\u{130}zmir", "i\u{307}zmir"),
        ("\u{212B}ngstr\u{F6}m", "\u{E5}ngstr\u{F6}m"),
        ("\u{1112}\u{1161}\u{11AB}", "\u{D55C}"),
    ] {
        assert_eq!(localpart(given).unwrap(), prepared, "{given:?}");
        assert!(matches!(localpart(prepared).unwrap(), Cow::Borrowed(_)), "{prepared:?} is prepared already");
    }
}

#[test]
fn the_final_sigma_is_a_letter_of_its_own() {
    let capitals = "\u{39F}\u{394}\u{3A5}\u{3A3}\u{3A3}\u{395}\u{3A5}\u{3A3}";
    assert_eq!(localpart(capitals).unwrap(), "\u{3BF}\u{3B4}\u{3C5}\u{3C3}\u{3C3}\u{3B5}\u{3C5}\u{3C3}");
    assert_ne!(localpart("\u{3C3}\u{3B1}\u{3C2}").unwrap(), localpart("\u{3C3}\u{3B1}\u{3C3}").unwrap());
}

#[test]
fn sharp_s_is_not_ss() {
    assert_ne!(Jid::parse("fu\u{DF}ball@example.com"), Jid::parse("fussball@example.com"));
}

#[test]
fn names_of_our_accounts_lose_what_stringprep_maps_to_nothing() {
    for nothing in [
        '\u{AD}', '\u{34F}', '\u{1806}', '\u{180B}', '\u{180D}', '\u{200B}', '\u{200C}', '\u{200D}', '\u{2060}',
        '\u{FE00}', '\u{FE0F}', '\u{FEFF}',
    ] {
        assert_eq!(account_localpart(&format!("Ju{nothing}liet")).unwrap(), "juliet", "{nothing:?}");
        assert_eq!(account_localpart(&nothing.to_string()), Err(JidError::Localpart), "{nothing:?} alone");
    }
    let persian = "\u{645}\u{6CC}\u{200C}\u{62E}\u{648}\u{627}\u{647}\u{645}";
    assert_eq!(localpart(persian).unwrap(), persian);
    assert_eq!(BareJid::account(persian, "example.com").unwrap().local(), Some(&*persian.replace('\u{200C}', "")));
    assert_eq!(localpart("ju\u{AD}liet"), Err(JidError::Localpart));
}

// -- contexts (RFC 5892, appendix A)

#[test]
fn joiners_need_a_virama_or_joining_letters() {
    let ka_virama = "\u{915}\u{94D}";
    assert!(localpart(&format!("{ka_virama}\u{200D}\u{937}")).is_ok());
    assert!(localpart(&format!("{ka_virama}\u{200C}\u{937}")).is_ok());
    assert!(localpart("\u{628}\u{200C}\u{628}").is_ok());
    assert!(localpart("\u{628}\u{64E}\u{200C}\u{64E}\u{628}").is_ok(), "marks between are transparent");
    for refused in [
        "a\u{200D}b",
        "a\u{200C}b",
        "\u{200D}",
        "\u{200C}",
        "\u{628}\u{200D}\u{628}",
        "\u{627}\u{200C}\u{628}",
        "\u{628}\u{200C}",
        "\u{200C}\u{628}",
    ] {
        assert_eq!(localpart(refused), Err(JidError::Localpart), "{refused:?}");
    }
}

#[test]
fn punctuation_of_one_script_needs_that_script() {
    for allowed in [
        "col\u{B7}lega",
        "\u{375}\u{3B1}",
        "\u{5D2}\u{5F3}",
        "\u{5D0}\u{5F4}\u{5D1}",
        "\u{30FB}\u{30AB}",
        "\u{3042}\u{30FB}",
        "\u{6F22}\u{30FB}\u{5B57}",
        "\u{FF65}\u{FF76}",
    ] {
        assert!(localpart(allowed).is_ok(), "{allowed:?}");
    }
    for refused in ["\u{B7}l", "l\u{B7}", "a\u{B7}a", "\u{375}a", "\u{375}", "a\u{5F3}", "\u{5F4}\u{5D0}", "a\u{30FB}b"]
    {
        assert_eq!(localpart(refused), Err(JidError::Localpart), "{refused:?}");
    }
}

#[test]
fn rows_of_arabic_digits_do_not_mix() {
    assert!(localpart("\u{628}\u{660}\u{669}").is_ok());
    assert!(localpart("\u{628}\u{6F0}\u{6F9}").is_ok());
    assert_eq!(localpart("\u{628}\u{660}\u{6F9}"), Err(JidError::Localpart));
    assert!(!allows(StringClass::Freeform, "\u{660}\u{6F9}"));
}

#[test]
fn names_from_right_to_left_satisfy_the_bidi_rule() {
    for allowed in ["\u{5D0}\u{5D1}", "\u{5D0}1", "\u{627}\u{660}", "\u{5D0}.\u{5D1}", "\u{5D0}\u{5B0}", "1a"] {
        assert!(localpart(allowed).is_ok(), "{allowed:?}");
    }
    for refused in [
        "a\u{5D0}",        // begins from left to right
        "\u{5D0}a",        // holds a letter of the other direction
        "1\u{5D0}",        // begins with a digit
        "\u{5D0}.",        // ends with a separator
        "\u{5D0}1\u{660}", // mixes digits
        "a\u{660}",        // Arabic digits behind Latin
        "\u{660}",         // nothing strong at all
        "\u{5B0}\u{5D0}",  // begins with a mark
    ] {
        assert_eq!(localpart(refused), Err(JidError::Localpart), "{refused:?}");
    }
}

// -- derived properties (RFC 8264 §8)

// Proves: RFC 7622 §3.3
#[test]
fn properties_are_derived_from_current_tables() {
    for (c, expected) in [
        ('a', Derived::Valid),
        ('A', Derived::Valid),
        (' ', Derived::FreeformValid),
        ('\u{7F}', Derived::Disallowed),
        ('\u{DF}', Derived::Valid),
        ('\u{B7}', Derived::Contextual),
        ('\u{200C}', Derived::Contextual),
        ('\u{640}', Derived::Disallowed),
        ('\u{AD}', Derived::Disallowed),
        ('\u{1100}', Derived::Disallowed),
        ('\u{1C5}', Derived::FreeformValid),
        ('\u{2163}', Derived::FreeformValid),
        ('\u{FF21}', Derived::FreeformValid),
        ('\u{3007}', Derived::Valid),
        ('\u{488}', Derived::FreeformValid),
        ('\u{265A}', Derived::FreeformValid),
        ('\u{1F9E0}', Derived::FreeformValid),
        ('\u{1FAE0}', Derived::FreeformValid),
        ('\u{10570}', Derived::Valid),
        ('\u{10D50}', Derived::Valid),
        ('\u{E000}', Derived::Disallowed),
        ('\u{FDD0}', Derived::Disallowed),
        ('\u{FFFF}', Derived::Disallowed),
        ('\u{200E}', Derived::Disallowed),
        ('\u{2029}', Derived::Disallowed),
        ('\u{378}', Derived::Unassigned),
        ('\u{E0080}', Derived::Unassigned),
    ] {
        assert_eq!(derived(c), expected, "{c:?}");
    }
}

/// The tables of the standard library may be one version older than those of ICU4X.
#[test]
fn a_letter_stays_out_of_names_until_its_lower_case_is_known() {
    use icu_properties::CodePointSetData;
    use icu_properties::props::ChangesWhenLowercased;
    let upper = CodePointSetData::new::<ChangesWhenLowercased>();
    for c in (char::MIN..=char::MAX).filter(|&c| upper.contains(c)) {
        if let Ok(name) = localpart(&c.to_string()) {
            assert!(!name.contains(|c| upper.contains(c)), "{c:?} became {name:?}");
        }
    }
}

/// Behind plane 3 are only tags, variation selectors and private use, of which a sample will do.
#[test]
fn every_character_alone_is_prepared_once() {
    for c in (char::MIN..='\u{3FFFF}').chain('\u{E0000}'..='\u{E0FFF}').chain('\u{F0000}'..='\u{F00FF}') {
        let text = c.to_string();
        for prepare in [localpart, domainpart, resourcepart] {
            if let Ok(once) = prepare(&text) {
                assert_eq!(prepare(&once).as_deref(), Ok(&*once), "{c:?}");
            }
        }
    }
}

// -- resourceparts

// Proves: RFC 7622 §3.4
#[test]
fn resourceparts_map_spaces_and_compose() {
    assert_eq!(resourcepart("a\u{A0}b\u{3000}c\u{2003}d").unwrap(), "a b c d");
    assert_eq!(resourcepart("e\u{301}").unwrap(), "\u{E9}");
    assert_eq!(resourcepart("Balcony").unwrap(), "Balcony");
    assert_eq!(resourcepart("\u{FF21}").unwrap(), "\u{FF21}");
}

// Proves: RFC 7622 §5
#[test]
fn emoji_of_any_age_are_nicknames() {
    for emoji in [
        "\u{1F600}",
        "\u{1F9E0}",
        "\u{1FAE0}",
        "\u{2764}\u{FE0F}",
        "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}",
        "\u{1F3F4}\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}",
        "\u{1FBFF}",
    ] {
        assert_eq!(resourcepart(emoji).unwrap(), emoji);
    }
    assert!(allows(StringClass::Freeform, "\u{1F9E0}\u{1FAE0}"));
    assert!(!allows(StringClass::Freeform, "\u{2764}\u{FE0F}"));
}

#[test]
fn what_precis_refuses_is_kept_as_it_is_after_composition() {
    assert_eq!(resourcepart("e\u{301}\u{200D}\u{A0}").unwrap(), "\u{E9}\u{200D}\u{A0}");
    assert_eq!(resourcepart("\u{378}").unwrap(), "\u{378}");
    assert_eq!(resourcepart("\u{202E}abc").unwrap(), "\u{202E}abc");
}

#[test]
fn resourceparts_have_no_control_characters() {
    for c in (0..0x20).chain(0x7F..0xA0).map(char::from).chain(['\u{FFFE}', '\u{FFFF}']) {
        assert_eq!(resourcepart(&format!("a{c}b")), Err(JidError::Resourcepart), "{c:?}");
    }
}

// -- domainparts

// Proves: RFC 7622 §3.2, §3.2.1, §3.2.2
#[test]
fn domainparts_are_lower_case_u_labels() {
    for (given, prepared) in [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("example.com\u{3002}", "example.com"),
        ("xn--bcher-kva.example", "b\u{FC}cher.example"),
        ("XN--BCHER-KVA.example", "b\u{FC}cher.example"),
        ("B\u{DC}CHER.example", "b\u{FC}cher.example"),
        ("bu\u{308}cher.example", "b\u{FC}cher.example"),
        ("fa\u{DF}.example", "fa\u{DF}.example"),
        ("\u{FF45}xample.com", "example.com"),
        ("a\u{3002}example", "a.example"),
        ("\u{3B1}\u{3C2}.example", "\u{3B1}\u{3C2}.example"),
        ("localhost", "localhost"),
        ("under_score.example", "under_score.example"),
        ("r3---sn.example", "r3---sn.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8:0::1]", "[2001:db8::1]"),
    ] {
        assert_eq!(domainpart(given).unwrap(), prepared, "{given:?}");
        assert!(matches!(domainpart(prepared).unwrap(), Cow::Borrowed(_)), "{prepared:?} is prepared already");
    }
}

// Proves: RFC 7622 §3.2.1, §3.2.3
#[test]
fn a_labels_and_u_labels_are_one_address() {
    assert_eq!(Jid::parse("a@xn--bcher-kva.example/x"), Jid::parse("a@b\u{FC}cher.example/x"));
}

// Proves: RFC 7622 §3.2, §3.2.1
#[test]
fn domainparts_refuse_what_would_break_addresses() {
    for c in (0..0x80_u8).map(char::from).filter(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c)) {
        assert_eq!(domainpart(&format!("exa{c}mple.com")), Err(JidError::Domainpart), "{c:?}");
    }
    for refused in [
        "",
        ".",
        "..",
        ".example",
        "a..example",
        "example..",
        "a\u{2100}b.example",
        "a\u{FF0F}b.example",
        "a\u{FF20}b.example",
        "xn--a.example",
        "xn--xn--mnchen-3ezamp",
        "a\u{200D}b.example",
        "\u{5D0}a.example",
        "\u{378}.example",
        "\u{FFFD}.example",
        "[::1",
        "[]",
        "[::1].",
        "[127.0.0.1]",
        "[fe80::1%25eth0]",
        "::1",
    ] {
        assert_eq!(domainpart(refused), Err(JidError::Domainpart), "{refused:?}");
    }
}

// Proves: RFC 5890 §2.3.2.1
#[test]
fn long_labels_are_not_decoded() {
    let name = |label: &str, length: usize| format!("{}.example", label.repeat(length));
    for (label, longest) in [("\u{FC}", 126), ("\u{FF41}", 126), ("A", 1015)] {
        assert!(domainpart(&name(label, longest)).is_ok(), "{label}");
        assert_eq!(domainpart(&name(label, longest + 1)), Err(JidError::Domainpart), "{label}");
    }
    // One character that stands for three.
    assert!(domainpart(&name("\u{FB03}", 42)).is_ok());
    assert_eq!(domainpart(&name("\u{FB03}", 43)), Err(JidError::Domainpart));
    // Decoding takes a step for every pair of its characters.
    let bomb = format!("xn--{}", "a".repeat(900));
    assert_eq!(domainpart(&bomb), Err(JidError::Domainpart));
    assert_eq!(a_labels(&bomb), None);
}

#[test]
fn names_for_dns_are_a_labels_within_its_limits() {
    for (domain, expected) in [
        ("b\u{FC}cher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("Example.com.", "example.com"),
        ("_xmpp-server._tcp.example.com", "_xmpp-server._tcp.example.com"),
        ("192.0.2.1", "192.0.2.1"),
    ] {
        assert_eq!(a_labels(domain).as_deref(), Some(expected), "{domain}");
    }
    let label = "a".repeat(64);
    assert_eq!(domainpart(&label).unwrap(), label);
    for none in [
        &label,
        "",
        ".",
        "a..b",
        "*.example.org",
        "a b",
        "a@b",
        "a/b",
        "[::1]",
        "a\0b",
        "example.org..",
        "\u{E9}@b",
        "xn--a",
    ] {
        assert_eq!(a_labels(none), None, "{none:?}");
    }
}

// -- lengths and places

// Proves: RFC 7622 §3.2, §3.3, §3.4
#[test]
fn parts_have_up_to_1023_octets() {
    let domain = |octets: usize| {
        let mut text = "abcdefghi.".repeat(octets / 10 + 1);
        text.truncate(octets);
        text
    };
    let longest = format!("{}@{}/{}", "a".repeat(1023), domain(1023), "r".repeat(1023));
    let jid = Jid::parse(&longest).unwrap();
    assert_eq!((jid.as_str(), longest.len()), (longest.as_str(), 3071));
    assert_eq!(jid.local().map(str::len), Some(1023));
    assert_eq!(jid.domain().len(), 1023);
    assert_eq!(jid.resource().map(str::len), Some(1023));
    assert_eq!(jid.to_bare().as_str(), &longest[..2047]);
    assert_eq!(jid.to_bare().with_resource(&"r".repeat(1023)).as_ref(), Ok(&jid));

    assert_eq!(Jid::parse(&format!("{}@a", "a".repeat(1024))), Err(JidError::Localpart));
    assert_eq!(Jid::parse(&domain(1024)), Err(JidError::Domainpart));
    assert_eq!(Jid::parse(&format!("a/{}", "r".repeat(1024))), Err(JidError::Resourcepart));
    assert_eq!(Jid::parse(&format!("a/{}", "\u{E9}".repeat(512))), Err(JidError::Resourcepart));
}

// Proves: RFC 7622 §3.3
#[test]
fn lengths_are_those_after_mapping() {
    assert_eq!(localpart(&"\u{FF41}".repeat(1023)).unwrap().len(), 1023);
    assert_eq!(localpart(&"\u{FF35}\u{308}\u{301}".repeat(511)).unwrap().len(), 1022);
    assert_eq!(localpart(&"\u{FF41}".repeat(1024)), Err(JidError::Localpart));
    assert_eq!(localpart(&"\u{23A}".repeat(512)), Err(JidError::Localpart), "its lower case has three octets");
    let invisible = |octets: usize| format!("aa{}", "\u{AD}".repeat(octets / 2 - 1));
    assert_eq!(account_localpart(&invisible(MAX_INPUT)).unwrap(), "aa");
    assert_eq!(account_localpart(&invisible(MAX_INPUT + 2)), Err(JidError::Localpart));
}

// Proves: RFC 7622 §3.2, §3.3, §3.4
#[test]
fn empty_parts_are_refused() {
    assert_eq!(Jid::parse(""), Err(JidError::Domainpart));
    assert_eq!(Jid::parse("@a"), Err(JidError::Localpart));
    assert_eq!(Jid::parse("a/"), Err(JidError::Resourcepart));
    assert_eq!(Jid::parse("a@b@c"), Err(JidError::Domainpart));
}

// -- what is built from prepared parts

#[test]
fn bare_and_full_addresses_convert() {
    let full = Jid::parse("Juliet@Example.com./Balcony").unwrap();
    assert_eq!((full.as_str(), full.bare_str()), ("juliet@example.com/Balcony", "juliet@example.com"));
    assert!(!full.is_bare());
    let bare = full.to_bare();
    assert!(bare.as_jid().is_bare());
    assert_eq!(bare.as_jid().to_bare(), bare);
    assert_eq!(bare.with_resource("Balcony").as_ref(), Ok(&full));
    assert_eq!(bare.with_resource(""), Err(JidError::Resourcepart));
    assert_eq!((bare.local(), bare.domain(), bare.as_jid().resource()), (Some("juliet"), "example.com", None));

    let service = Jid::parse("example.com/x").unwrap();
    assert_eq!(service.to_bare(), BareJid::of_domain("Example.com").unwrap());
    assert_eq!(BareJid::parse("example.com/x"), Err(JidError::Resourcepart));
    assert_eq!(BareJid::account("JULIET", "example.com"), Ok(bare));
}

#[test]
fn maps_with_bare_addresses_are_asked_with_text() {
    fn hash(value: &(impl Hash + ?Sized)) -> u64 {
        let mut state = DefaultHasher::new();
        value.hash(&mut state);
        state.finish()
    }
    let bare = BareJid::parse("juliet@example.com").unwrap();
    let text: &str = bare.borrow();
    assert_eq!(hash(&bare), hash(text));
    assert_eq!(HashMap::from([(bare, 1)]).get("juliet@example.com"), Some(&1));
}

#[test]
fn prepared_ascii_is_borrowed() {
    assert!(matches!(localpart("juliet.capulet"), Ok(Cow::Borrowed(_))));
    assert!(matches!(account_localpart("juliet.capulet"), Ok(Cow::Borrowed(_))));
    assert!(matches!(domainpart("im.example.com"), Ok(Cow::Borrowed(_))));
    assert!(matches!(resourcepart("Balcony 1"), Ok(Cow::Borrowed(_))));
}

// -- any text

/// Text in which separators, joiners, marks, digits and wide forms are frequent.
fn texts() -> impl Strategy<Value = String> {
    let dense = proptest::sample::select(
        "aZ09@/.-_ \u{DF}\u{3A3}\u{3C2}\u{130}\u{301}\u{327}\u{5D0}\u{627}\u{660}\u{6F0}\u{30FB}\u{30AB}\u{FF76}\u{FF9E}\
         \u{200C}\u{200D}\u{94D}\u{915}\u{B7}\u{A0}\u{3000}\u{AD}\u{FE0F}\u{1100}\u{1161}\u{FF21}\u{FF0E}\u{3002}\u{212B}\
         \u{1F9E0}\u{2126}\u{F900}\u{1E9E}\u{2F800}\u{FFFD}xn[]:"
            .chars()
            .collect::<Vec<_>>(),
    );
    prop_oneof![
        any::<String>(),
        proptest::collection::vec(dense, 0..24).prop_map(String::from_iter),
        "(xn--)?[a-z0-9-]{0,20}(\\.xn--[a-z0-9]{1,12})?",
    ]
}

proptest! {
    #[test]
    fn preparation_is_idempotent(text in texts()) {
        for prepare in [localpart, account_localpart, domainpart, resourcepart] {
            if let Ok(once) = prepare(&text) {
                prop_assert!((1..=MAX_PART).contains(&once.len()));
                prop_assert!(matches!(prepare(&once), Ok(Cow::Borrowed(twice)) if twice == once));
            }
        }
    }

    #[test]
    fn a_prepared_address_parses_to_itself(text in texts()) {
        if let Ok(jid) = Jid::parse(&text) {
            let again = Jid::parse(jid.as_str()).unwrap();
            prop_assert_eq!(&again, &jid);
            prop_assert_eq!((again.local(), again.domain(), again.resource()), (jid.local(), jid.domain(), jid.resource()));
            let bare = jid.to_bare();
            prop_assert_eq!(BareJid::parse(bare.as_str()), Ok(bare.clone()));
            prop_assert_eq!(bare.as_jid().resource(), None);
            if let Some(resource) = jid.resource() {
                prop_assert_eq!(bare.with_resource(resource), Ok(jid.clone()));
            }
        }
    }

    #[test]
    fn the_form_for_dns_means_the_same_domain(text in texts()) {
        if let Some(ascii) = a_labels(&text) {
            prop_assert!(ascii.is_ascii());
            prop_assert_eq!(domainpart(&ascii), domainpart(&text));
        }
    }

    #[test]
    fn resourceparts_of_visible_text_are_never_refused(text in "[^\\p{Cc}\u{FFFE}\u{FFFF}]{1,100}") {
        prop_assert!(resourcepart(&text).is_ok());
    }
}
