//! Every end that a Java program can have.

use std::os::unix::process::ExitStatusExt as _;

use leakline_tests::{Twice, built_host, jdks};

use crate::check;

/// With every installed JDK, by the smallest heap that holds it.
fn each_jdk(way: &str, mut then: impl FnMut(Twice)) {
    for java in jdks() {
        let words = ["-Xmx64m", "-XX:+UseSerialGC", "-cp"].map(Into::into);
        let classes = built_host("twice").into_os_string();
        then(Twice::new(std::iter::once(java.into_os_string()).chain(words).chain([
            classes,
            "Ends".into(),
            way.into(),
        ])));
    }
}

fn ends(way: &str, code: i32, said: &str) {
    each_jdk(way, |twice| drop(check(twice, code, said)));
}

#[test]
fn by_its_own_will() {
    ends("return", 0, "begins\nshutdown hook\n");
    ends("exit", 3, "shutdown hook\n");
    ends("halt", 4, "begins\n");
    ends("exception", 1, "shutdown hook\n");
}

#[test]
fn with_threads() {
    ends("thread_after_main", 0, "the thread ends\nshutdown hook\n");
    ends("exit_while_churning", 5, "shutdown hook\n");
}

#[test]
fn by_signals() {
    for (signal, code) in [(libc::SIGTERM, 143), (libc::SIGINT, 130), (libc::SIGHUP, 129)] {
        each_jdk("waits", |twice| drop(check(twice.signal(signal), code, "shutdown hook")));
    }
    each_jdk("waits", |twice| {
        let same = twice.signal(libc::SIGKILL).check();
        assert_eq!(same.status.signal(), Some(libc::SIGKILL));
    });
}

#[test]
fn with_children() {
    ends("children", 0, "child 19 19\n");
}

#[test]
fn with_a_full_heap() {
    ends("out_of_memory", 0, "copes\n");
}
