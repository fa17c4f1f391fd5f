//! Starts the lanes in the host: the threads of ours that ask a runtime from inside. Each starts once, when its runtime is
//! there, and none in a host without one.
//!
//! Called at a fit moment on a thread of the host's, or on a lane that runs: never inside an allocator hook, never in a
//! forked child.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use leakline_core::{Clock as _, Probe};
use leakline_probing::java::bridges::LIBRARIES;
use leakline_probing::loader;
use leakline_probing::shared::{LANE_NAMES, Lane, Lanes, Mailbox, is_first_process};

use super::away::{self, Away};
use super::confined::is_confined;
use super::lane::Worker;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::{compose, threads};

/// Room for an interpreter or a JVM that is called from a lane; the kernel backs only what is touched.
const STACK_BYTES: usize = 512 << 10;
/// A lane is asked to look for other runtimes by each probe that has none; it looks once.
const BETWEEN_LOOKS: u64 = 900_000_000;

/// What the host has for its lanes.
struct Host {
    lanes: &'static Lanes,
    config: Config,
    started: [AtomicBool; LANE_NAMES.len()],
    /// When somebody looked for runtimes last, by boot time.
    looked: AtomicU64,
    /// The loader's count of objects when it was looked for a JVM and a bridge last.
    generation: AtomicU64,
    /// No lane starts any more.
    ended: AtomicBool,
    /// In a forked child: its parent's interpreter is there.
    python_runs: AtomicBool,
    away: Away,
}

/// Null, or what was leaked: a forked child that is watched on its own has another.
static HOST: AtomicPtr<Host> = AtomicPtr::new(std::ptr::null_mut());

fn host() -> Option<&'static Host> {
    // SAFETY: null, or one that was leaked.
    unsafe { HOST.load(Ordering::Acquire).as_ref() }
}

/// From now on lanes may be started. To be called in the host before `main`, once.
pub(crate) fn prepare(lanes: &'static Lanes, config: &Config) {
    if host().is_none() {
        HOST.store(Box::into_raw(Box::new(Host::new(lanes, config.clone()))), Ordering::Release);
    }
    leakline_python::early::on_start(|| {
        leakline_python::soon::prepare();
        start(Lane::Python);
        // The lane may have been started before, when the interpreter was not there yet.
        leakline_python::forks::has_started();
    });
}

