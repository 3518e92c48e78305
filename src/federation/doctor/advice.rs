//! What to change, and where: the exact record or line.

use crate::federation::doctor::Diagnosis;
use crate::federation::resolve::Start;
use crate::federation::trace::{Place, Seen, Step};
use crate::federation::trouble::{CertificateFault, Phase, Trouble};
use crate::jid::a_labels;

/// What an advice depends on beside the trouble.
pub(super) struct Context<'a> {
    pub(super) diagnosis: &'a Diagnosis,
    /// Our own certificate is issued for the purpose of servers alone, as public authorities do.
    pub(super) is_for_servers_only: bool,
}

impl Context<'_> {
    /// The kind of a trouble, which may be one of ours.
    pub(super) fn kind(&self, trouble: &Trouble) -> String {
        if self.is_our_purpose(trouble) { "server-auth-only".to_owned() } else { trouble.kind() }
    }

    /// Whether the other server minds the purpose of our certificate. OpenSSL says so with this alert, ejabberd in words.
    fn is_our_purpose(&self, trouble: &Trouble) -> bool {
        self.is_for_servers_only
            && match trouble {
                Trouble::CertificateUnwelcome { why } => why.contains("UnsupportedCertificate"),
                Trouble::ExternalRefused { condition } => condition.contains("purpose"),
                _ => false,
            }
    }

    fn domain(&self) -> String {
        a_labels(&self.diagnosis.remote).unwrap_or_else(|| self.diagnosis.remote.clone())
    }

    /// The record that a domain should have.
    pub(super) fn record_to_publish(&self) -> String {
        let domain = self.domain();
        format!("_xmpp-server._tcp.{domain}. 3600 IN SRV 0 5 5269 xmpp.{domain}.")
    }

    /// The SRV record that has led to `host` (and `port`), as in a zone file.
    fn record_of(&self, host: &str, port: Option<u16>) -> Option<String> {
        self.diagnosis.steps.iter().find_map(|step| match &step.seen {
            Seen::Srv { name, records, .. } => records
                .iter()
                .find(|record| record.target == host && port.is_none_or(|port| record.port == port))
                .map(|srv| format!("{name}. IN SRV {} {} {} {}.", srv.priority, srv.weight, srv.port, srv.target)),
            _ => None,
        })
    }

    /// How to see the certificate of a place with another tool.
    fn look(&self, place: Option<&Place>) -> String {
        let Some(Place { host, address, start }) = place else { return String::new() };
        let (domain, port) = (self.domain(), address.port());
        let how = match start {
            Start::Starttls => format!("-starttls xmpp-server -xmpphost {domain}"),
            Start::DirectTls => format!("-servername {domain} -alpn xmpp-server"),
        };
        format!("; to see it: openssl s_client -connect {host}:{port} {how} -showcerts")
    }
}

/// What to do about `trouble`, which `step` has shown.
pub(super) fn advice(trouble: &Trouble, step: &Step, context: &Context<'_>) -> Option<String> {
    let domain = context.domain();
    let host = match (&step.place, &step.seen) {
        (Some(place), _) => place.host.clone(),
        (None, Seen::Addresses { host, .. }) => host.clone(),
        (None, _) => domain.clone(),
    };
    let place = step.place.as_ref();
    Some(match trouble {
        Trouble::NoName { .. } => "check how the address is written".to_owned(),
        Trouble::NoService { .. } => format!(
            "nothing, if {domain} is to have no XMPP; otherwise, instead of the record with target \".\": {}",
            context.record_to_publish()
        ),
        Trouble::NoSuchName | Trouble::NoAddress => not_found(&host, context),
        Trouble::AliasLoop => format!(
            "the CNAME records of {host} lead back to it; put its address in their place: {host}. 3600 IN A (address)"
        ),
        Trouble::DnsFailed { .. } => format!(
            "the DNS servers of {domain} do not work, or those that comity.toml names under [dns]; to see it: dig {} SRV",
            step.where_it_was()
        ),
        Trouble::DnssecBogus { .. } => format!(
            "sign the zone anew, or take away its DS record, if nobody attacks the DNS on the way here; to see it: delv {} {}",
            step.where_it_was(),
            kind_of_record(&step.seen)
        ),
        Trouble::Refused | Trouble::NoAnswer | Trouble::NotConnected { .. } => unconnected(trouble, place?, context),
        Trouble::Certificate { fault, .. } => {
            format!("{}{}", certificate(*fault, place, context), context.look(place))
        }
        Trouble::CertificateUnwelcome { .. } | Trouble::ExternalRefused { .. } => ours(trouble, context),
        _ => stream(trouble, &host, context)?,
    })
}

