//! Programs that start children, and what they see of them: nobody but their own.

use std::path::PathBuf;

use crate::{c, check, python};

fn tree() -> PathBuf {
    leakline_tests::workspace().join("tests/hosts/families/tree.py")
}

#[test]
fn a_watcher_is_nobodys_child() {
    let same = check(c("children nobody"), 0, "1 times told of a child");
    assert!(!same.stdout.contains("first, waitpid(-1, 0x1): 0"), "{}", same.stdout);
    check(c("children nobody_in_child").unrecorded(), 0, "ECHILD");
    check(c("children reaper").unrecorded(), 0, "2 reaped, 11");
    check(c("children ignored").unrecorded(), 0, "-1 ECHILD");
    check(c("children parent_death").unrecorded(), 0, "mine");
}

#[test]
fn a_program_that_looks_at_itself_sees_only_itself() {
    let same = check(c("counts"), 0, "threads 1, by glibc one");
    assert!(same.stdout.contains("children none"), "{}", same.stdout);
    // In a shell, it is not the leader of its group.
    check(c("counts").in_shell("trap '' USR1; nice -n 5 \"$@\"; true"), 0, "threads 1");
}

#[test]
fn the_environment_of_the_program_is_as_it_was() {
    check(c("counts environment"), 0, "PATH=");
}

#[test]
fn the_environment_of_its_children_is_as_it_was() {
    let sees = "sh -c 'env | grep -v -e ^PWD= -e ^OLDPWD= -e ^_= | sort'";
    let twice = crate::Twice::new(["sh", "-c", &format!("{sees}; exit 3")]);
    check(twice.clone().unrecorded(), 3, "PATH=");
    check(twice.variable("LD_PRELOAD", "libm.so.6").unrecorded(), 3, "LD_PRELOAD=libm.so.6");
    // What the kernel was given cannot be taken out of there: of a child that is not watched there is nothing in it.
    let kernels = "sh -c 'env | grep -v -e ^PWD= -e ^OLDPWD= -e ^_= | sort; cat /proc/self/environ | tr \"\\0\" \"\\n\" | grep -i leak'; exit 3";
    let twice = crate::Twice::new(["sh", "-c", kernels]).options(["--children=none"]);
    check(twice.unrecorded(), 3, "PATH=");
}

#[test]
fn storms_of_children() {
    for way in ["fork", "_fork", "fork_exec", "vfork", "vfork_exit", "spawn", "clone", "clone_vm", "raw"] {
        check(c(&format!("children storm {way}")).unrecorded(), 0, "150 children, statuses add up to 6175");
    }
}

#[test]
fn storms_of_children_beside_busy_threads() {
    for way in ["fork", "fork_exec", "vfork", "spawn", "clone_vm"] {
        let storm = format!("children storm {way} 6");
        check(c(&storm).unrecorded(), 0, "150 children, statuses add up to 6175");
    }
    check(c("children many_at_once").unrecorded(), 0, "1770");
}

#[test]
fn a_child_that_outlives_its_parent() {
    check(c("children child_goes_on").unrecorded(), 4, "the child has done it");
    check(python("python_ends.py fork"), 0, "19\n");
}

#[test]
fn children_that_are_watched_too() {
    check(c("children child_goes_on").options(["--children=none"]).unrecorded(), 4, "the child has done it");
    check(python("python_ends.py subprocess").options(["--children"]).unrecorded(), 0, "in text");
    check(c("tree 2 8"), 0, "7");
    check(crate::Twice::new([leakline_tests::venv_python(), tree(), "fork".into(), "2".into()]), 0, "[0, 0]");
    check(crate::Twice::new([leakline_tests::venv_python(), tree(), "threads".into(), "2".into()]), 0, "[0]");
}
