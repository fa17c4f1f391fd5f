//! Starts the lanes in the host: the threads of ours that ask a runtime from inside. Each starts once, when its runtime is
//! there, and none in a host without one.
//!
//! Called at a fit moment on a thread of the host's, or on a lane that runs: never inside an allocator hook, never in a
//! forked child.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use leakline_core::{Clock as _, Probe};
use leakline_probing::java::bridges::LIBRARIES;
use leakline_probing::loader;
use leakline_probing::shared::{LANE_NAMES, Lane, Lanes, is_first_process};

use super::lane;
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
}

static HOST: OnceLock<Host> = OnceLock::new();

/// From now on lanes may be started. To be called in the host before `main`, once.
pub(crate) fn prepare(lanes: &'static Lanes, config: &Config) {
    let host = Host {
        lanes,
        config: config.clone(),
        started: Default::default(),
        looked: AtomicU64::new(0),
        generation: AtomicU64::new(u64::MAX),
        ended: AtomicBool::new(false),
    };
    // A second call changes nothing.
    HOST.set(host).ok();
    leakline_python::early::on_start(|| start(Lane::Python));
}

/// Whether a call of [`start`] would do anything: two loads.
#[inline]
pub(crate) fn may_start(lane: Lane) -> bool {
    HOST.get().is_some_and(|host| !host.has_started(lane)) && is_first_process()
}

/// Starts the lane of a runtime that is there, unless it was started, or is not wanted.
pub(crate) fn start(lane: Lane) {
    let Some(host) = HOST.get() else { return };
    if !is_first_process() || host.ended.load(Ordering::Acquire) {
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
    let Some(host) = HOST.get() else { return };
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
    let both = host.has_started(Lane::Python) && host.has_started(Lane::Jvm);
    if both && !host.has_started(Lane::Bridge) && is_loaded(LIBRARIES) {
        start(Lane::Bridge);
    } else if !both {
        // A bridge that is there already counts once both runtimes have come.
        host.generation.store(u64::MAX, Ordering::Release);
    }
}

/// The host has opened a reader for probes of its own: some lane must serve them. Called on a thread of the host's.
pub(crate) fn readers_opened() {
    let Some(host) = HOST.get() else { return };
    let any = LANE_NAMES.into_iter().any(|(lane, _)| host.has_started(lane));
    if !any {
        start(if leakline_python::is_present() { Lane::Python } else { Lane::Custom });
    }
}

/// No lane starts any more, and those that run end when they are done with what they do. Waits for none.
pub(crate) fn stop() {
    let Some(host) = HOST.get() else { return };
    host.ended.store(true, Ordering::Release);
    for (lane, _) in LANE_NAMES {
        host.lanes.of(lane).stop();
    }
}

impl Host {
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

    fn spawn(&'static self, lane: Lane, probe: Box<dyn Probe>) -> std::io::Result<()> {
        let mailbox = self.lanes.of(lane);
        threads::with_signals_blocked(|| {
            let thread =
                std::thread::Builder::new().name(format!("leakline-{}", name(lane))).stack_size(STACK_BYTES);
            thread.spawn(move || {
                leakline_native::become_guest();
                lane::run(mailbox, probe, look);
            })
        })
        .map(drop)
    }
}

fn name(lane: Lane) -> &'static str {
    LANE_NAMES.into_iter().find(|(known, _)| *known == lane).map_or("custom", |(_, name)| name)
}
