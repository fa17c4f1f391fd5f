//! With real descriptors, and with the real liblog in a process of its own.
#![cfg(unix)]

use std::fs::File;
use std::io::{Read, Seek, pipe};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Mutex;

use leakline_core::Loss;
use leakline_core::conformance::{self, Seen, sample_record, sample_session};

use super::*;
use crate::TAG;

/// A line as the crate's page promises it, read by somebody who greps.
fn seen(line: &str) -> Option<Seen> {
    let (words, tick) =
        line.strip_prefix("I/Leakline: ").or(line.strip_prefix("W/Leakline: "))?.rsplit_once(" tick=")?;
    if words.starts_with("Memory: ") {
        return Some(Seen::Snapshot { number: tick.rsplit_once(" #")?.1.parse().ok()?, sites: None });
    }
    if let Some(name) = words.strip_prefix("Mark: ") {
        return Some(Seen::Mark { name: name.replace("\\n", "\n") });
    }
    let (snapshots, bytes) =
        words.strip_prefix("Lost: ")?.strip_suffix(" bytes")?.split_once(" snapshots, ")?;
    Some(Seen::Lost(Loss { snapshots: snapshots.parse().ok()?, bytes: bytes.parse().ok()? }))
}

#[test]
fn it_holds_to_what_every_sink_must() {
    let last: Mutex<Option<File>> = Mutex::default();
    conformance::sink(
        || {
            let file = tempfile::tempfile().unwrap();
            let sink = LogcatSink::to(Output::Descriptor(file.as_raw_fd()));
            *last.lock().unwrap() = Some(file);
            Box::new(sink)
        },
        || {
            let mut last = last.lock().unwrap();
            let file = last.as_mut().unwrap();
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            text.lines().filter_map(seen).collect()
        },
    );
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Runs the test called `name` again in a process of its own, where it finds `LEAKLINE_TEST_CHILD`.
fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env("LEAKLINE_TEST_CHILD", "1");
    command
}

fn is_child() -> bool {
    std::env::var_os("LEAKLINE_TEST_CHILD").is_some()
}

#[test]
fn a_pipe_that_nobody_reads_is_an_error_and_not_a_signal() {
    if !is_child() {
        let status =
            child("sink::tests::a_pipe_that_nobody_reads_is_an_error_and_not_a_signal").status().unwrap();
        assert!(status.success(), "{status}");
        return;
    }
    // SAFETY: this process runs one test; the default action is what a host written in C has.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let (reader, writer) = pipe().unwrap();
    let mut sink = LogcatSink::to(Output::Descriptor(writer.as_raw_fd()));
    block_on(async {
        sink.open(&sample_session()).await.unwrap();
        drop(reader);
        sink.deliver(&sample_record(0, 3)).await.unwrap_err();
        assert_eq!(sink.stats().delivered_snapshots, 0);
        assert!(sink.stats().last_error.contains("cannot write to the log"), "{:?}", sink.stats());
        sink.close().await.unwrap_err();
    });
}

#[test]
fn a_closed_descriptor_is_an_error() {
    block_on(async {
        let mut sink = LogcatSink::to(Output::Descriptor(-1));
        sink.open(&sample_session()).await.unwrap_err();
        sink.deliver(&sample_record(0, 3)).await.unwrap_err();
    });
}

#[test]
fn nothing_is_written_when_off() {
    block_on(async {
        let mut sink = LogcatSink::new(LogcatOptions { target: LogcatTarget::Off, top_sites: 10 });
        sink.open(&sample_session()).await.unwrap();
        sink.deliver(&sample_record(0, 3)).await.unwrap();
        sink.close().await.unwrap();
        assert_eq!((sink.stats().delivered_snapshots, sink.stats().delivered_bytes), (1, 0));
    });
}

/// Debian's liblog writes to stderr when there is no log daemon, so a process of its own writes, and its stderr is read.
#[test]
fn the_real_liblog_takes_lines() {
    if is_child() {
        block_on(async {
            let mut sink = LogcatSink::new(LogcatOptions { target: LogcatTarget::Liblog, top_sites: 10 });
            sink.open(&sample_session()).await.unwrap();
            sink.deliver(&sample_record(0, 3)).await.unwrap();
            sink.deliver(&Record::Lost(Loss { snapshots: 1, bytes: 2 })).await.unwrap();
            sink.close().await.unwrap();
        });
        return;
    }
    if Output::liblog().is_none() {
        println!("skipped: no liblog here (Debian's package android-liblog has it)");
        return;
    }
    let output = child("sink::tests::the_real_liblog_takes_lines").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    for expected in ["Memory: JVM=- Native=20.0MB", "Session: id=", "End: 1 snapshots"] {
        assert!(
            stderr.lines().any(|line| line.contains(TAG) && line.contains(expected)),
            "{expected}: {stderr}"
        );
    }
    assert!(stderr.contains("Leakline W"), "{stderr}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains(TAG), "stdout is the host's");
}
