//! The program under `leakline run` behaves as if leakline were not there.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use leakline_tests::{Host, dist};

/// Runs `script` with `sh` plain and under leakline: status and standard output must be the same.
fn check(script: &str) {
    let plain = Command::new("sh").args(["-c", script]).output().expect("sh runs");
    let watched = Host::new(["sh", "-c", script]).run();
    assert_eq!(watched.status.into_raw(), plain.status.into_raw(), "{script}: {}", watched.stderr);
    assert_eq!(watched.stdout, String::from_utf8_lossy(&plain.stdout), "{script}");
}

#[test]
fn exit_status_and_output_pass_through() {
    check("exit 0");
    check("exit 7");
    check("echo out; echo err >&2; exit 3");
}

#[test]
fn death_by_a_signal_passes_through() {
    check("kill -TERM $$");
    check("kill -INT $$");
    check("kill -KILL $$");
    check("kill -SEGV $$");
}

#[test]
fn a_signal_from_outside_reaches_the_program_and_its_handler() {
    let host =
        Host::new(["sh", "-c", "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done"])
            .options(["--interval", "100ms"])
            .spawn();
    host.wait_for_snapshots(1);
    host.signal(libc::SIGTERM);
    let outcome = host.wait();
    assert_eq!(
        (outcome.status.code(), outcome.stdout.as_str()),
        (Some(5), "ready\ncaught\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn children_see_nothing_of_leakline_and_are_not_watched() {
    let outcome = Host::new(["sh", "-c", "env; cat /proc/self/maps > \"$OUT\"; env | sort > \"$OUT.2\""])
        .variable("OUT", "/dev/null")
        .run()
        .succeeded();
    let seen: Vec<&str> = outcome
        .stdout
        .lines()
        .filter(|line| {
            line.starts_with("LEAKLINE_") || (line.starts_with("LD_PRELOAD=") && line.contains("leakline"))
        })
        .collect();
    assert_eq!(seen, Vec::<&str>::new());
}

#[test]
fn a_preload_of_the_users_own_stays_for_children() {
    let outcome = Host::new(["sh", "-c", "env"]).variable("LD_PRELOAD", "libm.so.6").run().succeeded();
    assert!(outcome.stdout.lines().any(|line| line == "LD_PRELOAD=libm.so.6"), "{}", outcome.stdout);
}

#[test]
fn a_chain_of_execs_is_one_session() {
    let outcome = Host::new(["sh", "-c", "exec sh -c 'exec sleep 0.6'"])
        .options(["--interval", "200ms"])
        .run()
        .succeeded();
    let folder = outcome.recording().parent().expect("a folder").to_owned();
    let recordings: Vec<_> =
        std::fs::read_dir(folder).expect("the folder").flatten().map(|file| file.file_name()).collect();
    assert_eq!(recordings, ["host.leak"]);
    assert!(outcome.snapshots().len() >= 2);
}

#[test]
fn a_forked_child_that_goes_on_is_left_alone() {
    let script = "import os, time, sys\n\
                  time.sleep(0.4)\n\
                  pid = os.fork()\n\
                  if pid == 0:\n    data = [bytearray(100) for _ in range(1000)]\n    sys.exit(4)\n\
                  print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    for python in leakline_tests::pythons() {
        let outcome = Host::new([python.path.clone().into_os_string(), "-c".into(), script.into()])
            .options(["--interval", "100ms"])
            .run()
            .succeeded();
        assert_eq!(outcome.stdout, "4\n", "{python:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_program_that_is_not_there_is_told_as_a_shell_would() {
    let outcome = Command::new(dist().leakline)
        .args(["run", "--", "/no/such/program"])
        .output()
        .expect("leakline runs");
    assert_eq!(outcome.status.code(), Some(127));
    let stderr = String::from_utf8_lossy(&outcome.stderr);
    assert!(stderr.contains("/no/such/program"), "{stderr}");
}
