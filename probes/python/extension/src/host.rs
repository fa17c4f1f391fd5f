//! What the agent's side does for the Python part: looking names of CPython up, wherever it was loaded.
//! Never looks in one certain libpython by itself: one that was loaded privately shows its names to nobody but its handle.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;

use leakline_probing::loader;
use leakline_python::wire::HostTable;

static HOST: OnceLock<HostTable> = OnceLock::new();

/// Keeps the first agent's table: there is one CPython in a process.
pub(crate) fn introduce(host: HostTable) {
    HOST.get_or_init(|| host);
}

/// The address of one of CPython's names. Before an agent has introduced itself, only where everybody sees it.
pub(crate) fn symbol(name: &CStr) -> Option<NonNull<c_void>> {
    let Some(host) = HOST.get() else { return loader::symbol(name) };
    // SAFETY: the agent's function stays callable as long as the process lives, and `name` ends with a NUL.
    NonNull::new(unsafe { (host.symbol)(name.as_ptr()) })
}