fn not_found(host: &str, context: &Context<'_>) -> String {
    match context.record_of(host, None) {
        Some(record) => {
            format!("publish the address of {host}: {host}. 3600 IN A (address), or correct the record: {record}")
        }
        None => format!(
            "is the domain spelt right? If so, it has no XMPP server until it publishes: {}",
            context.record_to_publish()
        ),
    }
}

fn unconnected(trouble: &Trouble, place: &Place, context: &Context<'_>) -> String {
    let Place { host, address, .. } = place;
    let (ip, port) = (address.ip(), address.port());
    let record = context.record_of(host, Some(port)).map_or_else(
        || format!("publish where the server is: {}", context.record_to_publish()),
        |record| format!("correct the record: {record}"),
    );
    let kind = if ip.is_ipv6() { "AAAA" } else { "A" };
    match trouble {
        Trouble::Refused => format!("start the server that should listen on {host} port {port} ({ip}), or {record}"),
        _ => format!(
            "let packets to {ip} port {port} through (firewall, route), or take away the record: {host}. IN {kind} {ip}"
        ),
    }
}

fn kind_of_record(seen: &Seen) -> &'static str {
    match seen {
        Seen::Srv { .. } => "SRV",
        Seen::Tlsa { .. } => "TLSA",
        _ => "A",
    }
}

fn certificate(fault: CertificateFault, place: Option<&Place>, context: &Context<'_>) -> String {
    let domain = context.domain();
    let ours = "here, under [federation] in comity.toml, accept_dialback = true takes any certificate";
    match fault {
        CertificateFault::NotShown => format!("the server of {domain} needs a certificate"),
        CertificateFault::Expired => format!("renew the certificate of {domain}, and have the server read it again"),
        CertificateFault::NotYetValid => {
            "set the clock of this machine or of the other one; one of them is wrong, or the certificate came early".to_owned()
        }
        CertificateFault::WrongName => format!(
            "get a certificate with the name {domain} (DNS), not only with that of the host, and show it for {domain}"
        ),
        CertificateFault::SelfSigned | CertificateFault::SelfSignedAuthority | CertificateFault::UnknownAuthority => {
            format!(
                "get a certificate for {domain} from an authority that everybody trusts; {ours}, and trust_anchors under \
                 [tls] trusts one more authority"
            )
        }
        CertificateFault::Authority => format!("show the certificate of {domain}, not that of the authority"),
        CertificateFault::MissingIntermediate => {
            "configure the whole chain (often called fullchain.pem) in place of the certificate alone; if its authority \
             is a private one, name it here in trust_anchors under [tls]"
                .to_owned()
        }
        CertificateFault::WrongUsage => {
            format!("get a certificate for {domain} with the purpose of TLS servers (extended key usage serverAuth)")
        }
        CertificateFault::Constrained | CertificateFault::Malformed | CertificateFault::BadSignature => {
            format!("get another certificate for {domain}; this one nobody should accept")
        }
        CertificateFault::PinMismatch => format!(
            "ask the people of {domain} whether their key is another one now; if so, put it in place of the old one in \
             comity.toml, and if not, somebody else answers in their place"
        ),
        CertificateFault::TlsaMismatch => {
            let name = place.map(|place| format!("_{}._tcp.{}", place.address.port(), place.host)).unwrap_or_default();
            format!(
                "publish the key that the server has: {name}. 3600 IN TLSA 3 1 1 (SHA-256 of its public key), or have it \
                 show the certificate that the records name; if neither has changed, somebody else answers in its place"
            )
        }
        CertificateFault::NotAccepted => format!("allow this kind of proof for {domain} in comity.toml, or ask for another"),
        CertificateFault::Other => format!("get another certificate for {domain}; {ours}"),
    }
}

