//! Call paths of malloc go on in Java: the C functions of a JNI library, and the methods and lines that called them. And
//! what matters more: the JVM does not notice.

use std::path::Path;
use std::process::Command;

use leakline_core::Frame;
use leakline_tests::{Host, Outcome, built_host, jdks};

/// The collectors that wait for critical regions to end, in one version or another.
const COLLECTORS: [&str; 3] = ["-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC"];

/// The program `Bridge` with `words`, which are as it takes them, with every option that would have the JVM complain.
fn bridge(java: &Path, sample: &str, options: &[&str], words: &str) -> Host {
    let mut command = vec![java.to_path_buf().into_os_string(), "-Xcheck:jni".into()];
    // Newer JVMs warn of native methods.
    let allow = "--enable-native-access=ALL-UNNAMED";
    if Command::new(java).args([allow, "-version"]).output().is_ok_and(|outcome| outcome.status.success()) {
        command.push(allow.into());
    }
    command.extend(options.iter().map(Into::into));
    command.extend(["-cp".into(), built_host("jni").into_os_string(), "com.example.Bridge".into()]);
    command.push(built_host("libbridge.so").into_os_string());
    command.extend(words.split(' ').map(Into::into));
    Host::new(command).options(["--interval", "300ms", "--native-sample", sample])
}

/// The call paths of the native heap, each from the inside to the outside.
fn native_paths(outcome: &Outcome) -> Vec<Vec<Frame>> {
    let snapshots = outcome.snapshots();
    let native = snapshots.iter().filter_map(|snapshot| snapshot.reading("native"));
    let sites = native.flat_map(|reading| &reading.profiles).flat_map(|profile| profile.sites());
    sites.map(|stat| stat.site.frames().iter().map(|frame| frame.as_ref().clone()).collect()).collect()
}

/// Each JVM, run with `options`, has C functions above the Java methods that called them, with their lines.
fn check_path(options: &[&str]) {
    for java in jdks() {
        let outcome = bridge(&java, "16KiB", options, "leak 2 3 end").run().succeeded();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("Bridge: done\n", ""), "{java:?}");
        let paths = native_paths(&outcome);
        let is_whole = |path: &Vec<Frame>| {
            let Some(open) = path.iter().position(|frame| &*frame.function == "com.example.Bridge.open")
            else {
                return false;
            };
            let (native, java) = path.split_at(open);
            let java: Vec<&str> =
                java.iter().map(|frame| frame.function.rsplit('.').next().unwrap_or("")).collect();
            let mut lines = path.iter().skip(open + 1).take(3);
            native.len() >= 2
                && java.starts_with(&["open", "leak", "work"])
                && java.last() == Some(&"run")
                && lines.all(|frame| &*frame.file == "com/example/Bridge.java" && frame.line > 0)
        };
        assert!(paths.iter().any(is_whole), "{java:?} {options:?}: {paths:#?}");
    }
}

#[test]
fn a_direct_buffer_has_its_line_though_the_jvm_itself_allocates_it() {
    for java in jdks() {
        let outcome = bridge(&java, "16KiB", &["-Xmx64m"], "direct 2 3 end").run().succeeded();
        let paths = native_paths(&outcome);
        let is_whole = |path: &Vec<Frame>| {
            let at = |function: &str| path.iter().position(|frame| &*frame.function == function);
            let buffer =
                path.iter().position(|frame| frame.function.starts_with("java.nio.DirectByteBuffer"));
            buffer.zip(at("com.example.Bridge.direct")).is_some_and(|(inner, outer)| inner < outer)
        };
        assert!(paths.iter().any(is_whole), "{java:?}: {paths:#?}");
    }
}

#[test]
fn interpreted_methods_stand_under_the_c_functions_that_they_call() {
    check_path(&["-Xint"]);
}

#[test]
fn compiled_methods_stand_under_the_c_functions_that_they_call() {
    // These alone, or the JVM's own start takes longer than the program.
    let compiled =
        ["-Xcomp", "-XX:CompileCommand=quiet", "-XX:CompileCommand=compileonly,com.example.Bridge::*"];
    for compiler in ["-XX:TieredStopAtLevel=1", "-XX:-TieredCompilation"] {
        check_path(&[&compiled[..], &[compiler]].concat());
    }
}

/// Each JVM ends as it should, and says nothing but that it does.
fn check_unnoticed(options: &[&str], words: &str, last: &str) {
    for java in jdks() {
        let outcome = bridge(&java, "4KiB", options, words).run().succeeded();
        let said: Vec<&str> = outcome.stdout.lines().filter(|line| !line.starts_with('[')).collect();
        assert_eq!(
            (said.as_slice(), outcome.stderr.as_str()),
            ([last].as_slice(), ""),
            "{java:?} {options:?}"
        );
    }
}

#[test]
fn critical_regions_hold_up_no_collection() {
    for collector in COLLECTORS {
        check_unnoticed(&[collector, "-Xmx64m"], "critical 8 3 end", "Bridge: done");
    }
}

#[test]
fn locks_that_a_collection_waits_for_are_given_back() {
    for collector in COLLECTORS {
        check_unnoticed(&[collector, "-Xmx64m", "-Xlog:gc*"], "locked 8 3 end", "Bridge: done");
    }
}

#[test]
fn pending_exceptions_stay() {
    check_unnoticed(&["-Xmx64m"], "fail 8 3 end", "Bridge: done");
}

#[test]
fn classes_come_and_go_while_the_jvm_allocates_for_them() {
    for collector in COLLECTORS {
        check_unnoticed(
            &[collector, "-Xmx64m", "-XX:MaxMetaspaceSize=24m"],
            "define 4 3 end",
            "Bridge: done",
        );
    }
}

#[test]
fn the_jvm_exits_while_threads_allocate() {
    check_unnoticed(&["-Xmx64m"], "churn 8 3 exit", "Bridge: exits");
}
