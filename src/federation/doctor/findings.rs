//! What the steps of an examination mean. Pure.

use crate::federation::doctor::advice::{Context, advice};
use crate::federation::doctor::{Diagnosis, Finding, Verdict};
use crate::federation::trace::{Complaint, Seen, Step, complaints, without_records};
use crate::federation::trouble::Trouble;

/// What is to be said about all of them; nothing if all is well.
pub(super) fn of(diagnosis: &Diagnosis, is_for_servers_only: bool) -> Vec<Finding> {
    let context = Context { diagnosis, is_for_servers_only };
    let complaints = complaints(&diagnosis.steps, Step::where_it_was).into_iter();
    let found = complaints.map(|Complaint { text, places, step, trouble }| Finding {
        verdict: verdict(step, trouble, diagnosis.reached),
        kind: context.kind(trouble),
        places,
        text,
        advice: advice(trouble, step, &context),
    });
    let mut findings: Vec<Finding> = unpublished(diagnosis, &context).into_iter().chain(found).collect();
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
fn unpublished(diagnosis: &Diagnosis, context: &Context<'_>) -> Option<Finding> {
    let name = without_records(&diagnosis.steps).filter(|_| !diagnosis.reached)?;
    Some(Finding {
        verdict: Verdict::Wrong,
        kind: "no-srv".to_owned(),
        places: vec![name.to_owned()],
        text: format!("there is no SRV record, so that {} port 5269 was tried", diagnosis.remote),
        advice: Some(format!("publish: {}", context.record_to_publish())),
    })
}
