//! The agent inside the program (`watcher = off`, as on older systems and in embedded hosts) harms it as little as the
//! watcher does: descriptors that are closed, memory that has run out, a main thread that has ended.

use crate::{c, check, python};
use leakline_tests::Twice;

fn inside(twice: Twice) -> Twice {
    twice.variable("LEAKLINE_WATCHER", "off")
}

#[test]
fn it_gives_up_descriptors_that_the_program_closes() {
    for words in
        ["closing closefrom 1200", "closing closefrom 0", "closing close_range 700", "closing loop 700"]
    {
        let same = check(inside(c(words)), 0, "ended well");
        assert!(same.report()["coverage"]["snapshots"].as_u64() >= Some(2), "{}", same.report_text(&[]));
    }
    check(inside(python("closing.py closerange")), 0, "ended well 60");
}

#[test]
fn it_ends_when_there_is_no_memory_left() {
    for memory in ["room memory 640", "room memory 900"] {
        check(inside(c(memory)).may_say("leakline ends: out of memory"), 0, "survived");
    }
}

#[test]
fn it_ends_with_the_programs_last_thread() {
    check(inside(c("ends main_thread_ends")), 0, "the last thread ends");
    check(inside(c("ends main_thread_ends_by_call")), 0, "a thread ends by its own call");
    check(inside(c("ends all_end_by_call")), 0, "");
}
