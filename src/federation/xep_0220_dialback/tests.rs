use super::*;

use proptest::prelude::*;

fn pair(local: &str, remote: &str) -> Pair {
    Pair { local: local.into(), remote: remote.into() }
}

fn read(xml: &str) -> Option<Result<Dialback, Malformed>> {
    Dialback::read(
        &Element::parse(&xml.replace("db:", "").replacen(' ', &format!(" xmlns='{DIALBACK_NS}' "), 1), CLIENT_NS)
            .unwrap(),
    )
}

// Proves: XEP-0185 §2
#[test]
fn xep_0185_example() {
    let secret = Signer::new(b"s3cr3tf0rd14lb4ck");
    let key = "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643";
    assert_eq!(secret.key("xmpp.example.com", "example.org", "D60000229F"), key);
    assert!(secret.verify("xmpp.example.com", "example.org", "D60000229F", key));
}

#[test]
fn xep_0220_2_1_1_and_2_2_2_examples() {
    let capulet = Signer::new(b"s3cr3tf0rd14lb4ck").key("montague.example", "capulet.example", "D60000229F");
    assert_eq!(capulet, "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3");
    let montague = Signer::new(b"d14lb4ck43v3r").key("capulet.example", "montague.example", "417GAF25");
    assert_eq!(montague, "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d");
}

#[test]
fn a_key_is_for_one_triple_only() {
    let secret = Signer::new(b"secret");
    let key = secret.key("a.example", "b.example", "1");
    for (receiving, originating, id) in
        [("b.example", "a.example", "1"), ("a.example", "b.example", "2"), ("a.example", "xb.example", "1")]
    {
        assert!(!secret.verify(receiving, originating, id, &key));
    }
    assert!(!secret.verify("a.example", "b.example", "1", &key[..10]));
    assert!(!secret.verify("a.example", "b.example", "1", &key.to_uppercase()));
    assert!(!Signer::new(b"other").verify("a.example", "b.example", "1", &key));
    assert_eq!(format!("{secret:?}"), "Signer");
}

// Proves: XEP-0220 §2
#[test]
fn elements_are_read_as_they_are_written() {
    let (from, to): (Arc<str>, Arc<str>) = ("a.example".into(), "b.example".into());
    let error = Verdict::Error(Condition::ItemNotFound.into());
    for verdict in [Verdict::Valid, Verdict::Invalid, error] {
        for said in [
            Dialback::ResultAnswer { from: from.clone(), to: to.clone(), verdict: verdict.clone() },
            Dialback::VerifyAnswer { from: from.clone(), to: to.clone(), id: "i&d".to_owned(), verdict },
        ] {
            assert_eq!(read(&said.to_xml()), Some(Ok(said)));
        }
    }
    let key = "0123".to_owned();
    let said = Dialback::Result { from: from.clone(), to: to.clone(), key: key.clone() };
    assert_eq!(said.to_xml(), "<db:result from='a.example' to='b.example'>0123</db:result>");
    assert_eq!(read(&said.to_xml()), Some(Ok(said)));
    let said = Dialback::Verify { from, to, id: "7".to_owned(), key };
    assert_eq!(said.to_xml(), "<db:verify from='a.example' to='b.example' id='7'>0123</db:verify>");
    assert_eq!(read(&said.to_xml()), Some(Ok(said)));
}

#[test]
fn xep_0220_2_5_an_error_is_written_with_inherited_namespace() {
    let error = Verdict::Error(Condition::ItemNotFound.into());
    let said = Dialback::ResultAnswer { from: "a.example".into(), to: "b.example".into(), verdict: error };
    assert_eq!(
        said.to_xml(),
        "<db:result from='a.example' to='b.example' type='error'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>"
    );
}

#[test]
fn white_space_around_a_key_does_not_count() {
    let said = read("<db:result from='A.example' to='b.example'>\n  0123\n</db:result>");
    let expected = Dialback::Result { from: "a.example".into(), to: "b.example".into(), key: "0123".to_owned() };
    assert_eq!(said, Some(Ok(expected)));
}

#[test]
fn malformed_elements_are_told_from_foreign_ones() {
    for xml in [
        "<db:result from='a.example'>1</db:result>",
        "<db:result to='a.example'>1</db:result>",
        "<db:result from='' to='a.example'>1</db:result>",
        "<db:result from='a.example' to='b.example'/>",
        "<db:result from='a.example' to='b.example' type='perhaps'/>",
        "<db:verify from='a.example' to='b.example'>1</db:verify>",
        "<db:verify from='a.example' to='b.example' id=''>1</db:verify>",
        "<db:other from='a.example' to='b.example' id='1'>1</db:other>",
    ] {
        assert_eq!(read(xml), Some(Err(Malformed)), "{xml}");
    }
    assert_eq!(Dialback::read(&Element::new("result", "x")), None);
}

// Proves: XEP-0220 §2.1.2
#[test]
fn t_s2s_1_an_answer_counts_for_its_question_only() {
    let (a, b, c): (Arc<str>, Arc<str>, Arc<str>) = ("a.example".into(), "b.example".into(), "c.example".into());
    let question = Question::Result(pair("a.example", "b.example"));
    let answer = |from: &Arc<str>, to: &Arc<str>| Dialback::ResultAnswer {
        from: from.clone(),
        to: to.clone(),
        verdict: Verdict::Valid,
    };
    assert_eq!(question.answered_by(answer(&b, &a)), Some(Verdict::Valid));
    assert_eq!(question.answered_by(answer(&a, &b)), None);
    assert_eq!(question.answered_by(answer(&c, &a)), None);
    assert_eq!(question.answered_by(answer(&b, &c)), None);
    let verify = |from: &Arc<str>, to: &Arc<str>, id: &str| Dialback::VerifyAnswer {
        from: from.clone(),
        to: to.clone(),
        id: id.to_owned(),
        verdict: Verdict::Valid,
    };
    assert_eq!(question.answered_by(verify(&b, &a, "1")), None);
    let question = Question::Verify(pair("a.example", "b.example"), "1".to_owned());
    assert_eq!(question.answered_by(verify(&b, &a, "1")), Some(Verdict::Valid));
    assert_eq!(question.answered_by(verify(&b, &a, "2")), None);
    assert_eq!(question.answered_by(verify(&c, &a, "1")), None);
    assert_eq!(question.answered_by(answer(&b, &a)), None);
    let request = Dialback::Result { from: b, to: a, key: "1".to_owned() };
    assert_eq!(question.answered_by(request), None);
}

proptest! {
    /// CVE-2016-0756: without separators, other domains have the same key.
    #[test]
    fn distinct_triples_have_distinct_keys(
        one in "[ab.]{1,4}", two in "[ab.]{1,4}", id in "[ab.]{1,4}",
        other_one in "[ab.]{1,4}", other_two in "[ab.]{1,4}", other_id in "[ab.]{1,4}",
    ) {
        let secret = Signer::new(b"secret");
        let same = (&one, &two, &id) == (&other_one, &other_two, &other_id);
        prop_assert_eq!(secret.key(&one, &two, &id) == secret.key(&other_one, &other_two, &other_id), same);
    }
}
