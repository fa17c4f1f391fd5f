//! One stretch under the GIL, and how long it was.
//! Never enters Python without the gate's leave; never holds a lock while it waits for the GIL.

use std::time::{Duration, Instant};

use leakline_probing::sampler::thread::Thread;
use leakline_python::wire::ProfileCost;
use pyo3::Python;

use crate::fork::Attaching;
use crate::gate::Inside;

/// Stretches so far.
#[derive(Debug, Default)]
pub(crate) struct Stretches {
    pub(crate) held: Duration,
    pub(crate) longest: Duration,
    pub(crate) count: u32,
}

impl Stretches {
    /// Takes the GIL, runs `work`, lets go of it, and adds up how long it was held.
    ///
    /// A thread state is made and dropped each time: it costs a microsecond, and unlike saving and restoring one, taking
    /// the GIL anew cannot tear down this thread's frames if the interpreter should end all the same (pyo3 has the
    /// thread wait for the end of the process then).
    pub(crate) fn run<T>(&mut self, _inside: &Inside<'_>, work: impl FnOnce(Python<'_>, Instant) -> T) -> T {
        let (done, held) = attached(work);
        self.held += held;
        self.longest = self.longest.max(held);
        self.count += 1;
        done
    }

    /// What it all cost.
    pub(crate) fn cost(&self, copy: Duration) -> ProfileCost {
        ProfileCost {
            held_nanos: self.held.as_nanos() as u64,
            longest_nanos: self.longest.as_nanos() as u64,
            copy_nanos: copy.as_nanos() as u64,
            stretches: self.count,
        }
    }
}

/// Takes the GIL, or goes on under it, and runs `work` with the instant at which it was got.
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>, Instant) -> T) -> (T, Duration) {
    // What Python allocates for us is not the host's.
    let _unseen = Thread::current().enter();
    let _attaching = Attaching::begin();
    // SAFETY: the caller is inside the gate, or has found the interpreter started and not ending: then a thread may attach.
    unsafe {
        Python::attach_unchecked(|py| {
            let begun = Instant::now();
            let done = work(py, begun);
            (done, begun.elapsed())
        })
    }
}
