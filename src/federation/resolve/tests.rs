use super::*;
use crate::federation::failure::Fault;

fn record(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
    Srv { priority, weight, port, target: target.to_owned() }
}

fn unsigned(records: Vec<Srv>) -> Result<Answer<Srv>, DnsError> {
    Ok(Answer::insecure(records))
}

fn signed(records: Vec<Srv>) -> Result<Answer<Srv>, DnsError> {
    Ok(Answer::secure(records))
}

/// A repeatable sequence of numbers that are good enough to draw with.
fn numbers(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = seed;
    move |most| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((state >> 33) % (u64::from(most) + 1)).unwrap()
    }
}

fn names(groups: &VecDeque<Group>) -> Vec<Vec<String>> {
    let name = |candidate: &Candidate| match &candidate.host {
        Host::Name(name) => format!("{name}:{}{}", candidate.port, mark(candidate.start)),
        Host::Address(address) => format!("{address}:{}{}", candidate.port, mark(candidate.start)),
    };
    groups.iter().map(|group| group.iter().map(name).collect()).collect()
}

fn mark(start: Start) -> &'static str {
    if start == Start::DirectTls { " tls" } else { "" }
}

#[test]
fn rfc_6120_3_2_1_lowest_priority_first() {
    let plain = vec![record(20, 0, 1, "c"), record(10, 0, 2, "a"), record(10, 0, 3, "b")];
    let order = order("x", Err(DnsError::NotFound), unsigned(plain), |_| 0).unwrap();
    assert_eq!(names(&order), [vec!["a:2", "b:3"], vec!["c:1"]]);
}

// Proves: XEP-0368 §3
#[test]
fn xep_0368_both_kinds_are_one_list() {
    let direct = vec![record(10, 0, 5270, "a"), record(5, 0, 443, "front")];
    let plain = vec![record(10, 5, 5269, "a"), record(30, 0, 5269, "last")];
    let order = order("x", unsigned(direct), unsigned(plain), |_| 0).unwrap();
    assert_eq!(names(&order), [vec!["front:443 tls"], vec!["a:5270 tls", "a:5269"], vec!["last:5269"]]);
}

#[test]
fn rfc_2782_weights_are_shares() {
    let mut below = numbers(7);
    let mut first = [0_u32; 4];
    for _ in 0..40_000 {
        let plain = vec![record(1, 0, 0, "0"), record(1, 1, 1, "1"), record(1, 3, 3, "3"), record(1, 6, 6, "6")];
        let order = order("x", Err(DnsError::NotFound), unsigned(plain), &mut below).unwrap();
        match order[0][0].port {
            0 => first[0] += 1,
            1 => first[1] += 1,
            3 => first[2] += 1,
            _ => first[3] += 1,
        }
    }
    // Numbers 0 to 10 inclusive: one of the eleven takes weight 0, then 1, 3 and 6 of them.
    for (count, share) in first.into_iter().zip([1, 1, 3, 6]) {
        let expected = 40_000 * share / 11;
        assert!(count.abs_diff(expected) < expected / 10, "{first:?}");
    }
}

#[test]
fn rfc_2782_every_record_is_kept_exactly_once() {
    let mut below = numbers(3);
    for _ in 0..200 {
        let plain: Vec<_> = (0..8).map(|at| record(1, at * 1000, at, "t")).collect();
        let order = order("x", Err(DnsError::NotFound), unsigned(plain), &mut below).unwrap();
        let mut ports: Vec<_> = order[0].iter().map(|candidate| candidate.port).collect();
        ports.sort_unstable();
        assert_eq!(ports, (0..8).collect::<Vec<u16>>());
    }
}

#[test]
fn rfc_6120_3_2_2_falls_back_only_without_an_answer() {
    let fallback = [vec!["x.example:5269".to_owned()]];
    let none = || Err(DnsError::NotFound);
    let broken = || Err(DnsError::Failed("SERVFAIL".to_owned()));
    assert_eq!(names(&order("x.example", none(), none(), |_| 0).unwrap()), fallback);
    assert_eq!(names(&order("x.example", broken(), broken(), |_| 0).unwrap()), fallback);
    assert_eq!(names(&order("x.example", none(), broken(), |_| 0).unwrap()), fallback);
    let direct = order("x.example", unsigned(vec![record(1, 1, 5270, "a")]), none(), |_| 0).unwrap();
    assert_eq!(names(&direct), [vec!["a:5270 tls"]]);
}

