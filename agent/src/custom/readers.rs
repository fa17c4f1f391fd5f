//! The readers of this process: threads of the host's that wait to be asked. They may come before the agent is started, and
//! stay when it is stopped.
//!
//! One lock, held for a few instructions; never while anybody's code runs. In a forked child, which has none of the
//! threads, every function does nothing, for the lock may have been somebody's at the fork.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{CustomProbe, told};
use crate::{running, threads, watched};

/// Readers at a time: one for each interpreter of the host's that has probes.
const MAX_READERS: usize = 8;
/// Text of one reader in one reading: some 1000 gauges.
const MAX_TEXT: usize = 64 << 10;

static READERS: Mutex<Readers> = Mutex::new(Readers { all: Vec::new(), last: 0, is_let_go: false });
/// Somebody is wanted, has answered, or is closed.
static CHANGED: Condvar = Condvar::new();
/// The process that opened the first reader; 0: nobody did.
static OPENED_IN: AtomicU32 = AtomicU32::new(0);

struct Readers {
    all: Vec<Reader>,
    /// The last number that was given.
    last: u32,
    /// The agent is stopped: nobody is waited for.
    is_let_go: bool,
}

struct Reader {
    number: u32,
    phase: Phase,
    /// What it has told since it was asked.
    text: String,
    /// The thread that opened it, which must not wait in it.
    opened_by: libc::pid_t,
    /// A thread has come to wait.
    is_waiting: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Has nothing to do.
    Idle,
    /// Is to read, and has not begun, since then.
    Wanted(Instant),
    /// Reads.
    Reading(Instant),
    /// Reads, and whoever asked has gone on without it.
    Late(Instant),
    /// Has told all.
    Done,
}

/// What came of one reading.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// What each reader told, whole or not.
    pub(super) texts: Vec<String>,
    /// Of readers that have not answered: how long ago they were asked, and what they told last.
    pub(super) missing: Vec<(Duration, String)>,
}

/// A new reader; its number. None: there are too many, or this is a forked child.
///
/// Another thread than the caller is to call [`wait`] with it.
pub fn open() -> Option<u32> {
    let process = std::process::id();
    if OPENED_IN
        .compare_exchange(0, process, Ordering::AcqRel, Ordering::Acquire)
        .is_err_and(|it| it != process)
    {
        return None;
    }
    let number = {
        let mut readers = lock();
        if readers.all.len() >= MAX_READERS {
            return None;
        }
        readers.last += 1;
        let number = readers.last;
        let opened_by = threads::current();
        let reader = Reader { number, phase: Phase::Idle, text: String::new(), opened_by, is_waiting: false };
        readers.all.push(reader);
        number
    };
    watched::lanes::readers_opened();
    // One that is not running yet finds the reader when it starts; one that has the probe already keeps it.
    running::add_probe(Box::new(CustomProbe)).ok();
    Some(number)
}

