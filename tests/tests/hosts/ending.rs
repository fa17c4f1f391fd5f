//! Every end that a C program can have.

use std::os::unix::process::ExitStatusExt as _;

use crate::{c, check};

fn ends(words: &str, code: i32, said: &str) {
    check(c(&format!("ends {words}")).unrecorded(), code, said);
}

fn dies(words: &str, signal: i32) {
    let same = c(&format!("ends {words}")).unrecorded().check();
    assert_eq!(same.status.signal(), Some(signal), "{words}");
}

#[test]
fn by_return_and_exit() {
    ends("return 0", 0, "destructor\nbuffered\n");
    ends("return 9", 9, "destructor");
    ends("exit 5", 5, "exit handler\n");
    ends("exit_in_handler 6", 6, "exit handler\nquick exit handler\n");
}

#[test]
fn without_handlers() {
    ends("_exit 5", 5, "buffered\n");
    ends("_Exit 6", 6, "");
    ends("quick_exit 7", 7, "quick exit handler");
    ends("exit_group 8", 8, "");
}

#[test]
fn by_signals_of_its_own() {
    dies("abort", libc::SIGABRT);
    dies("fault", libc::SIGSEGV);
    dies("broken_pipe 0", libc::SIGPIPE);
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV, libc::SIGHUP, libc::SIGUSR2, libc::SIGRTMIN()]
    {
        dies(&format!("raise {signal}"), signal);
        dies(&format!("kill {signal}"), signal);
    }
    ends("raise 17", 30, "still there");
    ends("broken_pipe 1", 7, "");
}

#[test]
fn by_becoming_another_program() {
    ends("exec false", 1, "buffered");
    ends("fexecve /bin/false", 1, "buffered");
    ends("exec_thread false", 1, "buffered");
    ends("exec_fails 3", 3, "goes on");
    ends("exec_vfork 3", 3, "twenty that failed");
}

#[test]
fn by_becoming_a_static_program() {
    let other = leakline_tests::built_host("ends_static");
    ends(&format!("exec {} return 11", other.display()), 11, "buffered\ndestructor\nbuffered\n");
}

#[test]
fn after_its_main_thread() {
    ends("main_thread_ends", 0, "the last thread ends");
    ends("main_thread_ends_by_call", 0, "a thread ends by its own call");
    ends("all_end_by_call", 0, "ends by its own call");
}

/// The process has no main thread any more, and is told to end.
#[test]
fn by_a_signal_without_a_main_thread() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGKILL, libc::SIGHUP] {
        let same = c("ends main_thread_gone").signal(signal).unrecorded().check();
        assert_eq!(same.status.signal(), Some(signal));
    }
    check(c("ends main_thread_gone_handler").signal(libc::SIGTERM).unrecorded(), 24, "caught TERM");
    check(c("ends main_thread_gone_handler").signal(libc::SIGINT).unrecorded(), 24, "caught");
    check(
        c("ends main_thread_gone_sigwait").signal(libc::SIGTERM).unrecorded(),
        23,
        "a thread took signal 15",
    );
}

#[test]
fn by_a_signal_from_outside() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGALRM, libc::SIGUSR1] {
        let same = c("ends waits").signal(signal).unrecorded().check();
        assert_eq!(same.status.signal(), Some(signal));
    }
    check(c("ends ignores 3").signal(libc::SIGTERM).unrecorded(), 3, "did not mind");
    check(c("ends handles 4").signal(libc::SIGTERM).unrecorded(), 4, "and on");
    check(c("ends handles 4").signal(libc::SIGUSR1).unrecorded(), 4, "and on");
}

#[test]
fn from_another_thread() {
    ends("thread_exits", 21, "destructor");
    ends("thread_leaves", 22, "");
    for _ in 0..5 {
        ends("threads_at_end 13", 13, "destructor");
    }
}

#[test]
fn after_a_stop() {
    ends("stops 14", 14, "went on");
}
