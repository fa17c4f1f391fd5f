//! The host's children that are not watched, and grow: a report that says nothing of them would be read as if all were well.
//!
//! Looks at them in `/proc`, rarely, and each is told once for each doubling. Reads a child's memory map only where it has grown.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::time::{Duration, Instant};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// Growth that is told.
const LEAST: u64 = 16 << 20;
/// Descendants that are looked at.
const MOST: usize = 256;

/// What is known of a child.
struct Child {
    first: u64,
    told: u64,
}

/// See the module.
pub(super) struct Unwatched {
    host: u32,
    /// `None`: not yet.
    looked: Option<Instant>,
    children: HashMap<u32, Child>,
}

impl Unwatched {
    /// Of the process `host`.
    pub(super) fn of(host: u32) -> Self {
        Self { host, looked: None, children: HashMap::new() }
    }

    /// What there is to tell now, a sentence each.
    pub(super) fn look(&mut self) -> Vec<String> {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return Vec::new();
        }
        self.looked = Some(Instant::now());
        self.look_at(&descendants(self.host))
    }

    fn look_at(&mut self, processes: &[u32]) -> Vec<String> {
        self.children.retain(|process, _| processes.contains(process));
        processes.iter().filter_map(|process| self.look_at_one(*process)).collect()
    }

    fn look_at_one(&mut self, process: u32) -> Option<String> {
        let resident = resident(process)?;
        let child = self.children.entry(process).or_insert(Child { first: resident, told: 0 });
        let grown = resident.saturating_sub(child.first);
        if grown < LEAST.max(child.told.saturating_mul(2)) || is_watched(process) {
            return None;
        }
        child.told = grown;
        let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        let size = leakline_core::text::bytes(grown as f64);
        let (name, why) = (name.trim(), why_not(process));
        Some(format!("leakline: child {process} ({name}) grew by {size} and is not watched: {why}"))
    }
}

/// The children of `host`, their children, and so on.
fn descendants(host: u32) -> Vec<u32> {
    let mut all = children_of(host);
    let mut next = 0;
    while let Some(process) = all.get(next).copied().filter(|_| all.len() < MOST) {
        all.extend(children_of(process));
        next += 1;
    }
    all.truncate(MOST);
    all
}

/// Each thread has its own, of which some are looked at. Nothing where the kernel does not tell.
fn children_of(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten().take(MOST);
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

fn resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Whether it has a watcher: a forked child has memory of its own for that, and a program that was started has the library,
/// but not what a forked child has inherited. What cannot be read counts as watched: nothing can be said of it.
fn is_watched(process: u32) -> bool {
    let Ok(map) = fs::read_to_string(format!("/proc/{process}/maps")) else { return true };
    if map.contains("/memfd:leakline") {
        return true;
    }
    let parent = |line: &str| line.contains(crate::preload::own_file_name());
    map.lines().any(parent) && !is_fork(process)
}

/// Whether it is the same program as its parent.
fn is_fork(process: u32) -> bool {
    let line = |process: u32| fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok());
    parent.is_some_and(|parent| line(parent) == line(process))
}

fn why_not(process: u32) -> &'static str {
    if is_fork(process) {
        return "it has found no room for a watcher, or too many are watched";
    }
    let mut head = Vec::new();
    let program = fs::File::open(format!("/proc/{process}/exe"));
    let Ok(_) = program.and_then(|file| file.take(4096).read_to_end(&mut head)) else {
        return "its program cannot be read";
    };
    if head.windows(8).any(|part| part == b"/ld-musl") {
        return "it is made for musl";
    }
    if !head.windows(9).any(|part| part == b"/ld-linux") {
        return "it is statically linked";
    }
    "it was started in a way that is not seen (system, popen, execl), with rights of its own, or within moments of many others"
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_that_grows_is_told_once_for_each_doubling() {
        let script = "import sys\nkept = []\nfor line in sys.stdin:\n    kept.append(bytearray(int(line)))\n    kept[-1][::4096] = b'x' * len(kept[-1][::4096])\n    print(flush=True)";
        let child =
            Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("python3 runs");
        let process = child.id();
        let mut grows = |mebibytes: u64| {
            use std::io::Write as _;
            writeln!(child.stdin.as_mut().unwrap(), "{}", mebibytes << 20).unwrap();
            let mut answer = [0];
            child.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        };
        grows(1);
        let own = std::process::id();
        let mut unwatched = Unwatched::of(own);
        assert_eq!(unwatched.look_at(&[process]), Vec::<String>::new());
        grows(40);
        let told = unwatched.look_at(&[process]);
        let [line] = told.as_slice() else { panic!("{told:?}") };
        assert!(line.contains(&format!("child {process} (python3")) && line.contains("grew by 4"), "{line}");
        assert!(line.contains("not seen"), "{line}");
        grows(10);
        assert_eq!(unwatched.look_at(&[process]), Vec::<String>::new());
        grows(60);
        assert_eq!(unwatched.look_at(&[process]).len(), 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(unwatched.look_at(&[process]), Vec::<String>::new());
    }
}
