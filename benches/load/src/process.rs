//! What the kernel says about a server's processes: CPU time and memory of the whole tree.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

/// The process `root` and all its descendants.
pub fn tree(root: u32) -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(parent) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| parent(&stat)) {
            parents.push((pid, parent));
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

/// What the kernel itself uses for sockets and everything around them, in bytes: its slabs and the pages of TCP
/// buffers, of the whole machine.
pub fn kernel_memory() -> io::Result<u64> {
    let (meminfo, sockstat) = (fs::read_to_string("/proc/meminfo")?, fs::read_to_string("/proc/net/sockstat")?);
    let number = |text: &str, line: &str, field: &str| {
        let mut words = text.lines().find(|it| it.starts_with(line))?.split_whitespace();
        words.find(|word| *word == field)?;
        words.next()?.parse::<u64>().ok()
    };
    let slab = number(&meminfo, "Slab:", "Slab:").unwrap_or(0) * 1024;
    let pages = number(&sockstat, "TCP:", "mem").unwrap_or(0);
    Ok(slab + pages * rustix::param::page_size() as u64)
}

/// CPU time of process trees, added up thread by thread in nanoseconds: what the kernel keeps for a whole process is
/// rounded to its ticks, too coarse for a server that is nearly idle.
pub struct Clock {
    pids: Vec<u32>,
    /// What each thread had when it was last seen; those that have ended stay.
    threads: HashMap<(u32, u32), u64>,
}

impl Clock {
    /// A clock for the processes under `roots` as they are now.
    pub fn of(roots: &[u32]) -> io::Result<Self> {
        let mut pids = Vec::new();
        for root in roots {
            pids.extend(tree(*root)?);
        }
        Ok(Self { pids, threads: HashMap::new() })
    }

    /// User and system time so far; only differences mean something.
    pub fn read(&mut self) -> io::Result<Duration> {
        for (index, pid) in self.pids.iter().enumerate() {
            let threads = match fs::read_dir(format!("/proc/{pid}/task")) {
                Ok(threads) => threads,
                // A helper may end at any time. The first is the server.
                Err(error) if index == 0 => return Err(error),
                Err(_) => continue,
            };
            for thread in threads.flatten() {
                let spent = fs::read_to_string(thread.path().join("schedstat")).ok();
                let spent = spent.and_then(|text| text.split(' ').next()?.parse().ok());
                let id = thread.file_name().to_str().and_then(|name| name.parse().ok());
                if let (Some(id), Some(spent)) = (id, spent) {
                    self.threads.insert((*pid, id), spent);
                }
            }
        }
        Ok(Duration::from_nanos(self.threads.values().sum()))
    }
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

/// The parent of a process from the text of `/proc/PID/stat`; the name of the program may contain anything, the last
/// parenthesis ends it.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parent;

    #[test]
    fn a_name_may_contain_parentheses() {
        assert_eq!(parent("7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7"), Some(3));
    }
}
