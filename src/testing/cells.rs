//! Tables of what must come of everything in every state, written down by hand.
//!
//! ```text
//! # Lines that begin with # are remarks.
//! several = one-state another-state           a name for some states
//! name of an input
//!   > what is said
//!   what comes of it: several a-third-state  # why: the section that says so
//! ```
//! Each state stands once below each input, so that no cell is forgotten and none is there twice.

use std::collections::BTreeMap;

/// What must come of an input.
#[derive(Debug)]
pub struct Row<'t> {
    pub name: &'t str,
    pub said: &'t str,
    /// By the state.
    pub cells: BTreeMap<&'t str, &'t str>,
}

/// The rows of a table of these states.
///
/// # Errors
/// A cell that is missing, that is there twice or without a reason, and lines that belong to nothing.
pub fn cells<'t>(text: &'t str, states: &[&str]) -> Result<Vec<Row<'t>>, String> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut rows: Vec<Row<'t>> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(line) = line.strip_prefix("  ") {
            let row = rows.last_mut().ok_or_else(|| format!("there is no input yet: {line}"))?;
            match line.strip_prefix("> ") {
                Some(said) => row.said = said,
                None => row.fill(line, &groups)?,
            }
        } else if let Some((group, members)) = line.split_once(" = ") {
            groups.insert(group.trim_end(), members.split_whitespace().collect());
        } else if rows.iter().any(|row| row.name == line) {
            return Err(format!("{line} is there twice"));
        } else {
            rows.push(Row { name: line, said: "", cells: BTreeMap::new() });
        }
    }
    for row in &rows {
        let missing: Vec<_> = states.iter().filter(|state| !row.cells.contains_key(*state)).collect();
        let unknown: Vec<_> = row.cells.keys().filter(|state| !states.contains(state)).collect();
        if row.said.is_empty() || !missing.is_empty() || !unknown.is_empty() {
            return Err(format!("{}: says {:?}, lacks {missing:?}, has {unknown:?}", row.name, row.said));
        }
    }
    Ok(rows)
}

impl<'t> Row<'t> {
    fn fill(&mut self, line: &'t str, groups: &BTreeMap<&str, Vec<&'t str>>) -> Result<(), String> {
        let parts = line.split_once(" # ").and_then(|(cell, why)| Some((cell.split_once(": ")?, why.trim())));
        let Some(((outcome, named), why)) = parts else { return Err(format!("{}: no cell: {line}", self.name)) };
        if why.is_empty() {
            return Err(format!("{}: no reason: {line}", self.name));
        }
        for name in named.split_whitespace() {
            for state in groups.get(name).map_or(&[name][..], Vec::as_slice).iter().copied() {
                if self.cells.insert(state, outcome.trim()).is_some() {
                    return Err(format!("{}: {state} is there twice", self.name));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [&str; 3] = ["a", "b", "c"];

    #[test]
    fn a_table_has_each_cell_once_and_says_why() {
        let good = "# A remark.\nboth = a b\n\nhello\n  > <x/>\n  yes:    both  # §1\n  no, so: c     # §2\n";
        let rows = cells(good, &STATES).unwrap();
        assert_eq!((rows.len(), rows[0].name, rows[0].said), (1, "hello", "<x/>"));
        assert_eq!(rows[0].cells, [("a", "yes"), ("b", "yes"), ("c", "no, so")].into());
        for (wrong, why) in [
            (good.replace("c     #", "     #"), "lacks [\"c\"]"),
            (good.replace("c     #", "c a   #"), "a is there twice"),
            (good.replace("c     #", "c d   #"), "has [\"d\"]"),
            (good.replace("  # §1", ""), "no cell"),
            (good.replace("§1", ""), "no"),
            (good.replace("  > <x/>\n", ""), "says \"\""),
            (good.replace("hello\n", ""), "there is no input yet"),
            (format!("{good}hello\n"), "hello is there twice"),
        ] {
            let error = cells(&wrong, &STATES).unwrap_err();
            assert!(error.contains(why), "{error}: {wrong}");
        }
    }
}
