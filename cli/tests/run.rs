//! `leakline run` with real programs: a program under it ends, answers signals and reads its input as without it.
//! The agent is not needed here: a library that every process has stands in for it.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A library that loads into any program of this system and does nothing.
fn harmless_library() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the memory map");
    let line = maps.lines().find(|line| line.contains("/libgcc_s.so")).expect("libgcc is here");
    PathBuf::from(line.split_whitespace().last().expect("a path"))
}

fn leakline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leakline"));
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LEAKLINE_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.env("LEAKLINE_LIBRARY", harmless_library()).env("LC_ALL", "C");
    command
}

fn run(options: &[&str], words: &[&str]) -> Output {
    leakline()
        .arg("run")
        .args(options)
        .arg("--")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("leakline runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The same status, output and signal with and without leakline.
fn check_same(words: &[&str]) {
    let with = run(&["--python", "off"], words);
    let without = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("it runs");
    assert_eq!(
        (with.status.code(), with.status.signal()),
        (without.status.code(), without.status.signal()),
        "{words:?}"
    );
    assert_eq!(text(&with.stdout), text(&without.stdout), "{words:?}");
    assert_eq!(text(&with.stderr), text(&without.stderr), "{words:?}");
}

#[test]
fn a_program_ends_as_it_would_without_leakline() {
    check_same(&["true"]);
    check_same(&["false"]);
    check_same(&["sh", "-c", "exit 7"]);
    check_same(&["sh", "-c", "kill -TERM $$"]);
    check_same(&["sh", "-c", "kill -INT $$"]);
    check_same(&["sh", "-c", "kill -KILL $$"]);
    check_same(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    check_same(&["/bin/sh", "-c", "echo \"$0\" \"$@\"", "--", "-x", "a b", ""]);
}

#[test]
fn a_closed_pipe_and_other_signals_are_as_they_were() {
    // Rust ignores SIGPIPE in its own programs; what the shell inherits must be what leakline inherited.
    check_same(&["grep", "-E", "^Sig(Ign|Blk|Cgt)", "/proc/self/status"]);
    let script = "trap '' PIPE HUP; exec \"$@\"";
    let inner = ["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"];
    let without = Command::new("sh").args(["-c", script, "sh"]).args(inner).output().unwrap();
    let with = leakline();
    let program = with.get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(program).args(["run", "--python", "off", "--"]).args(inner);
    for (name, value) in with.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let with = shell.output().unwrap();
    assert_eq!(text(&with.stdout), text(&without.stdout));
    assert!(text(&with.stdout).contains("SigIgn"), "{with:?}");
}

#[test]
fn the_program_takes_leaklines_place_and_keeps_its_input() {
    let mut child = leakline()
        .args(["run", "--python", "off", "--", "sh", "-c", "echo $$; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), format!("{pid}\nthrough"));
}

#[test]
fn a_signal_from_outside_reaches_the_program() {
    let mut child = leakline()
        .args([
            "run",
            "--python",
            "off",
            "--",
            "sh",
            "-c",
            "trap 'exit 42' TERM; echo ready; while :; do sleep 0.02; done",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(42));
}

#[test]
fn the_agents_settings_are_in_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let output = leakline()
        .current_dir(folder.path())
        .env("LD_PRELOAD", harmless_library())
        .args(["run", "--interval", "1m", "-o", "x.leak", "--frames", "3", "--python", "off", "--"])
        .args(["sh", "-c", "echo $$; env"])
        .output()
        .unwrap();
    let out = text(&output.stdout);
    let pid = out.lines().next().unwrap();
    let library = harmless_library();
    let file = folder.path().canonicalize().unwrap().join("x.leak");
    for line in [
        format!("LEAKLINE_PID={pid}"),
        "LEAKLINE_INTERVAL=1m".to_owned(),
        format!("LEAKLINE_FILE={}", file.display()),
        "LEAKLINE_PYTHON_FRAMES=3".to_owned(),
        "LEAKLINE_PYTHON_MODE=off".to_owned(),
        format!("LD_PRELOAD={0}:{0}", library.display()),
    ] {
        assert!(out.lines().any(|found| found == line), "{line} is not in {out}");
    }
    assert!(!out.contains("LEAKLINE_CHILDREN") && !out.contains("LEAKLINE_COLLECTOR"), "{out}");
}

/// The exit status, and words that standard error has.
fn check_refused(options: &[&str], words: &[&str], status: i32, parts: &[&str]) {
    let output = run(options, words);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

#[test]
fn a_command_that_cannot_be_run_answers_as_in_a_shell() {
    check_refused(&[], &["no-such-command-here"], 127, &["command not found: no-such-command-here"]);
    check_refused(&[], &["/no/such/file"], 127, &["command not found: /no/such/file"]);
    check_refused(&[], &["/etc/passwd"], 126, &["cannot be executed", "/etc/passwd"]);
    check_refused(&[], &["/etc"], 126, &["cannot be executed", "/etc"]);
}

#[test]
fn a_wrong_option_is_named_with_what_would_be_right() {
    check_refused(&["--interval", "5"], &["true"], 2, &["'5'", "--interval", "5m, 30s, 500ms"]);
    check_refused(&["--interval", "1ms"], &["true"], 2, &["the least is 100 ms"]);
    check_refused(&["--collector", "nowhere"], &["true"], 2, &["nowhere", "HOST:PORT", "127.0.0.1:7474"]);
    check_refused(&["--frames", "0"], &["true"], 2, &["--frames", "1..=128"]);
    check_refused(&["-o", "/no/such/folder/x"], &["true"], 1, &["/no/such/folder", "Make it first"]);
    check_refused(&["--config", "/no/such.toml"], &["true"], 1, &["/no/such.toml"]);
}

#[test]
fn a_missing_library_is_named_with_the_remedy() {
    let output =
        leakline().env("LEAKLINE_LIBRARY", "/no/such.so").args(["run", "--", "true"]).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/no/such.so") && said.contains("LEAKLINE_LIBRARY"), "{said}");
}

#[test]
fn a_collector_without_an_address_does_not_keep_the_program_from_running() {
    let output = run(&["--collector", "no-such-host.invalid:7474", "--python", "off"], &["echo", "ran"]);
    assert_eq!(text(&output.stdout), "ran\n");
    assert!(output.status.success());
}

#[test]
fn a_script_without_a_first_line_runs_in_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "echo from a script\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = run(&["--python", "off"], &[script.to_str().unwrap()]);
    assert_eq!(text(&output.stdout), "from a script\n", "{output:?}");
}

#[test]
fn the_missing_python_part_is_told_and_nothing_else() {
    let output = run(&[], &["true"]);
    let said = text(&output.stderr);
    assert!(output.status.success());
    assert!(said.contains("libleakline_cpython.so is missing") && said.lines().count() == 1, "{said}");
}

#[test]
fn completions_and_help_are_there_and_a_closed_pipe_is_no_error() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = leakline().args(["completions", shell]).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("leakline"), "{shell}");
    }
    let mut child = leakline()
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");

    let help = text(&leakline().args(["run", "--help"]).output().unwrap().stdout);
    assert!(help.contains("Examples:") && !help.contains('\x1b'), "{help}");
    let bare = leakline().output().unwrap();
    assert_eq!(bare.status.code(), Some(2));
}

#[test]
fn the_name_that_the_program_sees_is_what_was_typed() {
    assert!(Path::new("/proc/self/cmdline").exists());
    let mut direct = Command::new("sh");
    direct.arg0("sh").args(["-c", "tr '\\0' ' ' < /proc/$$/cmdline"]);
    let without = direct.output().unwrap();
    let with = run(&["--python", "off"], &["sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline"]);
    assert_eq!(text(&with.stdout), text(&without.stdout));
}
