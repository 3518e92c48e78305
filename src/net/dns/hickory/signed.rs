//! A DNS server for tests. Its zones lie below a signed root, and are signed, unsigned, or signed wrongly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hickory_resolver::proto::dnssec::crypto::EcdsaSigningKey;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, RRSIG, SigInput};
use hickory_resolver::proto::dnssec::{Algorithm, DigestType, PublicKey, SigningKey, TBS};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query};
use hickory_resolver::proto::rr::rdata::{A, CNAME, NS, SOA, SRV, TLSA};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType, SerialNumber};
use tokio::net::UdpSocket;

const TTL: u32 = 300;
const DAY: u32 = 24 * 3600;

/// How a zone is signed; the zone above says that it is, but for [`How::Unsigned`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Well,
    Unsigned,
    /// The signatures are of something else.
    Wrongly,
    /// They were good once.
    LongAgo,
    /// There are none.
    NotAtAll,
}

struct Zone {
    apex: Name,
    how: How,
    key: EcdsaSigningKey,
    public: DNSKEY,
    records: Vec<(Name, RData)>,
}

/// All zones.
pub(crate) struct Zones(Vec<Zone>);

/// A name as it stands in records.
pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

impl Zone {
    fn new(apex: &str, how: How) -> Self {
        let der = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).unwrap();
        let key = EcdsaSigningKey::from_pkcs8(&der, Algorithm::ECDSAP256SHA256).unwrap();
        let public = DNSKEY::from_key(&key.to_public_key().unwrap());
        let apex = name(apex);
        let soa = SOA::new(name("ns.example"), name("nobody.example"), 1, 3600, 600, 86_400, 60);
        let records = vec![
            (apex.clone(), RData::SOA(soa)),
            (apex.clone(), RData::NS(NS(name("ns.example")))),
            (apex.clone(), RData::DNSSEC(DNSSECRData::DNSKEY(public.clone()))),
        ];
        Self { apex, how, key, public, records }
    }

    fn find(&self, of: &Name, kind: RecordType) -> Vec<RData> {
        let fits = |(owner, data): &&(Name, RData)| owner == of && data.record_type() == kind;
        self.records.iter().filter(fits).map(|(_, data)| data.clone()).collect()
    }

    /// The records, and what the zone says of them.
    fn signed(&self, owner: &Name, data: Vec<RData>) -> Vec<Record> {
        let kind = data[0].record_type();
        let mut set = RecordSet::with_ttl(owner.clone(), kind, TTL);
        for data in data {
            set.add_rdata(data);
        }
        let mut records: Vec<Record> = set.records_without_rrsigs().cloned().collect();
        if matches!(self.how, How::Unsigned | How::NotAtAll) {
            return records;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let now = u32::try_from(now).unwrap();
        let (from, until) = if self.how == How::LongAgo { (now - 9 * DAY, now - DAY) } else { (now - DAY, now + DAY) };
        let input = SigInput {
            type_covered: kind,
            algorithm: self.key.algorithm(),
            num_labels: owner.num_labels(),
            original_ttl: TTL,
            sig_expiration: SerialNumber::new(until),
            sig_inception: SerialNumber::new(from),
            key_tag: self.public.calculate_key_tag().unwrap(),
            signer_name: self.apex.clone(),
        };
        let signed = TBS::from_input(owner, DNSClass::IN, &input, records.iter()).unwrap();
        let mut signature = self.key.sign(&signed).unwrap();
        // What is wrong is wrong below the keys: they are good.
        if self.how == How::Wrongly && kind != RecordType::DNSKEY {
            signature[7] ^= 1;
        }
        let signature = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
        records.push(Record::from_rdata(owner.clone(), TTL, signature));
        records
    }

    /// That there is nothing of the kind.
    fn denied(&self, of: &Name) -> Vec<Record> {
        let mut records = self.signed(&self.apex, self.find(&self.apex, RecordType::SOA));
        if !matches!(self.how, How::Unsigned | How::NotAtAll) {
            let there = self.records.iter().filter(|(owner, _)| owner == of).map(|(_, data)| data.record_type());
            let nothing_until = of.prepend_label("0").unwrap();
            let nsec = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new_cover_self(nothing_until, there)));
            records.extend(self.signed(of, vec![nsec]));
        }
        records
    }
}

