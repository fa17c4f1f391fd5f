//! Programs at a limit: memory, descriptors, file size, threads. They reach it at the same place as without leakline.

use crate::{c, check, is_root, python};

#[test]
fn all_address_space_in_c() {
    check(c("room memory 64"), 0, "survived");
    check(c("room memory 900"), 0, "survived");
}

#[test]
fn all_address_space_that_the_shell_allows() {
    check(c("room memory 400").in_shell("ulimit -v 100000; exec \"$@\""), 0, "survived");
}

#[test]
fn all_data() {
    check(c("room data 40"), 0, "survived");
}

#[test]
fn all_address_space_in_python() {
    check(python("python_ends.py memory"), 0, "there is room again");
}

#[test]
fn few_descriptors() {
    for (moment, most) in [("1200", 48), ("0", 48), ("1200", 42)] {
        let shell = format!("ulimit -n {most}; exec \"$@\"");
        check(c(&format!("room files {moment}")).in_shell(&shell), 0, "36 files are open");
    }
}

#[test]
fn a_file_that_may_not_grow() {
    // The program's own file has the limit, too: it dies of the signal, or sees the error.
    let shell = "ulimit -f 32; exec \"$@\"";
    let same = c("room file_size 0 3000").in_shell(shell).check();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&same.status), Some(libc::SIGXFSZ));
    check(c("room file_size 1 3000").in_shell(shell), 0, "EFBIG");
}

#[test]
fn few_threads() {
    if is_root("few_threads as root counts no threads") {
        check(c("room threads 0 300"), 0, "64 threads");
    }
}

#[test]
fn locked_memory() {
    check(c("room locked"), 0, "mlockall works");
    check(c("room locked").in_shell("ulimit -l 65536; exec \"$@\""), 0, "mlockall");
}

#[test]
fn small_stacks() {
    check(c("room stack 0 1200"), 0, "small stacks were enough");
    check(c("room stack 0 1200").in_shell("ulimit -s 256; exec \"$@\""), 0, "small stacks were enough");
}
