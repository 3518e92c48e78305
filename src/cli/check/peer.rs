//! How another domain is reached, step by step.

use crate::cli::check::word;
use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::{reach, wait_for};
use crate::config::Config;
use crate::federation::doctor::{Diagnosis, Finding, Verdict};
use crate::federation::{Encryption, Place, Seen, Shown, Start, Step};
use crate::net::Srv;
use crate::net::dns::Security;
use crate::server::{EXAMINE, Examine, examine_alone};

pub(super) fn check(
    config: &Config,
    asked: Examine,
    rendering: Rendering,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let diagnosis = wait_for(async {
        match reach::running(config).await? {
            Some(mut server) => server.call(&EXAMINE, asked).await.map_err(reach::failure),
            None => examine_alone(config, &asked).await.map_err(reach::refused),
        }
    })?;
    output.facts(rendering, &diagnosis, human)?;
    let is_wrong = diagnosis.findings.iter().any(|finding| finding.verdict == Verdict::Wrong);
    if is_wrong || !diagnosis.reached { Err(Failure::Told) } else { Ok(()) }
}

fn human(diagnosis: &Diagnosis) -> String {
    let mut text = format!("{}, reached from {}\n", diagnosis.remote, diagnosis.local);
    let mut place = None;
    for step in &diagnosis.steps {
        if step.place.is_some() && step.place.as_ref() != place {
            place = step.place.as_ref();
            text.push_str(&place.map(heading).unwrap_or_default());
        }
        text.push_str(&line(step));
    }
    text.push('\n');
    diagnosis.findings.iter().for_each(|finding| text.push_str(&told(finding)));
    text + &conclusion(diagnosis)
}

fn heading(Place { host, address, start }: &Place) -> String {
    let how = if *start == Start::DirectTls { ", direct TLS" } else { "" };
    format!("\n  {host} port {} at {}{how}\n", address.port(), address.ip())
}

fn line(step: &Step) -> String {
    let (what, details) = seen(&step.seen);
    let outcome = match &step.trouble {
        Some(trouble) => trouble.to_string(),
        None => "ok".to_owned(),
    };
    let first = format!("  {:>7} ms  {what}: {outcome}\n", step.took_ms);
    details.iter().fold(first, |text, detail| text + &format!("              {detail}\n"))
}

fn seen(seen: &Seen) -> (String, Vec<String>) {
    match seen {
        Seen::Srv { name, records, .. } if records.is_empty() => (name.clone(), vec!["no records".to_owned()]),
        Seen::Srv { name, records, security } => (signed(name, *security), records.iter().map(record).collect()),
        Seen::Addresses { host, addresses, security } => {
            (signed(host, *security), addresses.iter().map(ToString::to_string).collect())
        }
        Seen::Tlsa { name, records } => (name.clone(), records.clone()),
        Seen::Connection => ("connection".to_owned(), Vec::new()),
        Seen::Header { .. } => ("stream header".to_owned(), Vec::new()),
        Seen::Features { offered } if offered.is_empty() => ("features".to_owned(), Vec::new()),
        Seen::Features { offered } => ("features".to_owned(), vec![offered.join(", ")]),
        Seen::Starttls => ("STARTTLS".to_owned(), Vec::new()),
        Seen::Tls(encryption) => ("TLS".to_owned(), encrypted(encryption)),
        Seen::External => ("SASL EXTERNAL".to_owned(), Vec::new()),
        Seen::Dialback => ("dialback".to_owned(), Vec::new()),
        Seen::Verification { answer } => {
            let answer = answer.as_ref().map(|answer| format!("the answer is: {answer}"));
            ("a question about a wrong dialback key".to_owned(), answer.into_iter().collect())
        }
    }
}

/// A name, and whether its records are signed.
fn signed(name: &str, security: Security) -> String {
    match security {
        Security::Secure => format!("{name} (signed)"),
        Security::Insecure => name.to_owned(),
    }
}

fn record(Srv { priority, weight, port, target }: &Srv) -> String {
    format!("{target} port {port} (priority {priority}, weight {weight})")
}

fn encrypted(Encryption { version, cipher, chain }: &Encryption) -> Vec<String> {
    let how = [version, cipher].into_iter().flatten().cloned().collect::<Vec<_>>();
    let how = (!how.is_empty()).then(|| how.join(", "));
    how.into_iter().chain(chain.iter().map(certificate)).collect()
}

fn certificate(Shown { subject, issuer, names, not_before, not_after, is_authority }: &Shown) -> String {
    let who = if *is_authority { format!("authority {subject}") } else { subject.clone() };
    let names = if names.is_empty() { String::new() } else { format!(", for {}", names.join(", ")) };
    format!("{who}{names}, from {issuer}, {not_before} to {not_after}")
}

fn told(Finding { verdict, places, text, advice, .. }: &Finding) -> String {
    let advice = advice.as_ref().map(|advice| format!("           {advice}\n")).unwrap_or_default();
    format!("  {}  {}: {text}\n{advice}", word(*verdict), places.join(", "))
}

fn conclusion(Diagnosis { remote, reached, error, findings, .. }: &Diagnosis) -> String {
    match (reached, findings.len(), error) {
        (true, 0, _) => format!("All is well: a message to {remote} would arrive."),
        (true, more, _) => format!("A message to {remote} would arrive; {more} to look at."),
        (false, _, Some(error)) => format!("A message to {remote} would come back, with these words:\n  {error}"),
        (false, _, None) => format!("A message to {remote} would come back."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::{Phase, Trouble};

    #[test]
    fn a_person_reads_what_is_wrong_and_what_to_change() {
        let place = Place {
            host: "xmpp.b.example".to_owned(),
            address: "192.0.2.1:5269".parse().unwrap(),
            start: Start::Starttls,
        };
        let record = Srv { priority: 0, weight: 5, port: 5269, target: "xmpp.b.example".to_owned() };
        let srv = Seen::Srv {
            name: "_xmpp-server._tcp.b.example".to_owned(),
            records: vec![record],
            security: Security::Secure,
        };
        let step = |place, seen, trouble| Step { at_ms: 0, took_ms: 7, place, seen, trouble };
        let trouble = Trouble::Silent { phase: Phase::Header };
        let diagnosis = Diagnosis {
            local: "a.example".to_owned(),
            remote: "b.example".to_owned(),
            reached: false,
            error: Some("xmpp.b.example:5269: it says nothing".to_owned()),
            findings: vec![Finding {
                verdict: Verdict::Wrong,
                kind: trouble.kind(),
                places: vec!["192.0.2.1:5269".to_owned()],
                text: "it says nothing".to_owned(),
                advice: Some("wake it".to_owned()),
            }],
            steps: vec![
                step(None, srv, None),
                step(Some(place.clone()), Seen::Connection, None),
                step(Some(place), Seen::Header { greeting: None }, Some(trouble)),
            ],
        };
        assert_eq!(
            human(&diagnosis),
            "b.example, reached from a.example
        7 ms  _xmpp-server._tcp.b.example (signed): ok
              xmpp.b.example port 5269 (priority 0, weight 5)

  xmpp.b.example port 5269 at 192.0.2.1
        7 ms  connection: ok
        7 ms  stream header: the other server says nothing before its stream header

  WRONG    192.0.2.1:5269: it says nothing
           wake it
A message to b.example would come back, with these words:
  xmpp.b.example:5269: it says nothing"
        );
    }
}
