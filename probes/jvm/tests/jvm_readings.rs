//! What the probe says of real JVMs equals what their own beans say; it comes and goes without a trace.
//! Each JVM runs in a process of its own: this program again, at the test `host`.

#![expect(clippy::unwrap_used, reason = "test code, though clippy does not see it in helpers")]

#[path = "support/inside.rs"]
mod inside;
#[path = "support/jvms.rs"]
mod jvms;
mod support;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jvms::{Host, classes, collectors};

/// Not a test: what the processes run that the tests start.
#[test]
#[ignore = "runs only in the processes that the tests start"]
fn host() {
    if std::env::var_os("HOST_LIBJVM").is_some() {
        inside::run();
    }
}

/// As on Android: its class `Debug` (of this part of the classes), and no management beans.
fn android(home: &Path, part: &str, options: &[&str], arguments: &[&str]) -> Host {
    let boot = format!("-Xbootclasspath/a:{}", classes(part).display());
    let options = [&["--limit-modules=java.base", boot.as_str()], options].concat();
    Host::new(home, &options, arguments)
}

fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn gauges_are_what_the_beans_say_with_every_collector() {
    for home in jvms::jvms() {
        for collector in collectors(&home) {
            let text = Host::new(&home, &[collector, "-Xmx256m"], &["gauges"]).text();
            let good = text.lines().filter(|line| line.starts_with("ok jvm.")).count();
            assert!(good >= 13 && good == text.lines().count(), "{} {collector}\n{text}", home.display());
        }
    }
}

#[test]
fn the_heap_after_a_collection_has_what_is_kept_though_only_young_collections_ran() {
    for home in jvms::jvms() {
        for collector in collectors(&home) {
            let text = Host::new(&home, &[collector, "-Xmx256m"], &["after-gc"]).text();
            let (first, then) = text.split_once("then\n").unwrap();
            let name = "jvm.heap_after_gc_bytes";
            let what = format!("{} {collector}\n{text}", home.display());
            if value(first, "jvm.gc_collections") == Some(0.0) {
                assert_eq!(value(first, name), None, "{what}");
            }
            let after = value(then, name).expect(&what);
            // G1 takes two megabytes' regions for blocks of one. ZGC and Shenandoah collect while garbage is made: what
            // was made meanwhile counts as kept, which beside a busy test may be most of the heap.
            let concurrent = collector.contains("ZGC") || collector.contains("Shenandoah");
            let most = if concurrent { 256e6 } else { 140e6 };
            assert!((40e6..most).contains(&after), "{what}");
        }
    }
}

#[test]
fn the_version_is_known_without_entering_the_jvm() {
    for home in jvms::jvms() {
        let release = std::fs::read_to_string(home.join("release")).unwrap_or_default();
        let told = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\"")).unwrap();
        let major: String = told.chars().take_while(char::is_ascii_digit).collect();
        let output = Host::new(&home, &[], &["gauges"]).run();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("HOST VERSION {major}\n")), "{}: {told}\n{text}", home.display());
    }
}

#[test]
fn the_jvms_own_checks_find_nothing_to_say() {
    for home in jvms::jvms() {
        let output = Host::new(&home, &["-Xcheck:jni"], &["gauges"]).run();
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && text.contains("ok jvm.heap_used_bytes"), "{text}");
        assert!(!text.contains("WARNING") && !text.contains("FATAL"), "{}\n{text}", home.display());
    }
}

#[test]
fn readings_leave_nothing_behind() {
    for home in jvms::jvms() {
        let text = Host::new(&home, &["-Xint", "-XX:+UseSerialGC", "-Xmx64m"], &["leak", "500"]).text();
        let grown: Vec<i64> = text.lines().map(|line| line.parse().unwrap()).collect();
        let [heap, malloc, globals] = grown[..] else { panic!("{text}") };
        assert!(heap < 50_000, "{} heap grew by {heap}", home.display());
        // Interpreted, because what a JIT needs comes from malloc, and varies from run to run.
        assert!(malloc < 50_000, "{} malloc grew by {malloc}", home.display());
        assert_eq!(globals, 0, "{} global references", home.display());
    }
}

#[test]
fn without_the_management_module_there_is_the_heaps_size_and_a_note() {
    for home in jvms::jvms() {
        let text = Host::new(&home, &["--limit-modules=java.base"], &["read"]).text();
        assert!(value(&text, "jvm.heap_used_bytes").unwrap() > 100_000.0, "{text}");
        assert!(value(&text, "jvm.heap_max_bytes").is_some(), "{text}");
        assert!(text.contains("# only the heap's size: java.lang.ClassNotFoundException"), "{text}");
    }
}

