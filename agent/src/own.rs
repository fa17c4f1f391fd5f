//! Whether the agent inside a host has to end by itself: no memory is left, or no thread but its own.
//! Looked at once a second: two loads and two system calls, and no descriptor unless the main thread has ended.

use std::fs;

use leakline_core::Ending;
use leakline_probing::heap;

/// Called on the scheduler's thread.
pub(crate) fn must_end() -> Option<Ending> {
    if heap::is_out_of_memory() {
        return Some(Ending::OutOfMemory);
    }
    (main_thread_has_ended() && only_ours_are_left()).then_some(Ending::HostOver)
}

/// As [`must_end`], in a watcher: the host's threads are its own affair.
pub(crate) fn must_end_watching() -> Option<Ending> {
    heap::is_out_of_memory().then_some(Ending::OutOfMemory)
}

/// A thread that ends gives its list of robust locks back to the kernel, and the C library gives each thread one when it
/// begins. A C library that does not (musl, Android's) never shows an ended main thread here.
fn main_thread_has_ended() -> bool {
    robust_list_of(0) == Some(true) && robust_list_of(std::process::id()) == Some(false)
}

/// Whether `thread` (0: the calling one) has a list of robust locks; `None` where the kernel does not say.
fn robust_list_of(thread: u32) -> Option<bool> {
    let mut head: *const libc::c_void = std::ptr::null();
    let mut bytes: usize = 0;
    // SAFETY: the kernel writes a pointer and a size to where these point, and nothing reads what the pointer points to.
    let failed = unsafe { libc::syscall(libc::SYS_get_robust_list, thread, &raw mut head, &raw mut bytes) };
    (failed == 0).then_some(!head.is_null())
}

/// Whether every thread but the main one, which has ended, bears one of our names.
fn only_ours_are_left() -> bool {
    let main = std::process::id().to_string();
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return false };
    threads.flatten().filter(|thread| thread.file_name() != main.as_str()).all(|thread| {
        // One that is gone by now is nobody's.
        fs::read(thread.path().join("comm")).map_or(true, |name| name.starts_with(b"leakline"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_main_thread_goes_on() {
        assert!(!only_ours_are_left());
        assert!(!main_thread_has_ended());
        assert_eq!(must_end(), None);
    }
}
