//! Who may enter Python, and until when.
//!
//! CPython ends a thread that asks for the GIL of a finalising interpreter. So the interpreter's own `atexit` shuts this
//! gate before finalisation begins, and waits until nobody is inside. Nothing but atomics: a child that was forked at any
//! moment finds no lock that a lost thread holds.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

const SHUT: u32 = 0;
const OPEN: u32 = 1;
/// Shut because the interpreter ended: opens again only for another interpreter.
const ENDED: u32 = 2;

/// The gate of this process.
pub(crate) static GATE: Gate = Gate::new();

/// A count of those inside, and whether more may come in.
pub(crate) struct Gate {
    state: AtomicU32,
    inside: AtomicU32,
    process: AtomicU32,
}

/// Somebody is inside as long as this lives.
pub(crate) struct Inside<'a>(&'a Gate);

impl Gate {
    const fn new() -> Self {
        Self { state: AtomicU32::new(SHUT), inside: AtomicU32::new(0), process: AtomicU32::new(0) }
    }

    /// Opens it for this process, unless the interpreter ended meanwhile.
    pub(crate) fn open(&self) {
        self.process.store(std::process::id(), SeqCst);
        // An error means that it was open already, or has ended for good.
        self.state.compare_exchange(SHUT, OPEN, SeqCst, SeqCst).ok();
    }

    /// Goes in while it is shut, to take hold of the interpreter: its end waits for this, too.
    pub(crate) fn enter_first(&self) -> Inside<'_> {
        self.inside.fetch_add(1, SeqCst);
        Inside(self)
    }

    /// Goes in, or says why not.
    pub(crate) fn enter(&self) -> Result<Inside<'_>, &'static str> {
        self.inside.fetch_add(1, SeqCst);
        let inside = Inside(self);
        match self.why_shut() {
            None => Ok(inside),
            Some(reason) => Err(reason),
        }
    }

    /// Why nobody may go in, or must come out at the next opportunity; `None` while it is open.
    pub(crate) fn why_shut(&self) -> Option<&'static str> {
        if self.is_foreign() {
            return Some("this process was forked from the one that is watched");
        }
        match self.state.load(SeqCst) {
            OPEN => None,
            ENDED => Some("the interpreter is ending"),
            _ => Some("leakline let go of it"),
        }
    }

    /// Whether this process was forked from the one that opened the gate.
    pub(crate) fn is_foreign(&self) -> bool {
        let process = self.process.load(SeqCst);
        process != 0 && process != std::process::id()
    }

    /// Whether an interpreter ended since it was opened.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.load(SeqCst) == ENDED
    }

    /// Lets nobody in any more; those inside stay until they are done.
    pub(crate) fn shut(&self) {
        self.state.compare_exchange(OPEN, SHUT, SeqCst, SeqCst).ok();
    }

    /// The interpreter that ended is gone: the gate waits for another.
    pub(crate) fn forget_the_end(&self) {
        self.state.store(SHUT, SeqCst);
    }

    /// Shuts it for good and waits until nobody is inside. The caller must not hold the GIL, for which those inside may
    /// be waiting; apart from that they never wait, and leave within one stretch.
    pub(crate) fn end(&self) {
        self.state.store(ENDED, SeqCst);
        while self.inside.load(SeqCst) != 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// In a forked child: nobody is inside any more, and nobody comes in.
    pub(crate) fn abandon(&self) {
        self.state.store(SHUT, SeqCst);
        self.inside.store(0, SeqCst);
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, SeqCst);
    }
}
