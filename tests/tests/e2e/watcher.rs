//! The watcher beside a host: what it leaves in the host, how it ends with it, and what happens when either is killed.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use leakline_core::Cause;
use leakline_proto::Event;
use leakline_tests::{Host, Outcome, Running, jdks, venv_python};

/// A watcher is gone so long after its host at most.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Allocates, and does what its first argument says after so many milliseconds as the second says.
const ENDS: &str = r#"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int left = argc > 2 ? atoi(argv[2]) : 500;
    for (; left > 0; left -= 10) { char *p = malloc(400000); memset(p, 1, 400000); usleep(10000); }
    switch (argc > 1 ? argv[1][0] : 'r') {
    case 'e': exit(3);
    case 'E': _exit(4);
    case 'q': quick_exit(5);
    case 'k': kill(getpid(), SIGKILL);
    case 'a': abort();
    case 'p': pthread_exit(0);
    case 'x': execv("/bin/sh", (char *[]){"sh", "-c", "sleep 0.6; exit 6", 0});
    }
    return 2;
}
"#;

/// The program of [`ENDS`], compiled into `folder`.
fn ends(folder: &Path) -> PathBuf {
    let (source, program) = (folder.join("ends.c"), folder.join("ends"));
    std::fs::write(&source, ENDS).expect("a source");
    let compiled = Command::new("cc").arg("-g").arg("-o").args([&program, &source]).arg("-pthread").status();
    assert!(compiled.expect("cc runs").success());
    program
}

fn host(arguments: &[&str]) -> Host {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let program = ends(&folder);
    let words = [program.into_os_string()].into_iter().chain(arguments.iter().map(Into::into));
    Host::new(words.collect::<Vec<std::ffi::OsString>>()).options(["--interval", "100ms"])
}

/// The watchers that write `recording`, and have not ended.
fn watchers(recording: &Path) -> Vec<i32> {
    let wanted = format!("LEAKLINE_FILE={}", recording.display());
    let of = |pid: i32| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let is_watcher = read("comm").starts_with(b"leakline-watch");
        is_watcher && read("environ").split(|byte| *byte == 0).any(|word| word == wanted.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").expect("/proc");
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| of(*pid))
        .collect()
}

fn watcher(running: &Running) -> i32 {
    let recording = running.recording();
    running.wait_until("a watcher", || !watchers(&recording).is_empty());
    watchers(&recording)[0]
}

fn all_gone(recording: &Path) {
    let begun = Instant::now();
    while !watchers(recording).is_empty() {
        assert!(begun.elapsed() < GONE_WITHIN, "a watcher is left: {:?}", watchers(recording));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: takes two numbers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn marks(outcome: &Outcome) -> Vec<String> {
    let names = outcome.events().into_iter().filter_map(|event| match event {
        Event::Mark(mark) => Some(mark.name),
        _ => None,
    });
    names.collect()
}

/// What leakline has in a process.
#[derive(Debug)]
struct Presence {
    threads: usize,
    descriptors: usize,
    address_space: u64,
}

fn presence(pid: u32) -> Presence {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads").flatten();
    let threads = threads.filter(|thread| {
        std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.starts_with("leakline"))
    });
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let size = |line: &str| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        Some(u64::from_str_radix(end, 16).ok()? - u64::from_str_radix(start, 16).ok()?)
    };
    let foreign = maps.lines().filter(|line| !line.contains("libleakline_"));
    Presence {
        threads: threads.count(),
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count(),
        address_space: foreign.filter_map(size).sum(),
    }
}

