//! Instructions for one message, counted by callgrind, and the budget that they must keep.
//!
//! A count does not depend on what else the machine does, so a small loss shows. It is that of the
//! thread that serves the sender: what the storage writer does on its own is not in it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use tokio::runtime::Runtime;

use crate::workload::{Way, Workload, documents};

/// First argument of the process that is counted; the second is the case.
pub(crate) const ROLE: &str = "count";

/// Messages of one count, behind those that fill caches and grow buffers.
const MESSAGES: u32 = 1000;
const WARM_UP: u32 = 100;

/// By how many percent a case may miss its budget, on both sides.
const TOLERANCE: f64 = 3.0;

/// Where the table in the document begins and ends.
const BEGIN: &str = "<!-- instructions: begin -->\n";
const END: &str = "<!-- instructions: end -->\n";

const PREAMBLE: &str = "\
# Instructions for one message, see docs/performance.md. `make budget` fails if a case takes 3 % more.
# `UPDATE=1 make budget` rewrites this file; to raise a figure, say why in docs/performance.md.
";

/// Instructions by case.
type Budget = BTreeMap<String, u64>;

/// Counts every case and holds it against the budget, or writes the budget anew.
pub(crate) fn check() -> Result<ExitCode, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (file, document) = (root.join("benches/gate/budget.toml"), root.join("docs/performance.md"));
    let rewrite = std::env::var_os("UPDATE").is_some_and(|it| it != "0");
    let budget: Budget = match fs::read_to_string(&file) {
        Ok(text) => toml::from_str(&text)?,
        Err(_) if rewrite => Budget::new(),
        Err(error) => return Err(format!("{}: {error}", file.display()).into()),
    };
    println!("{:<28} {:>8} {:>8} {:>9}", "instructions", "budget", "now", "change");
    let (mut counts, mut over, mut under) = (Budget::new(), Vec::new(), Vec::new());
    for case in cases() {
        let count = count(&case)?;
        let allowed = budget.get(&case).copied();
        let change = allowed.map_or(f64::INFINITY, |allowed| (count as f64 / allowed as f64 - 1.0) * 100.0);
        println!("{case:<28} {:>8} {count:>8} {change:>+8.1}%", allowed.unwrap_or_default());
        if change > TOLERANCE {
            over.push(case.clone());
        } else if change < -TOLERANCE {
            under.push(case.clone());
        }
        counts.insert(case, count);
    }
    let gone: Vec<&String> = budget.keys().filter(|case| !counts.contains_key(*case)).collect();
    if rewrite {
        fs::write(&file, format!("{PREAMBLE}{}", toml::to_string(&counts)?))?;
        fs::write(&document, with_table(&fs::read_to_string(&document)?, &counts)?)?;
        let is_raised = |(case, count): &(&String, &u64)| budget.get(*case).is_some_and(|before| *count > before);
        let raised: Vec<&str> = counts.iter().filter(is_raised).map(|(case, _)| case.as_str()).collect();
        if !raised.is_empty() {
            println!("Raised: {}. Say why in docs/performance.md.", raised.join(", "));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !gone.is_empty() {
        println!("No such cases: {gone:?}. Lower the budget: UPDATE=1 make budget");
    }
    if !under.is_empty() {
        println!("Cheaper than the budget: {}. Lower it: UPDATE=1 make budget", under.join(", "));
    }
    if !over.is_empty() {
        println!("More than {TOLERANCE} % over the budget: {}.", over.join(", "));
        println!("If it has to be: UPDATE=1 make budget, and a line in docs/performance.md that says why.");
        return Ok(ExitCode::FAILURE);
    }
    let text = fs::read_to_string(&document)?;
    if with_table(&text, &budget)? != text {
        return Err("the table in docs/performance.md is not the budget: UPDATE=1 make budget writes both".into());
    }
    Ok(ExitCode::SUCCESS)
}

/// The document with the budget in its table.
fn with_table(text: &str, budget: &Budget) -> Result<String, Box<dyn Error>> {
    let (before, rest) = text.split_once(BEGIN).ok_or("docs/performance.md has lost the table of instructions")?;
    let (_, behind) = rest.split_once(END).ok_or("the table of instructions in docs/performance.md has no end")?;
    let mut table = "| Message | Gate | Gate, in two pieces | Routed |\n|---|---|---|---|\n".to_owned();
    for document in documents() {
        let figure = |way| budget.get(&name(way, document.name)).map_or_else(|| "-".to_owned(), |it| grouped(*it));
        table += &format!("| {} | {} |\n", document.name, Way::ALL.map(figure).join(" | "));
    }
    Ok(format!("{before}{BEGIN}{table}{END}{behind}"))
}

/// A figure as people read it.
fn grouped(figure: u64) -> String {
    match figure {
        0..1000 => figure.to_string(),
        _ => format!("{},{:03}", figure / 1000, figure % 1000),
    }
}

/// Every way of every kind of message.
fn cases() -> impl Iterator<Item = String> {
    Way::ALL.into_iter().flat_map(|way| documents().map(|document| name(way, document.name)))
}

fn name(way: Way, document: &str) -> String {
    format!("{}-{document}", way.name())
}

/// Instructions for one message, in a process of its own.
fn count(case: &str) -> Result<u64, Box<dyn Error>> {
    let profile: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{case}.callgrind"));
    let done = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--toggle-collect=*be_counted_from_here*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args([ROLE, case])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !done.status.success() {
        return Err(format!("{case}: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr)).into());
    }
    let text = fs::read_to_string(&profile)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).ok_or("callgrind told no total")?;
    match total.trim().parse::<u64>()? / u64::from(MESSAGES) {
        0 => Err(format!("{case}: nothing was counted").into()),
        each => Ok(each),
    }
}

/// The process that is counted.
pub(crate) fn be_counted(runtime: &Runtime, case: &str) -> Result<(), Box<dyn Error>> {
    let documents = documents();
    let mut cases = Way::ALL.into_iter().flat_map(|way| documents.iter().map(move |document| (way, document)));
    let (way, document) = cases
        .find(|(way, document)| name(*way, document.name) == case)
        .ok_or_else(|| format!("there is no case {case}"))?;
    let mut workload = runtime.block_on(Workload::new(way, &document.text))?;
    runtime.block_on(workload.run(WARM_UP))?;
    be_counted_from_here(runtime, &mut workload)
}

/// Its name is how callgrind knows when to count.
#[inline(never)]
fn be_counted_from_here(runtime: &Runtime, workload: &mut Workload<'_>) -> Result<(), Box<dyn Error>> {
    runtime.block_on(workload.run(MESSAGES))
}
