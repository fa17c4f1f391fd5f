//! `leakline collect` and `leakline report` as programs: where they listen and look, how they end and what they refuse.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use leakline_core::{Cause, Host, OwnCost, Record, Session, SessionId, Snapshot, Tick, Timestamp};
use leakline_proto::{Encoder, recording};

fn leakline(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leakline"));
    command.args(words).stdin(Stdio::null());
    command
}

fn output(words: &[&str]) -> Output {
    leakline(words).output().expect("leakline runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A collector that listens, with the line that says where.
fn collector(folder: &Path, listen: &str, more: &[&str]) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = leakline(&["collect", "--listen", listen, "--folder"])
        .arg(folder)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("leakline runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("a line");
    (child, lines, first)
}

fn end(child: Child, signal: &str) {
    assert!(
        Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs").success()
    );
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{signal}");
}

#[test]
fn a_collector_says_where_it_listens_and_ends_in_an_orderly_way() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["-INT", "-TERM"] {
        let (child, _lines, first) = collector(&folder.path().join("new/sessions"), "127.0.0.1:0", &[]);
        assert!(first.starts_with("listening on 127.0.0.1:"), "{first}");
        assert!(first.contains("new/sessions"), "{first}");
        end(child, signal);
    }
    let (child, _lines, first) = collector(folder.path(), "127.0.0.1:0", &["--json"]);
    let object: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(object["event"], "listening");
    end(child, "-INT");
}

#[test]
fn a_port_in_use_and_an_address_that_is_none_are_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let (child, _lines, first) = collector(folder.path(), "127.0.0.1:0", &[]);
    let address = first.split_whitespace().nth(2).unwrap().to_owned();
    let place = folder.path().to_str().unwrap();
    let cases: [(&[&str], &[&str]); 5] = [
        (&["--listen", &address, "--folder", place], &[&address, "in use", "another port"]),
        (
            &["--listen", "no-such-host.invalid:1", "--folder", place],
            &["no-such-host.invalid:1", "127.0.0.1:7474"],
        ),
        (&["--listen", "7474", "--folder", place], &["7474", "127.0.0.1:7474"]),
        (&["--listen", "192.0.2.1:0", "--folder", place], &["192.0.2.1:0", "no address of this machine"]),
        (&["--listen", "127.0.0.1:0", "--folder", "/dev/null/x"], &["/dev/null/x", "--folder"]),
    ];
    for (words, parts) in cases {
        let output = output(&[&["collect"], words].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    end(child, "-INT");
}

#[test]
fn a_collector_whose_lines_nobody_reads_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (child, lines, _) = collector(folder.path(), "127.0.0.1:0", &[]);
    drop(lines);
    std::thread::sleep(Duration::from_millis(50));
    end(child, "-TERM");
}

/// Writes a recording of one snapshot and gives its session's id.
fn record(folder: &Path, file: &str, name: &str, id: u8) -> String {
    let at = Timestamp { unix_nanos: 1_795_424_400_000_000_000, boot_nanos: 1_000_000_000 };
    let session = Session {
        id: SessionId([id; 16]),
        started: at,
        interval: Duration::from_secs(60),
        host: Host { name: name.to_owned(), pid: 7, ..Host::default() },
        agent_version: "0.1.0".to_owned(),
        origin: None,
    };
    let snapshot = Snapshot {
        number: 0,
        tick: Tick { cause: Cause::Baseline, at, deadline_boot_nanos: 0 },
        interval: session.interval,
        baseline: 0,
        missed_ticks: 0,
        clock_jump_nanos: 0,
        skew_nanos: None,
        readings: Vec::new(),
        own: OwnCost::default(),
    };
    let mut encoder = Encoder::new(&session);
    let mut entries = encoder.start();
    entries.extend(
        encoder.record(&Record::Snapshot { snapshot: Arc::new(snapshot), verdicts: Vec::new().into() }),
    );
    let mut bytes = recording::header().to_vec();
    entries.iter().for_each(|entry| recording::append(entry, &mut bytes));
    std::fs::write(folder.join(file), bytes).expect("written");
    session.id.to_string()
}

#[test]
fn a_session_is_found_by_file_by_id_and_by_name_and_an_ambiguous_one_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let first = record(folder.path(), "a.leak", "python3 app.py", 0x4f);
    let second = record(folder.path(), "b.leak", "java -jar x.jar", 0x4e);
    record(folder.path(), "c.leak", "java -jar y.jar", 0x5e);
    let report = |what: &str| output(&["report", what, "--folder", place]);

    let file = folder.path().join("a.leak");
    for what in [file.to_str().unwrap(), "a.leak", "a", &first, &first[..2], "python3", "python3 app.py"] {
        let output = report(what);
        let said = text(&output.stdout);
        assert!(
            output.status.success() && said.starts_with("python3 app.py  pid 7"),
            "{what}: {said}{output:?}"
        );
    }
    for (what, parts) in [
        ("4", ["a.leak", "b.leak"]),
        ("java", [&second[..8], "5e5e5e5e"]),
        ("nobody", ["nobody", "--folder"]),
        ("/no/such.leak", ["/no/such.leak", "no such file"]),
        (place, [place, "folder"]),
    ] {
        let output = report(what);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{what}: {said}");
    }
    let listed = text(&output(&["report", "--folder", place]).stdout);
    assert!(
        listed.lines().count() == 3 && listed.contains("4f4f4f4f") && listed.contains("java -jar y.jar"),
        "{listed}"
    );
}

#[test]
fn without_sessions_the_remedy_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for place in [folder.path().to_owned(), folder.path().join("missing")] {
        let output = output(&["report", "--folder", place.to_str().unwrap()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(place.to_str().unwrap()) && said.contains("leakline collect"), "{said}");
    }
}

#[test]
fn a_range_that_goes_backwards_is_a_wrong_use() {
    let output = output(&["report", "x.leak", "--from", "5", "--to", "5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--from 5 is not before --to 5"));
}

#[test]
fn a_report_into_a_closed_pipe_is_no_error_and_json_is_one_object() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), "a.leak", "python3 app.py", 1);
    let file = folder.path().join("a.leak");
    let file = file.to_str().unwrap();
    for words in [&["report", file][..], &["report", file, "--json"]] {
        let mut child = leakline(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let object: serde_json::Value =
        serde_json::from_slice(&output(&["report", file, "--json"]).stdout).unwrap();
    assert_eq!(object["session"]["host"]["name"], "python3 app.py");
    let plain = text(&output(&["report", file]).stdout);
    assert!(!plain.contains('\x1b'), "{plain}");
}

#[test]
fn asking_names_what_is_missing_a_collector_or_a_program() {
    let folder = tempfile::tempdir().unwrap();
    let (child, _lines, first) = collector(folder.path(), "127.0.0.1:0", &[]);
    let address = first.split_whitespace().nth(2).unwrap().trim_end_matches(',').to_owned();
    let cases: [(&[&str], &str); 3] = [
        (&["ask", "--collector", &address, "census"], "no session is connected"),
        (
            &["ask", "--collector", &address, "--session", "3f", "snapshot"],
            "no session is connected that is \"3f\"",
        ),
        (&["ask", "--collector", "127.0.0.1:1", "close"], "does `leakline collect` run there?"),
    ];
    for (words, expected) in cases {
        let output = output(words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    end(child, "-INT");
}