// Proves: RFC 6120 §3.2.1, XEP-0368 §5
#[test]
fn rfc_2782_the_root_means_no_service() {
    let root = || unsigned(vec![record(0, 0, 0, ".")]);
    let none = || Err(DnsError::NotFound);
    assert_eq!(order("x", none(), root(), |_| 0).unwrap_err().fault, Fault::NotFound);
    assert_eq!(order("x", root(), none(), |_| 0).unwrap_err().fault, Fault::NotFound);
    assert_eq!(order("x", root(), root(), |_| 0).unwrap_err().fault, Fault::NotFound);
    let unknown = order("x", root(), Err(DnsError::Failed("timeout".to_owned())), |_| 0).unwrap_err();
    assert_eq!(unknown.fault, Fault::Unreachable);
    // XEP-0368: no direct TLS, but STARTTLS.
    let plain = order("x", root(), unsigned(vec![record(1, 1, 5269, "a")]), |_| 0).unwrap();
    assert_eq!(names(&plain), [vec!["a:5269"]]);
}

#[test]
fn a_long_list_is_cut() {
    let plain: Vec<_> = (0..100).map(|at| record(at / 10, 0, at, "t")).collect();
    let order = order("x", Err(DnsError::NotFound), unsigned(plain), |_| 0).unwrap();
    assert_eq!(order.iter().map(VecDeque::len).sum::<usize>(), TARGETS);
}

#[test]
fn rfc_8305_4_families_alternate() {
    let addresses: Vec<IpAddr> = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3", "2001:db8::2"]
        .iter()
        .map(|a| a.parse().unwrap())
        .collect();
    let mixed: Vec<_> = interleave(&addresses).iter().map(ToString::to_string).collect();
    assert_eq!(mixed, ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]);
}

#[test]
fn addresses_are_asked_for_nothing() {
    assert_eq!(literal("[2001:db8::1]"), Some("2001:db8::1".parse().unwrap()));
    assert_eq!(literal("192.0.2.1"), Some("192.0.2.1".parse().unwrap()));
    assert_eq!(literal("[192.0.2.1]"), None);
    assert_eq!(literal("example.org"), None);
}

// Proves: RFC 7673 §3.1
#[test]
fn rfc_7673_3_1_what_is_bogus_is_not_followed_and_not_fallen_back_from() {
    let bogus = || Err(DnsError::Bogus("SRV".to_owned()));
    let record = || vec![record(1, 1, 5269, "a")];
    for (direct, plain) in [
        (bogus(), bogus()),
        (bogus(), Err(DnsError::NotFound)),
        (bogus(), unsigned(record())),
        (unsigned(record()), bogus()),
    ] {
        let failure = order("x.example", direct, plain, |_| 0).unwrap_err();
        assert_eq!(failure.fault, Fault::Unreachable);
        assert!(failure.reason.contains("DNSSEC"), "{failure}");
    }
    let signed = order("x.example", bogus(), signed(record()), |_| 0).unwrap();
    assert_eq!(names(&signed), [vec!["a:5269"]]);
    assert_eq!(signed[0][0].security, Security::Secure);
}

// Proves: RFC 7673 §3.1
#[test]
fn rfc_7673_3_1_signatures_do_not_change_the_order() {
    let (direct, plain) = (vec![record(10, 0, 5270, "a")], vec![record(5, 0, 5269, "b")]);
    let order = order("x", signed(direct), unsigned(plain), |_| 0).unwrap();
    assert_eq!(names(&order), [vec!["b:5269"], vec!["a:5270 tls"]]);
    assert_eq!([order[0][0].security, order[1][0].security], [Security::Insecure, Security::Secure]);
}
