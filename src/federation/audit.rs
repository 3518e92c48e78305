//! The list of all streams with other servers, for the operator: who speaks for whom on it, and how that was proven.
//!
//! It must never decide anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::federation::Federation;
use crate::federation::proof::{Kind, Proof, Strength};
use crate::hexadecimal;
use crate::net::{TlsVersion, Transport};
use crate::routing::Pair;

/// A stream that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    pub direction: Direction,
    /// That of the other server.
    pub address: Option<SocketAddr>,
    pub since: Timestamp,
    /// Version and cipher suite.
    pub tls: Option<String>,
    /// The SHA-256 hash of the certificate that the other server has shown, in hexadecimal digits.
    pub certificate: Option<String>,
    /// The pairs of domains whose stanzas pass on it.
    pub pairs: Vec<ProvenPair>,
    /// Whether stanzas pass in the other direction, too (XEP-0288).
    #[serde(default)]
    pub both_ways: bool,
    /// What has gone over it in its direction, or in both, before encryption.
    pub bytes: u64,
    /// For how many milliseconds it was not read, because the other domain has sent more than it may.
    pub held_back: u64,
}

/// Who has opened it, which says where stanzas go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The other server.
    In,
    /// This one.
    Out,
}

/// A pair of domains, and how the other server has proven that it speaks for the one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenPair {
    pub local: String,
    pub remote: String,
    /// `None` if it need not prove anything: we speak to it, by dialback, whoever it is.
    pub kind: Option<Kind>,
    pub strength: Option<Strength>,
    /// In words.
    pub proof: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    streams: Mutex<BTreeMap<u64, Arc<Record>>>,
    next: AtomicU64,
}

/// What is kept of one stream while it is open.
#[derive(Debug)]
struct Record {
    direction: Direction,
    address: Option<SocketAddr>,
    since: Timestamp,
    /// Version, cipher, and whether a session was resumed.
    tls: Option<(TlsVersion, &'static str, bool)>,
    certificate: Option<[u8; 32]>,
    pairs: Mutex<Vec<(Pair, Option<Arc<Proof>>)>>,
    both_ways: AtomicBool,
    bytes: AtomicU64,
    held_back: AtomicU64,
}

/// The place of a stream on the list; it leaves with it.
#[derive(Debug)]
pub(crate) struct Listed {
    audit: Arc<Audit>,
    number: u64,
    record: Arc<Record>,
}

impl Audit {
    /// Puts a stream on the list that has just been established on `transport`.
    pub(crate) fn list(self: &Arc<Self>, direction: Direction, transport: &Transport, since: Timestamp) -> Listed {
        let certificate =
            transport.peer_certificates().first().and_then(|it| digest(&SHA256, it).as_ref().try_into().ok());
        let record = Arc::new(Record {
            direction,
            address: transport.peer(),
            since,
            tls: transport.tls().map(|tls| (tls.version, tls.cipher, tls.resumed)),
            certificate,
            pairs: Mutex::default(),
            both_ways: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, Arc::clone(&record));
        Listed { audit: Arc::clone(self), number, record }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Record>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn pairs(&self) -> MutexGuard<'_, Vec<(Pair, Option<Arc<Proof>>)>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) -> Stream {
        let pairs = self.pairs();
        let pairs = pairs.iter().map(|(pair, proof)| ProvenPair {
            local: pair.local.to_string(),
            remote: pair.remote.to_string(),
            kind: proof.as_ref().map(|proof| proof.kind()),
            strength: proof.as_ref().map(|proof| proof.strength()),
            proof: proof.as_ref().map_or_else(|| "not proven".to_owned(), ToString::to_string),
        });
        Stream {
            direction: self.direction,
            address: self.address,
            since: self.since,
            tls: self.tls.map(|(version, cipher, resumed)| {
                let resumed = if resumed { ", resumed" } else { "" };
                format!("{version}, {cipher}{resumed}")
            }),
            certificate: self.certificate.map(|hash| hexadecimal::text(&hash)),
            pairs: pairs.collect(),
            both_ways: self.both_ways.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            held_back: self.held_back.load(Ordering::Relaxed),
        }
    }
}

impl Listed {
    /// Stanzas of one more pair pass.
    pub(crate) fn prove(&self, pair: &Pair, proof: Option<&Arc<Proof>>) {
        self.record.pairs().push((pair.clone(), proof.cloned()));
    }

    /// Stanzas pass in the other direction, too.
    pub(crate) fn goes_both_ways(&self) {
        self.record.both_ways.store(true, Ordering::Relaxed);
    }

    /// So much more has gone over it.
    pub(crate) fn count(&self, bytes: usize) {
        self.record.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// It is not read for so long.
    pub(crate) fn hold_back(&self, pause: Duration) {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.record.held_back.fetch_add(pause, Ordering::Relaxed);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.audit.lock().remove(&self.number);
    }
}

impl Federation {
    /// All streams that are open, in the order of the other domains.
    pub fn streams(&self) -> Vec<Stream> {
        let records: Vec<_> = self.audit().lock().values().cloned().collect();
        let mut streams: Vec<_> = records.iter().map(|record| record.show()).collect();
        let order = |stream: &Stream| (stream.pairs.first().map(|pair| pair.remote.clone()), stream.direction);
        streams.sort_by_cached_key(order);
        streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_on_the_list_while_it_is_open() {
        let audit = Arc::<Audit>::default();
        let transport = Transport::plain(tokio::io::empty(), None);
        let listed = audit.list(Direction::In, &transport, Timestamp::from_unix_ms(0));
        listed.prove(&Pair { local: "here.example".into(), remote: "there.example".into() }, None);
        listed.count(3);
        listed.count(4);
        listed.hold_back(Duration::from_millis(5));
        let shown: Vec<_> = audit.lock().values().map(|record| record.show()).collect();
        assert_eq!((shown[0].bytes, shown[0].held_back, shown[0].pairs[0].kind), (7, 5, None));
        drop(listed);
        assert!(audit.lock().is_empty());
    }

    #[test]
    fn what_the_operator_reads_as_json_can_be_read_again() {
        let pair = ProvenPair {
            local: "here.example".to_owned(),
            remote: "there.example".to_owned(),
            kind: Some(Kind::Dane),
            strength: Some(Strength::Zone),
            proof: "in words".to_owned(),
        };
        let stream = Stream {
            direction: Direction::Out,
            address: Some(([192, 0, 2, 1], 5269).into()),
            since: Timestamp::from_unix_ms(0),
            tls: Some("TLS 1.3, TLS13_AES_128_GCM_SHA256".to_owned()),
            certificate: None,
            pairs: vec![pair],
            both_ways: true,
            bytes: 1,
            held_back: 0,
        };
        let text = serde_json::to_string(&stream).unwrap();
        assert!(text.contains("\"direction\":\"out\"") && text.contains("\"kind\":\"dane\""), "{text}");
        assert_eq!(serde_json::from_str::<Stream>(&text).unwrap(), stream);
    }
}
