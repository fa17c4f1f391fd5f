//! Which lines of Java keep memory: allocations that HotSpot samples (JVMTI, Java 11 and later), each kept by a weak
//! reference until it was collected, as call paths with what they hold.
//!
//! Told is what was there at two readings or more with a collection between them: what is only not collected yet says
//! nothing of a leak, and nobody had to be asked for a collection. As long as no collection looks at the old generation,
//! leakline looks itself.
//!
//! - `sampling`: the callback, on the host's threads, and the table that it fills;
//! - `bridged`: samples get Python's frames, too, where Python has called Java;
//! - `budget`: how often it may be sampled;
//! - `looks`: when to look which samples are garbage; `reach`: looks;
//! - here: the probe's lane, which sweeps the table and makes a reading of it.
//!
//! Never here: a collection that somebody asks for, a strong reference to an object of the host's.

mod bridged;
mod budget;
mod looks;
mod reach;
mod sampling;
mod weak;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leakline_core::{Amount, Details, Gauge, Profile, ProfileSource, Site, SiteStat, Tick, names};
use leakline_probing::sampler::estimate::Sums;
use leakline_probing::sampler::live::SURVIVAL_READINGS;

pub(crate) use self::looks::Looks;
use self::sampling::Path;
use crate::env::Frame;
use crate::joined;
use crate::jvmti::{self, Jvmti};
use crate::methods::{Method, Methods};
use crate::vm::Vm;

const _: () = assert!(SURVIVAL_READINGS == leakline_core::SURVIVAL_TICKS, "core says what survival means");

/// Readings, with a collection between them, from which on an object is told of.
const TOLD_READINGS: u32 = 2;
/// Methods between two frames of local references; each takes one.
const LOCALS: i32 = 256;
/// What a frame takes: a counted allocation with two texts, and an entry in a map at two thirds of its load.
const FRAME_BYTES: usize = 280;
/// Stands where no frame is known.
const UNKNOWN: &str = "<no Java frame>";
/// And for paths that there was no room for.
const TOO_MANY: &str = "<more call paths than leakline keeps>";

/// How allocations of Java objects are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SitesOptions {
    /// Mean bytes between two samples; 0: none are taken.
    pub mean_sample_bytes: u64,
    /// Frames of each call path at most, to [`SitesOptions::MAX_FRAMES`].
    pub max_frames: u16,
    /// Live samples that are kept; with more, the mean doubles and about half of them go.
    pub max_samples: u32,
    /// Call paths that are kept.
    pub max_paths: u32,
    /// What call paths may take, in one half, and the methods and lines that they are told by, in the other. A path of 40
    /// frames takes about 750 bytes, a method 350: room for some 1,400 paths and 3,000 methods. With more, what holds
    /// nothing makes room, and then further paths are counted as one.
    pub max_bytes: u64,
}

impl SitesOptions {
    /// The deepest call paths.
    pub const MAX_FRAMES: u16 = sampling::MAX_FRAMES as u16;
}

impl Default for SitesOptions {
    fn default() -> Self {
        Self {
            mean_sample_bytes: 64 << 10,
            max_frames: 48,
            max_samples: 20_000,
            max_paths: 20_000,
            max_bytes: 2 << 20,
        }
    }
}

/// What is known of the heap; `None` where nobody tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heap {
    /// Collections so far.
    pub(crate) collections: Option<u64>,
    /// Those that looked at the old generation.
    pub(crate) old: Option<u64>,
    /// Objects in it, garbage included.
    pub(crate) objects: Option<u64>,
}

/// The lane's side.
pub(crate) struct Sites {
    jvmti: Jvmti,
    epoch: u64,
    looks: Looks,
    max_name_bytes: usize,
    collections: Option<u64>,
    bridges: bridged::Expecting,
    methods: Methods,
    frames: HashMap<u64, Arc<leakline_core::Frame>>,
    /// By the path's index: its serial, and its site, which is made when it is told of first.
    sites: Vec<(u64, Option<Arc<Site>>)>,
}

/// What one reading copies.
#[derive(Default)]
struct Copied {
    kept: Vec<Sums>,
    survived: Vec<Sums>,
    allocated: Vec<Sums>,
    new: Vec<(usize, u64, Path)>,
    sampled: Sums,
    mean: u64,
    merged: u64,
    fault: Option<String>,
}

