//! The file sink in a process that is killed, has another user, or a full disk. Each test starts this very program again
//! as the host, with `HOST` in its environment.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod common;

use std::ffi::CString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{events, on_a_lane, opened, options, session, snapshots, write};
use leakline_core::conformance::{sample_record, sample_session};
use leakline_core::{Loss, Record, Sink};
use leakline_proto::recording::{Item, Reader};
use leakline_proto::{Decoder, Event};

const HOST: &str = "LEAKLINE_TEST_HOST_WRITES_TO";

/// Not a test: the host that others start. Writes until it is killed, and says so after each snapshot.
#[test]
fn host() {
    let Ok(path) = std::env::var(HOST) else { return };
    let mut sink = match opened(options(Path::new(&path)), &session(9, std::process::id())) {
        Ok(sink) => sink,
        Err(error) => {
            println!("\nrefused: {error}");
            return;
        }
    };
    for number in 0.. {
        on_a_lane(sink.deliver(&sample_record(number, 2000))).unwrap();
        println!("\nwrote {number}");
    }
}

fn start_host(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "host", "--nocapture"]).env(HOST, path).stdout(Stdio::piped());
    command
}

/// Waits until the host has said `line`.
fn wait_for(host: &mut Child, line: &str) {
    let mut lines = BufReader::new(host.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|said| said.unwrap() == line), "the host ended without saying {line:?}");
}

#[test]
fn what_a_killed_host_wrote_is_readable_to_its_last_whole_entry() {
    let folder = tempfile::tempdir().unwrap();
    for run in 0..10 {
        let path = folder.path().join(format!("{run}.leak"));
        let mut host = start_host(&path).spawn().unwrap();
        wait_for(&mut host, "wrote 3");
        // It goes on writing meanwhile: the kill comes anywhere.
        std::thread::sleep(Duration::from_millis(run));
        host.kill().unwrap();
        host.wait().unwrap();
        let bytes = fs::read(&path).unwrap();
        let mut decoder = Decoder::new();
        let mut events = Vec::new();
        let mut reader = Reader::new(&bytes).unwrap();
        for item in reader.by_ref() {
            match item {
                Item::Entry { entry, .. } => events.extend(decoder.push(entry).unwrap()),
                Item::Truncated { .. } => {}
                other => panic!("{other}"),
            }
        }
        let found = snapshots(&events);
        assert!(found.len() >= 4, "{found:?}");
        let whole = found
            .iter()
            .enumerate()
            .all(|(index, (number, sites))| *number == index as u64 && *sites >= 2000);
        assert!(whole, "{found:?}");
        // The path is free again, and the recording is kept.
        write(&path, &session(10, 1), &[]);
        assert_eq!(fs::read(format!("{}.1", path.display())).unwrap(), bytes);
    }
}

#[test]
fn two_processes_do_not_write_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.leak");
    let mut host = start_host(&path).spawn().unwrap();
    wait_for(&mut host, "wrote 0");
    let error = opened(options(&path), &sample_session()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("another process writes this recording: give each process its own path: {}", path.display())
    );
    host.kill().unwrap();
    host.wait().unwrap();
    assert!(opened(options(&path), &sample_session()).is_ok());
}

#[test]
fn a_folder_that_may_not_be_written_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let path = closed.join("a.leak");
    let mut command = start_host(&path);
    // SAFETY: geteuid only reads, and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        // Root may write anywhere; the test program itself must stay reachable for nobody.
        let copy = folder.path().join("host");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        command = Command::new(copy);
        command.args(["--exact", "host", "--nocapture"]).env(HOST, &path).stdout(Stdio::piped());
        command.current_dir("/").uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let remedy = "choose a path that the user of this process may write to, or allow it: ";
    assert!(said.contains("refused: cannot make the recording: Permission denied"), "{said}");
    assert!(said.contains(&format!("{remedy}{}", path.display())), "{said}");
}

/// A file system of 128 KiB, as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn new(folder: &Path) -> Option<Self> {
        let target = CString::new(folder.to_str()?).ok()?;
        let (kind, size) = (c"tmpfs", c"size=128k");
        // SAFETY: all four are C strings that live until mount returns, which copies them.
        let result =
            unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, size.as_ptr().cast()) };
        (result == 0).then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Ok(target) = CString::new(self.0.to_string_lossy().into_owned()) {
            // SAFETY: a C string that lives until umount2 returns.
            unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

#[test]
fn a_full_disk_costs_what_does_not_fit_and_recording_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::new(folder.path()) else {
        println!("not tested: this user may not mount a small disk");
        return;
    };
    let (path, ballast) = (folder.path().join("a.leak"), folder.path().join("ballast"));
    fs::write(&ballast, vec![1; 60_000]).unwrap();
    let mut sink = write(&path, &sample_session(), &[]);
    let mut taken = 0;
    let error = loop {
        match on_a_lane(sink.deliver(&sample_record(taken, 200))) {
            Ok(()) => taken += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(taken >= 1);
    assert!(error.starts_with("cannot write the recording: No space left on device"), "{error}");
    assert!(error.contains("make room, and recording goes on with the next snapshot"), "{error}");
    assert_eq!(snapshots(&events(&path)).len() as u64, taken, "no half entry stays behind");
    assert_eq!(sink.stats().delivered_snapshots, taken);
    let is_cut = |event: Option<Event>| match event {
        Some(Event::Cut { reason, .. }) => reason == "no space is left on the device",
        _ => false,
    };
    assert!(is_cut(events(&path).pop()), "there is room to say why");
    on_a_lane(sink.deliver(&sample_record(taken + 1, 200))).unwrap_err();
    assert!(is_cut(events(&path).pop()));

    fs::remove_file(&ballast).unwrap();
    let loss = Loss { snapshots: 2, bytes: 1 };
    on_a_lane(sink.deliver(&Record::Lost(loss))).unwrap();
    on_a_lane(sink.deliver(&sample_record(taken + 2, 200))).unwrap();
    on_a_lane(sink.close()).unwrap();
    let events = events(&path);
    assert!(events.contains(&Event::Lost(loss)));
    let odd = |event: &Event| matches!(event, Event::Gap { .. } | Event::Cut { .. });
    assert!(!events.iter().any(odd), "numbers are given again, and the cut is gone");
    let found = snapshots(&events);
    assert_eq!(
        found.last().map(|(number, sites)| (*number, *sites >= 200)),
        Some((taken + 2, true)),
        "{found:?}"
    );
    drop(sink);
    drop(disk);
}

#[test]
fn a_disk_that_is_full_from_the_start_is_used_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::new(folder.path()) else {
        println!("not tested: this user may not mount a small disk");
        return;
    };
    let (path, ballast) = (folder.path().join("a.leak"), folder.path().join("ballast"));
    fs::write(&ballast, vec![1; 128 << 10]).unwrap();
    let error = opened(options(&path), &sample_session()).unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    fs::remove_file(&ballast).unwrap();
    write(&path, &sample_session(), &[sample_record(0, 3)]);
    assert_eq!(snapshots(&events(&path)), [(0, 3)]);
    drop(disk);
}
