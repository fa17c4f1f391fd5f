//! The native heap by call path: what is found, what is never in the way, and what is left when everything was freed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use leakline_core::{Profile, ProfileSource, ReadingStatus, SiteStat, Snapshot};
use leakline_tests::{Host, Outcome, built_host, pythons, venv_python};

/// The functions of a program, by their addresses in its file.
struct Functions(Vec<(u64, u64, String)>);

impl Functions {
    fn of(program: &Path) -> Self {
        let output =
            Command::new("nm").args(["-S", "--defined-only"]).arg(program).output().expect("nm runs");
        let text = String::from_utf8(output.stdout).expect("names are text");
        let functions = text.lines().filter_map(|line| {
            let [address, size, kind, name] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                return None;
            };
            let number = |text| u64::from_str_radix(text, 16).ok();
            kind.eq_ignore_ascii_case("t").then_some((number(address)?, number(size)?, name.to_owned()))
        });
        Self(functions.collect())
    }

    /// Of a return address.
    fn name(&self, address: u64) -> Option<&str> {
        let call = address.checked_sub(1)?;
        let found = self.0.iter().find(|(start, size, _)| (*start..start + size).contains(&call));
        found.map(|(_, _, name)| name.as_str())
    }
}

fn profile(snapshot: &Snapshot, source: &str) -> Arc<Profile> {
    let reading = snapshot.reading("native").expect("a native reading");
    let found = reading.profiles.iter().find(|profile| profile.source().name == source);
    Arc::clone(
        found.unwrap_or_else(|| panic!("no profile {source}: {:?} {:?}", reading.status, reading.notes)),
    )
}

/// Those with a native reading: on a busy machine, one may come too late for its snapshot. So programs stay for a while
/// when they are done.
fn readings(outcome: &Outcome) -> Vec<Arc<Snapshot>> {
    let mut snapshots = outcome.snapshots();
    snapshots.retain(|snapshot| {
        snapshot.reading("native").is_some_and(|reading| reading.status == ReadingStatus::Ok)
    });
    snapshots
}

fn last(outcome: &Outcome) -> Arc<Snapshot> {
    readings(outcome).pop().expect("a snapshot with a native reading")
}

/// The frames of a site that lie in `program`, by the functions' names.
fn names_in<'a>(stat: &SiteStat, program: &Path, functions: &'a Functions) -> Vec<&'a str> {
    let program = program.to_string_lossy();
    let frames = stat.site.frames().iter().filter(|frame| *frame.file == *program);
    frames.filter_map(|frame| functions.name(frame.native.as_ref()?.address)).collect()
}

#[test]
fn each_planted_leak_is_found_at_its_function_with_its_bytes() {
    let program = built_host("planted");
    let outcome = Host::new([program.clone().into_os_string(), "30".into(), "50".into(), "800".into()])
        .options(["--interval", "200ms", "--native-sample", "4KiB"])
        .run()
        .succeeded();
    let functions = Functions::of(&program);
    let last = last(&outcome);
    // By the function that stands right above main.
    let mut found: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for source in [ProfileSource::SAMPLED, ProfileSource::MAPPED] {
        for stat in profile(&last, source).sites() {
            let names = names_in(stat, &program, &functions);
            let Some(main) = names.iter().position(|name| *name == "main") else { continue };
            let (bytes, error) = found.entry(names[main.saturating_sub(1)]).or_default();
            *bytes += stat.live.bytes;
            *error += stat.standard_error_bytes;
        }
    }
    let truth = outcome.stdout.lines().map(|line| line.split_once(' ').expect("a name and a number"));
    for (name, bytes) in truth {
        let expected: u64 = bytes.parse().expect("a number");
        let (bytes, error) = found.get(name).copied().unwrap_or_default();
        // Four standard errors: one false alarm in 2,000 runs of this test; and what a mapping is rounded up to.
        assert!(
            bytes.abs_diff(expected) <= 4 * error + 4096,
            "{name}: {bytes} ± {error}, not {expected}: {found:?}"
        );
    }
}

