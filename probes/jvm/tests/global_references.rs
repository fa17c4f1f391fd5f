//! JNI's global and weak global references are as many as the JVM itself counts, with every collector, whatever the host does
//! while leakline finds out where they are counted. Each JVM runs in a process of its own: this program again, at the test
//! `host`.

#![expect(clippy::unwrap_used, reason = "test code, though clippy does not see it in helpers")]

#[path = "support/inside.rs"]
mod inside;
#[path = "support/jvms.rs"]
mod jvms;
mod support;

use jvms::{Host, collectors};

/// Not a test: what the processes run that the tests start.
#[test]
#[ignore = "runs only in the processes that the tests start"]
fn host() {
    if std::env::var_os("HOST_LIBJVM").is_some() {
        inside::run();
    }
}

/// As in Host.java: what native code holds more after each step than before the first.
const HELD: [[i64; 2]; 6] = [[0, 0], [1000, 0], [1000, 300], [600, 100], [600, 5100], [0, 0]];
/// Global references of leakline's own at most: beans, classes.
const OWN: i64 = 200;

/// `sample`: mean with which Java's allocations are sampled, 0 for not at all. Each sample has a weak reference.
fn check(options: &[&str], disturbers: u32, sample: u32) {
    for home in jvms::jvms() {
        for collector in collectors(&home) {
            let options = [&[collector, "-Xmx256m"], options].concat();
            let arguments = ["references", &disturbers.to_string()];
            let text = Host::new(&home, &options, &arguments).with("HOST_SAMPLE", sample).text();
            let what = format!("{} {options:?}, {disturbers} disturb\n{text}", home.display());
            let number = |word: &str| word.parse::<i64>().expect(&what);
            let rows: Vec<Vec<i64>> =
                text.lines().map(|line| line.split(' ').map(number).collect()).collect();
            assert!(rows.len() == HELD.len() && rows.iter().all(|row| row.len() == 4), "{what}");
            let own = rows[0][2] - rows[0][0];
            assert!((0..OWN).contains(&own), "{what}");
            for (row, held) in rows.iter().zip(HELD) {
                assert_eq!(row[2] - row[0], own, "leakline's own are always as many: {what}");
                let own_weak = row[3] - row[1];
                assert!(own_weak == 0 || sample > 0 && own_weak > 0, "{what}");
                assert_eq!(row[1] - rows[0][1], held[1], "{what}");
                // The JVM's own compilers come and go.
                assert!((row[0] - rows[0][0] - held[0]).abs() < 8, "{what}");
            }
        }
    }
}

#[test]
fn references_are_as_many_as_a_dump_of_all_stacks_tells() {
    check(&[], 0, 0);
}

#[test]
fn leaklines_own_samples_are_none_of_them() {
    check(&["-Xcheck:jni"], 0, 4096);
}

#[test]
fn a_host_that_makes_references_all_the_time_cannot_mislead_it() {
    check(&[], 3, 0);
}
