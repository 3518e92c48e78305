//! The doctor, in simulated time; what it says of servers that are broken is in `tests/broken`.

use std::time::Duration;

use tokio::time::Instant;

use super::world::{Plan, World, pair};
use super::{THERE, address, here, there};
use crate::federation::doctor::{Diagnosis, Verdict, Vouching};
use crate::federation::{Proofs, Seen, Start};

fn kinds(diagnosis: &Diagnosis) -> Vec<(&str, Verdict)> {
    diagnosis.findings.iter().map(|finding| (finding.kind.as_str(), finding.verdict)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_in_order_has_every_step_and_no_finding() {
    let world = World::new();
    let (one, _other) = (world.server(&here()), world.server(&there()));
    let diagnosis = one.federation.examine(&pair("here.example", "there.example"), Vouching::Possible).await;
    assert_eq!((diagnosis.reached, &diagnosis.error, kinds(&diagnosis)), (true, &None, vec![]));
    let steps: Vec<_> = diagnosis
        .steps
        .iter()
        .map(|step| serde_json::to_value(step).unwrap()["step"].as_str().unwrap().to_owned())
        .collect();
    let secured = ["connection", "header", "features", "starttls", "tls", "header", "features"];
    let expected = [&["srv", "srv", "addresses"], &secured[..], &["external", "header", "features"], &secured].concat();
    assert_eq!(steps, [expected, vec!["verification"]].concat());
    let chain = diagnosis.steps.iter().find_map(|step| match &step.seen {
        Seen::Tls(encryption) => Some(encryption.chain.clone()),
        _ => None,
    });
    assert_eq!(chain.unwrap()[0].names, ["DNS there.example"]);
    let last = &diagnosis.steps.last().unwrap().seen;
    assert_eq!(*last, Seen::Verification { answer: Some("invalid".to_owned()) });
    let json = serde_json::to_string(&diagnosis).unwrap();
    assert_eq!(serde_json::from_str::<Diagnosis>(&json).unwrap(), diagnosis);
}

#[tokio::test(start_paused = true)]
async fn who_takes_dialback_only_is_reached_with_a_remark() {
    let world = World::new();
    let one = world.server(&Plan { names: None, ..here() });
    let _other = world.server(&Plan { proofs: Proofs::CertificateOrDialback, ..there() });
    let pair = pair("here.example", "there.example");
    let diagnosis = one.federation.examine(&pair, Vouching::Possible).await;
    assert_eq!((diagnosis.reached, kinds(&diagnosis)), (true, vec![]));
    // Without a server that could be asked nothing is claimed.
    let diagnosis = one.federation.examine(&pair, Vouching::Impossible).await;
    assert_eq!(kinds(&diagnosis), [("dialback-not-tried", Verdict::Wrong)]);
    assert!(!diagnosis.reached && diagnosis.error.is_some());
}

#[tokio::test(start_paused = true)]
async fn every_target_is_looked_at_and_one_that_works_is_enough() {
    let world = World::new();
    let one = world.server(&here());
    world.publish("there.example", 0, "192.0.2.9", Start::Starttls);
    world.publish("there.example", 5, "192.0.2.10", Start::Starttls);
    let _kept = world.net.listen(address("192.0.2.10"));
    let other = world.hidden(&there());
    world.publish("there.example", 10, THERE, Start::Starttls);
    world.listen(address(THERE), &other.federation, Start::Starttls);
    world.publish("there.example", 20, "192.0.2.11", Start::Starttls);
    let diagnosis = one.federation.examine(&pair("here.example", "there.example"), Vouching::Possible).await;
    assert!(diagnosis.reached);
    assert_eq!(kinds(&diagnosis), [("refused", Verdict::Warning), ("silent", Verdict::Warning)]);
    assert_eq!(diagnosis.findings[0].places, ["192.0.2.9:5269", "192.0.2.11:5269"]);
    let advice = diagnosis.findings[0].advice.as_deref().unwrap();
    let record = "_xmpp-server._tcp.there.example. IN SRV 0 0 5269 host-192-0-2-9.example.";
    assert!(advice.contains(record), "{advice}");
}

#[tokio::test(start_paused = true)]
async fn an_examination_ends() {
    let world = World::new();
    let one = world.server(&here());
    let mut kept = Vec::new();
    for last in 10..18_u8 {
        let ip = format!("192.0.2.{last}");
        world.publish("there.example", u16::from(last), &ip, Start::Starttls);
        kept.push(world.net.listen(address(&ip)));
    }
    let started = Instant::now();
    let diagnosis = one.federation.examine(&pair("here.example", "there.example"), Vouching::Possible).await;
    assert_eq!(started.elapsed(), Duration::from_secs(120));
    assert_eq!(kinds(&diagnosis), [("silent", Verdict::Wrong)]);
}
