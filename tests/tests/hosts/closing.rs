//! Programs that close every descriptor, also those that are not theirs, and open files that get these numbers.

use crate::{c, check, python, python_by};

/// Nothing of leakline's may land in the program's files or sockets, and it must end well. The report is not empty.
fn closes_in_c(way: &str, moment: &str) {
    let same = check(c(&format!("closing {way} {moment}")), 0, "ended well");
    assert!(same.report()["coverage"]["snapshots"].as_u64() >= Some(2), "{}", same.report_text(&[]));
}

fn closes_in_python(way: &str) {
    let same = check(python(&format!("closing.py {way}")), 0, "ended well 60");
    let text = same.report_text(&[]);
    assert!(same.report()["coverage"]["snapshots"].as_u64() >= Some(2), "{text}");
}

#[test]
fn closefrom() {
    closes_in_c("closefrom", "1200");
}

#[test]
fn closefrom_at_once() {
    closes_in_c("closefrom", "0");
}

#[test]
fn the_call_close_range() {
    closes_in_c("close_range", "700");
    closes_in_c("close_range_unshare", "700");
    closes_in_c("cloexec", "700");
}

#[test]
fn a_loop_over_all_numbers() {
    closes_in_c("loop", "700");
}

#[test]
fn what_proc_lists() {
    closes_in_c("listed", "700");
}

#[test]
fn dup2_over_what_is_open() {
    closes_in_c("dup2", "700");
}

#[test]
fn with_a_collector_that_is_not_there() {
    check(c("closing closefrom 700").options(["--collector", "127.0.0.1:9"]), 0, "ended well");
}

#[test]
fn with_a_collector_that_listens() {
    // It takes the connection and says nothing; the socket's number becomes one of the program's own.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    check(c("closing dup2 700").options(["--collector", &address]), 0, "ended well");
}

#[test]
fn closerange_in_python() {
    closes_in_python("closerange");
}

#[test]
fn the_other_ways_in_python() {
    closes_in_python("loop");
    closes_in_python("listed");
}

#[test]
fn python_daemon() {
    closes_in_python("daemon");
}

#[test]
fn every_installed_python_that_closes_all() {
    for installed in leakline_tests::pythons() {
        check(python_by(installed.path, "closing.py closerange"), 0, "ended well 60");
    }
}

#[test]
fn a_daemon_by_a_double_fork() {
    let waits = "\"$@\"; echo left $?; while [ ! -e done ]; do sleep 0.05; done; cat done";
    for words in
        ["daemonise.py forks", "daemonise.py forks 0.8", "daemonise.py closes 0.8", "daemonise.py package"]
    {
        check(python(words).in_shell(waits), 0, "left 0\nby the daemon\n");
    }
}
