//! Gives the library the name that a loader knows it by once it is loaded: `import leakline` asks for it by that.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if ["android", "linux"].contains(&system.as_str()) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libleakline_agent.so");
    }
    if system == "linux" {
        // For std in this library alone; see `thread_ends`.
        println!("cargo::rustc-cdylib-link-arg=-Wl,--defsym=__cxa_thread_atexit_impl=leakline_thread_atexit");
        // It is called when a thread ends, whenever that is.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