/// Waits until `reader` is to read: true. False: it is closed, and the thread is to end; also on the thread that opened it,
/// which would wait for itself (where a library has threads' place taken by something that shares one).
///
/// Takes the calling thread for good: names it, and blocks the host's asynchronous signals on it.
pub fn wait(reader: u32) -> bool {
    if is_foreign() {
        return false;
    }
    let mut readers = lock();
    loop {
        let Some(this) = readers.find(reader) else { return false };
        if this.opened_by == threads::current() {
            return false;
        }
        if !std::mem::replace(&mut this.is_waiting, true) {
            threads::become_ours(c"leakline-custom");
        }
        if let Phase::Wanted(since) = this.phase {
            this.phase = Phase::Reading(since);
            return true;
        }
        readers = CHANGED.wait(readers).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Adds to what `reader` tells of the reading that it was asked for. False: it is not at one.
pub fn tell(reader: u32, text: &str) -> bool {
    if is_foreign() {
        return false;
    }
    let mut readers = lock();
    let Some(this) = readers.find(reader) else { return false };
    let fits = matches!(this.phase, Phase::Reading(_)) && this.text.len() + text.len() <= MAX_TEXT;
    // Of a late one only where it stands is of interest.
    if matches!(this.phase, Phase::Late(_)) {
        if let Some(probe) = told::last_probe(text) {
            this.text = format!("probe\t{}", probe.chars().take(MAX_TEXT / 8).collect::<String>());
        }
    } else if fits {
        this.text.push_str(text);
    }
    fits
}

/// `reader` has told all.
pub fn done(reader: u32) {
    if is_foreign() {
        return;
    }
    if let Some(this) = lock().find(reader) {
        this.phase = match this.phase {
            Phase::Reading(_) => Phase::Done,
            Phase::Late(_) => Phase::Idle,
            other => other,
        };
    }
    CHANGED.notify_all();
}

/// There is no such reader any more; who waits in it goes on.
pub fn close(reader: u32) {
    if is_foreign() {
        return;
    }
    lock().all.retain(|this| this.number != reader);
    CHANGED.notify_all();
}

/// Whether anybody can be asked.
pub(crate) fn is_any_open() -> bool {
    !is_foreign() && !lock().all.is_empty()
}

/// Nobody waits for readers any more: the agent is about to end.
pub(crate) fn let_go() {
    if !is_foreign() {
        lock().is_let_go = true;
        CHANGED.notify_all();
    }
}

/// The agent has started.
pub(crate) fn begin_waiting() {
    if !is_foreign() {
        lock().is_let_go = false;
    }
}

/// Has every reader read that has nothing else to do, and waits until they have, for at most `longest`.
pub(super) fn collect(longest: Duration) -> Collected {
    let begun = Instant::now();
    let mut readers = lock();
    for reader in &mut readers.all {
        match reader.phase {
            Phase::Idle | Phase::Done => {
                reader.phase = Phase::Wanted(begun);
                reader.text.clear();
            }
            // It has begun since somebody gave up on it.
            Phase::Reading(since) => reader.phase = Phase::Late(since),
            Phase::Wanted(_) | Phase::Late(_) => {}
        }
    }
    CHANGED.notify_all();
    let is_awaited = |reader: &Reader| {
        reader.is_waiting && matches!(reader.phase, Phase::Wanted(at) | Phase::Reading(at) if at == begun)
    };
    while readers.all.iter().any(is_awaited) && !readers.is_let_go {
        let left = longest.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break;
        }
        readers = CHANGED.wait_timeout(readers, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    let is_let_go = readers.is_let_go;
    let mut collected = Collected::default();
    for reader in &mut readers.all {
        match reader.phase {
            Phase::Idle => {}
            Phase::Done => {
                reader.phase = Phase::Idle;
                collected.texts.push(std::mem::take(&mut reader.text));
            }
            // Its thread has still to come.
            Phase::Wanted(_) if is_let_go || !reader.is_waiting => reader.phase = Phase::Idle,
            Phase::Wanted(since) => collected.missing.push((since.elapsed(), String::new())),
            Phase::Reading(since) => {
                reader.phase = Phase::Late(since);
                collected.missing.push((since.elapsed(), reader.text.clone()));
                collected.texts.push(reader.text.clone());
            }
            Phase::Late(since) => collected.missing.push((since.elapsed(), reader.text.clone())),
        }
    }
    collected
}

impl Readers {
    fn find(&mut self, number: u32) -> Option<&mut Reader> {
        self.all.iter_mut().find(|reader| reader.number == number)
    }
}

/// Whether this process was forked from the one that has the readers.
fn is_foreign() -> bool {
    let owner = OPENED_IN.load(Ordering::Acquire);
    owner != 0 && owner != std::process::id()
}

/// Nothing is half done under it, so a poisoned one is as good as another.
fn lock() -> MutexGuard<'static, Readers> {
    READERS.lock().unwrap_or_else(PoisonError::into_inner)
}
