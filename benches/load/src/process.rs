//! What the kernel says about a server's processes: CPU time and memory of the whole tree.

use std::fs;
use std::io;
use std::time::Duration;

/// The process `root` and all its descendants.
pub fn tree(root: u32) -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Ok(stat) = Stat::read(pid) {
            parents.push((pid, stat.parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(found)
}

/// User and system time of these processes together.
pub fn cpu(pids: &[u32]) -> io::Result<Duration> {
    let ticks = rustix::param::clock_ticks_per_second();
    let mut sum = 0;
    for (index, pid) in pids.iter().enumerate() {
        match Stat::read(*pid) {
            Ok(stat) => sum += stat.ticks,
            // A helper may end at any time; its parent then carries its time. The first is the server.
            Err(error) if index == 0 => return Err(error),
            Err(_) => {}
        }
    }
    Ok(Duration::from_nanos(sum * 1_000_000_000 / ticks))
}

/// Proportional set size of the tree under `root`, in bytes.
pub fn memory(root: u32) -> io::Result<u64> {
    let mut sum = 0;
    for pid in tree(root)? {
        let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let kilobytes = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|number| number.trim().parse::<u64>().ok());
        sum += kilobytes.unwrap_or(0) * 1024;
    }
    Ok(sum)
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat cannot be read: {text}")))
    }

    /// The name of the program may contain anything, the last parenthesis ends it.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        // Fields 4, 14 to 17 of proc(5); `rest` begins with field 3.
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Stat;

    #[test]
    fn a_name_may_contain_parentheses() {
        let text = "7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.ticks), (3, 100));
    }
}
