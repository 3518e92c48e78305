use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use tokio::net::UdpSocket;

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
    assert_eq!(dns.srv("_xmpp-server._tcp.example.org").await, Ok(vec![found.clone()]));
    assert_eq!(dns.srv("_xmpp-server._tcp.a.localhost").await, Ok(vec![found]));
    let none = dns.srv("_xmpps-server._tcp.example.org").await.unwrap();
    assert_eq!(none[0].target, ".");
    assert_eq!(dns.addresses("xmpp.example.org").await, Ok(vec![IpAddr::from([192, 0, 2, 7])]));
}

#[tokio::test]
async fn nothing_and_failure_are_told_apart() {
    let dns = Hickory::with_servers(&[server().await]).unwrap();
    assert_eq!(dns.srv("_xmpp-server._tcp.example.net").await, Err(DnsError::NotFound));
    assert_eq!(dns.addresses("nobody.example.net").await, Err(DnsError::NotFound));
    assert_eq!(dns.srv("_xmpp-server._tcp.b.localhost").await, Err(DnsError::NotFound));
    assert!(matches!(dns.srv("broken.example.org").await, Err(DnsError::Failed(_))));
    assert_eq!(dns.addresses("no such name").await, Err(DnsError::NotFound));
}
