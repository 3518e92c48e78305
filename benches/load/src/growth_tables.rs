//! The tables about growth, and what many more sessions would take.

use std::fmt::{Result, Write};

use crate::meter::Latency;
use crate::report::{Report, median};
use crate::servers::Make;

/// What a row says, the figures before and after, how much more than the floor's growth is allowed, and whether the
/// floor does the same.
const ROWS: [(&str, &str, &str, f64, bool); 8] = [
    ("sessions: memory for each, bytes", "growth-memory-1x", "growth-memory-10x", 1.05, false),
    ("sessions: CPU per delivered presence, 200 contacts, us", "growth-presence-1x", "growth-presence-10x", 1.15, true),
    (
        "sessions: CPU per 1:1 message, saturated, us",
        "growth-chat-saturated-1x",
        "growth-chat-saturated-10x",
        1.15,
        true,
    ),
    ("sessions: CPU per 1:1 message at 2,000/s, us", "growth-chat-2000-1x", "growth-chat-2000-10x", 1.15, true),
    ("rosters: CPU per delivered presence, us", "roster-presence-1x", "growth-presence-1x", 1.15, true),
    (
        "rosters: CPU per 1:1 message, saturated, us",
        "roster-chat-saturated-1x",
        "roster-chat-saturated-10x",
        1.15,
        false,
    ),
    ("rosters: CPU per 1:1 message at 2,000/s, us", "roster-chat-2000-1x", "roster-chat-2000-10x", 1.15, false),
    ("rosters: CPU per login, direct TLS, us", "roster-login-1x", "roster-login-10x", 1.15, false),
];

/// The tables; nothing if growth was not measured.
pub fn write(report: &Report, text: &mut String) -> Result {
    let of = |scenario: &str, make| report.median(scenario, make).unwrap_or(f64::NAN);
    let own = |scenario: &str| of(scenario, Make::Comity);
    if own("growth-alive").is_nan() {
        return Ok(());
    }
    writeln!(
        text,
        "\n| what grows | Comity before | after | floor before | after | growth, against the floor's | must | holds |\n\
         |---|---|---|---|---|---|---|---|"
    )?;
    for (title, few, many, most, floored) in ROWS {
        let floor = match floored {
            true => format!("{:.1} | {:.1}", of(few, Make::Floor), of(many, Make::Floor)),
            false => "- | -".to_owned(),
        };
        let all: Vec<f64> =
            (1..=report.turns(many)).filter_map(|turn| growth(report, (few, many), floored, turn)).collect();
        let range = match (all.iter().copied().reduce(f64::min), all.iter().copied().reduce(f64::max)) {
            (Some(least), Some(most)) if all.len() > 1 => format!(" ({least:.2} to {most:.2})"),
            _ => String::new(),
        };
        let ratio = median(all).unwrap_or(f64::NAN);
        let holds = if ratio <= most { "yes" } else { "no" };
        let (before, after) = (own(few), own(many));
        writeln!(text, "| {title} | {before:.1} | {after:.1} | {floor} | {ratio:.2}{range} | {most} | {holds} |")?;
    }
    let alive = (1..=report.turns("growth-alive")).filter_map(|turn| report.figure("growth-alive", Make::Comity, turn));
    writeln!(
        text,
        "\nOf {} sessions {} answered at the end. With all of them there, p50 / p95 in ms:\n",
        thousands(own("growth-sessions")),
        thousands(alive.reduce(f64::min).unwrap_or(f64::NAN))
    )?;
    for (title, scenario) in
        [("1:1 message at 2,000/s", "growth-chat-2000-10x"), ("presence to 200 contacts", "growth-presence-10x")]
    {
        let of = |make, turn| report.latency(scenario, make, turn);
        let turns = (1..=report.turns(scenario)).filter_map(|turn| of(Make::Comity, turn).zip(of(Make::Floor, turn)));
        let turns: Vec<(Latency, Latency)> = turns.collect();
        let holds = turns.iter().filter(|(own, floor)| own.within(*floor)).count();
        let show = |pick: fn(&(Latency, Latency)) -> u32| {
            median(turns.iter().map(|turn| f64::from(pick(turn)) / 1e3).collect()).unwrap_or(f64::NAN)
        };
        let (a, b) = (show(|(own, _)| own.p50), show(|(own, _)| own.p95));
        let (c, d) = (show(|(_, floor)| floor.p50), show(|(_, floor)| floor.p95));
        let all = turns.len();
        writeln!(
            text,
            "- {title}: Comity {a:.2} / {b:.2}, floor {c:.2} / {d:.2}: the bound holds in {holds} of {all} turns."
        )?;
    }
    outlook(report, text)
}

/// What Comity's figure has grown by in a turn, against the floor's growth if that does the same.
fn growth(report: &Report, (few, many): (&str, &str), floored: bool, turn: usize) -> Option<f64> {
    let of = |make| Some(report.figure(many, make, turn)? / report.figure(few, make, turn)?);
    let floor = if floored { of(Make::Floor)? } else { 1.0 };
    Some(of(Make::Comity)? / floor)
}

/// What more sessions would take, if everything stayed as it is with the most that were measured.
fn outlook(report: &Report, text: &mut String) -> Result {
    let own = |scenario: &str| report.median(scenario, Make::Comity).unwrap_or(f64::NAN);
    let (process, kernel) = (own("growth-memory-10x"), own("growth-kernel-10x"));
    writeln!(
        text,
        "\nA session costs {:.1} kB in the process and {:.1} kB in the kernel (slabs and TCP buffers, idle). From that, \
         computed:\n\n\
         | sessions | process | kernel | cores for one message a minute and session | one core logs all in again in |\n\
         |---|---|---|---|---|",
        process / 1e3,
        kernel / 1e3
    )?;
    for count in [own("growth-sessions"), 100_000.0, 1_000_000.0] {
        let (cheap, dear) = (own("growth-chat-saturated-10x"), own("growth-chat-2000-10x"));
        let cores = |us: f64| count / 60.0 * us / 1e6;
        writeln!(
            text,
            "| {} | {:.2} GB | {:.2} GB | {:.2} to {:.2} | {:.0} s |",
            thousands(count),
            count * process / 1e9,
            count * kernel / 1e9,
            cores(cheap.min(dear)),
            cores(cheap.max(dear)),
            count * own("roster-login-1x") / 1e6
        )?;
    }
    writeln!(
        text,
        "\nThe cores lie between the figure of many messages at once and that of messages that come one by one. A \
         process needs a descriptor for each session (`LimitNOFILE`, `fs.nr_open`).\n"
    )
}

/// A whole number with commas.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([7.0, 1_000.0, 123_456.0, 1e6].map(thousands), ["7", "1,000", "123,456", "1,000,000"]);
    }
}
