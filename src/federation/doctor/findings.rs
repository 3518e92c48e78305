//! What the steps of an examination mean. Pure.

use crate::federation::doctor::advice::{Context, advice};
use crate::federation::doctor::{Diagnosis, Finding, Verdict};
use crate::federation::trace::{Seen, Step};
use crate::federation::trouble::Trouble;

/// What is to be said about all of them; nothing if all is well.
pub(super) fn of(diagnosis: &Diagnosis, is_for_servers_only: bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let context = Context { diagnosis, is_for_servers_only };
    findings.extend(without_records(diagnosis, &context));
    for step in &diagnosis.steps {
        let Some(trouble) = &step.trouble else { continue };
        let place = step.where_it_was();
        let text = trouble.to_string();
        match findings.iter_mut().find(|known| known.text == text) {
            Some(known) if known.places.contains(&place) => {}
            Some(known) => known.places.push(place),
            None => findings.push(Finding {
                verdict: verdict(step, trouble, diagnosis.reached),
                kind: context.kind(trouble),
                places: vec![place],
                text,
                advice: advice(trouble, step, &context),
            }),
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    findings
}

/// That this server does not talk to the domain.
pub(super) fn forbidden(remote: &str) -> Finding {
    Finding {
        verdict: Verdict::Wrong,
        kind: "forbidden".to_owned(),
        places: vec![remote.to_owned()],
        text: "this server does not federate with that domain".to_owned(),
        advice: Some(format!(
            "in comity.toml: no [[peers]] with name = \"{remote}\" and federate = false, and under [federation] \
             mode = \"open\", or mode = \"listed\" with allow = [\"{remote}\"]"
        )),
    }
}

/// What is in the way of one address is no more than that if another leads there.
fn verdict(step: &Step, trouble: &Trouble, reached: bool) -> Verdict {
    match (&step.seen, trouble) {
        // Anybody could be the domain to whoever believes dialback.
        (_, Trouble::VouchesForAnything) => Verdict::Wrong,
        // Nothing of ours depends on it.
        (Seen::Verification { .. }, trouble) if *trouble != Trouble::OtherAnswer => Verdict::Warning,
        _ if reached => Verdict::Warning,
        _ => Verdict::Wrong,
    }
}

/// That there is no SRV record, where that may be the reason.
fn without_records(diagnosis: &Diagnosis, context: &Context<'_>) -> Option<Finding> {
    let mut services = diagnosis.steps.iter().filter_map(|step| match &step.seen {
        Seen::Srv { records, .. } => Some((records.is_empty() && step.trouble.is_none(), step)),
        _ => None,
    });
    let (_, last) = services.clone().next_back()?;
    // A domain that does not exist has none, of course.
    let exists = !diagnosis
        .steps
        .iter()
        .any(|step| matches!((&step.seen, &step.trouble), (Seen::Addresses { .. }, Some(Trouble::NoSuchName))));
    (services.all(|(is_empty, _)| is_empty) && exists && !diagnosis.reached).then(|| Finding {
        verdict: Verdict::Wrong,
        kind: "no-srv".to_owned(),
        places: vec![last.where_it_was()],
        text: format!("there is no SRV record, so that {} port 5269 was tried", diagnosis.remote),
        advice: Some(format!("publish: {}", context.record_to_publish())),
    })
}
