//! A DNS server for the domains of a run: SRV records that lead to `localhost`.
//!
//! ejabberd asks the C library for addresses, which asks neither this server nor any other port than 53; but it
//! knows `localhost`.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;

const A: u16 = 1;
const SRV: u16 = 33;

/// Answers until it is dropped; `ports` tells for each domain where its server listens for others.
pub async fn serve(address: SocketAddr, ports: HashMap<String, u16>) -> io::Result<()> {
    let socket = UdpSocket::bind(address).await?;
    let mut packet = [0; 1500];
    loop {
        let (length, peer) = socket.recv_from(&mut packet).await?;
        if let Some(answer) = answer(&packet[..length], &ports) {
            socket.send_to(&answer, peer).await?;
        }
    }
}

/// The answer to a query with one question (RFC 1035 §4.1).
fn answer(query: &[u8], ports: &HashMap<String, u16>) -> Option<Vec<u8>> {
    let (labels, end) = name(query, 12)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let known = |domain: &str| ports.get(domain).copied();
    let data = match (kind, labels.as_slice()) {
        (SRV, [service, tcp, domain @ ..]) if service == "_xmpp-server" && tcp == "_tcp" => known(&domain.join("."))
            .map(|port| {
                let mut data = vec![0, 0, 0, 0];
                data.extend_from_slice(&port.to_be_bytes());
                data.extend_from_slice(b"\x09localhost\0");
                data
            }),
        (A, [localhost]) if localhost == "localhost" => Some(Ipv4Addr::LOCALHOST.octets().to_vec()),
        _ => None,
    };
    let exists = data.is_some() || known(&labels.join(".")).is_some() || labels == ["localhost"];
    let mut reply = query.get(..2)?.to_vec();
    // A response, authoritative, recursion available; code 3 for a name that does not exist.
    reply.extend_from_slice(&[0x85, if exists { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    reply.extend_from_slice(query.get(12..end + 4)?);
    if let Some(data) = data {
        // The name is the one of the question.
        reply.extend_from_slice(&[0xc0, 12]);
        reply.extend_from_slice(&kind.to_be_bytes());
        reply.extend_from_slice(&[0, 1, 0, 0, 14, 16]);
        reply.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        reply.extend_from_slice(&data);
    }
    Some(reply)
}

/// The labels of a name without compression, in small letters, and the place behind it.
fn name(packet: &[u8], mut at: usize) -> Option<(Vec<String>, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels, at));
        }
        let label = packet.get(at..at + length).filter(|_| length < 64)?;
        labels.push(String::from_utf8(label.to_ascii_lowercase()).ok()?);
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srv_names_port_and_host() {
        let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in ["_xmpp-server", "_TCP", "a", "bench"] {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend_from_slice(label.as_bytes());
        }
        query.extend_from_slice(&[0, 0, 33, 0, 1]);
        let reply = answer(&query, &HashMap::from([("a.bench".to_owned(), 5269)])).unwrap();
        assert_eq!(reply[2..4], [0x85, 0x80]);
        assert!(reply.ends_with(b"\x00\x00\x00\x00\x14\x95\x09localhost\x00"));
        assert_eq!(answer(&query, &HashMap::new()).unwrap()[3], 0x83);
    }
}
