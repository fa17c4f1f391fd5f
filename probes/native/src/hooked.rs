//! The probe's side of the hook: begins it, keeps it in front of what is loaded later, and makes readings of what it knows,
//! in the host or in a process that was forked from it.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use leakline_core::{Details, Gauge, names};
use leakline_probing::loader;
use leakline_probing::shared::{self, Sharing};

use crate::hook::{self, Patched, Reader, Sampling};
use crate::{NativeMode, NativeOptions, Watching, unwind};

/// The smallest and the largest mean.
const MEANS: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;
/// How often it is looked whether something was loaded: until then, what that allocates is not seen.
const LOOK: Duration = Duration::from_secs(1);

/// How the hook was begun early, for a watcher that is forked afterwards.
static BEGUN: Mutex<Option<Result<Patched, String>>> = Mutex::new(None);

/// The hook, as the probe has it.
#[derive(Debug, Default)]
pub(crate) struct Hooked {
    state: Option<Result<Patched, String>>,
    reader: Option<Box<Reader>>,
    watch: Option<Watch>,
    is_watching: bool,
}

/// What sampling says that malloc holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampled {
    pub(crate) bytes: u64,
    /// In squares of bytes.
    pub(crate) variance: f64,
}

/// Begins to sample, for a preloaded library: at once, long before there is a probe. A failure shows in the readings.
///
/// `sharing` says who is going to read the tables: this process, or a watcher that is forked from it afterwards. With a
/// watcher, to be called while there is one thread.
pub fn begin_early(options: &NativeOptions, sharing: Sharing) {
    if options.mode == NativeMode::Sampling {
        let begun = begin(options, sharing);
        *BEGUN.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
    } else if sharing == Sharing::WithWatcher {
        // Only for malloc's own numbers, which nobody else can ask for: no sample ever comes due.
        let (mean, frames, max_live, max_paths) = (u64::MAX / 2, 1, 1024, 256);
        let _ = hook::sample(Sampling { mean, frames, max_live, max_paths, sharing });
    }
}

/// Whether this is the process that the hook was begun in, and not a child that was forked from it.
pub fn is_this_process() -> bool {
    shared::is_first_process()
}

/// Begins to sample, unless it was begun early; once for the whole process.
fn begin(options: &NativeOptions, sharing: Sharing) -> Result<Patched, String> {
    if hook::is_sampling() {
        return hook::come_in_front();
    }
    unwind::refresh();
    hook::sample(Sampling {
        mean: options.mean_sample_bytes.clamp(*MEANS.start(), *MEANS.end()),
        frames: options.max_frames,
        max_live: options.max_samples as usize,
        max_paths: options.max_paths as usize,
        sharing,
    })
}

impl Hooked {
    /// Begins what `options` ask for, once. For another process: it has begun.
    pub(crate) fn begin(&mut self, options: &NativeOptions, watching: Option<&Watching>) {
        if options.mode != NativeMode::Sampling || self.state.is_some() {
            return;
        }
        self.is_watching = watching.is_some();
        let state = if self.is_watching {
            let begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner).clone();
            begun.unwrap_or_else(|| Err("the hook was not begun in the process".to_owned()))
        } else {
            begin(options, Sharing::Private)
        };
        if state.is_ok() {
            self.reader = Some(Box::new(Reader::new(watching.cloned())));
            if !self.is_watching && hook::needs_looks() {
                self.watch = Watch::start();
            }
        }
        self.state = Some(state);
    }

    /// Whether call paths are known.
    pub(crate) fn is_sampling(&self) -> bool {
        matches!(self.state, Some(Ok(_)))
    }

    /// Adds what the hook knows; what sampling says that malloc holds, if it says anything.
    pub(crate) fn read(&mut self, details: &mut Details) -> Option<Sampled> {
        match &self.state {
            Some(Err(why)) => details.notes.push(format!("no call paths of malloc: {why}")),
            Some(Ok(_)) => {
                let why = hook::rests_because();
                details.notes.extend(why.map(|why| format!("no call paths of malloc: {why}")));
                if why.is_none() && !hook::sees_mappings() {
                    details.notes.push(
                        "no call paths of mappings: leakline is linked into a program whose malloc it would call from within"
                            .to_owned(),
                    );
                }
            }
            None => {}
        }
        let reader = self.reader.as_mut()?;
        let Some(read) = reader.read() else {
            details.notes.push(
                "call paths of malloc not read at this tick: the process stands in the middle of changing its tables"
                    .to_owned(),
            );
            return None;
        };
        details.gauges.extend([
            Gauge::bytes(names::NATIVE_SAMPLED, read.sampled_bytes),
            Gauge::count(names::NATIVE_SAMPLES, read.samples),
            Gauge::bytes(names::NATIVE_MAPPED, read.mapped_bytes),
            Gauge::count(names::NATIVE_MAPPED_COUNT, read.mappings),
        ]);
        details.profiles.extend(read.all);
        details.notes.extend(read.notes);
        Some(Sampled { bytes: read.sampled_bytes, variance: read.sampled_variance })
    }

    /// Puts the hook to rest. That of another process goes on.
    pub(crate) fn end(&mut self) {
        if self.is_sampling() && !self.is_watching {
            hook::rest();
        }
        *self = Self::default();
    }
}

/// A thread that looks whether something was loaded.
#[derive(Debug)]
struct Watch {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// `None`: there is no thread to be had, and only readings look.
    fn start() -> Option<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        leakline_core::room_for_a_thread().ok()?;
        let thread =
            thread::Builder::new().name("leakline-loads".into()).stack_size(256 << 10).spawn(move || {
                let mut seen = loader::generation();
                while !told.load(SeqCst) {
                    thread::park_timeout(LOOK);
                    let now = loader::generation();
                    if now != seen || now.is_none() || hook::is_unfinished() {
                        seen = now;
                        unwind::refresh();
                        hook::look_again();
                    }
                }
            });
        Some(Self { ends, thread: Some(thread.ok()?) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Where it panicked, it has ended, too.
            let _ = thread.join();
        }
    }
}
