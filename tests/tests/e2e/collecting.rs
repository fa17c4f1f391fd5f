//! `leakline collect` with real hosts: there, not there, killed, and back again.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use leakline_core::Snapshot;
use leakline_proto::Event;
use leakline_tests::{Host, dist, read_recording};

/// A collector in a process of its own, killed when it goes out of scope.
struct Collector {
    child: Child,
    address: String,
}

impl Collector {
    fn start(folder: &Path, listen: &str) -> Self {
        let mut child = Command::new(dist().leakline)
            .args(["collect", "--listen", listen, "--folder"])
            .arg(folder)
            .env_remove("LEAKLINE_DIST")
            .stdout(Stdio::piped())
            .spawn()
            .expect("leakline collect runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("listening on ")?.1.split_whitespace().next()?.to_owned()))
            .expect("it says where it listens");
        // Its live lines must go somewhere, or it would stop at a full pipe.
        std::thread::Builder::new()
            .name("collector-lines".into())
            .spawn(move || lines.for_each(drop))
            .expect("a thread");
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "leak"))
        .collect();
    files.sort();
    files
}

/// Number and gauges of each snapshot: what must be the same wherever a session was kept.
fn contents(events: &[Event]) -> Vec<(u64, Vec<(String, f64)>)> {
    let gauges = |snapshot: &Snapshot| {
        let all = snapshot.readings.iter().flat_map(|reading| &reading.gauges);
        all.map(|gauge| (gauge.name.to_string(), gauge.value)).collect()
    };
    events
        .iter()
        .filter_map(|event| match event {
            Event::Snapshot { snapshot, .. } => Some((snapshot.number, gauges(snapshot))),
            _ => None,
        })
        .collect()
}

/// The collector's one recording and the host's own say the same, from the first snapshot to the last, without a gap.
fn check_same(collected: &Path, own: &Path) {
    let (there, here) = (read_recording(collected), read_recording(own));
    assert!(
        !there.iter().any(|event| matches!(event, Event::Gap { .. })),
        "a gap in the collector's recording"
    );
    let (there, here) = (contents(&there), contents(&here));
    let numbers: Vec<u64> = there.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..there.len() as u64).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(there, here);
}

#[test]
fn two_hosts_at_once_are_two_sessions_that_hold_what_the_hosts_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let collector = Collector::start(folder.path(), "127.0.0.1:0");
    let host = || {
        Host::new(["sleep", "1.2"])
            .options(["--interval", "100ms", "--collector", collector.address.as_str()])
            .spawn()
    };
    let hosts = [host(), host()].map(|host| host.wait().succeeded());
    let collected = recordings(folder.path());
    assert_eq!(collected.len(), 2);
    for host in &hosts {
        let own = contents(&host.events());
        let same = collected.iter().filter(|file| contents(&read_recording(file)) == own).count();
        assert_eq!(same, 1, "each host's session is there once");
    }
}

#[test]
fn a_collector_that_was_killed_and_came_back_misses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let collector = Collector::start(folder.path(), "127.0.0.1:0");
    let address = collector.address.clone();
    let host =
        Host::new(["sleep", "8"]).options(["--interval", "100ms", "--collector", address.as_str()]).spawn();
    host.wait_for_snapshots(8);
    collector.kill();
    host.wait_for_snapshots(20);
    let _back = Collector::start(folder.path(), &address);
    let outcome = host.wait().succeeded();
    let collected = recordings(folder.path());
    assert_eq!(collected.len(), 1, "it is still the same session");
    check_same(&collected[0], &outcome.recording());
}

#[test]
fn a_collector_that_comes_late_gets_everything_from_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    // Take a free port, and give it back for the collector that is to come.
    let address = Collector::start(folder.path(), "127.0.0.1:0").address.clone();
    let host =
        Host::new(["sleep", "5"]).options(["--interval", "100ms", "--collector", address.as_str()]).spawn();
    host.wait_for_snapshots(8);
    let _late = Collector::start(folder.path(), &address);
    let outcome = host.wait().succeeded();
    let collected = recordings(folder.path());
    assert_eq!(collected.len(), 1);
    check_same(&collected[0], &outcome.recording());
}

#[test]
fn a_host_does_not_wait_for_a_collector_that_is_not_there() {
    let outcome = Host::new(["true"]).options(["--collector", "127.0.0.1:9"]).run().succeeded();
    assert!(!outcome.snapshots().is_empty());
}