/// Runs `command`, which says `ready` and goes on, bare and watched, and checks how much more there is of it.
fn check_budget(
    name: &str,
    command: &[std::ffi::OsString],
    threads: usize,
    descriptors: usize,
    space: Option<u64>,
) {
    let mut bare =
        Command::new(&command[0]).args(&command[1..]).stdout(Stdio::piped()).spawn().expect("it runs");
    std::thread::sleep(Duration::from_secs(2));
    let before = presence(bare.id());
    bare.kill().expect("it is killed");
    bare.wait().expect("it ends");
    let watched = Host::new(command.to_vec()).options(["--interval", "200ms"]).spawn();
    watched.wait_for_snapshots(6);
    let after = presence(watched.pid());
    watched.signal(libc::SIGKILL);
    let recording = watched.recording();
    let _outcome = watched.wait();
    all_gone(&recording);
    assert!(after.threads <= threads, "{name}: threads: {after:?}, bare {before:?}");
    assert!(
        after.descriptors <= before.descriptors + descriptors,
        "{name}: descriptors: {after:?}, bare {before:?}"
    );
    let more = after.address_space.saturating_sub(before.address_space);
    assert!(space.is_none_or(|space| more <= space), "{name}: address space: {after:?}, bare {before:?}");
}

#[test]
fn a_host_has_no_more_of_leakline_in_it_than_it_must() {
    let folder = tempfile::tempdir().expect("a folder");
    let slow = [ends(folder.path()).into_os_string(), "r".into(), "20000".into()];
    check_budget("C", &slow, 0, 0, Some(24 << 20));
    let script = "import time\nheld = []\nwhile True:\n    held.append(bytearray(1000)); time.sleep(0.01)";
    check_budget(
        "CPython",
        &[venv_python().into_os_string(), "-c".into(), script.into()],
        1,
        0,
        Some(24 << 20),
    );
    let source = folder.path().join("Slow.java");
    std::fs::write(
        &source,
        "public class Slow { public static void main(String[] a) throws Exception { Thread.sleep(20000); } }",
    )
    .expect("a source");
    for java in jdks() {
        let java = java.into_os_string();
        // How much a JVM maps for its own threads differs from run to run.
        check_budget("Java", &[java, source.clone().into_os_string()], 3, 6, None);
    }
}

#[test]
fn every_way_to_end_has_a_last_snapshot_with_what_the_program_held() {
    for (way, status) in [("r", 2), ("e", 3), ("E", 4), ("q", 5), ("p", 0)] {
        let running = host(&[way, "500"]).spawn();
        let recording = running.recording();
        let outcome = running.wait();
        assert_eq!(outcome.status.code(), Some(status), "{way}: {}", outcome.stderr);
        all_gone(&recording);
        let last = outcome.snapshots().last().cloned().expect("a snapshot");
        assert_eq!(last.tick.cause, Cause::Final, "{way}");
        let native = last.reading("native").expect("a native reading");
        let held: u64 = native.profiles.iter().map(|profile| profile.total().bytes).sum();
        assert!(held > 8 << 20, "{way}: {held} of 20 MB: {native:?}");
        assert_eq!(marks(&outcome), ["leakline: the program ended"], "{way}");
        assert!(matches!(outcome.events().last(), Some(Event::End(_))), "{way}");
    }
}

#[test]
fn what_was_in_shared_memory_is_read_after_a_kill() {
    for (way, signal) in [("k", libc::SIGKILL), ("a", libc::SIGABRT)] {
        let running = host(&[way, "700"]).spawn();
        let recording = running.recording();
        let outcome = running.wait();
        assert_eq!(outcome.status.signal(), Some(signal));
        all_gone(&recording);
        let last = outcome.snapshots().last().cloned().expect("a snapshot");
        assert_eq!(last.tick.cause, Cause::Final, "{way}");
        let native = last.reading("native").expect("a native reading");
        let held: u64 = native.profiles.iter().map(|profile| profile.total().bytes).sum();
        assert!(held > 10 << 20, "{way}: {held} of 28 MB: {native:?}");
        let marks = marks(&outcome);
        assert!(marks.len() == 1 && marks[0].contains("was killed, crashed"), "{marks:?}");
    }
}

#[test]
fn a_host_whose_watcher_was_killed_goes_on_and_is_not_held_up() {
    let running = host(&["e", "1000"]).spawn();
    running.wait_for_snapshots(2);
    kill(watcher(&running), libc::SIGKILL);
    let outcome = running.wait();
    assert_eq!(outcome.status.code(), Some(3));
    assert!(outcome.snapshots().len() >= 2);
}

