//! The library that is preloaded into a host, or loaded by it: an entry at load, an exit at unload, and the agent's
//! functions by their C names, which stand in `leakline-c`. Everything they do stands in crate `leakline`, which is tested on its own.
//!
//! Never here: a decision. A panic is caught at each of these edges.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod children;
#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod confined;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod ends;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod malloc;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod next;
#[cfg(target_os = "linux")]
mod thread_ends;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod threads;

use std::ffi::{c_char, c_int};
use std::panic::catch_unwind;

use leakline_probing::heap::OwnHeap;

/// The agent's memory is not the host's: it never shows up in the host's malloc.
#[global_allocator]
static HEAP: OwnHeap = OwnHeap;

#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn(c_int, *mut *mut c_char) = on_load;

#[used]
#[unsafe(link_section = ".fini_array")]
static ON_UNLOAD: extern "C" fn() = on_unload;

/// glibc tells what `main` is told; another C library tells nothing, and what would be read is not arguments then.
extern "C" fn on_load(argc: c_int, argv: *mut *mut c_char) {
    #[cfg(target_os = "linux")]
    thread_ends::begin();
    let _ = catch_unwind(|| {
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            leakline::preload::remember_arguments(argc, argv);
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            {
                children::prepare();
                ends::prepare();
            }
            #[cfg(all(
                target_os = "linux",
                target_env = "gnu",
                any(target_arch = "x86_64", target_arch = "aarch64")
            ))]
            confined::prepare();
        }
        leakline::preload::on_load();
    });
}

extern "C" fn on_unload() {
    let _ = catch_unwind(leakline::preload::on_unload);
}

/// Starts the agent with the settings of the environment and the file that it names; 2 also when they are refused.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_start() -> c_int {
    match catch_unwind(leakline::Config::load) {
        Ok(Ok(config)) => leakline_c::edge(|| leakline::start(config)),
        Ok(Err(_)) => 2,
        Err(_) => 3,
    }
}
