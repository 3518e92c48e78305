use std::sync::atomic::AtomicBool;

use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, SRV};
use tokio::net::UdpSocket;

use super::signed::{How, Zones};
use super::*;

/// Answers on a free loopback port: SRV for two names, an address for one, `SERVFAIL` for one.
async fn server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let request = Message::from_vec(&buffer[..length]).unwrap();
            let reply = answer(&request).to_vec().unwrap();
            socket.send_to(&reply, from).await.unwrap();
        }
    });
    address
}

fn answer(request: &Message) -> Message {
    let query = request.queries[0].clone();
    let name = query.name().to_ascii().to_ascii_lowercase();
    let mut reply = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    let data = match (name.as_str(), query.query_type()) {
        ("_xmpp-server._tcp.example.org." | "_xmpp-server._tcp.a.localhost.", RecordType::SRV) => {
            let target = Name::from_ascii("xmpp.example.org.").unwrap();
            Some(RData::SRV(SRV::new(5, 7, 5269, target)))
        }
        ("_xmpps-server._tcp.example.org.", RecordType::SRV) => Some(RData::SRV(SRV::new(0, 0, 0, Name::root()))),
        ("xmpp.example.org.", RecordType::A) => Some(RData::A(A::new(192, 0, 2, 7))),
        ("one.example.org." | "other.example.org.", _) => {
            let other = if name.starts_with("one") { "other.example.org." } else { "one.example.org." };
            Some(RData::CNAME(CNAME(Name::from_ascii(other).unwrap())))
        }
        ("empty.example.org.", _) => None,
        ("broken.example.org.", _) => {
            reply.metadata.response_code = ResponseCode::ServFail;
            None
        }
        _ => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            None
        }
    };
    if let Some(data) = data {
        reply.add_answer(Record::from_rdata(query.name().clone(), 60, data));
    }
    reply
}

#[tokio::test]
async fn asks_the_named_server() {
    let dns = Hickory::with_servers(&[server().await]).unwrap();
    let found = Srv { priority: 5, weight: 7, port: 5269, target: "xmpp.example.org".to_owned() };
    assert_eq!(dns.srv("_xmpp-server._tcp.example.org").await, Ok(Answer::insecure(vec![found.clone()])));
    assert_eq!(dns.srv("_xmpp-server._tcp.a.localhost").await, Ok(Answer::insecure(vec![found])));
    let none = dns.srv("_xmpps-server._tcp.example.org").await.unwrap();
    assert_eq!(none[0].target, ".");
    let address = IpAddr::from([192, 0, 2, 7]);
    assert_eq!(dns.addresses("xmpp.example.org").await, Ok(Answer::insecure(vec![address])));
}

#[tokio::test]
async fn nothing_and_failure_are_told_apart() {
    let dns = Hickory::with_servers(&[server().await]).unwrap();
    assert_eq!(dns.srv("_xmpp-server._tcp.example.net").await, Err(DnsError::NoSuchName));
    assert_eq!(dns.addresses("nobody.example.net").await, Err(DnsError::NoSuchName));
    assert_eq!(dns.addresses("empty.example.org").await, Err(DnsError::NotFound));
    assert_eq!(dns.addresses("one.example.org").await, Err(DnsError::Loop));
    assert_eq!(dns.srv("_xmpp-server._tcp.b.localhost").await, Err(DnsError::NoSuchName));
    assert!(matches!(dns.srv("broken.example.org").await, Err(DnsError::Failed(_))));
    assert_eq!(dns.addresses("no such name").await, Err(DnsError::NotFound));
}