/// What heaptrack says that a program leaked, by the function right below `main`. `None`: it is not here.
fn leaked_by_heaptrack(program: &Path, arguments: &[&str]) -> Option<BTreeMap<String, u64>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let mut heaptrack = Command::new("heaptrack");
    let output = heaptrack.arg("-o").arg(&data).arg(program).args(arguments).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files = std::fs::read_dir(folder.path()).expect("a folder").flatten();
    // Its name ends with how it was compressed.
    let data = files.next().expect("what heaptrack wrote").path();
    let stacks = folder.path().join("stacks");
    let output = Command::new("heaptrack_print")
        .args([
            "--print-peaks",
            "0",
            "--print-allocators",
            "0",
            "--print-temporary",
            "0",
            "--print-leaks",
            "0",
        ])
        .args(["--flamegraph-cost-type", "leaked", "--print-flamegraph"])
        .arg(&stacks)
        .arg("--file")
        .arg(&data)
        .output()
        .expect("heaptrack_print runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut leaked = BTreeMap::new();
    for line in std::fs::read_to_string(&stacks).expect("stacks").lines() {
        let (path, bytes) = line.rsplit_once(' ').expect("a path and a number");
        let mut names = path.split(';').map(|frame| frame.split(' ').next().unwrap_or(frame));
        if names.by_ref().any(|name| name == "main") {
            let name = names.next().unwrap_or_default().to_owned();
            *leaked.entry(name).or_default() += bytes.parse::<u64>().expect("a number");
        }
    }
    Some(leaked)
}

#[test]
fn the_top_ten_are_those_of_heaptrack() {
    let program = built_host("many_sites");
    let Some(leaked) = leaked_by_heaptrack(&program, &["0"]) else {
        eprintln!("skipped: heaptrack is not installed");
        return;
    };
    let outcome = Host::new([program.clone().into_os_string(), "500".into()])
        .options(["--interval", "200ms", "--native-sample", "4KiB"])
        .run()
        .succeeded();
    let functions = Functions::of(&program);
    let last = last(&outcome);
    let mut found: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for stat in profile(&last, ProfileSource::SAMPLED).sites() {
        let names = names_in(stat, &program, &functions);
        let Some(site) = names.iter().find(|name| name.starts_with("site_")) else { continue };
        let before = found.insert((*site).to_owned(), (stat.live.bytes, stat.standard_error_bytes));
        assert_eq!(before, None, "{site} has one path");
    }
    let top = |mut sites: Vec<(u64, String)>| {
        sites.sort();
        sites.into_iter().rev().take(10).map(|(_, name)| name).collect::<Vec<_>>()
    };
    let theirs = top(leaked.iter().map(|(name, bytes)| (*bytes, name.clone())).collect());
    let ours = top(found.iter().map(|(name, (bytes, _))| (*bytes, name.clone())).collect());
    assert_eq!(ours, theirs, "{found:?}");
    for name in &theirs {
        let ((bytes, error), expected) = (found[name], leaked[name]);
        // Four standard errors: one false alarm in 1,600 runs of this test.
        assert!(bytes.abs_diff(expected) <= 4 * error + 16, "{name}: {bytes} ± {error}, not {expected}");
    }
}

#[test]
fn what_survived_is_told_from_what_is_new() {
    let program = built_host("planted");
    let outcome = Host::new([program.into_os_string(), "20".into(), "100".into(), "0".into()])
        .options(["--interval", "200ms", "--native-sample", "4KiB"])
        .run()
        .succeeded();
    let snapshots = readings(&outcome);
    let survived = |snapshot: &Snapshot| {
        let profile = profile(snapshot, ProfileSource::SAMPLED);
        let survived =
            profile.sites().iter().map(|stat| stat.survived.expect("it is told").bytes).sum::<u64>();
        (survived, profile.total().bytes)
    };
    assert_eq!(survived(&snapshots[0]).0, 0, "nothing was live at three readings yet");
    let (old, all) = survived(snapshots.last().expect("snapshots"));
    assert!(old > all / 4 && old < all, "{old} of {all}");
    // What has survived was there three readings ago.
    for pair in snapshots.windows(3).filter(|pair| pair[2].number == pair[0].number + 2) {
        let (before, now) = (survived(&pair[0]).1, survived(&pair[2]).0);
        assert!(now <= before, "{now} of {before}");
    }
}

