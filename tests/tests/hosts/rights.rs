//! Programs that give up rights, change roots and namespaces, or forbid themselves system calls.

use std::os::unix::process::ExitStatusExt as _;

use crate::{c, check, is_root};

fn lives(what: &str) -> leakline_tests::Same {
    check(c(&format!("rights {what}")), 0, "lives")
}

/// It lives, and its recording goes on until its end: an open file needs no name.
fn is_recorded_to_the_end(what: &str) {
    let same = lives(what);
    let snapshots = same.report()["coverage"]["snapshots"].as_u64().unwrap_or_default();
    assert!(snapshots >= 5, "{what}: {snapshots} snapshots of 2.7 s\n{}", same.report_text(&[]));
}

#[test]
fn a_filter_that_kills_on_open_socket_and_clone() {
    lives("no_openat");
}

#[test]
fn a_filter_that_allows_next_to_nothing() {
    lives("strict");
}

#[test]
fn the_strict_mode_of_the_kernel() {
    let same = c("rights mode_strict").check();
    assert_eq!((same.status.code(), same.status.signal()), (Some(0), None), "{}", same.stdout);
}

#[test]
fn namespaces_that_only_one_thread_may_enter() {
    if is_root("unshare and setns") {
        lives("unshare_user");
        lives("unshare_all");
        lives("setns");
    }
    lives("unshare_vm");
}

#[test]
fn another_user() {
    if is_root("setuid") {
        is_recorded_to_the_end("setuid");
    }
}

#[test]
fn another_root() {
    if is_root("chroot") {
        is_recorded_to_the_end("chroot");
    }
}

#[test]
fn other_mounts() {
    if is_root("a mount namespace") {
        is_recorded_to_the_end("mounts");
    }
}

#[test]
fn a_deleted_working_folder() {
    is_recorded_to_the_end("deleted");
}

#[test]
fn nothing_to_be_read_of_it() {
    is_recorded_to_the_end("undumpable");
    lives("umask");
}