/// The zones `well`, `unsigned` and so on, each with the records of a domain; and two aliases.
fn zones() -> Zones {
    let mut zones = Zones::new();
    for (apex, how) in [
        ("well", How::Well),
        ("unsigned", How::Unsigned),
        ("wrongly", How::Wrongly),
        ("longago", How::LongAgo),
        ("notatall", How::NotAtAll),
    ] {
        zones.add(apex, how);
        zones.srv(&format!("_xmpp-server._tcp.{apex}"), 5269, &format!("host.{apex}"));
        zones.a(&format!("host.{apex}"), [192, 0, 2, 1]);
        zones.tlsa(&format!("_5269._tcp.host.{apex}"), 3, 1, 1, &[7; 32]);
    }
    zones.alias("_xmpp-server._tcp.near.well", "_xmpp-server._tcp.well");
    zones.alias("_xmpp-server._tcp.far.well", "_xmpp-server._tcp.unsigned");
    zones.alias("_xmpp-server._tcp.back.unsigned", "_xmpp-server._tcp.well");
    zones.alias("_xmpp-server._tcp.around.well", "_xmpp-server._tcp.around.well");
    zones.alias("_5270._tcp.host.well", "_5269._tcp.host.well");
    zones.alias("_5271._tcp.host.well", "_5269._tcp.host.unsigned");
    zones
}

async fn checking(validation: Validation, stripped: bool) -> (Hickory, Arc<AtomicBool>) {
    let (zones, stripped) = (zones(), Arc::new(AtomicBool::new(stripped)));
    let anchors = Anchors::read(&zones.anchor()).unwrap();
    let server = zones.serve(Arc::clone(&stripped)).await;
    (Hickory::with_servers(&[server]).unwrap().validating(validation, anchors).unwrap(), stripped)
}

fn found<T>(answer: Result<Answer<T>, DnsError>) -> Result<Security, DnsError> {
    answer.map(|answer| answer.security)
}

fn is_bogus<T: std::fmt::Debug>(answer: Result<Answer<T>, DnsError>) -> bool {
    matches!(answer, Err(DnsError::Bogus(_)))
}

// Proves: RFC 7673 §3.1
#[tokio::test]
async fn rfc_4035_4_3_signed_unsigned_and_bogus_are_told_apart() {
    for validation in [Validation::Always, Validation::WherePossible] {
        let (dns, _) = checking(validation, false).await;
        for (apex, security) in [("well", Security::Secure), ("unsigned", Security::Insecure)] {
            assert_eq!(found(dns.srv(&format!("_xmpp-server._tcp.{apex}")).await), Ok(security), "{apex}");
            assert_eq!(found(dns.addresses(&format!("host.{apex}")).await), Ok(security), "{apex}");
            assert_eq!(found(dns.tlsa(&format!("_5269._tcp.host.{apex}")).await), Ok(security), "{apex}");
            let direct = dns.srv(&format!("_xmpps-server._tcp.{apex}")).await;
            assert!(direct.is_err_and(|error| error.is_absence()), "{apex}");
            let nobody = dns.addresses(&format!("nobody.{apex}")).await;
            assert!(nobody.is_err_and(|error| error.is_absence()), "{apex}");
        }
        for apex in ["wrongly", "longago", "notatall"] {
            assert!(is_bogus(dns.srv(&format!("_xmpp-server._tcp.{apex}")).await), "{apex}");
            assert!(is_bogus(dns.addresses(&format!("host.{apex}")).await), "{apex}");
            assert!(is_bogus(dns.tlsa(&format!("_5269._tcp.host.{apex}")).await), "{apex}");
        }
        let tlsa = dns.tlsa("_5269._tcp.host.well").await.unwrap();
        assert_eq!(tlsa[0], Tlsa { usage: 3, selector: 1, matching: 1, data: vec![7; 32] });
        assert_eq!(tlsa[0].to_string(), format!("3 1 1 {}", "07".repeat(32)));
    }
}

// Proves: RFC 7673 §3.1
#[tokio::test]
async fn rfc_7673_3_1_a_chain_of_aliases_is_as_good_as_its_weakest_part() {
    let (dns, _) = checking(Validation::Always, false).await;
    for (name, security) in
        [("near.well", Security::Secure), ("far.well", Security::Insecure), ("back.unsigned", Security::Insecure)]
    {
        assert_eq!(found(dns.srv(&format!("_xmpp-server._tcp.{name}")).await), Ok(security), "{name}");
        // The same from what is remembered.
        assert_eq!(found(dns.srv(&format!("_xmpp-server._tcp.{name}")).await), Ok(security), "{name}");
    }
    assert_eq!(dns.srv("_xmpp-server._tcp.around.well").await, Err(DnsError::NotFound));
    assert_eq!(found(dns.tlsa("_5270._tcp.host.well").await), Ok(Security::Secure));
    assert_eq!(found(dns.tlsa("_5271._tcp.host.well").await), Ok(Security::Insecure));
}

