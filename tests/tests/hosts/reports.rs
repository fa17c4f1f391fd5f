//! What the report must say of some of these programs.

use serde_json::Value;

use leakline_tests::Same;

use crate::{c, check, is_root, python};

/// A Python program that leaks on after what it does is seen to leak, to its end.
fn leaks_on(what: &str) {
    let same = check(python(&format!("jail.py {what}")).interval("200ms"), 0, "ended well");
    let text = same.report_text(&[]);
    let snapshots = same.report()["coverage"]["snapshots"].as_u64().unwrap_or_default();
    assert!(snapshots >= 20, "{what}: {snapshots} snapshots in 5 s\n{text}");
    assert!(text.contains("LEAK  python"), "{what}: {text}");
    assert!(text.contains("jail.py:11 forgetful"), "{what}: {text}");
}

#[test]
fn a_leak_behind_another_root_is_reported() {
    if is_root("chroot in Python") {
        leaks_on("chroot");
    }
}

#[test]
fn a_leak_of_another_user_is_reported() {
    if is_root("setuid in Python") {
        leaks_on("setuid");
    }
}

#[test]
fn a_leak_in_a_deleted_folder_is_reported() {
    leaks_on("deleted");
}

#[test]
fn a_recording_that_may_not_grow_says_so() {
    let same =
        check(c("room file_size 1 6000").in_shell("ulimit -f 8; exec \"$@\"").interval("100ms"), 0, "EFBIG");
    let text = same.report_text(&[]);
    assert!(text.contains("may not grow"), "{text}");
    assert!(!text.contains("still runs"), "{text}");
}

/// Bytes that a site of `function` grew by.
fn grown_at(same: &Same, function: &str) -> u64 {
    let report = same.report();
    let growth = report["growth"].as_array().cloned().unwrap_or_default();
    let sites = growth
        .iter()
        .filter(|growth| growth["source"] == "sampled")
        .flat_map(|growth| growth["sites"].as_array().cloned().unwrap_or_default());
    let is_of = |site: &Value| {
        let frames = site["site"]["frames"].as_array().cloned().unwrap_or_default();
        frames.iter().any(|frame| frame["function"].as_str().is_some_and(|name| name.contains(function)))
    };
    sites.filter(is_of).filter_map(|site| site["grown_bytes"].as_u64()).sum()
}

/// A program of C++ kept two times nine megabytes until its destructors freed them.
fn what_destructors_free_is_reported(how: &str) {
    let same = check(c(&format!("statics {how}")).options(["--native-sample", "16KiB"]), 0, "");
    for function in ["keep_a_line", "keep_a_page"] {
        let grown = grown_at(&same, function);
        assert!(
            (6_000_000..13_000_000).contains(&grown),
            "{how}: {grown} bytes at {function}\n{}",
            same.report_text(&[])
        );
    }
}

#[test]
fn what_static_destructors_free_leaked_all_the_same() {
    for how in ["return", "exit", "quick_exit", "_exit"] {
        what_destructors_free_is_reported(how);
    }
}

#[test]
fn what_the_program_freed_itself_is_no_growth() {
    let same = check(c("statics clear").options(["--native-sample", "64KiB"]), 0, "0 lines and 3000 pages");
    let grown = grown_at(&same, "keep_a_line");
    assert!(grown < 1_000_000, "{grown} bytes\n{}", same.report_text(&[]));
}

/// However many call paths there are: leakline's own memory is bounded, and is no leak of the program's.
fn own_memory_is_bounded(same: &Same) {
    let report = same.report();
    let held = report["own"]["held_bytes"].as_u64().unwrap_or(u64::MAX);
    let text = same.report_text(&[]);
    assert!(held <= 16 << 20, "leakline holds {held} bytes\n{text}");
    assert!(!text.contains("LEAK"), "{text}");
}

#[test]
fn ten_minutes_worth_of_generated_code_is_forgotten() {
    own_memory_is_bounded(&check(python("templates.py 60000"), 0, "done"));
}

#[test]
fn ten_minutes_worth_of_call_paths_is_forgotten() {
    own_memory_is_bounded(&check(
        c("paths 1000000").options(["--native-sample", "4KiB"]),
        0,
        "1000000 call paths",
    ));
}
