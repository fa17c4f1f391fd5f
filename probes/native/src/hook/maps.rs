//! Memory that the process maps itself: every mapping that is not a file's, with the call path that made it. All of them
//! are kept, because a mapping costs the kernel more than it costs us; parts that are unmapped are taken off.
//!
//! What malloc maps for itself does not come by: C libraries map without asking anybody. Memory that is only reserved
//! (without access) is not counted.

use std::ffi::{c_int, c_void};

use leakline_probing::sampler::thread::Thread;

use super::record;
use crate::unwind::Registers;

/// What is asked of `mmap`.
pub(super) struct Request {
    pub(super) address: usize,
    pub(super) length: usize,
    pub(super) access: c_int,
    pub(super) flags: c_int,
}

impl Request {
    fn is_counted(&self) -> bool {
        self.flags & libc::MAP_ANONYMOUS != 0 && self.access != libc::PROT_NONE
    }

    fn replaces(&self) -> bool {
        self.flags & libc::MAP_FIXED != 0
    }
}

/// Maps, and keeps what was mapped.
#[inline(always)]
pub(super) fn map(request: Request, from: Registers, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    if !is_hosts() || !(request.is_counted() || request.replaces()) {
        return call();
    }
    if request.replaces() {
        // Before the call, as for a free. A failure leaves a hole in what is kept, not in the process.
        forget(request.address, request.length);
    }
    let mapped = call();
    if mapped != libc::MAP_FAILED && request.is_counted() {
        keep(mapped as usize, request.length, from);
    }
    mapped
}

/// Unmaps, and forgets what was unmapped.
#[inline(always)]
pub(super) fn unmap(address: usize, length: usize, call: impl FnOnce() -> c_int) -> c_int {
    if is_hosts() {
        // Before the call: after it another thread may get the same address.
        forget(address, length);
    }
    call()
}

/// Moves or resizes, and keeps what came of it with the path of this call.
#[inline(always)]
pub(super) fn remap(
    (address, length): (usize, usize),
    new_length: usize,
    from: Registers,
    call: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    if !is_hosts() {
        return call();
    }
    let was_kept = record::guarded(false, || {
        record::with_tables(|tables| {
            let was_kept = tables.has_region(address);
            tables.unmap_region(address, length);
            was_kept
        })
    });
    let mapped = call();
    if was_kept {
        match mapped {
            libc::MAP_FAILED => keep(address, length, from),
            mapped => keep(mapped as usize, new_length, from),
        }
    }
    mapped
}

/// Whether this is the host's doing: not a hook's, nor that of a thread of leakline's.
fn is_hosts() -> bool {
    !record::is_busy() && !Thread::current().is_inside() && !record::is_own_thread()
}

#[cold]
fn keep(address: usize, length: usize, from: Registers) {
    record::guarded((), || {
        let Some(_inside) = Thread::current().enter() else { return };
        let length = length.next_multiple_of(crate::process::page_bytes() as usize);
        record::walk(from, |walk| {
            record::keep(&walk, true, |tables, walked| tables.map_region(address, length, walked));
        });
    });
}

#[cold]
fn forget(address: usize, length: usize) {
    record::guarded((), || record::with_tables(|tables| tables.unmap_region(address, length)));
}
