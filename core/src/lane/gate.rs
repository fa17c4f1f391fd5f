//! Lets the lanes that read at one tick begin together: all are woken at once, and those that wait for the first reader
//! go on the moment it is done, without a way through the scheduler's thread. It begins when they are ready.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a first reader waits for the others to be ready: a lane that hangs must not hold it up.
const READY_WITHIN: Duration = Duration::from_millis(2);

/// A first reader that has nothing to wait for is done within this; sleeping and waking would take longer.
const SPIN: Duration = Duration::from_micros(200);

/// Closed while first readers read.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    reading: AtomicUsize,
    lock: Mutex<()>,
    opened: Condvar,
}

/// What a job has to do with a gate.
#[derive(Debug)]
pub(crate) enum Gated {
    /// Nothing.
    Free,
    /// A first reader: it begins when everybody else is ready, and they go on when it is done.
    First { others: Arc<Gate>, done: Opener },
    /// Waits for the first readers, though no longer than so long.
    Waits { ready: Opener, first: Arc<Gate>, longest: Duration },
}

impl Gated {
    /// Waits for what this job has to wait for. Then what is given must be kept until the job is done.
    pub(crate) fn wait(self) -> Option<Opener> {
        match self {
            Self::Free => None,
            Self::First { others, done } => {
                others.wait(READY_WITHIN);
                Some(done)
            }
            Self::Waits { ready, first, longest } => {
                drop(ready);
                first.wait(longest);
                None
            }
        }
    }
}

impl Gate {
    /// One more to wait for.
    pub(crate) fn opener(self: &Arc<Self>) -> Opener {
        self.reading.fetch_add(1, Ordering::AcqRel);
        Opener(Arc::clone(self))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.reading.load(Ordering::Acquire) == 0
    }

    /// Waits on the calling thread until the gate is open, at most for `longest`.
    pub(crate) fn wait(&self, longest: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < SPIN.min(longest) {
            if self.is_open() {
                return;
            }
            std::thread::yield_now();
        }
        let left = longest.saturating_sub(begun.elapsed());
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it was opened or the time is over, the job begins.
        let _ = self.opened.wait_timeout_while(guard, left, |()| !self.is_open());
    }
}

/// Keeps a gate closed; it is open when all of its openers are dropped.
#[derive(Debug)]
pub(crate) struct Opener(Arc<Gate>);

impl Drop for Opener {
    fn drop(&mut self) {
        if self.0.reading.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Taken so that nobody can look and fall asleep in between.
            let _guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.opened.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_with_the_last_first_reader() {
        let gate = Arc::new(Gate::default());
        let (one, two) = (gate.opener(), gate.opener());
        drop(one);
        assert!(!gate.is_open());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.wait(Duration::from_secs(60)));
            drop(two);
            waiting.join().unwrap();
        });
        assert!(gate.is_open());
    }

    #[test]
    fn nobody_waits_longer_than_it_says() {
        let gate = Arc::new(Gate::default());
        let _held = gate.opener();
        gate.wait(Duration::from_millis(5));
        assert!(!gate.is_open());
    }
}