#[tokio::test]
async fn where_signatures_do_not_come_through_nothing_is_checked_unless_they_have_to() {
    let (dns, _) = checking(Validation::WherePossible, true).await;
    for apex in ["well", "unsigned", "wrongly"] {
        assert_eq!(found(dns.srv(&format!("_xmpp-server._tcp.{apex}")).await), Ok(Security::Insecure), "{apex}");
    }
    let (dns, _) = checking(Validation::Always, true).await;
    assert!(matches!(dns.srv("_xmpp-server._tcp.well").await, Err(DnsError::Failed(_))));
}

/// Somebody on the way to the DNS servers takes the signatures away.
#[tokio::test]
async fn signatures_that_have_come_through_once_are_missed() {
    let (dns, stripped) = checking(Validation::WherePossible, false).await;
    assert_eq!(found(dns.srv("_xmpp-server._tcp.well").await), Ok(Security::Secure));
    stripped.store(true, Ordering::Relaxed);
    assert!(is_bogus(dns.addresses("host.well").await));
}

#[tokio::test]
async fn keys_of_a_zone_say_nothing_about_others() {
    let zones = zones();
    let anchors = Anchors::read(&zones.anchor().replacen(". ", "elsewhere. ", 1)).unwrap();
    let server = zones.serve(Arc::default()).await;
    let dns = Hickory::with_servers(&[server]).unwrap().validating(Validation::Always, anchors).unwrap();
    assert_eq!(found(dns.srv("_xmpp-server._tcp.well").await), Ok(Security::Insecure));
    // What they are about is not signed with them.
    assert!(matches!(dns.srv("_xmpp-server._tcp.elsewhere").await, Err(DnsError::Failed(_))));
}

#[tokio::test]
async fn a_checking_resolver_begins_anew_before_it_remembers_too_much() {
    let (dns, _) = checking(Validation::Always, false).await;
    dns.srv("_xmpp-server._tcp.well").await.unwrap();
    let validating = dns.validating.as_ref().unwrap();
    let before = validating.resolver.load_full();
    validating.asked.store(QUESTIONS, Ordering::Relaxed);
    assert_eq!(found(dns.srv("_xmpp-server._tcp.well").await), Ok(Security::Secure));
    assert!(!Arc::ptr_eq(&before, &validating.resolver.load_full()));
}

#[test]
fn anchors_are_read_from_text() {
    let zones = Zones::new();
    assert!(Anchors::read(&zones.anchor()).unwrap().cover(&signed::name("example.org")));
    assert!(Anchors::read("").is_err());
    assert!(Anchors::read("nothing of the kind").is_err());
    assert!(Anchors::load(Path::new("/nowhere/root.key")).err().unwrap().contains("/nowhere/root.key"));
    assert!(Anchors::default().cover(&signed::name("example.org")));
}

#[tokio::test]
async fn while_somebody_tries_again_whether_signatures_come_through_nobody_else_waits() {
    let (dns, _) = checking(Validation::WherePossible, false).await;
    let validating = dns.validating.as_ref().unwrap();
    let turn = validating.turn.acquire().await.unwrap();
    // Nothing is known, so everybody has to wait.
    let first = timeout(Duration::from_millis(50), validating.is_possible()).await;
    assert!(first.is_err());
    *validating.tried.lock().unwrap() = Some((Instant::now().checked_sub(AGAIN).unwrap(), false));
    assert_eq!(timeout(Duration::ZERO, validating.is_possible()).await, Ok(false));
    drop(turn);
    assert!(validating.is_possible().await, "it was this one's turn");
    assert_eq!(timeout(Duration::ZERO, validating.is_possible()).await, Ok(true));
}
