//! Every end that a Python program can have, and its ways to start other processes.

use std::os::unix::process::ExitStatusExt as _;

use leakline_tests::pythons;

use crate::{check, python, python_by};

fn ends(way: &str, code: i32, said: &str) {
    check(python(&format!("python_ends.py {way}")), code, said);
}

fn dies(way: &str, signal: i32) {
    let same = python(&format!("python_ends.py {way}")).check();
    assert_eq!(same.status.signal(), Some(signal), "{way}");
}

#[test]
fn by_its_own_will() {
    ends("return", 0, "exit handler\ndeleted");
    ends("exit", 3, "exit handler");
    ends("exit_with_words", 1, "exit handler");
    ends("unhandled", 1, "exit handler");
    ends("_exit", 4, "begins\n");
}

#[test]
fn by_signals() {
    dies("abort", libc::SIGABRT);
    dies("kill", libc::SIGKILL);
    dies("interrupt", libc::SIGINT);
    dies("faulthandler", libc::SIGSEGV);
    ends("faulthandler_later", 1, "begins");
    for (way, signal, code, said) in
        [("signal_handler", libc::SIGTERM, 8, "told to end"), ("sigint", libc::SIGINT, 9, "interrupted")]
    {
        check(python(&format!("python_ends.py {way}")).signal(signal), code, said);
    }
}

#[test]
fn by_becoming_another_program() {
    ends("exec", 5, "another program");
    ends("exec_python", 0, "another Python");
}

#[test]
fn with_threads() {
    ends("daemon_threads", 0, "exit handler");
    ends("thread_after_main", 0, "the thread ends\n");
    ends("thread_exits", 7, "begins");
}

#[test]
fn after_its_main_thread() {
    ends("main_thread_exits", 6, "the thread ends");
}

#[test]
fn too_deep() {
    ends("recursion", 0, "too deep");
}

#[test]
fn subprocesses() {
    ends("subprocess", 0, "in text");
    ends("no_child", 0, "nobody to wait for");
}

#[test]
fn multiprocessing_by_each_method() {
    for way in ["fork", "spawn", "forkserver"] {
        check(python(&format!("parallel.py {way}")), 0, "from a worker\n0");
    }
    check(python("parallel.py futures"), 0, "40425");
    check(python("parallel.py asyncio"), 0, "[0, 1, 2");
}

#[test]
fn with_every_installed_python() {
    for installed in pythons() {
        for (way, code) in [("daemon_threads", 0), ("unhandled", 1), ("fork", 0), ("subprocess", 0)] {
            check(python_by(installed.path.clone(), &format!("python_ends.py {way}")), code, "begins");
        }
    }
}

#[test]
fn in_each_mode() {
    for mode in ["exact", "tracemalloc", "gauges", "off"] {
        let twice = |way: &str| python(&format!("python_ends.py {way}")).options(["--python", mode]);
        check(twice("daemon_threads"), 0, "exit handler");
        check(twice("thread_exits"), 7, "begins");
    }
}
