//! leakline by its Java interface, as an app has it: a real JVM, and a real CPython that is loaded privately.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use leakline_core::{Cause, ReadingStatus, Snapshot};
use leakline_proto::Event;
use leakline_tests::{Python, built_host, dist, jdks, pythons, read_recording, workspace};
use tempfile::TempDir;

/// One run of the program `AppHost`.
struct App {
    folder: TempDir,
    output: Output,
}

impl App {
    /// Runs `steps`; `$file` in them is the recording.
    #[track_caller]
    fn run(java: &Path, steps: &[String]) -> Self {
        Self::run_with(java, &["-Xcheck:jni"], steps)
    }

    /// With options of the JVM.
    #[track_caller]
    fn run_with(java: &Path, options: &[&str], steps: &[String]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut command = Command::new("timeout");
        command.arg("60").arg(java).args(options);
        Self::add_program(&mut command, folder.path(), steps);
        let output = command.output().expect("java");
        Self { folder, output }
    }

    fn add_program(command: &mut Command, folder: &Path, steps: &[String]) {
        let file = folder.join("app.leak");
        command.arg(format!("-Dleakline.library={}", library().display()));
        let classes = [built_host("leakline"), built_host("android")];
        command.arg("-cp").arg(std::env::join_paths(classes).expect("paths")).arg("com.example.AppHost");
        command.arg(format!("load={}", built_host("libpython_host.so").display()));
        command.args(steps.iter().map(|step| step.replace("$file", &file.display().to_string())));
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.output.stdout).lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn says(&self, wanted: &[&str]) {
        let lines = self.lines();
        for wanted in wanted {
            let found = lines.iter().any(|line| line.starts_with(wanted));
            assert!(found, "no `{wanted}` in {lines:#?} {}", String::from_utf8_lossy(&self.output.stderr));
        }
        // What -Xcheck:jni has to say goes to standard output.
        let complaint = lines.iter().find(|line| line.contains("WARNING") || line.contains("FATAL"));
        assert_eq!(complaint, None, "{lines:#?}");
    }

    fn events(&self) -> Vec<Event> {
        read_recording(&self.folder.path().join("app.leak"))
    }
}

fn library() -> PathBuf {
    dist().libraries.join("libleakline_jni.so")
}

/// All snapshots of a recording.
fn snapshots(events: &[Event]) -> Vec<Arc<Snapshot>> {
    let snapshot = |event: &Event| match event {
        Event::Snapshot { snapshot, .. } => Some(Arc::clone(snapshot)),
        _ => None,
    };
    events.iter().filter_map(snapshot).collect()
}

/// Those in which a probe was in time, which on a busy machine are not all.
fn in_time(events: &[Event], probe: &str) -> usize {
    let is_ok = |snapshot: &Arc<Snapshot>| {
        snapshot.reading(probe).is_some_and(|reading| reading.status == ReadingStatus::Ok)
    };
    snapshots(events).iter().filter(|snapshot| is_ok(snapshot)).count()
}

const START: &str = "start=interval:200ms,logcat.target:off,file.path:$file,final_wait:2s";

fn steps(text: &[&str]) -> Vec<String> {
    text.iter().map(|step| (*step).to_owned()).collect()
}

/// The library of an interpreter that has one.
fn libpython(python: &Python) -> Option<PathBuf> {
    let script =
        "import sysconfig as s; print(s.get_config_var('LIBDIR') + '/' + s.get_config_var('INSTSONAME'))";
    let output = Command::new(&python.path).args(["-S", "-c", script]).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    (path.is_file() && path.to_string_lossy().contains(".so")).then_some(path)
}

#[test]
fn an_app_starts_is_read_in_all_its_layers_stops_and_starts_again() {
    for java in jdks() {
        for library in pythons().iter().filter_map(libpython) {
            let mut all = steps(&["probes", START, "mark=early"]);
            all.push(format!("python={}", library.display()));
            all.extend(steps(&[
                "run=kept = [bytes(100) for _ in range(50000)]",
                "until-python",
                "cache=5000",
                "cache=7000",
                "mark=reconnect",
                "snapshot",
                "stats",
                "reset",
                "sleep=500",
                "stop",
                "stop",
                START,
                "snapshot",
                "stop",
            ]));
            let app = App::run(&java, &all);
            app.says(&[
                "start true",
                "python true",
                "run 0",
                "probe python ok",
                "probe jvm ok",
                "probe native ok",
                "probe process ok",
                "probe app ok",
                "gauge jvm.cache_entries 2",
                "gauge jvm.cache_bytes 12000",
                "gauge jvm.heap_used_bytes ",
                "gauge python.allocated_blocks ",
                "gauge process.resident_bytes ",
                "peaks true",
                "stopped true",
                "end",
            ]);
            assert!(!app.lines().iter().any(|line| line.contains("never_seen") || line == "start false"));
        }
    }
}

