//! A DNS server on a loopback port, in order or not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// Answers for domains, each with the address of its listener for servers, at the address that is returned.
pub(crate) async fn serve(domains: &[(&str, SocketAddr)]) -> SocketAddr {
    let mut zone = Zone::default();
    for (domain, s2s) in domains {
        let host = format!("host.{domain}");
        zone.srv(domain, 0, &host, s2s.port());
        zone.host(&host, s2s.ip());
    }
    zone.serve().await
}

/// What is published, and how the server answers for some.
#[derive(Default)]
pub(crate) struct Zone {
    records: Vec<Record>,
    /// For these and whatever is below them it fails.
    failing: Vec<Name>,
    /// For these it says nothing.
    silent: Vec<Name>,
}

impl Zone {
    /// Servers of `domain` are found at `target`.
    pub(crate) fn srv(&mut self, domain: &str, priority: u16, target: &str, port: u16) {
        let srv = SRV::new(priority, 5, port, name(target));
        self.add(&format!("_xmpp-server._tcp.{domain}"), RData::SRV(srv));
    }

    pub(crate) fn host(&mut self, host: &str, address: IpAddr) {
        self.add(
            host,
            match address {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            },
        );
    }

    pub(crate) fn alias(&mut self, host: &str, other: &str) {
        self.add(host, RData::CNAME(CNAME(name(other))));
    }

    pub(crate) fn fails(&mut self, domain: &str) {
        self.failing.push(name(domain));
    }

    pub(crate) fn says_nothing_of(&mut self, domain: &str) {
        self.silent.push(name(domain));
    }

    fn add(&mut self, owner: &str, data: RData) {
        self.records.push(Record::from_rdata(name(owner), 60, data));
    }

    /// Answers from now on, at the address that is returned.
    pub(crate) async fn serve(self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(self);
        tokio::spawn(async move {
            let mut question = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let asked = Message::from_vec(&question[..length]).unwrap();
                if let Some(answer) = zone.answer(&asked) {
                    socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        address
    }

    fn answer(&self, asked: &Message) -> Option<Message> {
        let query = asked.queries[0].clone();
        let is_below = |names: &[Name]| names.iter().any(|name| name.zone_of(query.name()));
        if is_below(&self.silent) {
            return None;
        }
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.metadata.recursion_available = true;
        let of_name: Vec<_> = self.records.iter().filter(|record| record.name == *query.name()).collect();
        let alias = |record: &&&Record| record.record_type() == RecordType::CNAME;
        let asked_for = |record: &&&Record| record.record_type() == query.query_type();
        if is_below(&self.failing) {
            answer.metadata.response_code = ResponseCode::ServFail;
        } else if of_name.is_empty() && !self.records.iter().any(|record| query.name().zone_of(&record.name)) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        for record in of_name.iter().filter(|record| alias(record) || asked_for(record)) {
            answer.add_answer((*record).clone());
        }
        answer.add_query(query);
        Some(answer)
    }
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}
