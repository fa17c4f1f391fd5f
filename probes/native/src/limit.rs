//! How much memory the host may use, and who says so.
//! Reads only; sets no limit.

use std::path::Path;

use crate::parse::{self, MemoryGroup};

/// The smallest limit on the host's memory, in bytes, with its source's name: a control group, the address space that
/// the process may have, or the machine's memory. `None` where none of them can be read.
///
/// Reads a handful of small files: for the start of a session, not for each tick.
pub fn limit() -> Option<(u64, String)> {
    smallest_of(address_space(), "self")
}

/// As [`limit`], for the process `pid`. A process that is gone has the machine's memory as its limit.
pub fn limit_of(pid: u32) -> Option<(u64, String)> {
    let limits = std::fs::read(format!("/proc/{pid}/limits")).unwrap_or_default();
    smallest_of(parse::address_space_limit(&limits), &pid.to_string())
}

fn smallest_of(address_space: Option<u64>, process: &str) -> Option<(u64, String)> {
    let address_space = address_space.map(|bytes| (bytes, "RLIMIT_AS (address space)".to_owned()));
    let physical = physical().map(|bytes| (bytes, "physical memory".to_owned()));
    // The most specific source comes last, so that it wins where two are equal.
    [physical, address_space, control_group(Path::new("/"), process)]
        .into_iter()
        .flatten()
        .rev()
        .min_by_key(|(bytes, _)| *bytes)
}

/// The smallest limit of the process's group and all groups around it. `root` is where `/proc` and `/sys` are; the mounts are
/// this process's, because it is this process that looks.
fn control_group(root: &Path, process: &str) -> Option<(u64, String)> {
    let mountinfo = std::fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let cgroup = std::fs::read_to_string(root.join("proc").join(process).join("cgroup")).ok()?;
    let groups = parse::memory_groups(&mountinfo, &cgroup);
    groups.iter().filter_map(|group| smallest(root, group)).min_by_key(|(bytes, _)| *bytes)
}

fn smallest(root: &Path, group: &MemoryGroup) -> Option<(u64, String)> {
    let file = if group.version == 2 { "memory.max" } else { "memory.limit_in_bytes" };
    group
        .below
        .ancestors()
        .filter_map(|below| {
            let path = group.mount.join(below).join(file);
            let text = std::fs::read(root.join(path.strip_prefix("/").unwrap_or(&path))).ok()?;
            let bytes = parse::cgroup_limit(&text)?;
            // Version 1 writes the largest number of whole pages where version 2 writes `max`.
            let unlimited = bytes >= i64::MAX as u64 - 0xffff;
            (!unlimited).then(|| (bytes, format!("cgroup {}", path.display())))
        })
        .min_by_key(|(bytes, _)| *bytes)
}

fn address_space() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit` into ours.
    let outcome = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    #[expect(clippy::useless_conversion, reason = "32 bits wide on some targets")]
    (outcome == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then(|| u64::from(limit.rlim_cur))
}

fn physical() -> Option<u64> {
    let mut info = std::mem::MaybeUninit::<libc::sysinfo>::zeroed();
    // SAFETY: the kernel writes one `sysinfo` into ours.
    if unsafe { libc::sysinfo(info.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: all zeros is a valid `sysinfo`, and the kernel filled it in.
    let info = unsafe { info.assume_init() };
    #[expect(clippy::useless_conversion, reason = "32 bits wide on some targets")]
    u64::from(info.totalram).checked_mul(u64::from(info.mem_unit)).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a root with these files and asks for its control group's limit.
    fn check(files: &[(&str, &str)], expected: Option<(u64, &str)>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let found = control_group(root.path(), "self");
        assert_eq!(found.as_ref().map(|(bytes, name)| (*bytes, name.as_str())), expected);
    }

    const V2: (&str, &str) = ("proc/self/mountinfo", "29 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    const V1: (&str, &str) =
        ("proc/self/mountinfo", "33 22 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");

    #[test]
    fn the_smallest_of_a_group_and_those_around_it_holds() {
        let group = ("proc/self/cgroup", "0::/a/b\n");
        let inner = ("sys/fs/cgroup/a/b/memory.max", "2000\n");
        let outer = ("sys/fs/cgroup/a/memory.max", "1000\n");
        let none = ("sys/fs/cgroup/a/memory.max", "max\n");
        check(&[V2, group, inner, outer], Some((1000, "cgroup /sys/fs/cgroup/a/memory.max")));
        check(&[V2, group, inner, none], Some((2000, "cgroup /sys/fs/cgroup/a/b/memory.max")));
        check(&[V2, group, none], None);
        check(&[V2], None);
    }

    #[test]
    fn version_1_has_another_file_and_a_number_for_no_limit() {
        let group = ("proc/self/cgroup", "4:memory:/x\n");
        let file = "sys/fs/cgroup/memory/x/memory.limit_in_bytes";
        check(
            &[V1, group, (file, "4096\n")],
            Some((4096, "cgroup /sys/fs/cgroup/memory/x/memory.limit_in_bytes")),
        );
        check(&[V1, group, (file, "9223372036854771712\n")], None);
    }

    #[test]
    fn this_machine_has_a_limit_no_larger_than_its_memory() {
        let (bytes, name) = limit().unwrap();
        assert!(bytes > 0 && bytes <= physical().unwrap(), "{bytes} {name}");
    }

    #[test]
    fn another_process_has_its_own_limit() {
        let sleeping = |limit: &str| {
            let script = format!("ulimit -v {limit}; exec sleep 100");
            std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap()
        };
        let (mut limited, mut free) = (sleeping("70000"), sleeping("unlimited"));
        let found = |pid| (0..500).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            let is_there = std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
            is_there.then(|| limit_of(pid))
        });
        assert_eq!(found(limited.id()), Some(Some((70_000 << 10, "RLIMIT_AS (address space)".to_owned()))));
        assert_eq!(found(free.id()), Some(limit()));
        for child in [&mut limited, &mut free] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
