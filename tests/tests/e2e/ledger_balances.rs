//! The ledger names nearly all of the resident size, in programs of all kinds.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use leakline_core::{Cause, Ledger, names};
use leakline_tests::{Host, built_host, jdks, pythons, venv_python, workspace};

const SECONDS: &str = "4";
/// Programs at once: they mostly sleep.
const AT_ONCE: usize = 3;

/// A program and what it is called in the table.
struct Program {
    name: String,
    command: Vec<OsString>,
}

/// What nobody claims of a program.
struct Balance {
    name: String,
    resident: f64,
    unexplained: f64,
    table: String,
}

fn program(name: impl Into<String>, command: &[OsString]) -> Program {
    Program { name: name.into(), command: command.to_vec() }
}

fn source(name: &str) -> OsString {
    workspace().join("tests/hosts/ledger").join(name).into()
}

/// Compiles a host of this test.
fn compiled(folder: &Path, compiler: &str, file: &str) -> PathBuf {
    let to = folder.join(file.replace('.', "_"));
    let status = Command::new(compiler)
        .args(["-O1", "-g", "-pthread", "-o"])
        .arg(&to)
        .arg(source(file))
        .status()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(status.success(), "{file} compiles");
    to
}

fn works(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn native(folder: &Path) -> Vec<Program> {
    let at = |path: PathBuf| [path.into_os_string(), SECONDS.into()];
    vec![
        program("C", &at(compiled(folder, "cc", "allocations.c"))),
        program("C++, threads", &at(compiled(folder, "c++", "threads.cpp"))),
        program("C, 30,000 mappings", &at(compiled(folder, "cc", "mappings.c"))),
    ]
}

fn python() -> Vec<Program> {
    let mut programs: Vec<Program> = pythons()
        .into_iter()
        .map(|python| {
            let name = format!("Python {}.{}", python.version.0, python.version.1);
            program(name, &[python.path.into(), source("objects.py"), SECONDS.into()])
        })
        .collect();
    let venv = venv_python();
    if works(Command::new(&venv).args(["-c", "import numpy"])) {
        programs.push(program("Python, numpy", &[venv.into(), source("arrays.py"), SECONDS.into()]));
    } else {
        eprintln!("skipped: Python with numpy, which is not installed");
    }
    programs
}

fn java() -> Vec<Program> {
    let mut programs = Vec::new();
    for (number, java) in jdks().into_iter().enumerate() {
        for collector in ["Serial", "Parallel", "G1", "Z", "Shenandoah"] {
            let option = format!("-XX:+Use{collector}GC");
            if !works(Command::new(&java).args([&option, "-version"])) {
                eprintln!("skipped: {collector} of {}", java.display());
                continue;
            }
            let command =
                [java.clone().into(), "-Xmx256m".into(), option.into(), source("Heap.java"), SECONDS.into()];
            programs.push(program(format!("JVM {number}, {collector}"), &command));
        }
    }
    programs
}

fn both() -> Vec<Program> {
    let java = jdks().into_iter().next().expect("a JDK");
    let mut arguments = OsString::from("@");
    arguments.push(built_host("jep_host.arguments"));
    let own = ["--python-after", "1", "--seconds", "3"].map(OsString::from);
    let jep: Vec<OsString> = [java.into_os_string(), arguments].into_iter().chain(own).collect();
    vec![
        program("JVM in Python", &[venv_python().into(), source("both.py"), SECONDS.into()]),
        program("Python in JVM", &jep),
    ]
}

/// The last aligned tick's ledger.
fn balance(Program { name, command }: Program) -> Balance {
    let outcome = Host::new(command).options(["--interval", "1s"]).run().succeeded();
    let snapshots = outcome.snapshots();
    // At the end, runtimes are already gone and readings are left out.
    let last = snapshots
        .iter()
        .rev()
        .find(|snapshot| snapshot.tick.cause == Cause::Tick && snapshot.gauge(names::MAP_AGE).is_some());
    let last = last.unwrap_or_else(|| panic!("{name}: no tick"));
    let ledger = Ledger::of(last).unwrap_or_else(|| panic!("{name}: no ledger"));
    let sum: f64 = ledger.parts.iter().map(|part| part.bytes).sum();
    assert_eq!(sum, ledger.resident, "{name}");
    let parts = ledger
        .parts
        .iter()
        .map(|part| format!("    {:24} {:>9.0} KiB {:?}", part.name, part.bytes / 1024.0, part.source));
    let notes = last.readings.iter().flat_map(|reading| &reading.notes).map(|note| format!("    {note}"));
    let table = parts.chain(notes).collect::<Vec<_>>().join("\n");
    Balance { name, resident: ledger.resident, unexplained: ledger.part("unexplained"), table }
}

#[test]
fn little_of_the_resident_size_is_unexplained() {
    let folder = tempfile::tempdir().expect("a folder");
    let programs: Vec<Program> =
        [native(folder.path()), python(), java(), both()].into_iter().flatten().collect();
    let next = AtomicUsize::new(0);
    let programs: Vec<std::sync::Mutex<Option<Program>>> =
        programs.into_iter().map(|program| std::sync::Mutex::new(Some(program))).collect();
    let mut balances: Vec<(usize, Balance)> = std::thread::scope(|scope| {
        let run = || {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(slot) = programs.get(number) else { return done };
                let program = slot.lock().expect("no panic").take().expect("each once");
                done.push((number, balance(program)));
            }
        };
        let runners: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                std::thread::Builder::new().name("host".into()).spawn_scoped(scope, run).expect("a thread")
            })
            .collect();
        runners.into_iter().flat_map(|runner| runner.join().expect("each balances")).collect()
    });
    balances.sort_by_key(|(number, _)| *number);

    let mut shares = Vec::new();
    let mut report = String::new();
    for (_, balance) in &balances {
        let share = 100.0 * balance.unexplained / balance.resident;
        shares.push(share);
        let line = format!(
            "{:24} {:>8.1} MiB resident  {share:>5.2} % unexplained\n",
            balance.name,
            balance.resident / 1048576.0
        );
        report += &line;
        if std::env::var_os("LEDGER_PARTS").is_some() || share > 8.0 {
            report += &balance.table;
            report.push('\n');
        }
    }
    eprintln!("{report}");
    shares.sort_by(f64::total_cmp);
    let median = shares.get(shares.len() / 2).copied().unwrap_or(100.0);
    let worst = shares.last().copied().unwrap_or(100.0);
    eprintln!("median {median:.2} %, worst {worst:.2} %");
    assert!(median < 3.0 && worst < 8.0, "median {median:.2} %, worst {worst:.2} %\n{report}");
}
