//! Bar charts as SVG: one group of bars for each row, on a logarithmic scale.

use std::fmt::Write;

use crate::servers::Make;
use crate::targets::{TARGETS, Target};

const COLOURS: [(Make, &str); 4] =
    [(Make::Comity, "#1b7f5c"), (Make::Prosody, "#c2852b"), (Make::Ejabberd, "#8a5fa8"), (Make::Floor, "#9aa3ab")];

const LEFT: f64 = 430.0;
const WIDTH: f64 = 900.0;
const BAR: f64 = 11.0;

/// All pictures with their file names; `figure` gives the median of a scenario and a server.
pub fn all(figure: impl Fn(&str, Make) -> Option<f64>) -> Vec<(&'static str, String)> {
    let (memory, work): (Vec<&Target>, Vec<&Target>) = TARGETS.iter().partition(|target| target.in_bytes());
    vec![
        ("cpu.svg", chart("Server CPU time per unit, microseconds (logarithmic)", &work, &figure)),
        ("memory.svg", chart("Memory, bytes (logarithmic)", &memory, &figure)),
    ]
}

fn chart(title: &str, rows: &[&Target], figure: &impl Fn(&str, Make) -> Option<f64>) -> String {
    let mut bars = Vec::new();
    for row in rows {
        let found: Vec<_> = COLOURS
            .iter()
            .filter(|(make, _)| row.floor || *make != Make::Floor)
            .filter_map(|(make, colour)| Some((make.name(), *colour, figure(row.scenario, *make)?)))
            .collect();
        if !found.is_empty() {
            bars.push((row.title, found));
        }
    }
    let values = || bars.iter().flat_map(|(_, found)| found.iter().map(|(.., value)| value.max(1e-3).log10()));
    let (least, most) = (values().fold(f64::MAX, f64::min).floor(), values().fold(f64::MIN, f64::max).ceil());
    let scale = |value: f64| (value.max(1e-3).log10() - least) / (most - least).max(1.0) * (WIDTH - LEFT - 70.0);
    let (mut body, mut y) = (String::new(), 50.0);
    for (title, found) in &bars {
        let centre = y + BAR * 0.5 * f64::from(u32::try_from(found.len()).unwrap_or(0)) + 4.0;
        let _ = writeln!(body, "<text x='{}' y='{centre:.0}' text-anchor='end'>{title}</text>", LEFT - 10.0);
        for (name, colour, value) in found {
            let length = scale(*value).max(1.0);
            let shown = if *value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") };
            let _ = writeln!(
                body,
                "<rect x='{LEFT}' y='{y:.0}' width='{length:.1}' height='{}' fill='{colour}'/>\
                 <text x='{:.1}' y='{:.0}' class='small'>{name} {shown}</text>",
                BAR - 1.0,
                LEFT + length + 4.0,
                y + BAR - 2.0
            );
            y += BAR;
        }
        y += 10.0;
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {y:.0}' font-family='sans-serif' font-size='11'>\n\
         <style>.small {{ font-size: 9px }}</style>\n<rect width='100%' height='100%' fill='white'/>\n\
         <text x='10' y='25' font-size='15'>{title}</text>\n{body}</svg>\n"
    )
}
