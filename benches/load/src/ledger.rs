//! Where the time of a run goes: a sum for each scenario and server.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::servers::Make;

/// Wall time by scenario, in the order in which they came.
#[derive(Default)]
pub struct Ledger {
    lines: Vec<(String, [Duration; Make::ALL.len() + 1])>,
}

impl Ledger {
    /// What `scenario` has taken since then; without a server if it was done for all of them at once.
    pub fn book(&mut self, scenario: &str, make: Option<Make>, since: Instant) {
        let column = make.and_then(|make| Make::ALL.iter().position(|it| *it == make)).unwrap_or(Make::ALL.len());
        let at = self.lines.iter().position(|(name, _)| name == scenario).unwrap_or_else(|| {
            self.lines.push((scenario.to_owned(), Default::default()));
            self.lines.len() - 1
        });
        self.lines[at].1[column] += since.elapsed();
    }

    /// A table for the one who waited.
    pub fn table(&self) -> String {
        let names = Make::ALL.map(Make::name).into_iter().chain(["all at once", "sum"]);
        let mut text = format!("{:28}", "seconds of the run");
        for name in names {
            let _ = write!(text, "{name:>12}");
        }
        for (scenario, spent) in &self.lines {
            let _ = write!(text, "\n{scenario:28}");
            for each in spent.iter().copied().chain([spent.iter().sum()]) {
                let _ = write!(text, "{:>12.1}", each.as_secs_f64());
            }
        }
        let sum: Duration = self.lines.iter().flat_map(|(_, spent)| spent).sum();
        let _ = write!(text, "\n{:28}{:>72.1}", "", sum.as_secs_f64());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_one_scenario_are_added() {
        let (mut ledger, ago) = (Ledger::default(), Instant::now() - Duration::from_secs(2));
        ledger.book("chat", Some(Make::Floor), ago);
        ledger.book("chat", Some(Make::Floor), ago);
        ledger.book("chat", None, ago);
        let table = ledger.table();
        let line = table.lines().find(|line| line.starts_with("chat")).unwrap();
        let sums: Vec<f64> = line.split_whitespace().skip(1).map(|it| it.parse::<f64>().unwrap().floor()).collect();
        assert_eq!(sums, [0.0, 0.0, 0.0, 4.0, 2.0, 6.0]);
    }
}
