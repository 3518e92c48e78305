//! A DNS server on a loopback port that knows where the servers of a test are.

use std::net::SocketAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// Answers for `domains`, each with the address of its listener for servers, on the address that is returned.
pub(crate) async fn serve(domains: &[(&str, SocketAddr)]) -> SocketAddr {
    let name = |text: String| Name::from_ascii(text).unwrap();
    let mut records = Vec::new();
    for (domain, listener) in domains {
        let SocketAddr::V4(listener) = listener else { continue };
        let host = name(format!("host.{domain}."));
        let srv = RData::SRV(SRV::new(0, 0, listener.port(), host.clone()));
        records.push(Record::from_rdata(name(format!("_xmpp-server._tcp.{domain}.")), 60, srv));
        records.push(Record::from_rdata(host, 60, RData::A(A(*listener.ip()))));
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            let asked = Message::from_vec(&question[..length]).unwrap();
            socket.send_to(&answer(&asked, &records).to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

fn answer(asked: &Message, records: &[Record]) -> Message {
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_available = true;
    let query = asked.queries[0].clone();
    let is_asked = |record: &&Record| record.name == *query.name();
    let known: Vec<_> = records.iter().filter(is_asked).collect();
    if known.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    let wanted: RecordType = query.query_type();
    for record in known.into_iter().filter(|record| record.record_type() == wanted) {
        answer.add_answer(record.clone());
    }
    answer.add_query(query);
    answer
}
