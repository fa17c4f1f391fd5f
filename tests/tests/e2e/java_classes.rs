//! Which of Java's classes grow: in the recording and in the report of a real program, with every collector; and when
//! counting would take too long, that is said.

use std::path::Path;
use std::process::Command;

use leakline_core::{Profile, ProfileSource, SiteHolder};
use leakline_tests::{Host, Outcome, built_host, jdks};

const COLLECTORS: [&str; 5] =
    ["-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC", "-XX:+UseZGC", "-XX:+UseShenandoahGC"];

/// The program `Plain`, which keeps arrays of bytes in a map.
fn plain(java: &Path, options: &[&str], words: &str) -> Host {
    let mut command = vec![java.to_path_buf().into_os_string(), "-Xmx128m".into()];
    command.extend(options.iter().map(Into::into));
    command.extend(["-cp".into(), built_host("java").into_os_string(), "Plain".into()]);
    command.extend(words.split(' ').map(Into::into));
    Host::new(command).options(["--interval", "200ms"])
}

fn has(java: &Path, collector: &str) -> bool {
    Command::new(java).args([collector, "-version"]).output().is_ok_and(|output| output.status.success())
}

/// Objects of `class` in each histogram.
fn counts(outcome: &Outcome, class: &str) -> Vec<u64> {
    let snapshots = outcome.snapshots();
    let readings = snapshots.iter().filter_map(|snapshot| snapshot.reading("jvm"));
    let types = readings
        .flat_map(|reading| &reading.profiles)
        .filter(|profile| profile.source().name == ProfileSource::TYPES);
    let of = |profile: &Profile| {
        let mut sites = profile.sites().iter();
        sites
            .find(|stat| matches!(stat.site.holder(), SiteHolder::Class(name) if &**name == class))
            .map(|stat| stat.live.blocks)
    };
    types.map(|profile| of(profile).unwrap_or(0)).collect()
}

#[test]
fn the_classes_that_a_leak_keeps_grow_with_every_collector() {
    for java in jdks() {
        for collector in COLLECTORS.into_iter().filter(|collector| has(&java, collector)) {
            let host = plain(&java, &[collector, "-Xcheck:jni"], "--leak jvm --rate 4000000 --seconds 4");
            let outcome = host.run().succeeded();
            let what = format!("{java:?} {collector}");
            assert!(
                !outcome.stdout.contains("WARNING") && outcome.stderr.is_empty(),
                "{what} {}",
                outcome.stderr
            );
            for class in ["byte[]", "java.util.HashMap$Node", "java.lang.Long"] {
                let counts = counts(&outcome, class);
                let (Some(first), Some(last)) = (counts.first(), counts.last()) else {
                    panic!("{what}: no histogram")
                };
                // At 4 MB/s some 3,700 a second, from the first count to the last.
                assert!(
                    counts.len() >= 3 && last.saturating_sub(*first) > 4_000,
                    "{what} {class}: {counts:?}"
                );
            }
        }
    }
}

#[test]
fn a_count_that_would_take_too_long_is_left_out_and_the_reading_says_so() {
    let java = jdks().into_iter().next().expect("a JDK");
    let host = plain(&java, &[], "--leak jvm --rate 4000000 --seconds 2");
    let outcome = host.variable("LEAKLINE_JVM_HISTOGRAM_PAUSE", "1ms").run().succeeded();
    assert_eq!(counts(&outcome, "byte[]"), [0; 0]);
    let snapshots = outcome.snapshots();
    let notes =
        snapshots.iter().filter_map(|snapshot| snapshot.reading("jvm")).flat_map(|reading| &reading.notes);
    let said = notes.filter(|note| note.starts_with("no histogram of Java's classes: with ")).count();
    assert!(said > 0, "{snapshots:?}");
}
