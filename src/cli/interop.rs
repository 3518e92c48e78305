//! `comity interop`: how another server keeps the rules between servers, for whoever makes it.

use clap::Args;

use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::cli::{reach, wait_for};
use crate::federation::tester::{Mark, Outcome};
use crate::server::{Examine, INTEROP, Report};

/// Test another server: which rules between servers it keeps.
///
/// The running server goes all the ways to the domain, asks about a dialback key that nobody has made, and sends requests
/// that any server answers. Each line of the report names a rule and where it stands. Nothing is sent that an honest server
/// would not send. The exit code is 1 when a rule is broken.
#[derive(Debug, Args)]
pub(super) struct Interop {
    /// The domain of the other server.
    domain: String,
    /// The own domain that asks; the first one, if nothing is said.
    #[arg(long, value_name = "DOMAIN")]
    from: Option<String>,
    #[command(flatten)]
    rendering: Rendering,
}

impl Interop {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let config = place.load()?;
        let report = wait_for(async {
            let mut server = reach::server(&config).await?;
            let asked = Examine { domain: self.domain, from: self.from };
            server.call(&INTEROP, asked).await.map_err(reach::failure)
        })?;
        output.facts(self.rendering, &report, human)?;
        let is_broken = report.outcomes.iter().any(|outcome| outcome.result == Mark::Failed);
        if is_broken { Err(Failure::Told) } else { Ok(()) }
    }
}

fn human(Report { local, remote, outcomes }: &Report) -> String {
    let mut text = format!("{remote}, tested from {local}\n");
    for Outcome { case, sections, result, saw } in outcomes {
        let result = match result {
            Mark::Passed => "passed ",
            Mark::Advised => "advice ",
            Mark::Failed => "FAILED ",
            Mark::Untried => "untried",
        };
        let saw = if saw.is_empty() { String::new() } else { format!(": {saw}") };
        text.push_str(&format!("  {result}  {case} ({sections}){saw}\n"));
    }
    let count = |mark| outcomes.iter().filter(|outcome| outcome.result == mark).count();
    let (passed, failed) = (count(Mark::Passed), count(Mark::Failed));
    format!("{text}{passed} passed, {failed} failed, {} untried.", count(Mark::Untried))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_a_line_for_each_rule() {
        let outcomes = vec![
            Outcome::new("ping", "XEP-0199 §4", Mark::Passed, ""),
            Outcome::new("tls-1.3", "RFC 9325 §3.1.1", Mark::Advised, "TLS 1.2"),
        ];
        let report = Report { local: "a.example".to_owned(), remote: "b.example".to_owned(), outcomes };
        let text = "b.example, tested from a.example\n  passed   ping (XEP-0199 §4)\n  \
                    advice   tls-1.3 (RFC 9325 §3.1.1): TLS 1.2\n1 passed, 0 failed, 0 untried.";
        assert_eq!(human(&report), text);
    }
}