#[test]
fn a_host_whose_watcher_is_stopped_waits_no_longer_than_it_was_told() {
    let running = host(&["e", "600"]).variable("LEAKLINE_FINAL_WAIT", "300ms").spawn();
    running.wait_for_snapshots(2);
    let watcher = watcher(&running);
    kill(watcher, libc::SIGSTOP);
    let (begun, recording) = (Instant::now(), running.recording());
    let outcome = running.wait();
    assert_eq!(outcome.status.code(), Some(3));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    kill(watcher, libc::SIGCONT);
    all_gone(&recording);
}

#[test]
fn a_program_that_becomes_another_has_a_session_for_each() {
    let running = host(&["x", "500"]).spawn();
    let recording = running.recording();
    let outcome = running.wait();
    assert_eq!(outcome.status.code(), Some(6), "{}", outcome.stderr);
    all_gone(&recording);
    let before = leakline_tests::read_recording(&recording.with_extension("leak.1"));
    let of = |events: &[Event]| {
        let mark = events.iter().find_map(|event| match event {
            Event::Mark(mark) => Some(mark.name.clone()),
            _ => None,
        });
        (mark.unwrap_or_default(), matches!(events.last(), Some(Event::End(_))))
    };
    assert_eq!(of(&before), ("leakline: the program became another (exec)".to_owned(), true));
    assert_eq!(of(&outcome.events()), ("leakline: the program ended".to_owned(), true));
}

#[test]
fn many_hosts_at_once_have_a_recording_each_and_leave_nothing_behind() {
    let running: Vec<Running> = (0..12).map(|_| host(&["r", "800"]).spawn()).collect();
    for host in running {
        let recording = host.recording();
        let outcome = host.wait();
        assert_eq!(outcome.status.code(), Some(2));
        all_gone(&recording);
        assert!(matches!(outcome.events().last(), Some(Event::End(_))));
        let folder = std::fs::read_dir(recording.parent().expect("a folder")).expect("the folder");
        assert_eq!(folder.count(), 1, "only the recording is left");
    }
}

#[test]
fn process_1_is_watched_from_the_inside_and_says_so() {
    let command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"];
    if !Command::new(command[0]).args(&command[1..]).arg("true").status().is_ok_and(|status| status.success())
    {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (program, recording) = (ends(folder.path()), folder.path().join("one.leak"));
    let outcome = Command::new(command[0])
        .args(&command[1..])
        .arg(leakline_tests::dist().leakline)
        .args(["run", "-q", "--interval", "100ms", "-o"])
        .arg(&recording)
        .arg("--")
        .arg(program)
        .args(["e", "500"])
        .status()
        .expect("it runs");
    assert_eq!(outcome.code(), Some(3));
    // It cannot have a watcher, but what it starts can: that belongs to its application.
    let started = folder.path().join("starts.leak");
    let outcome = Command::new(command[0])
        .args(&command[1..])
        .arg(leakline_tests::dist().leakline)
        .args(["run", "-q", "--interval", "200ms", "-o"])
        .arg(&started)
        .args(["--", "sh", "-c", "python3 -c 'import time; time.sleep(3)'; exit 4"])
        .status()
        .expect("it runs");
    assert_eq!(outcome.code(), Some(4));
    let report =
        Command::new(leakline_tests::dist().leakline).arg("report").arg(&started).output().expect("it runs");
    let report = String::from_utf8_lossy(&report.stdout);
    assert!(report.starts_with("Application of 2 processes"), "{report}");
    let said = leakline_tests::read_recording(&recording).into_iter().any(|event| match event {
        Event::Mark(mark) => mark.name.contains("inside the program") && mark.name.contains("process 1"),
        _ => false,
    });
    assert!(said);
}

#[test]
fn a_program_can_be_watched_from_the_inside() {
    let running = host(&["e", "600"]).options(["--watcher", "off"]).spawn();
    running.wait_for_snapshots(2);
    assert_eq!(watchers(&running.recording()), Vec::<i32>::new());
    let outcome = running.wait();
    assert_eq!(outcome.status.code(), Some(3));
    let last = outcome.snapshots().last().cloned().expect("a snapshot");
    assert_eq!(last.tick.cause, Cause::Final);
    assert!(marks(&outcome).iter().any(|mark| mark.contains("switched off")), "{:?}", marks(&outcome));
}
