//! Which line of Java leaks: in the recording of a real program, with every JDK.

use leakline_core::{Profile, ProfileSource};
use leakline_tests::{Host, built_host, jdks};

fn sampled(profile: &&std::sync::Arc<Profile>) -> bool {
    profile.source().name == ProfileSource::SAMPLED
}

#[test]
fn the_line_that_leaks_is_named_and_garbage_is_not() {
    for java in jdks() {
        let mut command = vec![java.clone().into_os_string(), "-Xmx64m".into()];
        // Many collections, so that most of what is kept went through one.
        command.extend(["-Xmn4m".into(), "-cp".into()]);
        command.push(built_host("java").into_os_string());
        command.extend("Plain --leak jvm --rate 4000000 --seconds 8".split(' ').map(Into::into));
        let host = Host::new(command).options(["--interval", "200ms"]);
        let outcome = host.variable("LEAKLINE_JVM_SAMPLE_BYTES", "64KiB").run().succeeded();
        let snapshots = outcome.snapshots();
        let readings = snapshots.iter().filter_map(|snapshot| snapshot.reading("jvm"));
        let profiles: Vec<_> = readings.filter_map(|reading| reading.profiles.iter().find(sampled)).collect();
        let last = profiles.iter().rev().find(|profile| !profile.sites().is_empty());
        let last = last.unwrap_or_else(|| panic!("{java:?}: no call paths\n{snapshots:?}"));
        let largest = last.sites().iter().max_by_key(|stat| stat.live.bytes).expect("a site");
        let words: Vec<String> = largest
            .site
            .frames()
            .iter()
            .map(|frame| format!("{}:{} {}", frame.file, frame.line, frame.function))
            .collect();
        assert!(
            words[0].starts_with("Plain.java:") && words[0].ends_with(" Plain.main"),
            "{java:?} {words:?}"
        );
        // It keeps 4 MB a second, 95 % of it at that line; a busy machine's last profile may be seconds old.
        let all: u64 = last.sites().iter().map(|stat| stat.live.bytes).sum();
        assert!(
            largest.live.bytes > 4_000_000 && largest.live.bytes * 10 > all * 8,
            "{java:?}: {largest:?} of {all}"
        );
    }
}
