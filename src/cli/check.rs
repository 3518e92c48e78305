//! `comity check`: the own domains as the outside world finds them, or how another domain is reached, in plain words.

mod certificates;
mod peer;
mod records;

use clap::Args;
use serde::Serialize;

use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::cli::wait_for;
use crate::clock::Clock;
use crate::config::{Config, FederationMode};
use crate::federation::doctor::Verdict;
use crate::net::System;
use crate::server::{Examine, resolver};

/// Check the own domains (DNS records, certificates, ports), or how another domain is reached.
///
/// Without a domain: asks the configured DNS servers for the SRV records of each own domain and of those of rooms, reads the
/// certificates, and connects to each address that the records lead to, all from this machine.
///
/// With the domain of another server: goes all the ways to it as this server does when somebody writes there (DNS,
/// connection, TLS, certificates, SASL EXTERNAL or dialback), and says what is wrong and which record or line to change.
/// The server should be running, for only then can the other one ask it about a dialback key.
///
/// The exit code is 1 when something is wrong.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The domain of another server.
    domain: Option<String>,
    /// The own domain that it is reached from; the first one, if nothing is said.
    #[arg(long, value_name = "DOMAIN", requires = "domain")]
    from: Option<String>,
    #[command(flatten)]
    rendering: Rendering,
}

/// Who looks for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// Clients and other servers.
    All,
    Servers,
}

/// What is to be said about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    domain: String,
    about: About,
    verdict: Verdict,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum About {
    Certificate,
    Dns,
    Port,
}

/// What is said about one domain.
struct Findings<'a> {
    domain: &'a str,
    all: &'a mut Vec<Finding>,
}

impl Check {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let config = place.load()?;
        if let Some(domain) = self.domain {
            return peer::check(&config, Examine { domain, from: self.from }, self.rendering, output);
        }
        let findings = wait_for(findings(&config))?;
        output.facts(self.rendering, &findings, |findings| human(findings))?;
        if findings.iter().any(|finding| finding.verdict == Verdict::Wrong) { Err(Failure::Told) } else { Ok(()) }
    }
}

async fn findings(config: &Config) -> Result<Vec<Finding>, Failure> {
    let resolver =
        resolver(&config.dns).map_err(|error| Failure::Failed(format!("the DNS cannot be asked: {error}")))?;
    let mut all = Vec::new();
    for domain in &config.domains {
        let mut findings = Findings { domain: domain.name.as_str(), all: &mut all };
        certificates::check(config, domain, &Clock::system(), &mut findings);
        let endpoints = records::check(config, (&domain.name.a_labels(), Whom::All), &resolver, &mut findings).await;
        records::connect(&endpoints, &resolver, &System, &mut findings).await;
    }
    // Nobody but other servers looks for them.
    for rooms in config.services.rooms.iter().filter(|_| config.federation.mode != FederationMode::Closed) {
        let mut findings = Findings { domain: rooms.as_str(), all: &mut all };
        certificates::check_rooms(config, rooms, &mut findings);
        let endpoints = records::check(config, (&rooms.a_labels(), Whom::Servers), &resolver, &mut findings).await;
        records::connect(&endpoints, &resolver, &System, &mut findings).await;
    }
    Ok(all)
}

impl Findings<'_> {
    fn add(&mut self, about: About, verdict: Verdict, text: impl Into<String>) {
        let finding = Finding { domain: self.domain.to_owned(), about, verdict, text: text.into() };
        // Two ports of one host have its DNS in common.
        if !self.all.contains(&finding) {
            self.all.push(finding);
        }
    }
}

fn human(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut domain = "";
    for finding in findings {
        if finding.domain != domain {
            domain = &finding.domain;
            text.push_str(&format!("{}{domain}\n", if text.is_empty() { "" } else { "\n" }));
        }
        text.push_str(&format!("  {}  {}\n", word(finding.verdict), finding.text));
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let conclusion = match (count(Verdict::Wrong), count(Verdict::Warning)) {
        (0, 0) => "All is well.".to_owned(),
        (0, warnings) => format!("It works; {warnings} to look at."),
        (wrong, _) => format!("{wrong} wrong."),
    };
    format!("{text}\n{conclusion}")
}

/// At the beginning of a line.
const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fine => "fine   ",
        Verdict::Warning => "warning",
        Verdict::Wrong => "WRONG  ",
    }
}

#[cfg(test)]
mod tests {
    use super::{About, Finding, Findings, Verdict, human};

    #[test]
    fn a_person_reads_verdicts_by_domain() {
        let mut all: Vec<Finding> = Vec::new();
        Findings { domain: "a.example", all: &mut all }.add(About::Port, Verdict::Fine, "port 5222 answers");
        Findings { domain: "b.example", all: &mut all }.add(About::Dns, Verdict::Wrong, "no records");
        let text = "a.example\n  fine     port 5222 answers\n\nb.example\n  WRONG    no records\n\n1 wrong.";
        assert_eq!(human(&all), text);
    }
}
