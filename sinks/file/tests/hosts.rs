//! The file sink in a process that closes its descriptors, changes its root or its user, deletes its folder, or may not let
//! files grow. Each test starts this very program again as the host.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod common;

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

use common::{events, on_a_lane, opened, options, session, snapshots};
use leakline_core::conformance::sample_record;
use leakline_core::{Mark, Record, Sink};
use leakline_file::FileSink;
use leakline_proto::Event;

const HOST: &str = "LEAKLINE_TEST_HOST_DOES";
const PATH: &str = "LEAKLINE_TEST_HOST_RECORDS_TO";

/// Not a test: the host. Records two snapshots, does what it is told, and records two more.
#[test]
fn host() {
    let (Ok(what), Ok(path)) = (std::env::var(HOST), std::env::var(PATH)) else { return };
    let path = Path::new(&path);
    let mut settings = options(path);
    if what == "fill in a jail" {
        settings.max_bytes = 20_000;
    }
    let mut sink = opened(settings, &session(9, std::process::id())).unwrap();
    let deliver = |sink: &mut FileSink, number| on_a_lane(sink.deliver(&sample_record(number, 100)));
    (0..2).for_each(|number| deliver(&mut sink, number).unwrap());
    match &*what {
        "close all" => close_all(),
        "close all and open its own" => {
            close_all();
            let file = File::create(path.with_extension("own")).unwrap();
            // SAFETY: the file is open; the numbers are nobody's.
            (3..200).for_each(|number| assert!(unsafe { libc::dup2(file.as_raw_fd(), number) } >= 0));
            std::mem::forget(file);
        }
        "chroot" | "fill in a jail" => {
            let jail = path.parent().unwrap().join("jail");
            fs::create_dir(&jail).unwrap();
            let jail = CString::new(jail.to_str().unwrap()).unwrap();
            // SAFETY: the path ends with a NUL.
            assert_eq!(unsafe { libc::chroot(jail.as_ptr()) }, 0);
            std::env::set_current_dir("/").unwrap();
        }
        "setuid" => {
            // SAFETY: takes a number.
            assert_eq!(unsafe { libc::setuid(65_534) }, 0);
        }
        "delete its folder" => {
            let folder = path.parent().unwrap();
            fs::hard_link(path, folder.parent().unwrap().join("kept.leak")).unwrap();
            fs::remove_dir_all(folder).unwrap();
        }
        "limit" => {
            let (size, room) = (fs::metadata(path).unwrap().len(), 3000);
            let limit = libc::rlimit { rlim_cur: size + room, rlim_max: libc::RLIM_INFINITY };
            // SAFETY: the kernel only reads the limit.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
        }
        other => panic!("{other}"),
    }
    let last = if what == "fill in a jail" { 400 } else { 8 };
    let outcomes: Vec<String> = (2..last)
        .map(|number| {
            deliver(&mut sink, number).err().map_or_else(|| "ok".to_owned(), |error| error.to_string())
        })
        .collect();
    println!("\noutcomes {}", outcomes.join(" | "));
    if what != "limit" {
        on_a_lane(sink.close()).unwrap();
        return;
    }
    // Nobody ends the session: only what was written tells.
    println!("cut {:?}", events(path).last());
    // A mark would fit, and the recording would then end as if nothing was missing.
    let mark = Record::Mark(Mark {
        name: "small".to_owned(),
        at: leakline_core::Timestamp { unix_nanos: 1, boot_nanos: 1 },
    });
    on_a_lane(sink.deliver(&mark)).unwrap_err();
    println!("still {:?}", events(path).last());
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel only reads the limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    deliver(&mut sink, 8).unwrap();
    println!("resumed {:?}", snapshots(&events(path)).last().map(|found| found.0));
    on_a_lane(sink.close()).unwrap();
}

/// As daemons do.
fn close_all() {
    for number in 3..1024 {
        // SAFETY: only numbers; whoever uses one of them later checks it.
        unsafe { libc::close(number) };
    }
}

/// What a host said that did `what`, and whether its folder still has the recording.
fn run(what: &str, path: &Path) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output =
        command.args(["--exact", "host", "--nocapture"]).env(HOST, what).env(PATH, path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{what}: {} {said} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

fn is_root() -> bool {
    // SAFETY: geteuid only reads, and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// That a host which does `what` goes on recording into one file, up to its orderly end.
fn check_goes_on(what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.leak");
    let said = run(what, &path);
    assert!(said.contains("outcomes ok | ok | ok | ok | ok | ok"), "{what}: {said}");
    let events = events(&path);
    let numbers: Vec<u64> = snapshots(&events).into_iter().map(|found| found.0).collect();
    assert_eq!(numbers, (0..8).collect::<Vec<_>>(), "{what}");
    assert!(matches!(events.last(), Some(Event::End(_))), "{what}");
    assert!(!Path::new(&format!("{}.1", path.display())).exists(), "{what}");
    if let Ok(own) = fs::read(path.with_extension("own")) {
        assert_eq!(own, b"", "nothing of ours is in the host's file");
    }
}

#[test]
fn a_host_that_closes_all_descriptors_is_recorded_on() {
    check_goes_on("close all");
    check_goes_on("close all and open its own");
}

#[test]
fn a_host_that_changes_its_root_or_its_user_is_recorded_on() {
    if !is_root() {
        println!("not tested: only root may change root and user");
        return;
    }
    check_goes_on("chroot");
    check_goes_on("setuid");
}

#[test]
fn a_host_that_deletes_its_folder_is_recorded_on() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let said = run("delete its folder", &inner.join("a.leak"));
    assert!(said.contains("outcomes ok | ok | ok | ok | ok | ok"), "{said}");
    // Another name of it is there.
    let events = events(&folder.path().join("kept.leak"));
    assert_eq!(snapshots(&events).len(), 8);
}

#[test]
fn a_file_that_is_full_where_its_name_is_out_of_reach_says_so() {
    if !is_root() {
        println!("not tested: only root may change its root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.leak");
    let said = run("fill in a jail", &path);
    assert!(said.contains("its name is out of this process's reach"), "{said}");
    let Some(Event::Cut { reason, .. }) = events(&path).pop() else { panic!("{said}") };
    assert!(reason.contains("out of the program's reach"), "{reason}");
    assert_eq!(fs::read_dir(folder.path().join("jail")).unwrap().count(), 0);
}

#[test]
fn a_file_that_may_not_grow_says_so_and_goes_on_when_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.leak");
    let said = run("limit", &path);
    assert!(said.contains("cannot write the recording: File too large"), "{said}");
    assert!(
        said.contains("cut Some(Cut {") && said.contains("the file may not grow further (file size limit)"),
        "{said}"
    );
    assert!(said.contains("still Some(Cut {") && said.contains("resumed Some(8)"), "{said}");
    let events = events(&path);
    assert!(matches!(events.last(), Some(Event::End(_))));
    assert!(
        !events.iter().any(|event| matches!(event, Event::Cut { .. } | Event::Gap { .. })),
        "the cut is gone"
    );
}
