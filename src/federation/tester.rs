//! What whoever makes another server wants to know: which rules between servers it keeps, as far as a server sees that
//! behaves well itself.
//!
//! Pure: an examination goes in, a line for each rule comes out.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::federation::doctor::Diagnosis;
use crate::federation::trace::{Encryption, Seen, Step};
use crate::federation::trouble::Trouble;
use crate::telemetry::harmless;

/// How a rule is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In one word.
    pub case: String,
    /// Where the rule stands.
    pub sections: String,
    pub result: Mark,
    /// What was seen, where it is not what the rule asks for.
    pub saw: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    Passed,
    /// It works, and the specifications recommend more.
    Advised,
    Failed,
    /// It did not come to that.
    Untried,
}

impl Outcome {
    #[must_use]
    pub fn new(case: &str, sections: &str, result: Mark, saw: impl AsRef<str>) -> Self {
        let saw = harmless(saw.as_ref()).into_owned();
        Self { case: case.to_owned(), sections: sections.to_owned(), result, saw }
    }

    /// Passed without `fault`.
    fn unless(case: &str, sections: &str, mark: Mark, fault: Option<String>) -> Self {
        match fault {
            Some(saw) => Self::new(case, sections, mark, saw),
            None => Self::new(case, sections, Mark::Passed, ""),
        }
    }
}

/// What an examination says of the rules.
#[must_use]
pub fn judge(diagnosis: &Diagnosis) -> Vec<Outcome> {
    let Diagnosis { steps, .. } = diagnosis;
    let mut outcomes = finding(steps);
    outcomes.extend(headers(diagnosis));
    outcomes.extend(encryption(steps));
    outcomes.extend(authentication(steps));
    outcomes
}

/// How it is found.
fn finding(steps: &[Step]) -> Vec<Outcome> {
    let has_records = steps.iter().any(|step| matches!(&step.seen, Seen::Srv { records, .. } if !records.is_empty()));
    let records = (!has_records).then(|| "no SRV record, only port 5269 of the domain".to_owned());
    let is_way = |step: &&Step| matches!(step.seen, Seen::Addresses { .. } | Seen::Connection | Seen::Srv { .. });
    let blocked: Vec<_> = steps.iter().filter(is_way).filter_map(told).collect();
    vec![
        Outcome::unless("srv-records", "RFC 6120 §3.2.1", Mark::Advised, records),
        Outcome::unless("every-target-answers", "RFC 2782", Mark::Failed, joined(&blocked)),
    ]
}

fn headers(diagnosis: &Diagnosis) -> Vec<Outcome> {
    let (mut from, mut to, mut version) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ids, mut faults) = (BTreeSet::new(), Vec::new());
    let mut count = 0;
    for step in &diagnosis.steps {
        let Seen::Header { greeting: Some(header) } = &step.seen else { continue };
        count += 1;
        if header.from.as_deref() != Some(&diagnosis.remote) {
            from.push(format!("from={:?}", header.from.as_deref().unwrap_or_default()));
        }
        if header.to.as_deref().is_some_and(|to| to != diagnosis.local) {
            to.push(format!("to={:?}", header.to.as_deref().unwrap_or_default()));
        }
        if header.version.as_deref() != Some("1.0") {
            version.push(format!("version={:?}", header.version.as_deref().unwrap_or_default()));
        }
        match header.id.as_deref().filter(|id| !id.is_empty()) {
            None => faults.push("a stream without an id".to_owned()),
            Some(id) if !ids.insert(id) => faults.push(format!("two streams with the id {id:?}")),
            Some(_) => {}
        }
    }
    if count == 0 {
        let untried = |case, sections| Outcome::new(case, sections, Mark::Untried, "");
        return vec![untried("stream-header", "RFC 6120 §4.7"), untried("stream-ids", "RFC 6120 §4.7.3")];
    }
    let header = joined(&[from, to, version].concat());
    vec![
        Outcome::unless("stream-header", "RFC 6120 §4.7.1, §4.7.2, §4.7.5", Mark::Failed, header),
        Outcome::unless("stream-ids", "RFC 6120 §4.3.3, §4.7.3", Mark::Failed, joined(&faults)),
    ]
}

