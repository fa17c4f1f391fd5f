//! `prctl`, passed on: a program that forbids itself system calls has none of leakline's from then on. See
//! `leakline::preload::Confining`.
//!
//! Never a catch: nothing here could panic.

#![expect(unreachable_pub, reason = "called by name, not by path")]

use std::ffi::{c_int, c_ulong, c_void};

use leakline::preload::Confining;

use crate::next::Next;

type Prctl = unsafe extern "C" fn(c_int, c_ulong, c_ulong, c_ulong, c_ulong) -> c_int;

static PRCTL: Next = Next::new(c"prctl");

/// Looks the function up before `main`.
pub(crate) fn prepare() {
    PRCTL.look_up();
}

/// The C library's. That takes as many words as its caller gives, in the same registers as five, and reads all five itself.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prctl(
    option: c_int,
    second: c_ulong,
    third: c_ulong,
    fourth: c_ulong,
    fifth: c_ulong,
) -> c_int {
    let next = PRCTL.get();
    let confining = Confining::begins(option, second);
    let outcome = if next.is_null() {
        // SAFETY: the caller's promises are passed on.
        (unsafe { libc::syscall(libc::SYS_prctl, option, second, third, fourth, fifth) }) as c_int
    } else {
        // SAFETY: the C library's function of that name takes these words.
        let next = unsafe { std::mem::transmute::<*mut c_void, Prctl>(next) };
        // SAFETY: the caller's promises are passed on.
        unsafe { next(option, second, third, fourth, fifth) }
    };
    if let Some(confining) = confining.filter(|_| outcome != 0) {
        confining.failed();
    }
    outcome
}
