//! Two functions of the C library's by their names, passed on: what a runtime calls when it starts. See
//! `leakline::preload::moments`.
//!
//! Never a catch: what is done beside passing on catches by itself.

#![expect(unreachable_pub, reason = "called by name, not by path")]

use std::ffi::{c_int, c_void};

use leakline::preload::moments::{self, Routine};

/// The C library's.
///
/// # Safety
/// As the C library's.
#[unsafe(link_section = "leakline_pass")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    routine: Routine,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promises are passed on.
    unsafe { moments::create_thread(thread.cast(), attributes.cast(), routine, argument) }
}

/// The C library's, with the address to which it returns.
///
/// # Safety
/// As the C library's.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_key_create(key: *mut c_void, destructor: *mut c_void) -> c_int {
    std::arch::naked_asm!("mov rdx, [rsp]", "jmp {create}", create = sym moments::create_key)
}

/// The C library's, with the address to which it returns.
///
/// # Safety
/// As the C library's.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_key_create(key: *mut c_void, destructor: *mut c_void) -> c_int {
    std::arch::naked_asm!("mov x2, x30", "b {create}", create = sym moments::create_key)
}
