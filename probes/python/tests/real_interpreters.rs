//! The probe against every CPython that is installed here, each program in a process of its own.
//!
//! Needs `libleakline_cpython.so`; it is built if it has to be. Interpreters are looked for in `PATH`, in `/usr/bin`
//! and in `~/.pyenv/versions`; `LEAKLINE_TEST_PYTHONS` (paths, separated by `:`) names others.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

// What the AAR's library is made by; xtask is a program and cannot be used otherwise.
#[path = "../../../xtask/src/android/optional.rs"]
mod optional;
#[path = "../../common/tests/support/prepared.rs"]
mod prepared;

use prepared::prepared;

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs");
const TIMEOUT: Duration = Duration::from_secs(120);

/// Where the driver and the Python part are.
struct Built {
    driver: PathBuf,
    embed: PathBuf,
    part: PathBuf,
}

fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        // This program is in target/PROFILE/deps.
        let program = std::env::current_exe().unwrap();
        let folder = program.parent().and_then(Path::parent).unwrap();
        for wanted in [&["leakline-python-extension"][..], &["leakline-python", "--examples"]] {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--target-dir"]).arg(folder.parent().unwrap());
            match folder.file_name().and_then(|name| name.to_str()) {
                Some("debug") | None => {}
                Some(profile) => drop(cargo.args(["--profile", profile])),
            }
            assert!(
                cargo.arg("--package").args(wanted).status().unwrap().success(),
                "{wanted:?} does not build"
            );
        }
        let built = Built {
            driver: folder.join("examples/libdriver.so"),
            embed: folder.join("examples/embed"),
            part: folder.join("libleakline_cpython.so"),
        };
        assert!(built.driver.is_file() && built.part.is_file(), "built, but not in {}", folder.display());
        built
    })
}

/// Every interpreter from 3.9 on by its version, each once.
fn interpreters() -> &'static [PathBuf] {
    static FOUND: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut by_version = BTreeMap::new();
        for candidate in candidates() {
            let asked = "import sys; print('%d.%d.%d %s' % (sys.version_info[:3] + (sys.base_prefix,)))";
            let Ok(output) = Command::new(&candidate).args(["-Ic", asked]).stderr(Stdio::null()).output()
            else {
                continue;
            };
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).unwrap_or(0);
            if version.starts_with("3.") && minor >= 9 {
                by_version.entry(version).or_insert(candidate);
            }
        }
        assert!(!by_version.is_empty(), "no CPython from 3.9 on is installed");
        by_version.into_values().collect()
    })
}

fn candidates() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("LEAKLINE_TEST_PYTHONS") {
        return std::env::split_paths(&named).collect();
    }
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    folders.push("/usr/bin".into());
    let versions = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv/versions"));
    let versions = versions.and_then(|versions| versions.read_dir().ok());
    folders.extend(versions.into_iter().flatten().flatten().map(|version| version.path().join("bin")));
    let versions = 9..=15;
    let names: Vec<String> =
        ["python3".to_owned()].into_iter().chain(versions.map(|minor| format!("python3.{minor}"))).collect();
    let mut found = Vec::new();
    for folder in folders {
        // A shim starts whatever its configuration says, which is among the others.
        if !folder.ends_with("shims") {
            found.extend(names.iter().map(|name| folder.join(name)).filter(|path| path.is_file()));
        }
    }
    found.extend(prepared("python"));
    found
}

struct Run<'a> {
    program: &'a str,
    arguments: &'a [&'a str],
    options: &'a [&'a str],
    variables: &'a [(&'a str, &'a str)],
}