impl Zones {
    /// The root alone, signed.
    pub(crate) fn new() -> Self {
        Self(vec![Zone::new(".", How::Well)])
    }

    /// A zone right below the root.
    pub(crate) fn add(&mut self, apex: &str, how: How) {
        let zone = Zone::new(apex, how);
        let root = &mut self.0[0];
        root.records.push((zone.apex.clone(), RData::NS(NS(name("ns.example")))));
        if how != How::Unsigned {
            let key = zone.key.to_public_key().unwrap();
            let ds = DS::from_key(&key, &zone.apex, DigestType::SHA256).unwrap();
            root.records.push((zone.apex.clone(), RData::DNSSEC(DNSSECRData::DS(ds))));
        }
        self.0.push(zone);
    }

    fn put(&mut self, owner: &str, data: RData) {
        let owner = name(owner);
        let zone = self.0.iter_mut().rev().find(|zone| zone.apex.zone_of(&owner)).unwrap();
        zone.records.push((owner, data));
    }

    pub(crate) fn srv(&mut self, owner: &str, port: u16, target: &str) {
        self.put(owner, RData::SRV(SRV::new(5, 0, port, name(target))));
    }

    pub(crate) fn a(&mut self, owner: &str, address: [u8; 4]) {
        let [a, b, c, d] = address;
        self.put(owner, RData::A(A::new(a, b, c, d)));
    }

    pub(crate) fn tlsa(&mut self, owner: &str, usage: u8, selector: u8, matching: u8, data: &[u8]) {
        let tlsa = TLSA::new(usage.into(), selector.into(), matching.into(), data.to_vec());
        self.put(owner, RData::TLSA(tlsa));
    }

    pub(crate) fn alias(&mut self, owner: &str, target: &str) {
        self.put(owner, RData::CNAME(CNAME(name(target))));
    }

    /// The key of the root, as in a zone file.
    pub(crate) fn anchor(&self) -> String {
        let key = BASE64_STANDARD.encode(self.0[0].public.public_key().public_bytes());
        format!(". 3600 IN DNSKEY 257 3 13 {key}\n")
    }

    fn answer(&self, query: &Query) -> (Vec<Record>, Vec<Record>) {
        let (of, kind) = (query.name(), query.query_type());
        // Who delegates knows of the delegation.
        let is_in_charge =
            |zone: &&Zone| zone.apex.zone_of(of) && (kind != RecordType::DS || zone.apex != *of || of.is_root());
        let zone = self.0.iter().rev().find(is_in_charge).unwrap();
        let found = zone.find(of, kind);
        if !found.is_empty() {
            return (zone.signed(of, found), Vec::new());
        }
        let Some(ref alias @ RData::CNAME(CNAME(ref target))) = zone.find(of, RecordType::CNAME).pop() else {
            return (Vec::new(), zone.denied(of));
        };
        let mut answers = zone.signed(of, vec![alias.clone()]);
        if target == of {
            return (answers, Vec::new());
        }
        let (more, denial) = self.answer(&Query::query(target.clone(), kind));
        answers.extend(more);
        (answers, denial)
    }

    /// Answers on a free loopback port, until the test ends; as long as `stripped` is set, without signatures.
    pub(crate) async fn serve(self, stripped: Arc<AtomicBool>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let request = Message::from_vec(&buffer[..length]).unwrap();
                let query = request.queries[0].clone();
                let mut reply = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
                reply.metadata.recursion_available = true;
                reply.add_query(query.clone());
                let is_kept = |record: &Record| {
                    let is_signature = matches!(record.record_type(), RecordType::RRSIG | RecordType::NSEC);
                    !is_signature || !stripped.load(Ordering::Relaxed)
                };
                let (answers, authorities) = self.answer(&query);
                for record in answers.into_iter().filter(is_kept) {
                    reply.add_answer(record);
                }
                for record in authorities.into_iter().filter(is_kept) {
                    reply.add_authority(record);
                }
                socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
            }
        });
        address
    }
}
