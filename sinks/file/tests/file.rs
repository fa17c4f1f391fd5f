//! The file sink on real files.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod common;

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use common::{events, events_of, on_a_lane, opened, options, session, snapshots, write};
use leakline_core::conformance::{Seen, SinkSuite, sample_mark, sample_record, sample_session};
use leakline_core::{Record, Sink, SinkError};
use leakline_file::{FileOptions, FileSink};
use leakline_proto::Event;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

fn seen(event: &Event) -> Option<Seen> {
    match event {
        Event::Snapshot { snapshot, .. } => {
            let profiles = snapshot.readings.iter().flat_map(|reading| &reading.profiles);
            let sites = Some(profiles.map(|profile| profile.sites().len()).sum());
            Some(Seen::Snapshot { number: snapshot.number, sites })
        }
        Event::Mark(mark) => Some(Seen::Mark { name: mark.name.clone() }),
        Event::Lost(loss) => Some(Seen::Lost(*loss)),
        Event::Session(_) | Event::End(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_contract_of_sinks_holds() {
    let folders = RefCell::new(Vec::new());
    let path = || folders.borrow().last().map(|folder: &TempDir| folder.path().join("f/a.leak")).unwrap();
    let make = || -> Box<dyn Sink> {
        let folder = folder();
        fs::create_dir(folder.path().join("f")).unwrap();
        folders.borrow_mut().push(folder);
        // What is left out of a profile for want of room in the encoder is the encoder's to test.
        Box::new(FileSink::new(FileOptions { max_encoder_bytes: 64 << 20, ..options(&path()) }))
    };
    let read_back = || {
        // After an outage there are two.
        let paths: Vec<_> = [numbered(&path(), 1), path()].into_iter().filter(|path| path.exists()).collect();
        events_of(&paths).iter().filter_map(seen).collect()
    };
    let fault = |broken| {
        let here = path().parent().unwrap().to_owned();
        let away = here.with_extension("away");
        let (from, to) = if broken { (&here, &away) } else { (&away, &here) };
        fs::rename(from, to).unwrap();
    };
    SinkSuite::new(make, read_back).with_fault(fault).run();
}

#[test]
fn a_recording_is_there_at_once_and_only_its_user_may_read_it() {
    let folder = folder();
    let path = folder.path().join("a.leak");
    let _sink = write(&path, &sample_session(), &[]);
    assert_eq!(events(&path), [Event::Session(sample_session())]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_orderly_end_is_recorded() {
    let folder = folder();
    let path = folder.path().join("a.leak");
    let mut sink = write(&path, &sample_session(), &[sample_record(0, 3)]);
    on_a_lane(sink.close()).unwrap();
    let Some(Event::End(at)) = events(&path).pop() else { panic!("no end") };
    assert!(at.unix_nanos > 0 && at.boot_nanos > 0);
}

#[test]
fn every_file_stays_within_its_bound_and_is_readable_alone() {
    let folder = folder();
    let path = folder.path().join("a.leak");
    let max_bytes = 100_000;
    let session = sample_session();
    let mut sink = opened(FileOptions { max_bytes, keep: 2, ..options(&path) }, &session).unwrap();
    let records = 300;
    for number in 0..records {
        on_a_lane(sink.deliver(&sample_record(number, 200))).unwrap();
        for path in fs::read_dir(folder.path()).unwrap() {
            let bytes = path.unwrap().metadata().unwrap().len();
            assert!(bytes <= max_bytes, "{bytes} bytes after {number}");
        }
    }
    on_a_lane(sink.close()).unwrap();
    let files: Vec<_> = [numbered(&path, 2), numbered(&path, 1), path.clone()].into();
    assert!(!numbered(&path, 3).exists());
    let mut all = Vec::new();
    for file in &files {
        let events = events(file);
        let found = snapshots(&events);
        assert!(events.contains(&Event::Session(session.clone())));
        assert!(found.len() > 2, "{found:?}");
        assert!(found.iter().all(|(_, sites)| *sites >= 200), "{found:?}");
        all.extend(found.into_iter().map(|(number, _)| number));
    }
    assert_eq!(all, Vec::from_iter(records - all.len() as u64..records));
    // Read in order, only the beginning is missing.
    let gaps = events_of(&files).iter().filter(|event| matches!(event, Event::Gap { .. })).count();
    assert_eq!(gaps, 1);
}

#[test]
fn with_none_to_keep_the_full_file_goes() {
    let folder = folder();
    let path = folder.path().join("a.leak");
    let options = FileOptions { max_bytes: 100_000, keep: 0, ..options(&path) };
    let mut sink = opened(options, &sample_session()).unwrap();
    (0..40).for_each(|number| on_a_lane(sink.deliver(&sample_record(number, 200))).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(snapshots(&events(&path)).last().map(|(number, _)| *number), Some(39));
}

#[test]
fn marks_alone_fill_files_too() {
    let folder = folder();
    let path = folder.path().join("a.leak");
    let options = FileOptions { max_bytes: 1000, ..options(&path) };
    let mut sink = opened(options, &sample_session()).unwrap();
    for _ in 0..100 {
        on_a_lane(sink.deliver(&Record::Mark(sample_mark("reconnect")))).unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() <= 1000);
    assert!(numbered(&path, 1).exists());
}

#[test]
fn a_profile_that_no_file_has_room_for_is_left_out_and_gauges_are_kept() {
    let folder = folder();
    let path = folder.path().join("a.leak");
    let options = FileOptions { max_bytes: 20_000, ..options(&path) };
    let mut sink = opened(options, &sample_session()).unwrap();
    on_a_lane(sink.deliver(&sample_record(0, 5000))).unwrap();
    let events = events(&path);
    let Some(Event::Snapshot { snapshot, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(snapshot.readings[0].profiles, []);
    assert!(!snapshot.readings[0].gauges.is_empty());
    let note = "the profile does not fit into a recording of 20000 bytes";
    assert_eq!(snapshot.readings[0].notes.last().unwrap(), note);
}

#[test]
fn a_snapshot_that_no_file_has_room_for_is_refused_and_the_next_is_taken() {
    let folder = folder();
    let path = folder.path().join("a.leak");
    let options = FileOptions { max_bytes: 1500, ..options(&path) };
    let mut sink = opened(options, &sample_session()).unwrap();
    let Record::Snapshot { mut snapshot, verdicts } = sample_record(0, 0) else { unreachable!() };
    let large = std::sync::Arc::make_mut(&mut snapshot);
    large.readings[0].notes = vec!["x".repeat(4000)];
    let error = on_a_lane(sink.deliver(&Record::Snapshot { snapshot, verdicts })).unwrap_err();
    assert!(error.to_string().contains("allow more than 1500 bytes: "), "{error}");
    assert_eq!(sink.stats().last_error, error.to_string());
    on_a_lane(sink.deliver(&Record::Mark(sample_mark("after")))).unwrap();
    assert_eq!(events(&path).last(), Some(&Event::Mark(sample_mark("after"))));
    assert_eq!(sink.stats().last_error, "");
}

/// What becomes of the recording `old` when `new` begins at the same path: moved aside or overwritten.
fn check_existing(snapshots_before: u64, ended: bool, old: (u8, u32), new: (u8, u32), kept: bool) {
    let folder = folder();
    let path = folder.path().join("a.leak");
    let records: Vec<_> = (0..snapshots_before).map(|number| sample_record(number, 3)).collect();
    let mut sink = write(&path, &session(old.0, old.1), &records);
    if ended {
        on_a_lane(sink.close()).unwrap();
    }
    drop(sink);
    write(&path, &session(new.0, new.1), &[sample_record(0, 1)]);
    assert_eq!(events(&path)[0], Event::Session(session(new.0, new.1)));
    assert_eq!(numbered(&path, 1).exists(), kept);
    if kept {
        assert_eq!(snapshots(&events(&numbered(&path, 1))).len() as u64, snapshots_before);
    }
}

#[test]
fn what_an_exec_left_behind_is_overwritten() {
    check_existing(0, false, (1, 7), (2, 7), false);
    check_existing(1, false, (1, 7), (2, 7), false);
}

#[test]
fn every_other_recording_is_moved_aside() {
    check_existing(2, false, (1, 7), (2, 7), true);
    check_existing(1, true, (1, 7), (2, 7), true);
    check_existing(0, false, (1, 7), (2, 8), true);
    check_existing(1, false, (1, 7), (2, 8), true);
}

#[test]
fn a_recording_that_was_there_is_kept_even_with_none_to_keep() {
    let folder = folder();
    let path = folder.path().join("a.leak");
    drop(write(&path, &session(1, 7), &[sample_record(0, 1)]));
    opened(FileOptions { keep: 0, ..options(&path) }, &session(2, 8)).unwrap();
    assert_eq!(snapshots(&events(&numbered(&path, 1))), [(0, 1)]);
}

#[test]
fn a_damaged_recording_is_moved_aside_as_it_is() {
    let folder = folder();
    let path = folder.path().join("a.leak");
    drop(write(&path, &session(1, 7), &[sample_record(0, 1)]));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    write(&path, &session(2, 7), &[]);
    assert_eq!(fs::read(numbered(&path, 1)).unwrap(), bytes);
}

/// Checks how the sink refuses to open; the error ends with `expected` and the path.
fn check_refused(path: &Path, expected: &str, forever: bool) {
    let error = opened(options(path), &sample_session()).unwrap_err();
    let text = error.to_string();
    assert_eq!(matches!(error, SinkError::Misconfigured { .. }), forever, "{text}");
    assert!(text.contains(expected), "{text}");
    assert!(text.ends_with(&path.display().to_string()), "{text}");
}

#[test]
fn a_file_of_somebody_else_is_not_touched() {
    let folder = folder();
    let path = folder.path().join("thesis.txt");
    fs::write(&path, "not a recording, and long enough to see").unwrap();
    check_refused(&path, "not a leakline recording would be replaced: move it or choose another path", true);
    assert_eq!(fs::read_to_string(&path).unwrap(), "not a recording, and long enough to see");
    // Nor where moving aside would replace it.
    let path = folder.path().join("ls");
    fs::write(numbered(&path, 1), ".TH LS 1 and so on").unwrap();
    let error = opened(options(&path), &sample_session()).unwrap_err();
    assert!(error.to_string().ends_with("ls.1"), "{error}");
}

#[test]
fn a_folder_that_is_missing_is_named_with_what_to_do() {
    let folder = folder();
    let path = folder.path().join("nowhere/a.leak");
    check_refused(&path, "make its folder or choose another path", false);
    fs::create_dir(path.parent().unwrap()).unwrap();
    assert!(opened(options(&path), &sample_session()).is_ok());
}

#[test]
fn a_path_that_is_no_file_is_refused() {
    let folder = folder();
    check_refused(folder.path(), "the recording's path is not a file: choose another", true);
    check_refused(Path::new("/dev/null"), "the recording's path is not a file", true);
}

#[test]
fn an_empty_or_torn_file_is_used() {
    let folder = folder();
    for content in [&b""[..], b"leakl"] {
        let path = folder.path().join("a.leak");
        fs::write(&path, content).unwrap();
        write(&path, &sample_session(), &[sample_record(0, 1)]);
        assert_eq!(snapshots(&events(&path)), [(0, 1)]);
        assert!(!numbered(&path, 1).exists());
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_file_that_was_deleted_or_moved_is_begun_anew() {
    let folder = folder();
    let path = folder.path().join("a.leak");
    let mut sink = write(&path, &sample_session(), &[sample_record(0, 5)]);
    fs::remove_file(&path).unwrap();
    on_a_lane(sink.deliver(&sample_record(1, 5))).unwrap();
    assert_eq!(snapshots(&events(&path)), [(1, 5)]);
    fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    on_a_lane(sink.deliver(&sample_record(2, 5))).unwrap();
    assert_eq!(snapshots(&events(&path)), [(2, 5)]);
}

#[test]
fn the_host_may_go_to_another_folder() {
    let folder = folder();
    let here = std::env::current_dir().unwrap();
    let relative = pathdiff(folder.path(), &here).join("a.leak");
    let mut sink = FileSink::new(options(&relative));
    std::env::set_current_dir("/").unwrap();
    let opened = on_a_lane(sink.open(&sample_session()));
    std::env::set_current_dir(here).unwrap();
    opened.unwrap();
    assert!(folder.path().join("a.leak").exists());
}

/// `to` as seen from `from`, both absolute.
fn pathdiff(to: &Path, from: &Path) -> PathBuf {
    let up = from.components().skip(1).map(|_| "..");
    up.chain([to.strip_prefix("/").unwrap().to_str().unwrap()]).collect()
}
