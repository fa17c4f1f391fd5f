//! What the probe counts by class is what jcmd counts, with every collector, by each of its means; and the host does not
//! notice. Each JVM runs in a process of its own: this program again, at the test `host`.

#![expect(clippy::unwrap_used, reason = "test code, though clippy does not see it in helpers")]

#[path = "support/inside.rs"]
mod inside;
#[path = "support/jvms.rs"]
mod jvms;
mod support;

use std::collections::BTreeMap;

use jvms::{Host, collectors};

/// Not a test: what the processes run that the tests start.
#[test]
#[ignore = "runs only in the processes that the tests start"]
fn host() {
    if std::env::var_os("HOST_LIBJVM").is_some() {
        inside::run();
    }
}

/// Without the module that has the diagnostic command, the tool interface counts.
const TOOL_INTERFACE: &str = "--limit-modules=java.base";

/// What the JVM fills holes with, as it needs them: its own, and not what a program made. There may be less of these later.
const FILLERS: [&str; 4] =
    ["int[]", "java.lang.Object", "jdk.internal.vm.FillerElement[]", "jdk.internal.vm.FillerObject"];

/// Objects of a class that asking makes, or lets go of: those of the thread that asks. Collectors that find objects by their
/// references (ZGC, Shenandoah) do not see what nobody refers to any more.
const OWN: u64 = 5;

/// What the tool interface does not show of what jcmd counts: fillers and parts of stacks, which newer JVMs hide from it.
const HIDDEN: [&str; 3] =
    ["jdk.internal.vm.FillerElement[]", "jdk.internal.vm.FillerObject", "jdk.internal.vm.StackChunk"];

type Counts = BTreeMap<String, (u64, u64)>;

/// Lines of `count bytes class`.
fn ours(text: &str) -> Counts {
    assert!(!text.contains("no histogram"), "{text}");
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        (words[2].to_owned(), (words[0].parse().unwrap(), words[1].parse().unwrap()))
    });
    rows.collect()
}

/// Jcmd's own lines: number, count, bytes, class, and its module.
fn jcmds(text: &str) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [number, count, bytes, name, ..] = words[..] else { continue };
        if !number.ends_with(':') || count.parse::<u64>().is_err() {
            continue;
        }
        let entry = counts.entry(source_name(name)).or_default();
        entry.0 += count.parse::<u64>().unwrap();
        entry.1 += bytes.parse::<u64>().unwrap();
    }
    counts
}

/// `[[Ljava.lang.String;` as `java.lang.String[][]`, and hidden classes without their addresses.
fn source_name(name: &str) -> String {
    let element = name.trim_start_matches('[');
    let dimensions = name.len() - element.len();
    let element = if dimensions == 0 {
        element.to_owned()
    } else if let Some(object) = element.strip_prefix('L') {
        object.trim_end_matches(';').to_owned()
    } else {
        let primitives = [
            ("B", "byte"),
            ("C", "char"),
            ("D", "double"),
            ("F", "float"),
            ("I", "int"),
            ("J", "long"),
            ("S", "short"),
            ("Z", "boolean"),
        ];
        primitives.iter().find(|(letter, _)| *letter == element).unwrap().1.to_owned()
    };
    let element = element.split("/0x").next().unwrap().to_owned();
    element + &"[]".repeat(dimensions)
}

/// Jcmd's counts lie between leakline's before and after it, those of the program equal them.
fn check_beside_jcmd(options: &[&str], hidden: &[&str]) {
    for home in jvms::jvms() {
        for collector in collectors(&home) {
            let options: Vec<&str> =
                [collector, "-Xmx512m", "-Xms512m"].iter().chain(options).copied().collect();
            let what = format!("{} {options:?}", home.display());
            let text = Host::new(&home, &options, &["histogram"]).text();
            let (before, rest) = text.strip_prefix("=A\n").expect(&text).split_once("=J\n").unwrap();
            let (theirs, after) = rest.split_once("=B\n").unwrap();
            let (before, theirs, after) = (ours(before), jcmds(theirs), ours(after));
            assert!(theirs.len() > 100, "{what}\n{text}");
            let mut wrong = Vec::new();
            for (name, (count, _)) in &theirs {
                if FILLERS.contains(&name.as_str()) || hidden.contains(&name.as_str()) {
                    continue;
                }
                let (low, high) = (before.get(name).copied(), after.get(name).copied());
                let low = low.unwrap_or_default();
                let high = high.unwrap_or_default();
                let (least, most) = (low.0.min(high.0), low.0.max(high.0));
                if *count + OWN < least || *count > most + OWN {
                    wrong.push(format!("{name}: {count}, leakline {low:?} to {high:?}"));
                }
            }
            for (name, (count, _)) in before.iter().filter(|(name, _)| !theirs.contains_key(*name)) {
                if *count > OWN {
                    wrong.push(format!("{name}: leakline {count}, and jcmd has none"));
                }
            }
            assert!(wrong.is_empty(), "{what}\n{}", wrong.join("\n"));
            for (name, count) in [("Host$Kept", 123_456), ("int[][]", 5_000)] {
                assert_eq!(before[name], theirs[name], "{what} {name}");
                assert!(before[name].0 >= count, "{what} {name} {:?}", before[name]);
            }
        }
    }
}

#[test]
fn the_diagnostic_command_counts_what_jcmd_counts() {
    check_beside_jcmd(&[], &[]);
}

#[test]
fn the_tool_interface_counts_what_jcmd_counts() {
    check_beside_jcmd(&[TOOL_INTERFACE], &HIDDEN);
}

#[test]
fn the_jvms_own_checks_find_nothing_to_say() {
    for home in jvms::jvms() {
        for options in [&["-Xcheck:jni"][..], &["-Xcheck:jni", TOOL_INTERFACE]] {
            let output = Host::new(&home, options, &["count"]).run();
            let text = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(output.status.success() && text.contains(" byte[]"), "{text}");
            assert!(!text.contains("WARNING") && !text.contains("FATAL"), "{}\n{text}", home.display());
        }
    }
}

#[test]
fn exceptions_that_are_on_their_way_in_other_threads_stay() {
    for home in jvms::jvms() {
        for options in [&[][..], &[TOOL_INTERFACE]] {
            assert_eq!(Host::new(&home, options, &["pending"]).text(), "still mine", "{}", home.display());
        }
    }
}

#[test]
fn a_thousand_threads_and_classes_that_come_and_go_are_no_trouble() {
    for home in jvms::jvms() {
        for collector in collectors(&home) {
            for means in [&[][..], &[TOOL_INTERFACE]] {
                let options = [&[collector, "-Xmx256m", "-Xss256k"][..], means].concat();
                let text = Host::new(&home, &options, &["churn"]).text();
                assert_eq!(text, "ok", "{} {options:?}", home.display());
            }
        }
    }
}

#[test]
fn a_jvm_that_exits_while_it_is_counted_exits_as_if_nobody_did() {
    for home in jvms::jvms() {
        for round in 0..20 {
            let (scenario, expected) = if round % 2 == 0 { ("exit", 7) } else { ("return", 0) };
            let delay = (round % 10 * 11).to_string();
            let means: &[&str] = if round % 4 < 2 { &[] } else { &[TOOL_INTERFACE] };
            let options = [&["-Xmx64m"], means].concat();
            let output = Host::new(&home, &options, &[scenario, &delay]).with("HOST_BUSY", 1).run();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(expected), "{} round {round}\n{text}", home.display());
        }
    }
}
