//! The ledger without a memory map: everybody claims, in this order.
//!
//! 1. file-backed and shared memory, by the kernel's own count;
//! 2. objects that were written to: what of Python's arenas is handed out, the used Java heap, the JVM's other memory;
//! 3. malloc's live blocks, which may be large and not yet touched;
//! 4. malloc's free chunks, which may have been given back to the kernel;
//! 5. what is free in Python's arenas: a pool that was never used has not been touched, but of those there are few, since
//!    Python maps an arena only when the others are full;
//! 6. the Java heap that is committed but not used, which may never have been touched, so that `jvm heap free` is an
//!    upper bound and takes from `unexplained` what may be somebody else's.
//!
//! Stacks, graphics, written data of libraries and a heap of ZGC, which the kernel counts as shared, stand in
//! `unexplained`, `shared memory` or whatever claims them.

use super::rest::Rest;
use super::{Gauges, in_malloc};
use crate::model::names;

pub(super) fn fill(gauges: &Gauges<'_>, rest: &mut Rest) {
    let gauge = |name| gauges.get(name);
    let (arenas, arenas_used) = (gauge(names::PYTHON_ARENAS), gauge(names::PYTHON_ARENAS_USED));
    match arenas_used {
        Some(used) => rest.take("python arenas used", Some(used)),
        None => rest.take("python objects", gauge(names::PYTHON_TRACED_SMALL)),
    }
    rest.take("jvm heap used", gauge(names::JVM_HEAP_USED));
    rest.take("jvm non-heap", gauge(names::JVM_NON_HEAP_USED));
    rest.malloc(gauge(names::MALLOC_LIVE), &in_malloc(gauges));
    rest.take("malloc free", gauge(names::MALLOC_FREE));
    let arenas_free = arenas.zip(arenas_used).map(|(mapped, used)| (mapped - used).max(0.0));
    rest.take("python arenas free", arenas_free);
    let heap_free = gauge(names::JVM_HEAP_COMMITTED)
        .zip(gauge(names::JVM_HEAP_USED))
        .map(|(committed, used)| (committed - used).max(0.0));
    rest.take_derived("jvm heap free", heap_free);
}
