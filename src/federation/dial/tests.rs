use std::sync::Mutex;

use tokio::io::duplex;

use super::*;
use crate::federation::trace::Depth;
use crate::net::dns::{Answer, Srv, Tlsa};

/// What an address does.
#[derive(Clone, Copy)]
enum Manner {
    Opens,
    Refuses,
    Hangs,
}

struct Town {
    manners: Vec<(&'static str, Manner)>,
    started: Instant,
    knocks: Mutex<Vec<(String, u128)>>,
}

impl Town {
    fn new(manners: &[(&'static str, Manner)]) -> Self {
        Self { manners: manners.to_vec(), started: Instant::now(), knocks: Mutex::default() }
    }

    fn knocks(&self) -> Vec<(String, u128)> {
        self.knocks.lock().unwrap().clone()
    }
}

impl Network for Town {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Transport>> {
        let at = self.started.elapsed().as_millis();
        self.knocks.lock().unwrap().push((address.to_string(), at));
        let manner = self.manners.iter().find(|(known, _)| *known == address.to_string()).map(|(_, manner)| *manner);
        Box::pin(async move {
            match manner {
                Some(Manner::Opens) => Ok(Transport::plain(duplex(64).0, Some(address))),
                Some(Manner::Hangs) => std::future::pending().await,
                Some(Manner::Refuses) | None => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            }
        })
    }
}

struct Names(Vec<(&'static str, Result<Vec<&'static str>, DnsError>)>);

impl Resolver for Names {
    fn srv<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Answer<Srv>, DnsError>> {
        Box::pin(async { Err(DnsError::NotFound) })
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, DnsError>> {
        if name == "slow" {
            return Box::pin(std::future::pending());
        }
        let answer = self.0.iter().find(|(known, _)| *known == name).map(|(_, answer)| answer.clone());
        let answer = answer.unwrap_or(Err(DnsError::NotFound));
        let answer = answer.map(|list| list.iter().map(|address| address.parse().unwrap()).collect());
        // The name says what they are worth.
        let worth = if name.starts_with("signed") { Answer::secure } else { Answer::insecure };
        Box::pin(async move { answer.map(worth) })
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Tlsa>, DnsError>> {
        let answer = match name {
            "_1._tcp.signed" => Ok(Answer::secure(vec![key()])),
            "_1._tcp.signed-bogus" => Err(DnsError::Bogus("TLSA".to_owned())),
            "_1._tcp.signed-silent" => Err(DnsError::Failed("SERVFAIL".to_owned())),
            "_1._tcp.signed-bare" => Err(DnsError::NotFound),
            "_1._tcp.signed-unsigned" => Ok(Answer::insecure(vec![key()])),
            other => panic!("{other} was asked"),
        };
        Box::pin(async { answer })
    }

    fn validates(&self) -> bool {
        true
    }
}

fn key() -> Tlsa {
    Tlsa { usage: 3, selector: 1, matching: 1, data: vec![7; 32] }
}

fn dialer<'a>(town: &'a Town, names: &'a Names, groups: VecDeque<Group>) -> Dialer<'a> {
    Dialer::new(town, names, groups, Trace::new(Depth::Brief), Duration::from_secs(30))
}

fn groups(groups: &[&[(&str, u16)]]) -> VecDeque<Group> {
    let candidate = |(name, port): &(&str, u16)| Candidate {
        host: Host::Name((*name).to_owned()),
        port: *port,
        start: Start::Starttls,
        security: Security::Insecure,
    };
    groups.iter().map(|group| group.iter().map(candidate).collect()).collect()
}

#[tokio::test(start_paused = true)]
async fn rfc_8305_5_the_next_address_starts_after_250_ms() {
    let town = Town::new(&[
        ("[2001:db8::1]:1", Manner::Hangs),
        ("192.0.2.1:1", Manner::Hangs),
        ("192.0.2.2:1", Manner::Opens),
    ]);
    let names = Names(vec![("a", Ok(vec!["192.0.2.1", "192.0.2.2", "2001:db8::1"]))]);
    let mut dialer = dialer(&town, &names, groups(&[&[("a", 1)]]));
    let (_, door) = dialer.next().await.unwrap();
    assert_eq!(door.address.to_string(), "192.0.2.2:1");
    let expected = [("[2001:db8::1]:1", 0), ("192.0.2.1:1", 250), ("192.0.2.2:1", 500)];
    assert_eq!(town.knocks(), expected.map(|(address, at)| (address.to_owned(), at)));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_wait_for_the_clock() {
    let town = Town::new(&[("192.0.2.1:1", Manner::Refuses), ("192.0.2.2:1", Manner::Opens)]);
    let names = Names(vec![("a", Ok(vec!["192.0.2.1", "192.0.2.2"]))]);
    let mut dialer = dialer(&town, &names, groups(&[&[("a", 1)]]));
    assert_eq!(dialer.next().await.unwrap().1.address.to_string(), "192.0.2.2:1");
    assert_eq!(town.knocks()[1].1, 0);
}

#[tokio::test(start_paused = true)]
async fn xep_0495_a_lower_priority_waits_until_the_higher_has_failed() {
    let town = Town::new(&[("192.0.2.1:1", Manner::Hangs), ("192.0.2.2:2", Manner::Opens)]);
    let names = Names(vec![("a", Ok(vec!["192.0.2.1"])), ("b", Ok(vec!["192.0.2.2"]))]);
    let mut dialer = dialer(&town, &names, groups(&[&[("a", 1)], &[("b", 2)]]));
    assert_eq!(dialer.next().await.unwrap().1.address.to_string(), "192.0.2.2:2");
    assert_eq!(town.knocks()[1].1, ATTEMPT.as_millis());
}

#[tokio::test(start_paused = true)]
async fn after_a_connection_that_will_not_do_the_rest_is_tried() {
    let town =
        Town::new(&[("192.0.2.1:1", Manner::Opens), ("192.0.2.2:1", Manner::Opens), ("192.0.2.3:3", Manner::Opens)]);
    let names = Names(vec![("a", Ok(vec!["192.0.2.1", "192.0.2.2"])), ("b", Ok(vec!["192.0.2.3"]))]);
    let mut dialer = dialer(&town, &names, groups(&[&[("a", 1)], &[("b", 3)]]));
    let mut seen = Vec::new();
    while let Some((_, door)) = dialer.next().await {
        dialer.trace.saw(Instant::now(), Some(&door), Seen::Connection, Some(Trouble::OldXmpp));
        dialer.reject(&Trouble::OldXmpp.into());
        seen.push(door.address.to_string());
    }
    assert_eq!(seen, ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:3"]);
    let failure = dialer.failure();
    assert_eq!(failure.fault, Fault::Unproven);
    let reason = "a:1, b:3: the other server does not speak XMPP 1.0, so it has no TLS";
    assert_eq!(failure.reason, reason);
}

#[tokio::test(start_paused = true)]
async fn every_failure_keeps_its_reason() {
    let town = Town::new(&[("192.0.2.1:1", Manner::Hangs)]);
    let failed = Err(DnsError::Failed("SERVFAIL".to_owned()));
    let names = Names(vec![("a", Ok(vec!["192.0.2.1", "192.0.2.2"])), ("b", failed), ("c", Err(DnsError::NotFound))]);
    let mut dialer = dialer(&town, &names, groups(&[&[("a", 1)], &[("b", 1), ("c", 1)]]));
    assert!(dialer.next().await.is_none());
    let failure = dialer.failure();
    assert_eq!(failure.fault, Fault::Unreachable);
    assert_eq!(
        failure.reason,
        "a:1: connection refused; a:1: no answer; b: DNS failed: SERVFAIL; \
         c: not found in DNS, there is no address"
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_do_not_exist_are_not_found() {
    let town = Town::new(&[]);
    let names = Names(Vec::new());
    let mut dialer = dialer(&town, &names, groups(&[&[("a", 1)]]));
    assert!(dialer.next().await.is_none());
    let failure = dialer.failure();
    assert_eq!((failure.fault, failure.reason.as_str()), (Fault::NotFound, "a: not found in DNS, there is no address"));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_answers_for_costs_bounded_time() {
    let town = Town::new(&[("192.0.2.1:1", Manner::Opens)]);
    let names = Names(vec![("a", Ok(vec!["192.0.2.1"]))]);
    let mut dialer = dialer(&town, &names, groups(&[&[("slow", 1)], &[("a", 1)]]));
    assert_eq!(dialer.next().await.unwrap().1.address.to_string(), "192.0.2.1:1");
    assert_eq!(town.knocks(), [("192.0.2.1:1".to_owned(), 10_000)]);
    assert_eq!(dialer.trace.shortened(), "slow: DNS failed: no answer");
}

/// The endpoint at the first door of `name`, whose SRV record is signed if it begins with `security`.
async fn endpoint(name: &str, security: Security) -> Result<Option<Arc<Endpoint>>, String> {
    let town = Town::new(&[("192.0.2.1:1", Manner::Opens)]);
    let names = Names(
        ["signed", "signed-bogus", "signed-silent", "signed-bare", "signed-unsigned", "plain"]
            .map(|name| (name, Ok(vec!["192.0.2.1"])))
            .to_vec(),
    );
    let mut groups = groups(&[&[(name, 1)]]);
    groups[0][0].security = security;
    let mut dialer = dialer(&town, &names, groups);
    match dialer.next().await {
        Some((_, door)) => Ok(door.endpoint),
        None => Err(dialer.failure().reason),
    }
}

// Proves: RFC 7673 §3.1, §3.2, §3.3, §3.4
#[tokio::test(start_paused = true)]
async fn rfc_7673_3_keys_count_where_everything_that_leads_to_them_is_signed() {
    use Security::{Insecure, Secure};
    let of = |host: &str, keys: Vec<Tlsa>| Ok(Some(Arc::new(Endpoint { host: host.to_owned(), port: 1, keys })));
    assert_eq!(endpoint("signed", Secure).await, of("signed", vec![key()]));
    assert_eq!(endpoint("signed", Insecure).await, Ok(None));
    // Without a signed address nobody even asks.
    assert_eq!(endpoint("plain", Secure).await, of("plain", Vec::new()));
    assert_eq!(endpoint("signed-bare", Secure).await, of("signed-bare", Vec::new()));
    assert_eq!(endpoint("signed-unsigned", Secure).await, of("signed-unsigned", Vec::new()));
    // Nobody connects where somebody may have taken them away.
    assert!(endpoint("signed-bogus", Secure).await.unwrap_err().contains("DNSSEC"));
    assert!(endpoint("signed-silent", Secure).await.unwrap_err().contains("SERVFAIL"));
}