/// In a forked child that is watched on its own: it has no lane yet. The parent's state stays where it is; locks in it may be
/// held by threads that this process does not have.
pub(super) fn begin_in_child() {
    let Some(parent) = host() else { return };
    let child = Host::new(parent.lanes, parent.config.clone());
    // A JVM does not survive a fork, so none is asked; neither is what lies between it and Python.
    for lane in [Lane::Jvm, Lane::Bridge] {
        child.started(lane).store(parent.has_started(lane), Ordering::Relaxed);
    }
    // Of CPython it is known by now that it is there.
    child.python_runs.store(
        parent.has_started(Lane::Python) || parent.python_runs.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    away::host_has_no_threads();
    HOST.store(Box::into_raw(Box::new(child)), Ordering::Release);
}

/// Starts the lane of an interpreter that was there before the fork, as soon as that runs Python code: this thread is in the
/// middle of whatever.
pub(super) fn start_soon() {
    unsafe extern "C" fn start_python(_: *mut c_void) -> std::ffi::c_int {
        // A panic must not reach the host.
        catch_unwind(|| {
            start(Lane::Python);
            leakline_python::forks::has_started();
        })
        .ok();
        0
    }
    if host().is_some_and(|host| host.python_runs.load(Ordering::Relaxed)) {
        // Where too much waits to be called, this child's Python is not read.
        leakline_python::soon::call(start_python);
    }
}

/// Whether a call of [`start`] would do anything: some loads.
#[inline]
pub(crate) fn may_start(lane: Lane) -> bool {
    host().is_some_and(|host| !host.has_started(lane)) && is_first_process() && !is_confined()
}

/// Starts the lane of a runtime that is there, unless it was started, or is not wanted.
pub(crate) fn start(lane: Lane) {
    let Some(host) = host() else { return };
    if !is_first_process() || is_confined() || host.ended.load(Ordering::Acquire) {
        return;
    }
    if host.started(lane).swap(true, Ordering::AcqRel) {
        return;
    }
    let Some(probe) = compose::lane_probe(lane, &host.config) else { return };
    if let Err(error) = host.spawn(lane, probe) {
        tracing::warn!("cannot start a thread for the probe {}: {error}", name(lane));
        // The watcher asks again as long as nobody serves it.
        host.started(lane).store(false, Ordering::Release);
    }
}

/// Looks for runtimes that have come since, and starts their lanes. Called on a lane.
pub(crate) fn look() {
    let Some(host) = host() else { return };
    let now = SystemClock.now().boot_nanos;
    if now.saturating_sub(host.looked.swap(now, Ordering::AcqRel)) < BETWEEN_LOOKS {
        return;
    }
    if !host.has_started(Lane::Python) && leakline_python::is_present() {
        start(Lane::Python);
    }
    let generation = loader::generation().unwrap_or_default();
    if host.generation.swap(generation, Ordering::AcqRel) == generation {
        return;
    }
    let is_loaded = |prefixes| loader::loaded_object(prefixes).is_some();
    if !host.has_started(Lane::Jvm) && is_loaded(&["libjvm.so"]) {
        start(Lane::Jvm);
    }
    // What lies between the two is read in the JVM, whether Python itself can be found or not.
    if !host.has_started(Lane::Jvm) {
        // A bridge that is there already counts once the JVM has come.
        host.generation.store(u64::MAX, Ordering::Release);
    } else if !host.has_started(Lane::Bridge) && is_loaded(LIBRARIES) {
        start(Lane::Bridge);
    }
}

/// The host has opened a reader for probes of its own: some lane must serve them. Called on a thread of the host's.
pub(crate) fn readers_opened() {
    let Some(host) = host() else { return };
    let any = LANE_NAMES.into_iter().any(|(lane, _)| host.has_started(lane));
    if !any {
        start(if leakline_python::is_present() { Lane::Python } else { Lane::Custom });
    }
}

/// No lane starts any more, and those that run end when they are done with what they do. Waits for none.
pub(crate) fn stop() {
    let Some(host) = host() else { return };
    host.ended.store(true, Ordering::Release);
    for (lane, _) in LANE_NAMES {
        host.lanes.of(lane).stop();
    }
}

/// The lane of Python may be away for a fork.
pub(super) fn python() -> Option<(&'static Mailbox, &'static Away)> {
    host().map(|host| (host.lanes.of(Lane::Python), &host.away))
}

impl Host {
    fn new(lanes: &'static Lanes, config: Config) -> Self {
        Self {
            lanes,
            config,
            started: Default::default(),
            looked: AtomicU64::new(0),
            generation: AtomicU64::new(u64::MAX),
            ended: AtomicBool::new(false),
            python_runs: AtomicBool::new(false),
            away: Away::default(),
        }
    }

    fn started(&self, lane: Lane) -> &AtomicBool {
        let [python, jvm, bridge, custom] = &self.started;
        match lane {
            Lane::Python => python,
            Lane::Jvm => jvm,
            Lane::Bridge => bridge,
            Lane::Custom => custom,
        }
    }

    fn has_started(&self, lane: Lane) -> bool {
        self.started(lane).load(Ordering::Acquire)
    }

    fn dictionary_bytes(&self, lane: Lane) -> u64 {
        let shares = compose::shares(&self.config);
        match lane {
            Lane::Python => shares.python_dictionary,
            Lane::Jvm => shares.jvm_dictionary,
            // They tell of no sites.
            Lane::Bridge | Lane::Custom => 0,
        }
    }

    fn spawn(&'static self, lane: Lane, probe: Box<dyn Probe>) -> std::io::Result<()> {
        let mailbox = self.lanes.of(lane);
        let worker = Worker::new(probe, self.dictionary_bytes(lane), look);
        if lane == Lane::Python && leakline_python::soon::warns_of_threads() {
            away::survive_forks();
            return self.away.start(mailbox, worker);
        }
        let mut worker = worker;
        let run = move || {
            threads::become_ours(title(lane));
            worker.run(mailbox);
        };
        start_thread(Box::new(run)).map(|thread| {
            // SAFETY: it was started just now, and nobody waits for it.
            unsafe { libc::pthread_detach(thread) };
        })
    }
}

/// What a lane's thread runs.
pub(super) type Run = Box<dyn FnOnce() + Send>;

/// What a lane's thread runs first.
pub(super) extern "C" fn main(run: *mut c_void) -> *mut c_void {
    leakline_native::become_guest();
    // SAFETY: it was made from such a box, for this thread.
    let run = unsafe { Box::from_raw(run.cast::<Run>()) };
    // A panic's message has gone to the log; the mailbox is not served any more.
    catch_unwind(AssertUnwindSafe(run)).ok();
    std::ptr::null_mut()
}

/// Starts a thread with the host's signals blocked, to be waited for or detached. Not by std, which calls the host's malloc
/// before what is to run begins.
pub(super) fn start_thread(run: Run) -> std::io::Result<libc::pthread_t> {
    threads::with_signals_blocked(|| create(run))
}

fn create(run: Run) -> std::io::Result<libc::pthread_t> {
    let mut attributes = MaybeUninit::uninit();
    let result = |outcome| match outcome {
        0 => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(error)),
    };
    // SAFETY: it initialises what it is given.
    result(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
    // SAFETY: initialised by the call above.
    let mut attributes = unsafe { attributes.assume_init() };
    // SAFETY: initialised, and a size that the C library takes.
    unsafe { libc::pthread_attr_setstacksize(&raw mut attributes, STACK_BYTES) };
    let run = Box::into_raw(Box::new(run)).cast::<c_void>();
    let mut thread = MaybeUninit::uninit();
    // SAFETY: the attributes are initialised, and the box is the thread's.
    let started =
        result(unsafe { libc::pthread_create(thread.as_mut_ptr(), &raw const attributes, main, run) });
    // SAFETY: initialised, and not used any more.
    unsafe { libc::pthread_attr_destroy(&raw mut attributes) };
    if started.is_err() {
        // SAFETY: no thread has it.
        drop(unsafe { Box::from_raw(run.cast::<Run>()) });
    }
    // SAFETY: where it was started, its number was written.
    started.map(|()| unsafe { thread.assume_init() })
}

fn title(lane: Lane) -> &'static CStr {
    match lane {
        Lane::Python => c"leakline-python",
        Lane::Jvm => c"leakline-jvm",
        Lane::Bridge => c"leakline-bridge",
        Lane::Custom => c"leakline-custom",
    }
}

fn name(lane: Lane) -> &'static str {
    LANE_NAMES.into_iter().find(|(known, _)| *known == lane).map_or("custom", |(_, name)| name)
}