impl Sites {
    /// Begins to sample in `vm`, which the calling thread is in.
    pub(crate) fn begin(vm: Vm, options: SitesOptions, looks: Looks) -> Result<Self, String> {
        let env = vm.tools(jvmti::VERSION_11);
        // SAFETY: it was asked for by a version that has all that the older one has.
        let jvmti = env.and_then(|env| unsafe { Jvmti::from_raw(env) });
        let jvmti = jvmti.ok_or("this JVM does not sample allocations (HotSpot does, from Java 11 on)")?;
        if !jvmti.add_sampling() || !jvmti.add_capabilities() {
            // SAFETY: nobody else has it.
            unsafe { jvmti.dispose() };
            return Err("this JVM does not sample allocations, or does so for another agent, and it does for one only".into());
        }
        let epoch = sampling::start(jvmti, options).inspect_err(|_| {
            // SAFETY: its callback was refused.
            unsafe { jvmti.dispose() };
        })?;
        let names = usize::try_from(options.max_bytes / 2).unwrap_or(usize::MAX);
        Ok(Self {
            jvmti,
            epoch,
            looks,
            max_name_bytes: names / 2,
            collections: None,
            bridges: bridged::Expecting::new(),
            methods: Methods::within(names / 2),
            frames: HashMap::new(),
            sites: Vec::new(),
        })
    }

    /// Adds what is kept. `left` is the time until the tick's deadline.
    pub(crate) fn read(
        &mut self,
        frame: &Frame<'_>,
        tick: &Tick,
        left: Duration,
        heap: Heap,
        details: &mut Details,
    ) {
        self.bridges.look();
        sampling::sweep(frame.raw());
        let older = heap.collections.is_none() || heap.collections != self.collections;
        self.collections = heap.collections;
        let live = self.looks.look(frame, tick, left, heap, details);
        let older = older || live.is_some();
        let begun = Instant::now();
        let copied = self.copy(older);
        details.longest_stall = details.longest_stall.max(begun.elapsed());
        self.forget_names();
        for (index, serial, path) in &copied.new {
            let site = self.site(frame, path);
            if let Some(place) = self.sites.get_mut(*index) {
                *place = (*serial, Some(site));
            }
        }
        if copied.merged > 0 {
            details.notes.push(format!(
                "more Java call paths than leakline keeps: {} samples so far have no line of their own and are counted as \
                 `{TOO_MANY}`; more room: own.max_bytes",
                copied.merged
            ));
        }
        details.gauges.push(Gauge::bytes(names::JVM_SAMPLED, copied.sampled.live.bytes));
        details.gauges.push(Gauge::count(names::JVM_SAMPLES, copied.sampled.samples));
        details.gauges.extend(live.map(|live| Gauge::bytes(names::JVM_HEAP_LIVE, live)));
        let fault = copied.fault.clone();
        let fault = fault.map(|fault| format!("leakline's tables are wrong, please report this: {fault}"));
        details.notes.extend(fault);
        if sampling::has_failed() {
            details
                .notes
                .push("no Java call paths: the sampling failed and rests, please report this".into());
        }
        details.profiles.push(Arc::new(self.profile(&copied)));
    }

    fn copy(&mut self, older: bool) -> Copied {
        let mut copied = Copied::default();
        let sites = &mut self.sites;
        sampling::forget_unused();
        sampling::with_recorder(|recorder| {
            let count = recorder.stacks.len();
            sites.resize(count, (0, None));
            // The site of a path that holds nothing would only keep names.
            for (place, stack) in sites.iter_mut().zip(recorder.stacks.all()) {
                if place.0 != stack.serial {
                    *place = (0, None);
                }
            }
            copied.kept.resize(count, Sums::default());
            copied.survived.resize(count, Sums::default());
            recorder.each_by_age(older, &mut |live, weight| {
                copied.sampled.add_back(weight);
                for (sums, readings) in
                    [(&mut copied.kept, TOLD_READINGS), (&mut copied.survived, SURVIVAL_READINGS)]
                {
                    if live.readings() >= readings
                        && let Some(sums) = sums.get_mut(live.stack() as usize)
                    {
                        sums.add_back(weight);
                    }
                }
            });
            copied.allocated.extend(recorder.stacks.all().iter().map(|stack| stack.sums));
            let told = recorder.stacks.all().iter().enumerate().zip(&copied.kept).zip(&*sites);
            let new = told.filter(|((_, kept), (_, site))| kept.samples > 0 && site.is_none());
            copied.new =
                new.map(|(((index, stack), _), _)| (index, stack.serial, stack.path.clone())).collect();
            copied.mean = recorder.mean();
            copied.merged = recorder.merged;
            copied.fault = recorder.check();
        });
        copied
    }

    fn profile(&self, copied: &Copied) -> Profile {
        let sums = copied.kept.iter().zip(&copied.survived).zip(&copied.allocated);
        let stats = self.sites.iter().zip(sums).filter_map(|((_, site), ((kept, survived), allocated))| {
            let site = site.as_ref().filter(|_| kept.samples > 0)?;
            Some(SiteStat {
                site: Arc::clone(site),
                live: Amount { bytes: kept.live.bytes, blocks: kept.live_blocks() },
                standard_error_bytes: kept.standard_error(copied.mean),
                allocated: Some(Amount {
                    bytes: allocated.allocated_bytes,
                    blocks: allocated.allocated_blocks(),
                }),
                survived: Some(Amount { bytes: survived.live.bytes, blocks: survived.live_blocks() }),
            })
        });
        let source = ProfileSource::sampled(ProfileSource::SAMPLED, copied.mean).in_epoch(self.epoch);
        Profile::new(source, stats.collect())
    }