/// Runs one of the stress programs, which frees everything that it allocates, and holds what is left against that.
fn check_stress(what: &str, seconds: u32, options: &[&str]) {
    let program = built_host("native_stress");
    let libraries = program.parent().expect("a folder").to_owned();
    let outcome = Host::new([program.clone().into_os_string(), what.into(), seconds.to_string().into()])
        .options(["--interval", "500ms", "--native-sample", "4KiB"])
        .options(options)
        .variable("LD_LIBRARY_PATH", libraries)
        .longer_by(Duration::from_secs(seconds.into()))
        .run()
        .succeeded();
    assert_eq!(outcome.stdout, "done\n", "{}", outcome.stderr);
    let snapshots = readings(&outcome);
    let functions = Functions::of(&program);
    for snapshot in &snapshots {
        let notes = &snapshot.reading("native").expect("a native reading").notes;
        assert!(!notes.iter().any(|note| note.contains("please report")), "{what}: {notes:?}");
    }
    for source in [ProfileSource::SAMPLED, ProfileSource::MAPPED] {
        let left = profile(&last(&outcome), source);
        // What the C library keeps (a thread's stack, a stream's buffer) does not come from here.
        let ours = left.sites().iter().map(|stat| (names_in(stat, &program, &functions), stat.live));
        let ours: Vec<_> = ours
            .filter(|(names, _)| {
                names.iter().any(|name| ["allocate", "one_step", "handler", "maps_memory"].contains(name))
            })
            .collect();
        assert!(ours.is_empty(), "{what}: {ours:?}");
        let seen = |snapshot: &Arc<Snapshot>| profile(snapshot, source).total().blocks;
        let expected = if source == ProfileSource::MAPPED {
            what == "maps"
        } else {
            !["maps", "overflow"].contains(&what)
        };
        assert!(
            !expected || snapshots.iter().map(seen).max() > Some(0),
            "{what}: nothing was seen of {source}"
        );
    }
}

#[test]
fn eight_threads_allocate_and_free_what_others_allocated() {
    // `SOAK_SECONDS=600` for ten minutes.
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    check_stress("churn", seconds, &[]);
}

#[test]
fn threads_begin_and_end_under_load() {
    check_stress("threads", 5, &[]);
}

#[test]
fn memory_is_mapped_moved_and_unmapped_in_part() {
    check_stress("maps", 5, &[]);
}

#[test]
fn libraries_are_loaded_and_unloaded_while_samples_are_taken() {
    check_stress("loads", 8, &[]);
}

#[test]
fn forks_and_their_children_are_left_alone() {
    check_stress("forks", 8, &[]);
}

#[test]
fn signal_handlers_allocate() {
    check_stress("signals", 5, &[]);
}

#[test]
fn a_handler_on_its_own_stack_allocates_after_the_stack_overflowed() {
    check_stress("overflow", 5, &[]);
}

#[test]
fn with_gauges_only_nothing_is_hooked() {
    let program = built_host("planted");
    let outcome = Host::new([program.into_os_string(), "5".into(), "50".into(), "500".into()])
        .options(["--interval", "100ms", "--native", "gauges"])
        .run()
        .succeeded();
    let last = last(&outcome);
    let native = last.reading("native").expect("a native reading");
    assert!(native.profiles.is_empty() && !native.gauges.is_empty(), "{native:?}");
}

#[test]
fn a_program_with_a_malloc_of_its_own_is_told_so() {
    let outcome = Host::new([built_host("own_malloc").into_os_string()])
        .options(["--interval", "500ms"])
        .run()
        .succeeded();
    assert_eq!(outcome.stdout, "done\n");
    let snapshots = outcome.snapshots();
    let last = snapshots.last().expect("a snapshot");
    let native = format!("{:?}", last.reading("native").expect("a native reading"));
    assert!(native.contains("own_malloc"), "{native}");
}

