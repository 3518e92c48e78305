//! What somebody may have meant: the nearest name by edit distance.

/// The name nearest to `text`, else one that begins with it, unless none is near.
pub(super) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = (text.chars().count() / 3).max(2);
    let names: Vec<_> = names.into_iter().collect();
    let by_distance = names
        .iter()
        .map(|name| (distance(text, name), *name))
        .filter(|(distance, name)| *distance <= near && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name);
    let begins = |name: &&str| text.chars().count() >= 3 && name.starts_with(text);
    by_distance.or_else(|| names.iter().copied().find(begins))
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, a) in a.chars().enumerate() {
        let mut line = vec![row + 1];
        for (column, other) in b.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX - 1);
            let mut cost = at(&last, column) + usize::from(a != *other);
            cost = cost.min(at(&last, column + 1) + 1).min(at(&line, column) + 1);
            let swapped = column > 0 && previous == Some(*other) && b.get(column - 1) == Some(&a);
            if swapped {
                cost = cost.min(at(&before, column - 1) + 1);
            }
            line.push(cost);
        }
        before = std::mem::replace(&mut last, line);
        previous = Some(a);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn counts_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("lsten", "listen", 1),
            ("ltis", "list", 2),
            ("tsl", "tls", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let names = ["listen", "limits", "log", "tls", "dns"];
        assert_eq!(nearest("lsiten", names), Some("listen"));
        assert_eq!(nearest("limit", names), Some("limits"));
        assert_eq!(nearest("limits.ring", ["limits.roster_items", "limits.ring_bytes"]), Some("limits.ring_bytes"));
        assert_eq!(nearest("banana", names), None);
        assert_eq!(nearest("", names), None);
    }
}