/// It is about our certificate.
fn ours(trouble: &Trouble, context: &Context<'_>) -> String {
    let Diagnosis { local, remote, .. } = context.diagnosis;
    if context.is_our_purpose(trouble) || context.is_for_servers_only {
        return format!(
            "the certificate of {local} is for the purpose of servers alone, as public authorities issue them now, which \
             {remote} should accept (ejabberd does since 25.07), or let dialback decide; to see ours: comity check"
        );
    }
    format!(
        "the certificate of {local} has to name it, in date, with its chain, from an authority that {remote} trusts: comity check"
    )
}

/// It is about what the other server says.
fn stream(trouble: &Trouble, host: &str, context: &Context<'_>) -> Option<String> {
    let Diagnosis { local, remote, .. } = context.diagnosis;
    Some(match trouble {
        Trouble::Silent { phase: Phase::Header } => {
            format!("is it an XMPP server that listens on {host}? A proxy or an overloaded server behaves so")
        }
        Trouble::Silent { .. } | Trouble::Slow { .. } => {
            format!("the server of {remote} is overloaded, or what stands in front of it holds its words back")
        }
        Trouble::Closed { .. } | Trouble::Broke { .. } => {
            format!("the log of the server of {remote} says why it closes streams from {local}")
        }
        Trouble::StreamError { .. } => format!("its words say what the server of {remote} minds about {local}"),
        Trouble::Unexpected { .. } | Trouble::Nonsense { .. } => {
            format!(
                "is it an XMPP server for other servers that listens on {host}? The port for clients is another one"
            )
        }
        Trouble::OldXmpp | Trouble::NoStarttls | Trouble::StarttlsRefused => {
            format!(
                "give the server of {remote} a certificate and switch on TLS for streams between servers (STARTTLS)"
            )
        }
        Trouble::StarttlsStripped => format!(
            "somebody between here and {host} removes <starttls/> from the features: an \"inspecting\" firewall, or an attacker"
        ),
        Trouble::BehindProceed => format!("the server of {remote} must say nothing between <proceed/> and TLS"),
        Trouble::OldTls => {
            format!("switch on TLS 1.2 and 1.3 in the server of {remote} (RFC 8996 forbids what is older)")
        }
        Trouble::NoCommonCipher => format!(
            "switch on TLS 1.3, or for TLS 1.2 ciphers with ECDHE and AES-GCM or ChaCha20, in the server of {remote} (RFC 9325)"
        ),
        Trouble::TlsFailed { .. } => format!("the log of the server of {remote} says what it minds in TLS"),
        Trouble::NoWayToAuthenticate { .. } => {
            format!(
                "the server of {remote} has to offer SASL EXTERNAL or dialback; does it trust the authority of {local}?"
            )
        }
        Trouble::NoStreamId => format!("the server of {remote} has to give each stream an id (RFC 6120 §4.7.3)"),
        Trouble::DialbackNotTried => format!("start the server of {local} (comity serve), and check again"),
        Trouble::KeyInvalid | Trouble::DialbackRefused { .. } => format!(
            "the server of {remote} has asked the server of {local} about the key, or has failed to: the SRV records of \
             {local} have to lead here, and port 5269 has to be open (comity check)"
        ),
        Trouble::OtherStreamId => format!(
            "the server of {remote} breaks XEP-0220: it has to ask about a key with the id of the stream on which the key came \
             (§2.1.2)"
        ),
        Trouble::DialbackMalformed | Trouble::OtherAnswer => {
            format!(
                "the server of {remote} breaks XEP-0220: an answer has the id and the domains of the question, swapped"
            )
        }
        Trouble::VouchesForAnything => format!(
            "anybody can pass for {remote} where dialback is believed: its server has to compare the key (XEP-0220 §2.2.2)"
        ),
        _ => return None,
    })
}