#[test]
fn a_program_with_a_sanitizer_runs_unwatched() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("sanitized");
    let source = "#include <stdio.h>\nint main(void) { puts(\"done\"); }\n";
    std::fs::write(folder.path().join("sanitized.c"), source).expect("a source");
    let compiled = Command::new("cc")
        .args(["-fsanitize=address", "-o"])
        .arg(&program)
        .arg(folder.path().join("sanitized.c"))
        .output()
        .expect("cc runs");
    if !compiled.status.success() {
        eprintln!("skipped: this compiler has no AddressSanitizer");
        return;
    }
    let outcome = Host::new([program.into_os_string()]).run().succeeded();
    assert_eq!(outcome.stdout, "done\n");
    assert!(outcome.stderr.contains("is built with a sanitizer"), "{}", outcome.stderr);
    assert!(!outcome.recording().exists());
}

#[test]
fn below_a_c_extension_stands_the_python_line_that_called_it() {
    let script = "import time, zlib\n\
                  held = []\n\
                  def compress():\n\
                  \x20   held.append(zlib.compressobj(9))\n\
                  for _ in range(24): compress(); time.sleep(0.05)\n";
    for python in pythons() {
        let outcome = Host::new([python.path.clone().into_os_string(), "-c".into(), script.into()])
            .options(["--interval", "500ms", "--native-sample", "16KiB"])
            .run()
            .succeeded();
        let last = last(&outcome);
        let profile = profile(&last, ProfileSource::SAMPLED);
        let joined = profile.sites().iter().any(|stat| {
            let frames = stat.site.frames();
            let called = frames.iter().position(|frame| &*frame.function == "compress" && frame.line == 4);
            called.is_some_and(|at| at > 0 && frames[..at].iter().all(|frame| frame.native.is_some()))
        });
        assert!(joined, "{}: {profile:?}", python.path.display());
    }
}

#[test]
fn an_agent_that_is_loaded_late_writes_relocations_and_sees_later_libraries() {
    let agent = leakline_tests::dist().libraries.join("libleakline_agent.so");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recording = folder.path().join("late.leak");
    // The library is there before, its copy comes when the agent runs already.
    let script = format!(
        "import ctypes, os, shutil, time\n\
         agent = ctypes.CDLL({agent:?})\n\
         time.sleep(0.5)\n\
         library = ctypes.CDLL({library:?})\n\
         time.sleep(3)\n\
         library.codec_remember(ctypes.c_size_t(2000), ctypes.c_size_t(1000))\n\
         agent.leakline_snapshot_now()\n\
         agent.leakline_stop()\n",
        agent = agent.to_string_lossy(),
        library = built_host("libcodec.so").to_string_lossy(),
    );
    let output = Command::new(venv_python())
        .args(["-c", &script])
        .env("LEAKLINE_FILE", &recording)
        .env("LEAKLINE_LOGCAT_TARGET", "off")
        .env("LEAKLINE_INTERVAL", "500ms")
        .env("LEAKLINE_NATIVE_SAMPLE_BYTES", "4KiB")
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let events = leakline_tests::read_recording(&recording);
    let found = events.iter().any(|event| {
        let leakline_proto::Event::Snapshot { snapshot, .. } = event else { return false };
        let profiles = snapshot.reading("native").into_iter().flat_map(|reading| &reading.profiles);
        profiles.flat_map(|profile| profile.sites()).any(|stat| {
            stat.site.frames().first().is_some_and(|frame| frame.file.ends_with("libcodec.so"))
                && stat.live.blocks > 0
        })
    });
    assert!(found, "{:?}", events.last());
}

#[test]
fn a_program_that_rarely_allocates_has_mallocs_numbers_at_each_tick() {
    let script = "import time\nkept = []\nfor _ in range(40):\n    time.sleep(0.1)\n    kept.append(bytearray(50_000))\n";
    for python in pythons() {
        let command = [python.path.clone().into_os_string(), "-c".into(), script.into()];
        let outcome = Host::new(command).options(["--interval", "250ms"]).run().succeeded();
        let live: Vec<bool> = readings(&outcome)
            .iter()
            .filter_map(|snapshot| snapshot.reading("native"))
            .map(|reading| {
                reading.gauges.iter().any(|gauge| *gauge.name == *leakline_core::names::MALLOC_LIVE)
            })
            .collect();
        let known = live.iter().filter(|known| **known).count();
        // One or the other may come too late on a busy machine.
        assert!(known * 4 >= live.len() * 3 && live.len() >= 8, "{}: {live:?}", python.path.display());
    }
}