#[test]
fn without_beans_android_s_debug_class_is_asked() {
    for home in jvms::jvms() {
        let text = android(&home, "android", &[], &["read"]).text();
        for (name, expected) in [
            ("jvm.gc_collections", 12.0),
            ("jvm.gc_time_nanos", 345e6),
            ("jvm.gc_blocking_collections", 3.0),
            ("jvm.gc_blocking_time_nanos", 21e6),
            ("jvm.allocated_so_far_bytes", 6789.0),
            ("jvm.freed_so_far_bytes", 5678.0),
            ("jvm.native_heap_allocated_bytes", 4321.0),
            ("jvm.native_heap_free_bytes", 1234.0),
            ("jvm.native_heap_size_bytes", 5555.0),
            ("jvm.classes", 987.0),
            ("jvm.binder_local_objects", 65.0),
        ] {
            assert_eq!(value(&text, name), Some(expected), "{name}\n{text}");
        }
        assert!(value(&text, "jvm.heap_used_bytes").unwrap() > 100_000.0, "{text}");
        // One that throws costs its own gauge.
        assert_eq!(value(&text, "jvm.binder_proxies"), None, "{text}");
        let notes: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let expected = [
            "# android.os.Debug: java.lang.RuntimeException: Stub!: in getBinderProxyObjectCount",
            "# no classes of Java's objects, no global references, no Java call paths: there is no tool interface: \
             leakline was not attached as an agent",
        ];
        assert_eq!(notes, expected, "{text}");
    }
}

#[test]
fn an_old_android_has_what_it_has_and_a_note() {
    for home in jvms::jvms() {
        let text = android(&home, "android-old", &[], &["read"]).text();
        assert_eq!(value(&text, "jvm.native_heap_allocated_bytes"), Some(4321.0), "{text}");
        assert_eq!(value(&text, "jvm.gc_collections"), None, "{text}");
        assert!(value(&text, "jvm.heap_used_bytes").unwrap() > 100_000.0, "{text}");
        let note = "# this Android's Debug has no getNativeHeapFreeSize, no getNativeHeapSize, no getLoadedClassCount, no \
                    getBinderLocalObjectCount, no getBinderProxyObjectCount, no getRuntimeStat (Android 6), and with it \
                    collections";
        assert!(text.lines().any(|line| line == note), "{text}");
    }
}

#[test]
fn an_agent_of_android_s_runtime_has_its_tool_interface_but_no_samples() {
    for home in jvms::jvms() {
        for collector in collectors(&home) {
            let text =
                android(&home, "android", &[collector, "-Xmx256m"], &["read"]).with("HOST_AGENT", 1).text();
            assert!(value(&text, "jvm.class_loaders").is_some_and(|count| count > 0.0), "{text}");
            let note = "# no Java call paths: Android's runtime does not sample allocations";
            assert!(text.lines().any(|line| line == note), "{text}");
            assert!(!text.contains("no classes") && !text.contains("no histogram"), "{text}");
            let text =
                android(&home, "android", &[collector, "-Xmx256m"], &["count"]).with("HOST_AGENT", 1).text();
            let bytes = text.lines().find_map(|line| line.strip_suffix(" byte[]")?.split_once(' '));
            let count = bytes.and_then(|(count, _)| count.parse::<u64>().ok());
            assert!(count.is_some_and(|count| count >= 100_000), "{} {collector}\n{text}", home.display());
        }
    }
}

#[test]
fn a_jvm_with_beans_is_asked_for_them_though_a_library_brings_android_s_classes() {
    for home in jvms::jvms() {
        let boot = format!("-Xbootclasspath/a:{}", classes("android").display());
        let text = Host::new(&home, &[&boot], &["read"]).text();
        assert_ne!(value(&text, "jvm.classes"), Some(987.0), "{text}");
        assert!(value(&text, "jvm.non_heap_used_bytes").is_some(), "{text}");
        assert_eq!(value(&text, "jvm.native_heap_allocated_bytes"), None, "{text}");
    }
}

#[test]
fn a_jvm_that_exits_while_it_is_read_exits_as_if_nobody_read() {
    for home in jvms::jvms() {
        for round in 0..50 {
            let (scenario, expected) = if round % 2 == 0 { ("exit", 7) } else { ("return", 0) };
            let delay = (round % 10 * 7).to_string();
            let output = Host::new(&home, &["-Xmx64m"], &[scenario, &delay]).with("HOST_BUSY", 1).run();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(expected), "{} round {round}\n{text}", home.display());
        }
    }
}

#[test]
fn the_host_s_exit_does_not_wait_for_the_probe() {
    for home in jvms::jvms() {
        let waited = (0..5)
            .map(|_| {
                let output = Host::new(&home, &["-Xmx64m"], &["timed-exit"]).run();
                let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                assert_eq!(output.status.code(), Some(7));
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let begun = text.lines().find_map(|line| line.parse::<u64>().ok()).expect(&text);
                ended.saturating_sub(Duration::from_millis(begun))
            })
            .min()
            .unwrap();
        // A thread that stays attached costs 300 ms here.
        assert!(waited < Duration::from_millis(250), "{} {waited:?}", home.display());
    }
}

#[test]
fn it_keeps_what_every_probe_promises() {
    for home in jvms::jvms() {
        assert_eq!(Host::new(&home, &[], &["conformance"]).text(), "", "{}", home.display());
        assert_eq!(android(&home, "android", &[], &["conformance"]).text(), "", "{}", home.display());
    }
}

/// Not a test: prints what readings cost.
/// `cargo test --release -p leakline-jvm --test jvm_readings -- --ignored --nocapture cost`
#[test]
#[ignore = "prints what readings cost"]
fn cost() {
    for home in jvms::jvms() {
        for collector in collectors(&home) {
            let text = Host::new(&home, &[collector, "-Xmx256m"], &["cost"]).text();
            println!("{} {collector}\n{text}", home.display());
        }
    }
}
