//! Makes probes and sinks from a config and starts the scheduler with them.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use leakline_bridge::BridgeProbe;
use leakline_core::{
    Clock, Ending, Own, Probe, Scheduler, SchedulerHandle, SchedulerOptions, Session, Sink, StartError,
    Window, WindowSource, command_channel,
};
use leakline_file::{FileOptions, FileSink};
#[cfg(feature = "grpc")]
use leakline_grpc::{GrpcOptions, GrpcSink};
use leakline_jvm::{HistogramOptions, JvmOptions, JvmProbe, SitesOptions};
use leakline_logcat::{LogcatOptions, LogcatSink, LogcatTarget};
use leakline_native::{NativeOptions, NativeProbe, OtherProcess, ProcessOptions, ProcessProbe};
use leakline_probing::shared::Lane;
use leakline_python::{Mode, PythonOptions, PythonProbe, WindowBounds};

use crate::clock::SystemClock;
use crate::config::{Config, NativeMode, PythonMode, Shares};
use crate::custom::{self, CustomProbe};
use crate::host::new_session;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::watched::{Host, Inside};
use crate::{own, running};

/// The JVM that loaded leakline, where one did; null: it is looked for.
static GIVEN_VM: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Has the JVM probe read this JVM from the next start on, instead of looking for one: Android lets an app be handed its
/// JVM, but not look for it.
///
/// # Safety
///
/// `vm` is a `JavaVM*` that has started and lives as long as the process.
pub unsafe fn use_java_vm(vm: NonNull<c_void>) {
    GIVEN_VM.store(vm.as_ptr(), Ordering::Release);
}

/// Tells the JVM probe what became of leakline as an agent of its JVM: `Ok` once the JVM has attached it, otherwise why it
/// has not. Only Android's runtime wants that for its tool interface. May be told at any time, on any thread.
pub fn java_agent(outcome: Result<(), &str>) {
    match outcome {
        Ok(()) => leakline_probing::java::tools::agent_attached(),
        Err(reason) => leakline_probing::java::tools::agent_refused(reason),
    }
}

/// Has the last snapshot of a runtime taken before its end.
pub(crate) fn before_runtimes_end(config: &Config) {
    if config.jvm {
        leakline_jvm::set_on_closing(Box::new(running::runtime_is_closing));
    }
    if config.python_mode != PythonMode::Off {
        // A Python that was there before the host's `main` is the host's main matter: its end is the host's end.
        leakline_python::set_on_closing(Box::new(|| {
            running::runtime_is_closing(leakline_python::early::attached())
        }));
    }
}

/// Starts what `config` asks for, and `probes` and `sinks` beside it.
pub(crate) fn start(
    config: &Config,
    probes: Vec<Box<dyn Probe>>,
    sinks: Vec<Box<dyn Sink>>,
) -> Result<SchedulerHandle, StartError> {
    before_runtimes_end(config);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut all_probes = own_probes(config, &clock);
    all_probes.extend(probes);
    start_with(config, new_session(config.interval), clock, (all_probes, sinks), own::must_end)
}

/// Starts what `config` asks for in the watcher of the host that `session` is of.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn start_in_watcher(
    config: &Config,
    session: Session,
    inside: &Inside,
    process: Option<Arc<OtherProcess>>,
) -> Result<SchedulerHandle, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let probes = inside.probes(config, &clock, Host { pid: session.host.pid, process });
    start_with(config, session, clock, (probes, Vec::new()), own::must_end_watching)
}

/// What a scheduler is started with.
type Plugged = (Vec<Box<dyn Probe>>, Vec<Box<dyn Sink>>);

fn start_with(
    config: &Config,
    session: Session,
    clock: Arc<dyn Clock>,
    (probes, sinks): Plugged,
    must_end: fn() -> Option<Ending>,
) -> Result<SchedulerHandle, StartError> {
    let shares = shares(config);
    let (sender, receiver) = command_channel();
    let mut all_sinks = own_sinks(config);
    #[cfg(not(feature = "grpc"))]
    if let Some(collector) = &config.collector {
        tracing::warn!(collector, "this leakline was built without the stream to a collector");
    }
    #[cfg(feature = "grpc")]
    if let Some(collector) = &config.collector {
        let options = GrpcOptions {
            collector: collector.clone(),
            max_held_bytes: config.collector_max_held_bytes.min(shares.collector),
            max_encoder_bytes: shares.encoder,
            ..GrpcOptions::default()
        };
        all_sinks.push(Box::new(GrpcSink::new(options, sender.clone())));
    }
    all_sinks.extend(sinks);

    let options = SchedulerOptions {
        interval: config.interval,
        max_queue_snapshots: config.queue_snapshots,
        max_queue_bytes: config.queue_bytes.min(shares.queues),
        max_own_bytes: own_bytes(config),
        max_window_bytes: config.python_window_traces.saturating_mul(TRACE_BYTES),
        max_verdict_bytes: shares.verdict,
        // Python is attached to while it starts, and is in the first snapshot when that waits for its first imports.
        first_attach_wait: Duration::from_millis(100),
        window_when_leaking: config.python_window_when_leaking.then_some(Window {
            source: WindowSource::Exact,
            frames: None,
            duration: config.python_window,
            max_traces: Some(config.python_window_traces),
        }),
        ..SchedulerOptions::default()
    };
    Scheduler::start(
        options,
        session,
        clock,
        probes,
        all_sinks,
        (sender, receiver),
        Own { held_bytes: leakline_probing::held_bytes, must_end },
    )
}

/// What one allocation of a window takes.
const TRACE_BYTES: u64 = 48;

