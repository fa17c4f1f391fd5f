//! Tells Android's linker the library's name, and that CPython's symbols stay open: they are bound by hand there.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "android") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libleakline_cpython.so");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,undefs");
    }
}
