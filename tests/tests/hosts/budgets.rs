//! What leakline may take of the process that it watches: threads, descriptors, address space.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use leakline_tests::{built_host, dist, jdks, venv_python};

/// What is taken at most beside the bare program, and how much of it is spare.
struct Budget {
    threads: usize,
    descriptors: usize,
}

const ADDRESS_SPACE_KIB: u64 = 24 << 10;

/// What the kernel counts of one process.
#[derive(Debug)]
struct Counts {
    threads: usize,
    descriptors: usize,
    /// Without the files that are mapped from leakline's folder.
    address_space_kib: u64,
}

struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn counts(pid: u32) -> Counts {
    let entries = |name: &str| fs::read_dir(format!("/proc/{pid}/{name}")).map_or(0, Iterator::count);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let size =
        status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().split(' ').next()?.parse().ok());
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let own: u64 = maps.lines().filter(|line| line.contains("/libleakline_")).filter_map(kib).sum();
    Counts {
        threads: entries("task"),
        descriptors: entries("fd"),
        address_space_kib: size.unwrap_or(0_u64).saturating_sub(own),
    }
}

fn kib(line: &str) -> Option<u64> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some((address(end)? - address(start)?) >> 10)
}

/// The most of each that is seen over some ticks; the program must live for 4 s.
fn most(mut command: Command, folder: &Path) -> Counts {
    command.current_dir(folder).env_remove("LEAKLINE_DIST");
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let started = Started(child.expect("the program starts"));
    let begun = Instant::now();
    let mut most = Counts { threads: 0, descriptors: 0, address_space_kib: 0 };
    while begun.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(10));
        // Until everything has settled, `leakline run` itself and the start of the program are seen.
        if begun.elapsed() > Duration::from_millis(1500) {
            let seen = counts(started.0.id());
            most.threads = most.threads.max(seen.threads);
            most.descriptors = most.descriptors.max(seen.descriptors);
            most.address_space_kib = most.address_space_kib.max(seen.address_space_kib);
        }
    }
    most
}

fn check(name: &str, program: PathBuf, words: &[&str], budget: &Budget) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bare = Command::new(&program);
    bare.args(words);
    let bare = most(bare, folder.path());
    let mut watched = Command::new(dist().leakline);
    watched.args(["run", "-q", "--interval", "500ms", "-o"]).arg(folder.path().join("host.leak"));
    watched.arg("--").arg(&program).args(words);
    let watched = most(watched, folder.path());
    let all = format!("{name}: bare {bare:?}, watched {watched:?}");
    assert!(bare.threads > 0 && watched.threads >= bare.threads, "{all}");
    assert!(
        watched.threads <= bare.threads + budget.threads,
        "{} threads are allowed; {all}",
        budget.threads
    );
    assert!(
        watched.descriptors <= bare.descriptors + budget.descriptors,
        "{} descriptors are allowed; {all}",
        budget.descriptors
    );
    assert!(
        watched.address_space_kib <= bare.address_space_kib + ADDRESS_SPACE_KIB,
        "{ADDRESS_SPACE_KIB} KiB of address space are allowed; {all}"
    );
}

#[test]
fn a_c_program_has_no_thread_of_ours() {
    check("C", built_host("ends"), &["waits"], &Budget { threads: 0, descriptors: 2 });
}

#[test]
fn python_has_at_most_one_thread_of_ours() {
    let words = ["-c", "import time; kept = [bytearray(999) for _ in range(9999)]; time.sleep(6)"];
    check("Python", venv_python(), &words, &Budget { threads: 1, descriptors: 3 });
}

#[test]
fn a_jvm_has_at_most_three_threads_of_ours() {
    let classes = built_host("twice").to_string_lossy().into_owned();
    let java = jdks().into_iter().next().expect("a JDK");
    let words = ["-Xmx64m", "-XX:+UseSerialGC", "-cp", &classes, "Ends", "waits"];
    check("a JVM", java, &words, &Budget { threads: 3, descriptors: 6 });
}