fn encryption(steps: &[Step]) -> Vec<Outcome> {
    let plain = steps.iter().position(|step| matches!(step.seen, Seen::Starttls));
    let offered = plain.and_then(|at| steps.get(..at)?.iter().rev().find_map(features));
    let starttls = match offered {
        None => Outcome::new("starttls", "RFC 6120 §5.3.1", Mark::Untried, "only direct TLS, or no stream at all"),
        Some(offered) if !has(offered, "starttls") => {
            Outcome::new("starttls", "RFC 6120 §5.3.1", Mark::Failed, "it is not among the features")
        }
        Some(offered) if !has(offered, "required") => {
            Outcome::new("starttls", "RFC 6120 §5.3.1", Mark::Advised, "<required/> is missing")
        }
        Some(_) => Outcome::new("starttls", "RFC 6120 §5.3.1", Mark::Passed, ""),
    };
    let versions: Vec<_> = steps.iter().filter_map(version).collect();
    let newest = match versions.iter().find(|version| **version != "TLS 1.3") {
        _ if versions.is_empty() => Outcome::new("tls-1.3", "RFC 9325 §3.1.1", Mark::Untried, ""),
        older => Outcome::unless("tls-1.3", "RFC 9325 §3.1.1", Mark::Advised, older.map(|older| (*older).to_owned())),
    };
    let unproven: Vec<_> = steps
        .iter()
        .filter(|step| matches!(step.trouble, Some(Trouble::Certificate { .. })))
        .filter_map(told)
        .collect();
    let certificate = match versions.is_empty() && unproven.is_empty() {
        true => Outcome::new("certificate", "RFC 6120 §13.7.2", Mark::Untried, ""),
        false => Outcome::unless("certificate", "RFC 6120 §13.7.2", Mark::Failed, joined(&unproven)),
    };
    vec![starttls, newest, certificate]
}

fn authentication(steps: &[Step]) -> Vec<Outcome> {
    let of = |wanted: fn(&Seen) -> bool| steps.iter().filter(move |step| wanted(&step.seen)).collect::<Vec<_>>();
    let way = |case: &str, sections: &str, tried: &[&Step]| {
        let refused: Vec<_> = tried.iter().filter_map(|step| told(step)).collect();
        match tried.is_empty() {
            true => Outcome::new(case, sections, Mark::Untried, ""),
            false => Outcome::unless(case, sections, Mark::Failed, joined(&refused)),
        }
    };
    let external = way("sasl-external", "XEP-0178 §3", &of(|seen| matches!(seen, Seen::External)));
    let dialback = way("dialback", "XEP-0220 §2.1.1", &of(|seen| matches!(seen, Seen::Dialback)));
    let asked = of(|seen| matches!(seen, Seen::Verification { .. }));
    let wrong = asked.iter().filter_map(|step| match (&step.seen, told(step)) {
        (_, Some(told)) => Some(told),
        (Seen::Verification { answer: Some(answer) }, None) if answer != "invalid" => Some(format!("{answer:?}")),
        _ => None,
    });
    let wrong: Vec<_> = wrong.collect();
    let question = match asked.is_empty() {
        true => Outcome::new("dialback-question", "XEP-0220 §2.2.2", Mark::Untried, ""),
        false => Outcome::unless("dialback-question", "XEP-0220 §2.2.2", Mark::Failed, joined(&wrong)),
    };
    let mut outcomes = vec![external, dialback, question];
    let offered: Vec<_> = steps.iter().filter_map(features).collect();
    let offers = |name: &str| offered.iter().any(|offered| has(offered, name));
    if offers("dialback") {
        let missing = (!offers("errors")).then(|| "<errors/> is missing".to_owned());
        outcomes.push(Outcome::unless("dialback-errors", "XEP-0220 §2.4.2", Mark::Advised, missing));
    }
    for (case, sections, name) in [("stream-management", "XEP-0198 §2", "sm"), ("limits", "XEP-0478 §3", "limits")] {
        let missing = (!offers(name)).then(|| "it is not among the features".to_owned());
        outcomes.push(Outcome::unless(case, sections, Mark::Advised, missing));
    }
    outcomes
}

fn features(step: &Step) -> Option<&Vec<String>> {
    match &step.seen {
        Seen::Features { offered } if step.trouble.is_none() => Some(offered),
        _ => None,
    }
}

fn has(offered: &[String], name: &str) -> bool {
    offered.iter().any(|offered| offered == name)
}

fn version(step: &Step) -> Option<&str> {
    match &step.seen {
        Seen::Tls(encryption) => {
            let Encryption { version, .. } = &**encryption;
            version.as_deref()
        }
        _ => None,
    }
}

/// What is wrong with a step, and where.
fn told(step: &Step) -> Option<String> {
    step.trouble.as_ref().map(|trouble| format!("{}: {trouble}", step.where_it_was()))
}

fn joined(faults: &[String]) -> Option<String> {
    let mut once: Vec<&str> = Vec::new();
    for fault in faults {
        if !once.contains(&fault.as_str()) {
            once.push(fault);
        }
    }
    (!once.is_empty()).then(|| once.join("; "))
}