impl<'a> Run<'a> {
    fn new(program: &'a str, arguments: &'a [&'a str]) -> Self {
        Self { program, arguments, options: &[], variables: &[] }
    }

    fn start(&self, interpreter: &Path) -> Output {
        let built = built();
        let mut command = Command::new(interpreter);
        command.args(self.options).arg(Path::new(PROGRAMS).join(self.program)).args(self.arguments);
        command.env("LEAKLINE_DRIVER", &built.driver).env("LEAKLINE_PYTHON_LIBRARY", &built.part);
        command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONTRACEMALLOC");
        for (name, value) in self.variables {
            command.env(name, if *name == "LD_PRELOAD" { built.driver.as_os_str() } else { value.as_ref() });
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let begun = Instant::now();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let waiter = std::thread::Builder::new().name("waiter".into()).spawn(move || {
            sender.send(child.wait_with_output().unwrap()).unwrap();
        });
        let output = receiver.recv_timeout(TIMEOUT);
        if output.is_err() {
            // SAFETY: our own child, which is not waited for yet.
            unsafe { libc::kill(pid as i32, libc::SIGABRT) };
        }
        waiter.unwrap().join().unwrap();
        output.unwrap_or_else(|_| {
            panic!("{} hangs in {} after {:?}", self.program, interpreter.display(), begun.elapsed())
        })
    }

    /// Runs it in `interpreter`; its last line must be `last`, and it must exit with 0.
    fn check_in(&self, interpreter: &Path, last: &str) {
        let output = self.start(interpreter);
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success() && stdout.trim_end().lines().last() == Some(last),
            "{} {:?} in {}: {}\n{stdout}{stderr}",
            self.program,
            self.arguments,
            interpreter.display(),
            output.status
        );
    }

    fn check_everywhere(&self, last: &str) {
        interpreters().iter().for_each(|interpreter| self.check_in(interpreter, last));
    }
}

fn check(program: &str, arguments: &[&str]) {
    Run::new(program, arguments).check_everywhere("ok");
}

#[test]
fn the_profile_equals_tracemallocs_own_statistics_site_by_site() {
    check("same_as_tracemalloc.py", &[]);
}

#[test]
fn the_probe_passes_the_suite_for_probes() {
    check("conformance.py", &[]);
}

#[test]
fn frames_and_their_lines_are_those_that_python_tells() {
    check("frames.py", &[]);
}

#[test]
fn frames_of_a_version_that_nobody_has_seen_are_read_where_it_publishes_them_or_not_at_all() {
    check("newer.py", &[]);
}

#[test]
fn the_programs_folder_is_a_source_root_before_python_says_so() {
    check("roots.py", &[]);
}

#[test]
fn what_is_worse_than_it_could_be_is_told_at_every_attach() {
    check("says_what_is_worse.py", &[]);
}

/// One block in a thousand at most.
#[test]
fn the_host_keeps_no_more_blocks_than_without_it() {
    let blocks = |interpreter: &Path, mode: &str| -> i64 {
        let variables = [("PYTHONHASHSEED", "0")];
        let output =
            Run { variables: &variables, ..Run::new("leaves_nothing.py", &[mode]) }.start(interpreter);
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let last = stdout.lines().last().and_then(|last| last.parse().ok());
        last.unwrap_or_else(|| panic!("{mode} in {}: {}\n{stderr}", interpreter.display(), output.status))
    };
    for interpreter in interpreters() {
        let without = blocks(interpreter, "off");
        for mode in ["sampling", "exact"] {
            let with = blocks(interpreter, mode);
            assert!(
                (with - without).abs() * 1000 <= without,
                "{mode} in {}: {with} blocks instead of {without}",
                interpreter.display()
            );
        }
    }
}

#[test]
fn code_that_is_compiled_again_and_again_is_told_apart() {
    check("recompiled.py", &[]);
}

#[test]
fn what_leakline_does_in_the_interpreter_is_not_among_the_sites() {
    check("own_memory.py", &[]);
}

#[test]
fn tracing_that_was_started_here_is_stopped_here() {
    check("starts_and_stops.py", &["ours"]);
}

#[test]
fn a_host_that_traces_already_is_left_as_it_is() {
    check("starts_and_stops.py", &["the host's"]);
}

#[test]
fn only_gauges_means_that_nothing_is_traced() {
    check("starts_and_stops.py", &["only gauges"]);
    check("starts_and_stops.py", &["off"]);
}

#[test]
fn a_host_that_stops_tracing_is_noticed() {
    check("starts_and_stops.py", &["ours, stopped by the host"]);
    check("starts_and_stops.py", &["the host's, stopped by the host"]);
    check("starts_and_stops.py", &["ours, taken over by the host"]);
}

#[test]
fn imports_and_looking_at_memory_are_left_out() {
    check("filters.py", &[]);
}

#[test]
fn a_forked_child_is_left_alone_until_it_asks() {
    Run::new("forks.py", &[]).check_everywhere("closing, and still readable");
}

/// The 1000 ends that are asked of it with `LEAKLINE_TEST_WHOLE=1`, as in the other tests of ends.
#[test]
fn python_ends_while_it_is_being_read() {
    let times = if whole() { 1000 } else { 100 };
    for (round, interpreter) in interpreters().iter().cycle().take(times).enumerate() {
        let traces = ["10", "3000", "100000"][round % 3];
        let seconds = ["0", "0.002", "0.01", "0.05"][round % 4];
        Run::new("shuts_down.py", &[traces, seconds]).check_in(interpreter, "closing, and still readable");
    }
}

#[test]
fn python_ends_without_warning_while_it_is_being_read() {
    let times = if whole() { 1000 } else { 40 };
    for (round, interpreter) in interpreters().iter().cycle().take(times).enumerate() {
        let seconds = ["0", "0.003", "0.02"][round % 3];
        Run::new("ends_without_warning.py", &[seconds]).check_in(interpreter, "ok");
    }
}

#[test]
fn a_profile_keeps_to_its_budget() {
    check("budget.py", &["left out"]);
    check("budget.py", &["too long"]);
    check("budget.py", &["short stretches"]);
}

#[test]
fn call_paths_beyond_the_limit_are_forgotten_and_found_again() {
    check("budget.py", &["many call paths"]);
}

#[test]
fn a_census_counts_what_the_collector_lists_and_runs_no_code_of_the_hosts() {
    check("census_counts.py", &[]);
}

#[test]
fn a_census_names_who_holds_what_a_type_grew_by() {
    check("census_holders.py", &[]);
}

#[test]
fn a_census_is_taken_while_threads_allocate_and_collect() {
    check("census_stress.py", &["8", "40"]);
}

#[test]
fn a_child_that_was_forked_in_the_middle_of_a_census_is_whole() {
    check("census_forks.py", &[]);
}

#[test]
fn a_census_of_many_objects_keeps_its_stretches_short() {
    // Without optimisation, what is done between two looks at the clock takes ten times as long.
    let most_millis = if cfg!(debug_assertions) { "50" } else { "5" };
    check("census_million.py", &["300000", most_millis]);
}

/// More, and much longer, with `LEAKLINE_TEST_WHOLE=1`.
fn whole() -> bool {
    std::env::var_os("LEAKLINE_TEST_WHOLE").is_some()
}

#[test]
fn threads_allocate_while_the_hook_is_set_put_to_rest_and_read() {
    let rounds = if whole() { "10000" } else { "40" };
    check("hook_stress.py", &[rounds, "8"]);
}

#[test]
fn frames_are_moved_about_in_every_way_under_the_hook() {
    let rounds = if whole() { "1000" } else { "8" };
    check("hook_frames.py", &["sampling", rounds]);
    check("hook_frames.py", &["exact", rounds]);
}

#[test]
fn the_hook_stands_on_whatever_allocator_there_is() {
    for allocator in ["debug", "malloc", "malloc_debug", "pymalloc", "pymalloc_debug"] {
        let variables = [("PYTHONMALLOC", allocator)];
        let run = Run { variables: &variables, ..Run::new("hook_stress.py", &["20", "4"]) };
        let (all, ends) = (interpreters(), [0, interpreters().len() - 1]);
        ends.iter().for_each(|end| run.check_in(&all[*end], "ok"));
    }
    let options = &["-X", "dev", "-W", "ignore"];
    let run = Run { options, ..Run::new("hook_stress.py", &["20", "4"]) };
    run.check_everywhere("ok");
}

#[test]
fn children_are_forked_in_storms_under_the_hook() {
    let forks = if whole() { "1000" } else { "20" };
    for mode in ["sampling", "exact"] {
        check("hook_forks.py", &[mode, forks]);
    }
}

#[test]
fn python_ends_while_the_hook_is_read() {
    let times = if whole() { 1000 } else { 24 };
    for (round, interpreter) in interpreters().iter().cycle().take(times).enumerate() {
        let traces = ["10", "3000", "100000"][round % 3];
        let seconds = ["0", "0.002", "0.01", "0.05"][round % 4];
        let mode = ["sampling", "exact"][round / 7 % 2];
        let arguments = &[traces, seconds, mode];
        Run::new("shuts_down.py", arguments).check_in(interpreter, "closing, and still readable");
    }
}

#[test]
fn tracemalloc_comes_and_goes_around_the_hook_in_every_order() {
    let steps = if whole() { "3" } else { "2" };
    check("hook_orders.py", &["sampling", steps]);
    check("hook_orders.py", &["exact", steps]);
}

#[test]
fn every_allocation_recorded_is_what_tracemalloc_has() {
    check("hook_exact.py", &[]);
}

#[test]
fn subinterpreters_come_and_go_under_the_hook() {
    check("interpreters.py", &["sampling"]);
    check("interpreters.py", &["exact"]);
}

#[test]
fn estimates_are_unbiased_and_their_intervals_hold_the_truth() {
    let runs = if whole() { "200" } else { "20" };
    for mean in ["4096", "65536"] {
        check("hook_accuracy.py", &[mean, runs]);
    }
}

#[test]
fn preloaded_it_attaches_before_the_first_line_runs() {
    let variables = [("LD_PRELOAD", "driver"), ("LEAKLINE_DRIVER_EARLY", "7"), ("PYTHONPATH", PROGRAMS)];
    for options in
        [&[][..], &["-E"], &["-S"], &["-B", "-O", "-X", "dev"], &["-X", "importtime"], &["-X", "utf8"]]
    {
        Run { options, variables: &variables, ..Run::new("early.py", &["7"]) }.check_everywhere("ok");
    }
}

#[test]
fn preloaded_it_leaves_tracing_of_the_hosts_own_as_it_is() {
    let variables = [("LD_PRELOAD", "driver"), ("LEAKLINE_DRIVER_EARLY", "7")];
    let options = &["-X", "tracemalloc=3"];
    Run { options, variables: &variables, ..Run::new("early.py", &["3"]) }.check_everywhere("ok");
}

#[test]
fn debug_hooks_and_other_allocators_change_nothing() {
    for allocator in ["debug", "malloc", "malloc_debug"] {
        let variables = [("PYTHONMALLOC", allocator)];
        let run = Run { variables: &variables, ..Run::new("same_as_tracemalloc.py", &[]) };
        // The oldest and the newest: in between, nothing about this has changed.
        interpreters()
            .first()
            .into_iter()
            .chain(interpreters().last())
            .for_each(|one| run.check_in(one, "ok"));
    }
}

#[test]
fn arenas_are_counted_as_cpython_counts_them_whoever_stands_on_top() {
    check("arenas.py", &["counted"]);
    check("arenas.py", &["threads"]);
    for (allocator, case) in [("debug", "gauges"), ("malloc", "none"), ("malloc_debug", "none")] {
        let variables = [("PYTHONMALLOC", allocator)];
        Run { variables: &variables, ..Run::new("arenas.py", &[case]) }.check_everywhere("ok");
    }
}

#[test]
fn the_collectors_gauges_are_what_gc_says() {
    check("arenas.py", &["gauges"]);
}

#[test]
fn subinterpreters_come_and_go() {
    check("interpreters.py", &[]);
}

#[test]
fn a_libpython_that_was_loaded_privately_is_read_and_may_start_and_end_several_times() {
    let asked = "import os, sys, sysconfig as s; print(sys.base_prefix + '\\n' + \
                 os.path.join(s.get_config_var('LIBDIR') or '', s.get_config_var('INSTSONAME') or ''))";
    for interpreter in interpreters() {
        let output = Command::new(interpreter).args(["-Ic", asked]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (prefix, library) = text.trim_end().split_once('\n').unwrap();
        // A static build has none.
        if !library.contains(".so") || !Path::new(library).is_file() {
            continue;
        }
        // Made visible to everybody, as on Linux, and bound by hand, as on Android.
        for (part, how) in [(&built().part, "visible"), (bound_by_hand(), "private")] {
            let mut embed = Command::new(&built().embed);
            embed.args([library, how]).env("PYTHONHOME", prefix).env("LEAKLINE_PYTHON_LIBRARY", part);
            let output = embed.output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && output.stdout == b"ok\n",
                "{library}, {how}: {}\n{stderr}",
                output.status
            );
        }
    }
}

/// The Python part as the AAR has it: without a claim on the loader for CPython's names.
fn bound_by_hand() -> &'static PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut data = std::fs::read(&built().part).unwrap();
        assert!(optional::make_optional(&mut data).unwrap() > 50);
        let folder = built().part.with_file_name("bound-by-hand");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("libleakline_cpython.so");
        // A process of another run of the tests may have the old one mapped.
        let fresh = path.with_extension(std::process::id().to_string());
        std::fs::write(&fresh, data).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        path
    })
}

#[test]
fn a_part_whose_imports_are_bound_by_hand_reads_every_interpreter() {
    let part = bound_by_hand().display().to_string();
    let variables = [("LEAKLINE_PYTHON_LIBRARY", part.as_str())];
    for (program, arguments) in [("conformance.py", &[][..]), ("arenas.py", &["gauges"])] {
        Run { variables: &variables, ..Run::new(program, arguments) }.check_everywhere("ok");
    }
}
