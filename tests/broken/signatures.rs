//! Domains in a signed DNS and with a pinned key, in order or not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::cases::{HERE, listen};
use crate::certificates::{Asks, Authority, Flaw};
use crate::peer::{Manner, Peer};
use crate::signed::{How, Zones};

/// What is found, and what whoever writes there is told; nothing if it arrives.
pub(crate) const CASES: [(&str, &[&str], Option<&str>); 4] = [
    // Nobody but the DNS vouches for its certificate.
    ("key-in-dns", &[], None),
    ("other-key-in-dns", &["tlsa-mismatch"], Some("fits none of the 1 signed TLSA records")),
    ("bogus", &["dnssec-bogus"], Some("the signatures in DNS (DNSSEC) are wrong")),
    ("other-key-pinned", &["pin-mismatch"], Some("is not one of those that are pinned")),
];

/// Where their servers are, and what has to be configured.
pub(crate) struct Signed {
    pub(crate) config: String,
    pub(crate) arrived: UnboundedReceiver<String>,
}

impl Signed {
    /// The keys of the root are written to `directory` as `root.key`.
    pub(crate) async fn build(authority: &Authority, directory: &Path) -> Self {
        let mut zones = Zones::new();
        let (sender, arrived) = unbounded_channel();
        for (domain, ..) in CASES {
            let issued = authority.issue(domain, Flaw::SelfSigned);
            let tls = authority.tls(&issued, Asks::Nobody);
            let peer =
                Peer { domain: domain.to_owned(), manner: Manner::Honest, tls, arrived: sender.clone(), back: None };
            let port = listen(peer, HERE).await;
            zones.add(domain, if domain == "bogus" { How::Wrongly } else { How::Well });
            zones.srv(&format!("_xmpp-server._tcp.{domain}"), port, &format!("host.{domain}"));
            zones.a(&format!("host.{domain}"), [127, 0, 0, 1]);
            let key = match domain {
                "key-in-dns" => digest(&SHA256, &issued.public()).as_ref().to_vec(),
                _ => vec![7; 32],
            };
            if domain != "other-key-pinned" {
                zones.tlsa(&format!("_{port}._tcp.host.{domain}"), 3, 1, 1, &key);
            }
        }
        std::fs::write(directory.join("root.key"), zones.anchor()).unwrap();
        let dns = zones.serve(Arc::new(AtomicBool::new(false))).await;
        let pin = "11".repeat(32);
        let config = format!(
            "[dns]\nservers = [\"{dns}\"]\ndnssec = \"required\"\ntrust_anchors = \"root.key\"\n\
             [federation]\npins = [\"other-key-pinned sha256:{pin}\"]\n"
        );
        Self { config, arrived }
    }
}
