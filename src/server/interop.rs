//! The tester for other servers as an operation: an examination, and requests that any server answers.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::extensions;
use crate::federation::Federation;
use crate::federation::doctor::Vouching;
use crate::federation::tester::{Mark, Outcome, judge};
use crate::hooks::discovery::INFO_NS;
use crate::hooks::operation::{NameTaken, Operation, OperationError, Operations, Role};
use crate::hooks::{Outbound, Reply};
use crate::jid::{BareJid, Jid};
use crate::random;
use crate::stanza::{CLIENT_NS, Condition, IqType, Kind, Stanza, StanzaError};
use crate::xml::Element;

use super::doctor::Examine;

/// Tests how another server keeps the rules between servers.
pub const INTEROP: Operation<Examine, Report> = Operation::new("interop", Role::Operator);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub local: String,
    pub remote: String,
    pub outcomes: Vec<Outcome>,
}

/// Registers the operation.
///
/// # Errors
/// The name is taken.
pub(super) fn register(
    federation: &Arc<Federation>,
    outbound: &Arc<dyn Outbound>,
    operations: &mut Operations,
) -> Result<(), NameTaken> {
    let (federation, outbound) = (Arc::clone(federation), Arc::clone(outbound));
    operations.register(&INTEROP, move |asked: Examine| {
        let (federation, outbound) = (Arc::clone(&federation), Arc::clone(&outbound));
        async move {
            let pair = asked.pair(&federation.domains())?;
            let diagnosis = federation.examine(&pair, Vouching::Possible).await;
            let mut outcomes = judge(&diagnosis);
            outcomes.extend(requests(&*outbound, &pair.local, &pair.remote, diagnosis.reached).await?);
            Ok(Report { local: diagnosis.local, remote: diagnosis.remote, outcomes })
        }
    })
}

/// A request, and what is right about the answer to it.
struct Question {
    case: &'static str,
    sections: &'static str,
    to: Jid,
    payload: Element,
    judge: fn(&Answer) -> Option<String>,
}

/// The payload of a result, or a condition.
type Answer = Result<Option<Element>, Condition>;

async fn requests(
    outbound: &dyn Outbound,
    local: &str,
    remote: &str,
    reached: bool,
) -> Result<Vec<Outcome>, OperationError> {
    let failed = |error: &dyn std::fmt::Display| OperationError::Failed(error.to_string());
    let domain = |name: &str| BareJid::of_domain(name).map(Jid::from).map_err(|error| failed(&error));
    let nobody: Jid = format!("{}@{remote}", random::token()).parse().map_err(|error| failed(&error))?;
    let mut outcomes = Vec::new();
    for Question { case, sections, to, payload, judge } in questions(&domain(remote)?, &nobody) {
        if !reached {
            outcomes.push(Outcome::new(case, sections, Mark::Untried, ""));
            continue;
        }
        let request = Stanza::new(Kind::Iq(IqType::Get)).from(Some(domain(local)?)).to(Some(to)).payload(payload);
        let fault = match outbound.request(request, PATIENCE).await {
            Reply::Silent => Some("no answer; does it find the way back (DNS, port 5269)?".to_owned()),
            Reply::Answered(answer) => judge(&read(&answer)),
        };
        outcomes.push(match fault {
            Some(saw) => Outcome::new(case, sections, Mark::Failed, saw),
            None => Outcome::new(case, sections, Mark::Passed, ""),
        });
    }
    Ok(outcomes)
}

fn questions(remote: &Jid, nobody: &Jid) -> [Question; 5] {
    // Neither that there is such an account nor that there is none.
    let unavailable = |answer: &Answer| match answer {
        Err(Condition::ServiceUnavailable) => None,
        other => Some(format!("{}, where only service-unavailable is allowed", told(other))),
    };
    let unheard_of = Element::new("nothing", "urn:example:nobody-knows-this");
    [
        Question {
            case: "ping",
            sections: "XEP-0199 §4, RFC 6120 §8.2.3",
            to: remote.clone(),
            payload: Element::new("ping", extensions::PING_NS),
            judge: |answer| match answer {
                Ok(None) | Err(Condition::ServiceUnavailable) => None,
                other => Some(told(other)),
            },
        },
        Question {
            case: "discovery",
            sections: "XEP-0030 §3.1",
            to: remote.clone(),
            payload: Element::new("query", INFO_NS),
            judge: |answer| match answer {
                Ok(Some(info)) if info.elements().any(|child| child.name() == "identity") => None,
                other => Some(format!("no identity: {}", told(other))),
            },
        },
        Question {
            case: "unknown-request",
            sections: "RFC 6120 §8.4",
            to: remote.clone(),
            payload: unheard_of.clone(),
            judge: |answer| match answer {
                Err(Condition::ServiceUnavailable | Condition::FeatureNotImplemented) => None,
                other => Some(told(other)),
            },
        },
        Question {
            case: "unknown-account",
            sections: "RFC 6121 §8.5.1",
            to: nobody.clone(),
            payload: unheard_of,
            judge: unavailable,
        },
        Question {
            case: "unknown-account-discovery",
            sections: "XEP-0030 §8, RFC 6121 §8.5.1",
            to: nobody.clone(),
            payload: Element::new("query", INFO_NS),
            judge: unavailable,
        },
    ]
}

fn read(answer: &Stanza<'_>) -> Answer {
    match answer.kind {
        Kind::Iq(IqType::Result) => Ok(answer.payload.first()),
        _ => {
            let error = answer.payload.elements().into_iter().find(|child| child.name() == "error");
            Err(error.as_ref().and_then(StanzaError::condition_of).unwrap_or(Condition::UndefinedCondition))
        }
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Ok(Some(payload)) => format!("the result {}", payload.to_xml(CLIENT_NS)),
        Ok(None) => "an empty result".to_owned(),
        Err(condition) => format!("the error {}", condition.as_str()),
    }
}
