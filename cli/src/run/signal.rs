//! Remembers whether SIGPIPE was ignored when this program was started, and hands that on to the program it becomes.
//! Never changes any other signal.

use std::sync::atomic::{AtomicBool, Ordering};

static WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Rust's runtime ignores SIGPIPE before `main`, so what was inherited has to be read before that.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = read_inherited;

extern "C" fn read_inherited() {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; the old one is written to `action`, which is large enough.
    let asked = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroed bytes are a valid sigaction, and the call before only replaced them by another.
    let action = unsafe { action.assume_init() };
    WAS_IGNORED.store(asked == 0 && action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
}

/// Makes SIGPIPE what it was when this program was started. For right before `exec`.
pub(super) fn restore() {
    if !WAS_IGNORED.load(Ordering::Relaxed) {
        // SAFETY: the default action is valid for SIGPIPE, and no handler was ever installed.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
}
