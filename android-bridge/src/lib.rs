//! The bridge between a JVM and the agent: what Java or Kotlin code of an app can ask, and the app's own probes.
//! `JNI_OnLoad` looks up classes and methods, once, and registers the entry points. `Agent_OnAttach` only lets the JVM probe
//! know: Android's runtime gives its tool interface to nobody before.
//!
//! - Every entry point takes and gives text, and throws nothing: an answer begins with `ok` or `error`. A panic ends at the
//!   edge and becomes an `error`.
//! - A thread of leakline's is in the JVM only while it reads the app's probes, as a daemon.
//!
//! Never here: a decision about the app (that is Java's part), a symbol of libjvm, a thread that stays in the JVM.

mod answer;
mod app_probe;
mod entry;
mod vm;

use std::panic::catch_unwind;

pub use vm::RawVm;

/// What `JNI_OnLoad` answers where the library cannot be used: the JVM refuses to load it.
const REFUSED: i32 = jni::sys::JNI_ERR;

/// Looks up what is called later and registers the entry points. The answer is `JNI_OnLoad`'s.
pub fn on_load(vm: RawVm) -> i32 {
    match catch_unwind(|| vm::bind(vm)) {
        Ok(Ok(())) => jni::sys::JNI_VERSION_1_6,
        // Java's exception, where there is one, says more than we could.
        Ok(Err(_)) | Err(_) => REFUSED,
    }
}

/// Has the JVM probe know that the JVM took leakline as an agent. Starts nothing. The answer is `Agent_OnAttach`'s.
pub fn on_attach() -> i32 {
    match catch_unwind(|| leakline::java_agent(Ok(()))) {
        Ok(()) => jni::sys::JNI_OK,
        Err(_) => REFUSED,
    }
}