#[test]
fn marks_ticks_and_a_broken_probe_are_in_the_recording() {
    let java = jdks().remove(0);
    let app = App::run(
        &java,
        &steps(&["probes", START, "mark=early", "snapshot", "sleep=900", "mark=late", "stop"]),
    );
    app.says(&["start true", "end"]);
    let events = app.events();
    assert_eq!(marks(&events), ["early", "late"]);
    let snapshots = snapshots(&events);
    assert!(snapshots.iter().filter(|snapshot| snapshot.tick.cause == Cause::Tick).count() >= 3);
    // On a busy machine the last one may be late.
    let mut app_readings = snapshots.iter().filter_map(|snapshot| snapshot.reading("app"));
    let in_time = app_readings.rfind(|reading| reading.status == ReadingStatus::Ok).unwrap();
    assert_eq!(in_time.notes, ["broken: java.lang.IllegalStateException: no luck"]);
}

fn marks(events: &[Event]) -> Vec<String> {
    let marks = events.iter().filter_map(|event| match event {
        Event::Mark(mark) => Some(mark.name.to_string()),
        _ => None,
    });
    marks.collect()
}

#[test]
fn python_code_of_the_app_finds_the_library_that_the_jvm_has_loaded() {
    let java = jdks().remove(0);
    let folder = workspace().join("python");
    for library in pythons().iter().filter_map(libpython) {
        let mut all = steps(&[START]);
        all.push(format!("python={}", library.display()));
        all.push("until-python".to_owned());
        all.push(format!("run=import sys; sys.path.insert(0, {:?})", folder.display().to_string()));
        all.extend(steps(&[
            "run=import leakline; assert leakline.is_present() and leakline.mark('from-python')",
            "run=leakline.probe(lambda gauges: gauges.count('queue_length', 7), name='queue')",
            "until=python.queue_length",
            "python-end",
            "snapshot",
            "stop",
        ]));
        let app = App::run(&java, &all);
        app.says(&["start true", "seen python.queue_length 7.0", "python-end 0", "probe custom ok", "end"]);
        let ran: Vec<_> = app.lines().into_iter().filter(|line| line.starts_with("run ")).collect();
        assert_eq!(ran, ["run 0", "run 0", "run 0"], "{}", String::from_utf8_lossy(&app.output.stderr));
        assert_eq!(marks(&app.events()), ["from-python"], "{}", library.display());
    }
}

/// As above, with a bridge between the two, and its Python: an app's own code on both sides.
#[test]
fn python_code_that_java_calls_uses_leakline_too() {
    for java in jdks() {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("app.leak");
        let jep = built_host("jep_host.arguments");
        // The program's own class and the classes that it uses come in front of those of the arguments.
        let arguments = std::fs::read_to_string(&jep).expect("the arguments of jep's host");
        let modules = [workspace().join("tests/hosts/jep_app"), workspace().join("python")];
        let modules = std::env::join_paths(modules).expect("paths").to_string_lossy().into_owned();
        let classes = std::env::join_paths([built_host("jep_app"), built_host("leakline")]).expect("paths");
        let arguments = arguments
            .replace("-Djep.path=", &format!("-Djep.path={modules}:"))
            .replace("-cp \"", &format!("-cp \"{}:", classes.to_string_lossy()))
            .replace("JepHost\n", "JepApp\n");
        let own = folder.path().join("arguments");
        std::fs::write(&own, arguments).expect("a file");
        let mut command = Command::new("timeout");
        // Without -Xcheck:jni, which has words for jep itself.
        command.arg("120").arg(&java);
        command.arg(format!("-Dleakline.library={}", dist().libraries.join("libleakline_jni.so").display()));
        command.arg(format!("@{}", own.display())).arg(&file).arg("in_app");
        let app = App { folder, output: command.output().expect("java") };
        let said = String::from_utf8_lossy(&app.output.stdout);
        assert!(app.output.status.success(), "{said}{}", String::from_utf8_lossy(&app.output.stderr));
        app.says(&["present true", "queue 2.0", "end"]);
        assert_eq!(marks(&app.events()), ["from-python", "probe-removed", "python-left"]);
    }
}

