//! The probe's side of the hook: begins it, keeps it in front of what is loaded later, and makes readings of what it knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use leakline_core::{Details, Gauge, names};
use leakline_probing::loader;

use crate::hook::{self, Patched, Reader, Sampling};
use crate::{NativeMode, NativeOptions, unwind};

/// The smallest and the largest mean.
const MEANS: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;
/// One of so many readings checks every sum.
const CHECK_ALL: u32 = 12;
/// How often it is looked whether something was loaded: until then, what that allocates is not seen.
const LOOK: Duration = Duration::from_secs(1);

/// The hook, as the probe has it.
#[derive(Debug, Default)]
pub(crate) struct Hooked {
    state: Option<Result<Patched, String>>,
    reader: Option<Box<Reader>>,
    watch: Option<Watch>,
    readings: u32,
}

/// Begins to sample, for a preloaded library: at once, long before there is a probe. A failure shows in the readings.
pub fn begin_early(options: &NativeOptions) {
    if options.mode == NativeMode::Sampling {
        let _ = begin(options);
    }
}

/// Begins to sample, unless it was begun early; once for the whole process.
fn begin(options: &NativeOptions) -> Result<Patched, String> {
    if hook::is_sampling() {
        return hook::come_in_front();
    }
    unwind::refresh();
    hook::sample(Sampling {
        mean: options.mean_sample_bytes.clamp(*MEANS.start(), *MEANS.end()),
        frames: options.max_frames,
        max_live: options.max_samples as usize,
        max_paths: options.max_paths as usize,
    })
}

impl Hooked {
    /// Begins what `options` ask for, once.
    pub(crate) fn begin(&mut self, options: &NativeOptions) {
        if options.mode != NativeMode::Sampling || self.state.is_some() {
            return;
        }
        let state = begin(options);
        if state.is_ok() {
            self.reader = Some(Box::default());
            self.watch = Watch::start();
        }
        self.state = Some(state);
    }

    /// Whether call paths are known.
    pub(crate) fn is_sampling(&self) -> bool {
        matches!(self.state, Some(Ok(_)))
    }

    /// Adds what the hook knows.
    pub(crate) fn read(&mut self, details: &mut Details) {
        match &self.state {
            Some(Err(why)) => details.notes.push(format!("no call paths of malloc: {why}")),
            Some(Ok(_)) if !hook::is_sampling() => {
                details.notes.push(
                    "no call paths of malloc: the hook failed and rests, please report this".to_owned(),
                );
            }
            Some(Ok(_)) if !hook::sees_mappings() => details.notes.push(
                "no call paths of mappings: leakline is linked into a program whose malloc it would call from within"
                    .to_owned(),
            ),
            _ => {}
        }
        let Some(reader) = &mut self.reader else { return };
        self.readings = self.readings.wrapping_add(1);
        let read = reader.read(self.readings.is_multiple_of(CHECK_ALL));
        details.gauges.extend([
            Gauge::bytes(names::NATIVE_SAMPLED, read.sampled_bytes),
            Gauge::count(names::NATIVE_SAMPLES, read.samples),
            Gauge::bytes(names::NATIVE_MAPPED, read.mapped_bytes),
            Gauge::count(names::NATIVE_MAPPED_COUNT, read.mappings),
        ]);
        details.profiles.extend(read.all);
        details.longest_stall = details.longest_stall.max(read.held);
        let fault =
            read.fault.map(|fault| format!("leakline's tables are wrong, please report this: {fault}"));
        details.notes.extend(fault);
        if read.missed_frees * 100 > read.samples {
            details.notes.push(format!("{} frees of sampled memory went by unseen", read.missed_frees));
        }
        if read.lost_mappings > 0 {
            details.notes.push(format!("{} mappings more than leakline keeps", read.lost_mappings));
        }
    }

    /// Puts the hook to rest.
    pub(crate) fn end(&mut self) {
        if self.is_sampling() {
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
