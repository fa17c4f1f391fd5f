//! The functions that CPython calls. At rest: a load, a comparison, and a jump to what is behind. While sampling, a small
//! allocation that is not a sample costs a subtraction more, and the free of a pointer that was not sampled two or three
//! loads; both end in a jump, too.

use std::ffi::c_void;
use std::sync::atomic::Ordering::Relaxed;

use leakline_probing::sampler::thread::Thread;

use super::{Allocator, DOES, DOMAINS, MARKS, RAW, RECORDING, TABLES, record};
use crate::joined;

const MEM: usize = 1;
const OBJECT: usize = 2;

/// The hook for a domain. Never inlined, so that a function has one address wherever it is compared.
#[inline(never)]
pub(super) fn of_domain(domain: usize, context: *mut c_void) -> Allocator {
    match domain {
        RAW => hook::<RAW>(context),
        MEM => hook::<MEM>(context),
        _ => hook::<OBJECT>(context),
    }
}

fn hook<const DOMAIN: usize>(context: *mut c_void) -> Allocator {
    Allocator {
        context,
        malloc: malloc::<DOMAIN>,
        calloc: calloc::<DOMAIN>,
        realloc: realloc::<DOMAIN>,
        free: free::<DOMAIN>,
    }
}

#[inline(always)]
fn behind<const DOMAIN: usize>() -> &'static Allocator {
    // Every way into the hook comes by here: nothing that holds one of its locks may.
    TABLES.assert_not_held();
    joined::assert_not_held();
    // SAFETY: it was stored before the hook of this domain could be called, and is never freed.
    unsafe { &*DOMAINS[DOMAIN].behind.load(Relaxed) }
}

/// Whether an allocation needs no more than this: it was counted, and is no sample.
#[inline(always)]
fn is_counted<const DOMAIN: usize>(size: usize) -> bool {
    size < DOMAINS[DOMAIN].simple_below.load(Relaxed) && !Thread::current().spend(size)
}

unsafe extern "C" fn malloc<const DOMAIN: usize>(_: *mut c_void, size: usize) -> *mut c_void {
    let behind = behind::<DOMAIN>();
    if is_counted::<DOMAIN>(size) {
        // SAFETY: Python's own call, passed on.
        return unsafe { (behind.malloc)(behind.context, size) };
    }
    // SAFETY: as above.
    allocate::<DOMAIN>(size, move || unsafe { (behind.malloc)(behind.context, size) })
}

unsafe extern "C" fn calloc<const DOMAIN: usize>(_: *mut c_void, count: usize, each: usize) -> *mut c_void {
    let behind = behind::<DOMAIN>();
    let size = count.wrapping_mul(each);
    if is_counted::<DOMAIN>(size) {
        // SAFETY: Python's own call, passed on.
        return unsafe { (behind.calloc)(behind.context, count, each) };
    }
    // SAFETY: as above.
    allocate::<DOMAIN>(size, move || unsafe { (behind.calloc)(behind.context, count, each) })
}

/// An allocation that may be a sample, or that is not as simple. What is allocated inside `call` is part of it: a large
/// object is served by the raw domain, which has a hook, too.
#[inline(never)]
fn allocate<const DOMAIN: usize>(size: usize, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    let does = DOES.load(Relaxed);
    let thread = Thread::current();
    if does == 0 {
        thread.count_if_asked();
        return call();
    }
    let Some(inside) = thread.enter() else { return call() };
    // Simple ones were counted on the way here.
    if size >= DOMAINS[DOMAIN].simple_below.load(Relaxed) {
        thread.spend(size);
    }
    let left = thread.left();
    let block = call();
    thread.put_left(left);
    drop(inside);
    if left < 0 || does & RECORDING != 0 {
        record::allocated(DOMAIN, block, size, does);
    }
    block
}

unsafe extern "C" fn realloc<const DOMAIN: usize>(
    _: *mut c_void,
    block: *mut c_void,
    size: usize,
) -> *mut c_void {
    let behind = behind::<DOMAIN>();
    if !MARKS.has(block as usize) {
        if is_counted::<DOMAIN>(size) {
            // SAFETY: Python's own call, passed on.
            return unsafe { (behind.realloc)(behind.context, block, size) };
        }
        // SAFETY: as above.
        return allocate::<DOMAIN>(size, move || unsafe { (behind.realloc)(behind.context, block, size) });
    }
    // Before the call: as soon as it has freed the old block, another thread may get the same address.
    let taken = record::freed(block as usize);
    if size < DOMAINS[DOMAIN].simple_below.load(Relaxed) {
        Thread::current().spend(size);
    }
    // SAFETY: as above.
    let new = allocate::<DOMAIN>(size, move || unsafe { (behind.realloc)(behind.context, block, size) });
    if new.is_null() {
        record::put_back(block as usize, taken);
    }
    new
}

unsafe extern "C" fn free<const DOMAIN: usize>(_: *mut c_void, block: *mut c_void) {
    if MARKS.has(block as usize) {
        return free_marked::<DOMAIN>(block);
    }
    let behind = behind::<DOMAIN>();
    // SAFETY: Python's own call, passed on.
    unsafe { (behind.free)(behind.context, block) };
}

#[cold]
#[inline(never)]
fn free_marked<const DOMAIN: usize>(block: *mut c_void) {
    record::freed(block as usize);
    let behind = behind::<DOMAIN>();
    // SAFETY: Python's own call, passed on.
    unsafe { (behind.free)(behind.context, block) };
}