#[test]
fn a_second_start_and_a_wrong_setting_are_refused_with_one_line() {
    let java = jdks().remove(0);
    let app = App::run(&java, &steps(&["start=intervall:1s", "snapshot", START, START, "stop"]));
    app.says(&["no snapshot", "start true", "start false", "end"]);
    let said = String::from_utf8_lossy(&app.output.stderr).into_owned();
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with("W/Leakline: not started")).collect();
    assert_eq!(
        lines,
        [
            "W/Leakline: not started: unknown setting `intervall` (did you mean `interval`?): Leakline.start",
            "W/Leakline: not started: leakline runs in this process already",
        ]
    );
}

#[test]
fn an_app_may_end_python_or_itself_while_it_is_read() {
    for java in jdks() {
        let library = pythons().iter().find_map(libpython).unwrap();
        let python = format!("python={}", library.display());
        for (last, status) in [("python-end", 0), ("exit=3", 3), ("halt=4", 4)] {
            let app = App::run(&java, &steps(&[START, &python, "until-python", last, "snapshot"]));
            assert_eq!(
                app.output.status.code(),
                Some(status),
                "{last} {:#?} {}",
                app.lines(),
                String::from_utf8_lossy(&app.output.stderr)
            );
        }
    }
}

#[test]
fn what_was_read_is_there_after_the_app_was_killed_in_the_midst_of_ticks() {
    let java = jdks().remove(0);
    let python = pythons().iter().find_map(libpython).unwrap();
    for after in [0, 45, 80] {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("app.leak");
        let mut command = Command::new(&java);
        let mut all = steps(&["probes", &START.replace("200ms", "100ms"), "mark=early"]);
        all.push(format!("python={}", python.display()));
        all.extend(steps(&["run=kept = [bytes(100) for _ in range(50000)]", "cache=5000", "sleep=600000"]));
        App::add_program(&mut command, folder.path(), &all);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("java");
        let begun = Instant::now();
        let seen = loop {
            let events = if file.exists() { read_recording(&file) } else { Vec::new() };
            let is_seen = in_time(&events, "python") >= 3 && in_time(&events, "app") >= 3;
            if is_seen || begun.elapsed() > Duration::from_secs(60) {
                break snapshots(&events);
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        // Wherever it is then: between two ticks, or while one is read or written.
        std::thread::sleep(Duration::from_millis(after));
        child.kill().expect("it runs");
        let status = child.wait().expect("it can be waited for");
        assert_eq!(status.signal(), Some(libc::SIGKILL));

        let events = read_recording(&file);
        let there = snapshots(&events);
        assert!(in_time(&events, "python") >= 3 && in_time(&events, "app") >= 3, "{}", there.len());
        assert!(there.len() >= seen.len());
        for (number, snapshot) in there.iter().enumerate() {
            assert_eq!(snapshot.number, number as u64, "none is missing");
        }
        assert!(events.iter().any(|event| matches!(event, Event::Mark(mark) if mark.name == "early")));
        assert!(!events.iter().any(|event| matches!(event, Event::End(_))), "a kill is no orderly end");
    }
}

/// A JVM with Android's class `Debug`, and no management beans, gives its tool interface to agents only.
#[test]
fn on_android_objects_are_counted_once_leakline_is_an_agent() {
    let boot = format!("-Xbootclasspath/a:{}", built_host("android_os").display());
    let options = [boot.as_str(), "--limit-modules=java.base", "-XX:+EnableDynamicAgentLoading"];
    for java in jdks() {
        let jcmd = java.with_file_name("jcmd");
        let mut all = steps(&["refuse=not today", &format!("{START},jvm.histogram:1")]);
        all.push("until=jvm.native_heap_allocated_bytes".to_owned());
        all.push(format!("agent={},{}", jcmd.display(), library().display()));
        all.extend(steps(&["until=jvm.class_loaders", "stop"]));
        let app = App::run_with(&java, &options, &all);
        app.says(&["refused ok", "start true", "agent 0 ", "stopped true", "end"]);
        let events = app.events();
        let readings: Vec<_> = snapshots(&events);
        let readings: Vec<_> =
            readings.iter().filter_map(|snapshot| snapshot.reading("jvm").cloned()).collect();
        let missing = "no classes of Java's objects, no global references, no Java call paths: there is no tool interface: \
                       not today";
        let without = readings.iter().position(|reading| reading.notes.iter().any(|note| note == missing));
        let with = readings.iter().position(|reading| {
            let names = reading.profiles.iter().flat_map(|profile| profile.sites());
            names.into_iter().any(|stat| format!("{:?}", stat.site.holder()).contains("byte[]"))
        });
        assert!(without.is_some() && with > without, "{without:?} {with:?} {readings:#?}");
        let notes = with.map(|at| readings[at].notes.clone()).unwrap_or_default();
        assert_eq!(
            notes.last().unwrap(),
            "no Java call paths: Android's runtime does not sample allocations"
        );
    }
}
