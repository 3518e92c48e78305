//! Names and dates of the certificates, and whether they can be used at all.

use std::time::{Duration, UNIX_EPOCH};

use crate::cli::check::{About, Findings};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Domain, DomainName};
use crate::federation::doctor::Verdict;
use crate::net::tls::names::Service;
use crate::net::tls::{DateWarning, Identity, Trust};

pub(super) fn check(config: &Config, domain: &Domain, clock: &Clock, findings: &mut Findings<'_>) {
    let tls = &config.tls;
    for (key, files) in [("trust_anchors", &tls.trust_anchors), ("client_trust_anchors", &tls.client_trust_anchors)] {
        for anchors in files {
            if let Err(error) = Trust::default().add_pem_file(anchors) {
                findings.add(About::Certificate, Verdict::Wrong, format!("tls.{key}: {error}"));
            }
        }
    }
    let Some((certificate, key)) = config.certificate_of(domain) else {
        let listen = &config.listen;
        let loopback = [&listen.c2s, &listen.c2s_tls, &listen.s2s, &listen.s2s_tls].iter().all(|on| on.is_loopback());
        let (verdict, text) = if loopback {
            (Verdict::Warning, "no certificate; one for development is made, which is enough on this machine only")
        } else {
            (Verdict::Wrong, "no certificate; get one for the domain and name it under [tls], with its key")
        };
        findings.add(About::Certificate, verdict, text);
        return;
    };
    match Identity::load(certificate, key) {
        Ok(identity) => judge(&identity, domain.name.as_str(), clock.now(), findings),
        Err(error) => findings.add(About::Certificate, Verdict::Wrong, error.to_string()),
    }
}

/// Looks whether a certificate names a domain of rooms: it may be that of any domain.
pub(super) fn check_rooms(config: &Config, rooms: &DomainName, findings: &mut Findings<'_>) {
    let files = config.domains.iter().filter_map(|domain| config.certificate_of(domain));
    // What is wrong with a file is said of the domain that it is for.
    let identities: Vec<Identity> =
        files.filter_map(|(certificate, key)| Identity::load(certificate, key).ok()).collect();
    if !identities.is_empty() {
        judge_rooms(&identities, rooms.as_str(), findings);
    }
}

fn judge_rooms(identities: &[Identity], rooms: &str, findings: &mut Findings<'_>) {
    let (verdict, text) = if identities.iter().any(|identity| identity.covers(rooms, Service::Server)) {
        (Verdict::Fine, format!("a certificate names {rooms}"))
    } else {
        (Verdict::Wrong, format!("no certificate names {rooms}: other servers will not talk to the rooms"))
    };
    findings.add(About::Certificate, verdict, text);
}

fn judge(identity: &Identity, domain: &str, now: Timestamp, findings: &mut Findings<'_>) {
    let names: Vec<_> = identity.names().iter().map(ToString::to_string).collect();
    let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
    let for_whom = (identity.covers(domain, Service::Client), identity.covers(domain, Service::Server));
    let (verdict, text) = match for_whom {
        (true, true) => (Verdict::Fine, format!("the certificate names {domain}")),
        (true, false) => (Verdict::Wrong, format!("the certificate names {domain} for clients only; it has {names}")),
        (false, true) => (Verdict::Wrong, format!("the certificate names {domain} for servers only; it has {names}")),
        (false, false) => (Verdict::Wrong, format!("the certificate does not name {domain}; it has {names}")),
    };
    findings.add(About::Certificate, verdict, text);
    let moment = UNIX_EPOCH + Duration::from_millis(u64::try_from(now.unix_ms()).unwrap_or(0));
    let end = identity.not_after().duration_since(UNIX_EPOCH).unwrap_or_default();
    let end = Timestamp::from_unix_ms(0).after(end);
    match identity.date_warning(moment) {
        None => findings.add(About::Certificate, Verdict::Fine, format!("the certificate is valid until {end}")),
        Some(warning @ DateWarning::EndsInDays(_)) => {
            findings.add(About::Certificate, Verdict::Warning, format!("{warning}, on {end}"));
        }
        Some(warning) => findings.add(About::Certificate, Verdict::Wrong, format!("{warning}; it ends {end}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{judge, judge_rooms};
    use crate::cli::check::Findings;
    use crate::clock::{Clock, Timestamp};
    use crate::federation::doctor::Verdict;
    use crate::net::tls::Identity;
    use crate::net::tls::development::DevelopmentCa;

    fn verdicts(identity: &Identity, domain: &str, now: Timestamp) -> Vec<Verdict> {
        let mut all = Vec::new();
        judge(identity, domain, now, &mut Findings { domain, all: &mut all });
        all.iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn rooms_are_named_too() {
        let issued = DevelopmentCa::generate().unwrap().issue(&["a.example", "rooms.a.example"]).unwrap();
        let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
        for (rooms, verdict) in [("rooms.a.example", Verdict::Fine), ("chat.a.example", Verdict::Wrong)] {
            let mut all = Vec::new();
            judge_rooms(std::slice::from_ref(&identity), rooms, &mut Findings { domain: rooms, all: &mut all });
            assert_eq!(all.iter().map(|finding| finding.verdict).collect::<Vec<_>>(), [verdict]);
        }
    }

    #[test]
    fn names_and_dates() {
        let issued = DevelopmentCa::generate().unwrap().issue(&["a.example"]).unwrap();
        let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
        let now = Clock::system().now();
        assert_eq!(verdicts(&identity, "a.example", now), [Verdict::Fine, Verdict::Fine]);
        assert_eq!(verdicts(&identity, "b.example", now), [Verdict::Wrong, Verdict::Fine]);
        let late = now.after(Duration::from_secs(200 * 366 * 86_400));
        assert_eq!(verdicts(&identity, "a.example", late), [Verdict::Fine, Verdict::Wrong]);
    }
}