/// What the agent may hold. Whoever has every allocation recorded all the time has asked for what that takes.
fn own_bytes(config: &Config) -> u64 {
    let recorded = match config.python_mode {
        PythonMode::Exact | PythonMode::Tracemalloc => {
            config.python_window_traces.saturating_mul(TRACE_BYTES)
        }
        PythonMode::Sampling | PythonMode::Gauges | PythonMode::Off => 0,
    };
    config.max_own_bytes.saturating_add(recorded)
}

/// What each part may hold.
pub(crate) fn shares(config: &Config) -> Shares {
    let is_sent = cfg!(feature = "grpc") && config.collector.is_some();
    Shares::of(config.max_own_bytes, u64::from(config.file.is_some()) + u64::from(is_sent))
}

/// What the Python probe is told; the preloaded library needs it before there is a probe.
pub(crate) fn python_options(config: &Config) -> PythonOptions {
    let shares = shares(config);
    PythonOptions {
        mode: match config.python_mode {
            PythonMode::Sampling => Mode::Sampling,
            PythonMode::Exact => Mode::Exact,
            PythonMode::Tracemalloc => Mode::Tracemalloc,
            PythonMode::Gauges => Mode::Gauges,
            PythonMode::Off => Mode::Off,
        },
        mean_sample_bytes: config.python_sample_bytes,
        max_frames: config.python_frames,
        census_every: config.python_census,
        max_samples: leakline_python::samples_within(shares.python_samples),
        max_path_bytes: shares.python_paths,
        max_name_bytes: shares.python_names,
        window: WindowBounds { max_traces: config.python_window_traces, ..WindowBounds::default() },
        library: config.python_library.clone(),
        ..PythonOptions::default()
    }
}

/// What the native probe is told; `None`: there is none.
pub(crate) fn native_options(config: &Config) -> Option<NativeOptions> {
    let mode = match config.native_mode {
        NativeMode::Sampling => leakline_native::NativeMode::Sampling,
        NativeMode::Gauges => leakline_native::NativeMode::Gauges,
        NativeMode::Off => return None,
    };
    let options = NativeOptions {
        mode,
        mean_sample_bytes: config.native_sample_bytes,
        max_frames: config.native_frames,
        ..NativeOptions::default()
    };
    Some(options.within(shares(config).native))
}

/// What the process probe is told.
pub(crate) fn process_options(config: &Config) -> ProcessOptions {
    ProcessOptions { kept_free_bytes: config.native_kept_free_bytes, ..ProcessOptions::default() }
}

pub(crate) fn jvm_options(config: &Config) -> JvmOptions {
    let histogram = HistogramOptions { every: config.jvm_histogram, max_pause: config.jvm_histogram_pause };
    let sites = SitesOptions {
        mean_sample_bytes: config.jvm_sample_bytes,
        max_frames: config.jvm_frames,
        max_bytes: shares(config).jvm,
        ..SitesOptions::default()
    };
    given_vm().with_histogram(histogram).with_sites(sites)
}

/// The probe that a lane in a watched host serves; `None`: it is not wanted.
pub(crate) fn lane_probe(lane: Lane, config: &Config) -> Option<Box<dyn Probe>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let python = config.python_mode != PythonMode::Off;
    match lane {
        Lane::Python if python => Some(Box::new(PythonProbe::new(clock, python_options(config)))),
        Lane::Jvm if config.jvm => Some(Box::new(jvm_probe(clock, config))),
        Lane::Bridge if config.bridge && config.jvm && python => Some(Box::new(BridgeProbe::new(clock))),
        Lane::Custom => Some(Box::new(CustomProbe)),
        Lane::Python | Lane::Jvm | Lane::Bridge => None,
    }
}

fn jvm_probe(clock: Arc<dyn Clock>, config: &Config) -> JvmProbe {
    if !config.jvm_agent {
        java_agent(Err("switched off (jvm.agent)"));
    }
    JvmProbe::new(clock, jvm_options(config))
}

fn own_probes(config: &Config, clock: &Arc<dyn Clock>) -> Vec<Box<dyn Probe>> {
    let mut probes: Vec<Box<dyn Probe>> = Vec::new();
    if config.python_mode != PythonMode::Off {
        probes.push(Box::new(PythonProbe::new(Arc::clone(clock), python_options(config))));
    }
    if config.jvm {
        probes.push(Box::new(jvm_probe(Arc::clone(clock), config)));
    }
    if let Some(options) = native_options(config) {
        probes.push(Box::new(NativeProbe::new(Arc::clone(clock), options)));
        probes.push(Box::new(ProcessProbe::new(Arc::clone(clock), process_options(config))));
    }
    if config.bridge && config.jvm && config.python_mode != PythonMode::Off {
        probes.push(Box::new(BridgeProbe::new(Arc::clone(clock))));
    }
    // One that comes later brings it along.
    if custom::is_any_open() {
        probes.push(Box::new(CustomProbe));
    }
    probes
}

/// The JVM that this process was given to, if any.
fn given_vm() -> JvmOptions {
    match NonNull::new(GIVEN_VM.load(Ordering::Acquire)) {
        // SAFETY: `use_java_vm` was promised a started JVM that lives as long as the process.
        Some(vm) => unsafe { JvmOptions::with_vm(vm.as_ptr()) },
        None => JvmOptions::default(),
    }
}

fn own_sinks(config: &Config) -> Vec<Box<dyn Sink>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if config.logcat_target != LogcatTarget::Off {
        let options = LogcatOptions { target: config.logcat_target, top_sites: config.logcat_top_sites };
        sinks.push(Box::new(LogcatSink::new(options)));
    }
    if let Some(path) = &config.file {
        let options = FileOptions {
            path: path.clone(),
            max_bytes: config.file_max_bytes,
            keep: config.file_keep,
            max_encoder_bytes: shares(config).encoder,
        };
        sinks.push(Box::new(FileSink::new(options)));
    }
    sinks
}