    /// Forgets what sites were made of, where it is too much: sites that are there keep what they need of it.
    fn forget_names(&mut self) {
        if self.methods.forget_unmet() || self.frames.len() * FRAME_BYTES > self.max_name_bytes {
            self.frames = HashMap::new();
        }
    }

    fn site(&mut self, frame: &Frame<'_>, path: &Path) -> Arc<Site> {
        self.learn(frame, path);
        let Self { methods, frames, .. } = self;
        let found = path.frames.iter().map(|[id, place]| {
            let number = methods.number(*id, *place as i64);
            if let Some(known) = frames.get(&number) {
                return Some(Arc::clone(known));
            }
            let told = methods.tell(number)?;
            let new = Arc::new(leakline_core::Frame::new(told.function, told.file, told.line));
            frames.insert(number, Arc::clone(&new));
            Some(new)
        });
        let mut found: Vec<Option<Arc<leakline_core::Frame>>> = found.collect();
        let called = called_from(&path.frames, &found);
        let python = path.bridged.tell().into_iter().map(|frame| Some(Arc::new(frame)));
        found.splice(called..called, python);
        let made = path.bridged.class_name().map(|class| Arc::new(leakline_core::Frame::made(class)));
        let mut found: Vec<_> = made.into_iter().chain(found.into_iter().flatten()).collect();
        if found.is_empty() {
            let name = if path.is_shared { TOO_MANY } else { UNKNOWN };
            found.push(Arc::new(leakline_core::Frame::new("", name, 0)));
        }
        Arc::new(Site::call_path(found, path.truncated))
    }

    /// Looks up the methods of a path that are new.
    fn learn(&mut self, frame: &Frame<'_>, path: &Path) {
        let unknown: Vec<u64> =
            path.frames.iter().map(|[id, _]| *id).filter(|id| !self.methods.knows(*id)).collect();
        if unknown.is_empty() {
            return;
        }
        let Ok(_frame) = frame.inner(LOCALS) else { return };
        for id in unknown {
            let method = joined::method(self.jvmti, id).unwrap_or_else(Method::nameless);
            self.methods.add(id, Some(method));
        }
    }

    /// Stops in a JVM that is there.
    pub(crate) fn end(self, frame: &Frame<'_>) {
        self.jvmti.give_sampling_back();
        // The environment itself stays: callbacks that are on their way use it.
        sampling::stop(Some(frame.raw()));
    }
}

/// Weak global references that the samples are kept by.
pub(crate) fn own_weak() -> u64 {
    weak::count()
}

/// Forgets everything of a JVM that has ended.
pub(crate) fn forget() {
    sampling::stop(None);
}

/// How many of a path's Java frames stand before those of Python: it was called by a native method, and not by one of Java's own.
fn called_from(raw: &[[u64; 2]], frames: &[Option<Arc<leakline_core::Frame>>]) -> usize {
    let is_native = |[_, place]: &[u64; 2]| (*place as i64) < 0;
    let calls = |frame: &Option<Arc<leakline_core::Frame>>| {
        frame.as_ref().is_none_or(|frame| !frame.is_of_java_itself())
    };
    let found = raw.iter().zip(frames).position(|(raw, frame)| is_native(raw) && calls(frame));
    found.unwrap_or(frames.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Methods, innermost first; native ones end in `*`.
    fn check(methods: &[&str], expected: usize) {
        let raw: Vec<[u64; 2]> =
            methods.iter().map(|method| [1, if method.ends_with('*') { u64::MAX } else { 7 }]).collect();
        let frame = |method: &&str| {
            let frame = leakline_core::Frame::new(method.trim_end_matches('*'), "A.java", 1);
            Some(Arc::new(frame))
        };
        let frames: Vec<_> = methods.iter().map(frame).collect();
        assert_eq!(called_from(&raw, &frames), expected, "{methods:?}");
    }

    #[test]
    fn pythons_frames_stand_between_what_it_called_and_what_called_it() {
        // Python has called Java; there is nothing of Java's below.
        check(&["java.lang.reflect.Array.newArray*", "java.lang.reflect.Array.newInstance"], 2);
        // Java has called Python, which has called Java.
        check(&["app.Store.keep", "jep.Jep.exec*", "app.Main.main"], 1);
        check(&["jep.Jep.exec*", "app.Main.main"], 0);
        check(&[], 0);
    }
}
