//! Shells, pipelines and terminals: they go on as soon as the program ends, and its keys are its own.

use leakline_tests::{Twice, venv_python, workspace};

use crate::{c, check, python};

#[test]
fn a_pipeline_ends_with_its_program() {
    for script in [
        "\"$@\" | cat; echo after",
        "echo \"got $(\"$@\")\"",
        "\"$@\" 2>&1 | tail -n 1 | wc -c",
        "\"$@\" > out.txt; cat out.txt",
        "\"$@\" & wait $!; echo $?",
        "read -r line < /dev/null; \"$@\" < /dev/null; exec 3>&1; \"$@\" >&3",
        "exec 5>own.txt 9</etc/passwd; \"$@\" 6>&5; echo x >&5",
        "\"$@\" <&- >&-; \"$@\" 2>&-; echo $?",
    ] {
        c("ends return 3").in_shell(script).unrecorded().check();
    }
}

#[test]
fn a_reader_that_goes_first() {
    check(Twice::new(["yes"]).in_shell("\"$@\" | head -n 3").unrecorded(), 0, "y\ny\ny\n");
    check(
        Twice::new(["sh", "-c", "trap '' PIPE; yes 2>err.txt; echo $? >&2"])
            .in_shell("\"$@\" | head -n 3")
            .unrecorded(),
        0,
        "y\n",
    );
}

#[test]
fn what_comes_in_goes_out() {
    let input: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let same = check(Twice::new(["sha256sum"]).stdin(input.clone()).unrecorded(), 0, "  -");
    assert!(same.stdout.len() > 64);
    check(Twice::new(["od", "-An", "-tx1"]).stdin(&input[..40_000]).unrecorded(), 0, "00 01 00 00");
    check(
        Twice::new(["sh", "-c", "read -r a; read -r b; echo \"$b $a\""]).stdin("one\ntwo\n").unrecorded(),
        0,
        "two one",
    );
}

/// A program on a terminal of its own, on which keys are pressed.
fn on_a_terminal(keys: &str, command: &[&str], said: &str) {
    let terminal = workspace().join("tests/hosts/twice/terminal.py");
    let around = [venv_python().into_os_string(), terminal.into_os_string(), keys.into()];
    check(Twice::new(command.iter().copied()).around(around).unrecorded(), 0, said);
}

#[test]
fn keys_on_a_terminal() {
    on_a_terminal("^C", &["sleep", "20"], "ended 2");
    on_a_terminal("^\\", &["sleep", "20"], "ended 3");
    on_a_terminal("hello ^D", &["cat"], "hello\nhello");
    on_a_terminal(
        ", ^C",
        &["sh", "-c", "trap 'echo caught; exit 6' INT; while :; do sleep 0.1; done"],
        "ended 6",
    );
    on_a_terminal("^Z CONT ^C", &["sh", "-c", "stty -a | head -n 1; exec sleep 20"], "ended");
}

#[test]
fn job_control_in_a_shell_on_a_terminal() {
    let shell = ["bash", "--norc", "--noprofile", "-i"];
    on_a_terminal("PS1=: sleep\u{a0}9 exit", &shell, "ended");
    let script =
        "set -m; sleep 0.3 & fg %1 >/dev/null; jobs; ps -o stat= -p $$ | cut -c1; tty | cut -c1-8; exit 7";
    on_a_terminal(",", &["bash", "-c", script], "ended 7");
}

#[test]
fn a_background_job_is_not_disturbed() {
    check(c("counts").in_shell("set -m; \"$@\" & wait $!"), 0, "threads 1");
    check(
        Twice::new(["setsid", "-w", "sh", "-c", "echo in a session; exit 2"]).unrecorded(),
        2,
        "in a session",
    );
    check(Twice::new(["nohup", "sh", "-c", "kill -HUP $$; echo not hung up"]).unrecorded(), 0, "not hung up");
    check(Twice::new(["timeout", "1", "sleep", "9"]).unrecorded(), 124, "");
}

#[test]
fn python_reads_its_terminal() {
    let words = [venv_python().to_string_lossy().into_owned(), "-c".into(), "print(input() * 2)".into()];
    on_a_terminal("abc", &words.each_ref().map(String::as_str), "abcabc");
    check(python("python_ends.py sigint").signal(libc::SIGINT), 9, "interrupted");
}
