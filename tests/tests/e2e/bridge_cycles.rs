//! Cycles across Python's heap and Java's, in real programs: found on request with both halves, told in the report; without
//! the reference that closes them nothing is found; and where a bound ends the search, it says so.

use std::ffi::OsString;
use std::process::Command;

use leakline_core::{Cycle, Reading};
use leakline_tests::{Host, Outcome, built_host, dist, jdks, venv_python, workspace};

/// The program with JPype, and with the JVM's own checks of native code.
fn jpype(words: &str) -> Outcome {
    let mut command: Vec<OsString> =
        vec![venv_python().into(), workspace().join("tests/hosts/cycles.py").into()];
    command.extend(words.split_whitespace().map(Into::into));
    command.extend(["--java", "Xcheck:jni"].map(Into::into));
    let outcome = Host::new(command).options(["--interval", "10s"]).run().succeeded();
    let complaint = outcome.stdout.lines().find(|line| line.contains("WARNING") || line.contains("FATAL"));
    assert_eq!(complaint, None, "{}", outcome.stdout);
    assert!(outcome.stderr.is_empty(), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("asked 0"), "{}", outcome.stdout);
    outcome
}

fn jep(leak: &str) -> Outcome {
    let java = jdks().into_iter().next().expect("a JDK");
    let mut arguments = OsString::from("@");
    arguments.push(built_host("jep_host.arguments"));
    let own = ["--leak", leak, "--seconds", "4"].map(OsString::from);
    let command = [java.into_os_string(), arguments].into_iter().chain(own);
    Host::new(command).options(["--interval", "10s"]).run().succeeded()
}

/// The readings that tell of a search.
fn searches(outcome: &Outcome) -> Vec<Reading> {
    let readings = outcome.snapshots().into_iter().filter_map(|snapshot| snapshot.reading("bridge").cloned());
    readings.filter(|reading| reading.notes.iter().any(|note| note.contains("cycle"))).collect()
}

fn check(outcome: &Outcome, count: u64, python: &str, java: &str) {
    let searches = searches(outcome);
    let found: Vec<Cycle> = searches.last().map(|reading| reading.cycles.clone()).unwrap_or_default();
    assert!(!searches.is_empty(), "{}", outcome.stderr);
    assert_eq!(found.iter().map(|cycle| cycle.count).sum::<u64>(), count, "{searches:?}");
    for cycle in &found {
        assert_eq!(cycle.python, python);
        // The number of a proxy's class, and its module, differ from one JDK to the next.
        let digits = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "");
        assert_eq!(digits(&cycle.java), java, "{}", cycle.java);
    }
}

fn report(outcome: &Outcome) -> String {
    let report = Command::new(dist().leakline).arg("report").arg(outcome.recording()).output();
    String::from_utf8_lossy(&report.expect("leakline").stdout).into_owned()
}

const LIST: &str = "java.util.ArrayList.elementData > java.lang.Object[]";

#[test]
fn a_cycle_through_jpype_is_found_with_both_halves() {
    let outcome = jpype("--count 20");
    let python = "jpype._jproxy.JProxy > __main__.Listener.target > java.util.ArrayList";
    check(&outcome, 20, python, &format!("{LIST} > jdk.proxy.$Proxy"));
    let report = report(&outcome);
    assert!(report.contains("Cycles across both heaps hold 20 Python objects"), "{report}");
    assert!(report.contains(&format!("20  Java holds   {python}\n")), "{report}");
    assert!(report.contains(&format!("Python holds {LIST} > jdk.proxy")), "{report}");
}

#[test]
fn a_python_class_that_implements_an_interface_is_one_half_itself() {
    let outcome = jpype("--count 5 --how implements --times 4");
    let searches = searches(&outcome);
    assert!(searches.len() > 1, "{searches:?}");
    for search in searches {
        let [cycle] = search.cycles.as_slice() else { panic!("{search:?}") };
        assert_eq!(cycle.count, 5);
        assert!(cycle.python.ends_with("Implementing.target > java.util.ArrayList"), "{cycle:?}");
    }
}

#[test]
fn without_the_reference_that_closes_it_there_is_no_cycle() {
    let outcome = jpype("--shape open");
    check(&outcome, 0, "", "");
    let notes = searches(&outcome).remove(0).notes.join("; ");
    assert!(
        notes.starts_with("no cycle across the two heaps: 20 Python objects that Java holds, "),
        "{notes}"
    );
    assert!(!notes.contains("early"), "{notes}");
    assert!(!report(&outcome).contains("Cycles across"));
}

#[test]
fn a_search_that_a_bound_has_ended_says_so() {
    for (shape, said) in [
        ("java-large", "4 searches through Java's objects ended early"),
        ("python-large", "from 4 of them only 5000 Python objects each were visited"),
    ] {
        let outcome = jpype(&format!("--shape {shape} --count 4"));
        check(&outcome, 0, "", "");
        let notes = searches(&outcome).remove(0).notes.join("; ");
        assert!(notes.contains(said), "{notes}");
    }
}

#[test]
fn each_way_through_python_is_told_by_names() {
    let command: Vec<OsString> =
        vec![venv_python().into(), workspace().join("tests/hosts/cycle_shapes.py").into()];
    let outcome = Host::new(command).options(["--interval", "10s"]).run().succeeded();
    assert!(!outcome.stdout.contains("WARNING"), "{}", outcome.stdout);
    let last = searches(&outcome).pop().expect("a search");
    let halves: Vec<&str> = last.cycles.iter().map(|cycle| cycle.python.as_str()).collect();
    let proxy = "jpype._jproxy.JProxy > __main__";
    assert_eq!(
        halves,
        [
            format!(
                "{proxy}.Listener.callback > __main__.in_a_closure.<locals>.callback() > tuple > cell > java.util.HashMap"
            ),
            format!("{proxy}.Listener.size > _jpype._JMethod > java.util.concurrent.ConcurrentHashMap"),
            format!("{proxy}.Listener.thread > java.lang.Thread"),
            format!("{proxy}.Slotted.target > dict[key] > list > tuple > java.util.ArrayList"),
        ]
    );
}

#[test]
fn the_jvm_may_end_while_cycles_are_looked_for() {
    for _ in 0..5 {
        let outcome = jpype("--count 2000 --times 1 --end jvm");
        assert!(outcome.stdout.ends_with("ends\n"), "{}", outcome.stdout);
    }
}

#[test]
fn once_the_jvms_end_has_begun_nobody_looks_for_cycles() {
    let outcome = jep("ending");
    assert!(outcome.stdout.contains("asked 0") && outcome.stdout.contains("ends"), "{}", outcome.stdout);
    let notes = searches(&outcome).remove(0).notes;
    assert_eq!(notes, ["cycles could not be looked for: the JVM has ended"]);
}

#[test]
fn a_cycle_through_jep_is_found_with_both_halves() {
    let outcome = jep("cycle");
    check(
        &outcome,
        20,
        "embedded.Holder.target > java.util.ArrayList",
        &format!("{LIST} > jep.python.PyObject"),
    );
    let outcome = jep("chain");
    check(&outcome, 0, "", "");
    assert!(searches(&outcome)[0].notes[0].starts_with("no cycle"));
}
