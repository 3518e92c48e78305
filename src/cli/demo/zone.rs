//! A DNS server for two domains, on one loopback port: what an operator would publish.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// Seconds for which an answer may be kept.
const TTL: u32 = 60;

/// The largest question: what every DNS server takes over UDP (RFC 1035 §2.3.4).
const QUESTION: usize = 512;

/// The records of the demonstration.
#[derive(Debug, Default)]
pub(super) struct Zone {
    records: Vec<Record>,
}

impl Zone {
    /// Publishes `service` (such as `_xmpp-server._tcp`) of `domain` at `target`, whose host name
    /// becomes `host.domain`.
    pub(super) fn publish(&mut self, domain: &str, service: &str, target: SocketAddr) -> io::Result<()> {
        let host = name(&format!("host.{domain}"))?;
        let srv = SRV::new(0, 0, target.port(), host.clone());
        self.records.push(Record::from_rdata(name(&format!("{service}.{domain}"))?, TTL, RData::SRV(srv)));
        let address = match target.ip() {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        let address = Record::from_rdata(host, TTL, address);
        if !self.records.contains(&address) {
            self.records.push(address);
        }
        Ok(())
    }

    /// One line for each SRV record, as in a zone file.
    pub(super) fn services(&self) -> Vec<String> {
        let services = self.records.iter().filter(|record| record.record_type() == RecordType::SRV);
        services.map(ToString::to_string).collect()
    }

    /// Answers questions until the task is aborted.
    pub(super) async fn serve(self: Arc<Self>, socket: UdpSocket) {
        let mut question = [0; QUESTION];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut question).await else { continue };
            let asked = question.get(..length).and_then(|bytes| Message::from_vec(bytes).ok());
            let Some(answer) = asked.and_then(|asked| self.answer(&asked).to_vec().ok()) else { continue };
            if let Err(error) = socket.send_to(&answer, from).await {
                tracing::warn!(%error, "a DNS answer could not be sent");
            }
        }
    }

    fn answer(&self, asked: &Message) -> Message {
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.authoritative = true;
        answer.metadata.recursion_desired = asked.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        let mut known = false;
        for query in &asked.queries {
            answer.add_query(query.clone());
            let of_name = self.records.iter().filter(|record| record.name.eq_ignore_root(query.name()));
            for record in of_name {
                known = true;
                if record.record_type() == query.query_type() {
                    answer.add_answer(record.clone());
                }
            }
        }
        if !known {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer
    }
}

fn name(text: &str) -> io::Result<Name> {
    let mut name = Name::from_ascii(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{OpCode, Query};

    fn ask(zone: &Zone, name: &str, kind: RecordType) -> Message {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        zone.answer(&Message::from_vec(&question.to_vec().unwrap()).unwrap())
    }

    #[test]
    fn publishes_services_and_their_host() {
        let mut zone = Zone::default();
        zone.publish("verona.localhost", "_xmpp-server._tcp", "127.0.0.1:4242".parse().unwrap()).unwrap();
        let srv = ask(&zone, "_xmpp-server._tcp.verona.localhost.", RecordType::SRV);
        assert!(matches!(&srv.answers[0].data, RData::SRV(srv) if srv.port == 4242));
        assert_eq!(ask(&zone, "HOST.verona.localhost.", RecordType::A).answers.len(), 1);
        assert_eq!(ask(&zone, "host.verona.localhost.", RecordType::AAAA).answers.len(), 0);
        let nothing = ask(&zone, "mantua.localhost.", RecordType::A);
        assert_eq!(nothing.metadata.response_code, ResponseCode::NXDomain);
    }
}
