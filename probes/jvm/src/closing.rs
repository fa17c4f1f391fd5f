//! The JVM's own end, while it can still be read: the tool interface's event `VMDeath`. HotSpot posts it on the thread that
//! ends the JVM, after shutdown hooks and before anything is taken down, at `System.exit`, at `Runtime.halt`, and when the
//! last thread has left.
//!
//! Never where the tool interface may not be asked, and never twice in one process: HotSpot starts no second JVM.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use leakline_probing::loader;

use crate::jvmti::{Jvmti, VERSION};
use crate::vm::Vm;

type OnClosing = Arc<dyn Fn(bool) + Send + Sync>;

static ON_CLOSING: Mutex<Option<OnClosing>> = Mutex::new(None);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Sets what is done when the JVM is about to end. It is called on the thread that ends it, which is held up until it
/// returns: so it must wait for nothing without a bound. It is told whether the process ends with the JVM, as one that the
/// `java` launcher began does.
pub fn set_on_closing(call: Box<dyn Fn(bool) + Send + Sync>) {
    *ON_CLOSING.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::from(call));
}

/// Has the JVM say when it ends, if anybody wants to know. On a thread that is in it.
pub(crate) fn watch(vm: Vm) {
    if ON_CLOSING.lock().unwrap_or_else(PoisonError::into_inner).is_none()
        || WATCHED.swap(true, Ordering::AcqRel)
    {
        return;
    }
    // SAFETY: it is what the JVM gave, and it is kept for as long as the process lives: the event comes once.
    let tools = vm.tools(VERSION).and_then(|tools| unsafe { Jvmti::from_raw(tools) });
    if !tools.is_some_and(|tools| tools.watch_death(on_death)) {
        WATCHED.store(false, Ordering::Release);
    }
}

unsafe extern "system" fn on_death() {
    let call = ON_CLOSING.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(call) = call {
        // The panic's message went wherever the host sends those; the JVM ends all the same.
        catch_unwind(AssertUnwindSafe(|| call(was_launched()))).ok();
    }
}

/// Whether the `java` launcher, or another of the JDK's programs, began this process.
fn was_launched() -> bool {
    loader::loaded_object(&["libjli.so"]).is_some()
}
