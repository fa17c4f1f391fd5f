//! The probe `jvm`: finds the JVM, enters it for each reading, and leaves it again.
//! Never stays in the JVM between readings.

use std::borrow::Cow;
use std::ffi::{CStr, c_void};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leakline_core::{
    Asked, Attachment, Clock, Details, Gauge, GaugeReading, Layer, Probe, ProbeError, ProbeRequest,
    RuntimeInfo, Tick, Timestamp,
};
use leakline_probing::java::structs;
use leakline_probing::loader::Watch;

use crate::android::Android;
use crate::closing;
use crate::env::{Frame, Globals};
use crate::error::JvmError;
use crate::global_refs::{GlobalRefs, Own};
use crate::histogram::{Histogram, HistogramOptions};
use crate::joined::{self, Learner};
use crate::management::Management;
use crate::places;
use crate::ready::{Readiness, thread_names};
use crate::runtime::Runtime;
use crate::sites::{self, Heap, Looks, Sites, SitesOptions};
use crate::tools;
use crate::vm::{Vm, VmSource};

/// The lane's thread as the JVM's users see it.
const THREAD: &CStr = c"leakline-jvm";
/// More local references than one reading makes.
const LOCALS: i32 = 128;
/// More local references than looking everything up makes.
const LOCALS_TO_ATTACH: i32 = 1024;

/// Its tool interface is of version 1.2; it can tell of every allocation, which would be too much, and of none by chance.
const ART_SAMPLES_NOTHING: &str = "Android's runtime does not sample allocations";

/// How the probe `jvm` finds its JVM.
#[derive(Debug, Clone, Default)]
pub struct JvmOptions {
    given: Option<GivenVm>,
    histogram: HistogramOptions,
    sites: SitesOptions,
}

#[derive(Debug, Clone, Copy)]
struct GivenVm(*mut c_void);

// SAFETY: a JVM belongs to no thread.
unsafe impl Send for GivenVm {}
// SAFETY: a JVM belongs to no thread.
unsafe impl Sync for GivenVm {}

impl JvmOptions {
    /// Reads this JVM instead of looking for one: for Android, where an app is handed its JVM and may not look.
    ///
    /// # Safety
    ///
    /// `vm` is a `JavaVM*` that has started, and lives as long as the process.
    pub unsafe fn with_vm(vm: *mut c_void) -> Self {
        Self { given: Some(GivenVm(vm)), ..Self::default() }
    }

    /// Counts objects by class as often, and for as long, as `histogram` says.
    #[must_use]
    pub fn with_histogram(self, histogram: HistogramOptions) -> Self {
        Self { histogram, ..self }
    }

    /// Samples allocations as `sites` says.
    #[must_use]
    pub fn with_sites(self, sites: SitesOptions) -> Self {
        Self { sites, ..self }
    }
}

/// Reads the host's JVM.
///
/// When the JVM ends between two readings, the next one says `Gone`. When it ends during a reading, HotSpot keeps the
/// lane's thread blocked until the process is gone: the reading is late, the host's end is not.
pub struct JvmProbe {
    clock: Arc<dyn Clock>,
    source: Option<VmSource>,
    watch: Watch,
    readiness: Readiness,
    held: Option<Held>,
    /// The lane's thread is in the JVM already, and leaves it after the next reading.
    entered: bool,
    learner: Learner,
    histogram: HistogramOptions,
    sites: SitesOptions,
}

/// What was looked up in the JVM. Its references are let go of in `detach` only: by then this is the only user, and
/// the JVM is there. Otherwise they go with the JVM.
struct Held {
    reader: Reader,
    histogram: Result<Histogram, String>,
    global_refs: GlobalRefs,
    /// `None`: not asked for.
    sites: Option<Result<Sites, String>>,
    globals: Globals,
}

impl Held {
    /// References into the JVM that are leakline's.
    fn own(&self) -> Own {
        Own { global: self.globals.count(), weak: sites::own_weak() }
    }
}

enum Reader {
    Management(Box<Management>),
    Android(Android),
    Runtime(Runtime),
}

impl Reader {
    fn find(frame: &Frame<'_>, globals: &mut Globals) -> Result<Self, JvmError> {
        let error = match Management::find(frame, globals) {
            Ok(management) => return Ok(Self::Management(Box::new(management))),
            Err(error) => error,
        };
        if Android::is_here(frame) {
            tools::need_agent();
            return Ok(Self::Android(Android::find(frame, globals)?));
        }
        Ok(Self::Runtime(Runtime::find(frame, globals, Some(error.to_string()))?))
    }

    fn gauges(&self, frame: &Frame<'_>) -> Result<Vec<Gauge>, JvmError> {
        match self {
            Self::Management(management) => management.gauges(frame),
            Self::Android(android) => android.gauges(frame),
            Self::Runtime(runtime) => runtime.gauges(frame),
        }
    }

    /// How many collections there were so far, and how many of them looked at the old generation; `None` where nobody tells.
    fn collections(&self, frame: &Frame<'_>) -> (Option<u64>, Option<u64>) {
        match self {
            Self::Management(management) => {
                management.collections(frame).map_or((None, None), |(all, old)| (Some(all), old))
            }
            Self::Android(android) => (android.collections(frame), None),
            Self::Runtime(_) => (None, None),
        }
    }

    fn details(&mut self, frame: &Frame<'_>) -> Result<Details, JvmError> {
        match self {
            Self::Management(management) => management.details(frame),
            Self::Android(android) => android.details(frame),
            Self::Runtime(runtime) => Ok(runtime.details()),
        }
    }
}

impl JvmProbe {
    /// A probe that has not looked for a JVM yet.
    pub fn new(clock: Arc<dyn Clock>, options: JvmOptions) -> Self {
        let given = options.given.and_then(|GivenVm(vm)| {
            // SAFETY: who made the options promised that it is one, and for how long.
            unsafe { Vm::from_raw(vm) }
        });
        Self {
            clock,
            source: given.map(VmSource::Given),
            watch: Watch::new(&[]),
            readiness: Readiness::default(),
            held: None,
            entered: false,
            learner: Learner::default(),
            histogram: options.histogram,
            sites: options.sites,
        }
    }

    /// The JVM, once it may be entered.
    fn look(&mut self) -> Result<Vm, &'static str> {
        if self.source.is_none() && self.watch.changed() {
            self.source = VmSource::find();
        }
        let source = self.source.ok_or("no JVM is loaded")?;
        let Some(vm) = source.vm() else {
            self.readiness = Readiness::default();
            return Err("no JVM has been started, or it has ended");
        };
        if matches!(source, VmSource::Given(_)) {
            return Ok(vm);
        }
        let (version, names) = (structs::version(), thread_names());
        let names = names.iter().map(String::as_str);
        let ready = self.readiness.ready(version, names, self.clock.now().boot_nanos);
        if ready { Ok(vm) } else { Err("the JVM is starting") }
    }

    /// Enters the JVM for one reading.
    fn reading<T>(
        &mut self,
        read: impl FnOnce(&mut Held, &Frame<'_>) -> Result<T, JvmError>,
    ) -> Result<(Timestamp, T), JvmError> {
        let (Some(source), Some(held)) = (self.source, &mut self.held) else { return Err(JvmError::Ended) };
        let Some(vm) = source.vm() else {
            // Its references went with it.
            self.held = None;
            self.entered = false;
            places::forget();
            joined::end();
            sites::forget();
            return Err(JvmError::Ended);
        };
        let mut attached = vm
            .attach(THREAD)
            .map_err(|error| if source.vm().is_none() { JvmError::Ended } else { error.into() })?;
        if std::mem::take(&mut self.entered) {
            attached.leave();
        }
        let frame = Frame::new(&attached, LOCALS)?;
        let taken = self.clock.now();
        let value = read(held, &frame)?;
        Ok((taken, value))
    }
}

#[async_trait]
impl Probe for JvmProbe {
    fn name(&self) -> Cow<'static, str> {
        "jvm".into()
    }

    fn layer(&self) -> Layer {
        Layer::Jvm
    }

    async fn attach(&mut self) -> Result<Attachment, ProbeError> {
        let vm = match self.look() {
            Ok(vm) => vm,
            Err(reason) => return Ok(Attachment::Absent { reason: reason.into() }),
        };
        let attached = vm.attach(THREAD).map_err(JvmError::from)?;
        let frame = Frame::new(&attached, LOCALS_TO_ATTACH)?;
        let mut globals = Globals::default();
        match Reader::find(&frame, &mut globals) {
            Ok(reader) => {
                let name = runtime_name(&frame).unwrap_or_else(|_| "JVM".to_owned());
                let histogram = Histogram::find(&frame, vm, self.histogram, &mut globals);
                let histogram = histogram.map_err(|error| error.to_string());
                let global_refs = GlobalRefs::new(&frame, vm, self.histogram);
                let sites = (self.sites.mean_sample_bytes > 0).then(|| {
                    if matches!(reader, Reader::Android(_)) {
                        return Err(ART_SAMPLES_NOTHING.to_owned());
                    }
                    Sites::begin(vm, self.sites, Looks::new(vm, self.histogram))
                });
                self.held = Some(Held { reader, histogram, global_refs, sites, globals });
                places::publish();
                joined::begin(vm, &frame);
                closing::watch(vm);
                Ok(Attachment::Attached(RuntimeInfo { name, source_roots: Vec::new() }))
            }
            Err(error) => {
                frame.release(globals, ());
                Err(error.into())
            }
        }
    }

    /// Entering costs a fraction of a millisecond on a machine that was asleep.
    async fn prepare(&mut self) {
        if let (Some(source), Some(_)) = (self.source, &self.held)
            && let Some(attached) = source.vm().as_ref().and_then(|vm| vm.attach(THREAD).ok())
        {
            attached.stay();
            self.entered = true;
        }
    }

    async fn gauges(&mut self, _: &Tick) -> Result<GaugeReading, ProbeError> {
        let (taken, gauges) = self.reading(|held, frame| {
            let mut gauges = held.reader.gauges(frame)?;
            gauges.extend(held.global_refs.gauges(held.own()));
            Ok(gauges)
        })?;
        Ok(GaugeReading { taken, gauges, stall: Duration::ZERO })
    }

    async fn details(&mut self, tick: &Tick) -> Result<Details, ProbeError> {
        let mut learner = std::mem::take(&mut self.learner);
        let clock = Arc::clone(&self.clock);
        let read = self.reading(|held, frame| {
            learner.learn(frame);
            // Its references end before objects are counted.
            let mut details = held.reader.details(&frame.inner(LOCALS)?)?;
            let left =
                || Duration::from_nanos(tick.deadline_boot_nanos.saturating_sub(clock.now().boot_nanos));
            if let Some(reason) = tools::missing() {
                // One line for all that hangs on it.
                let what = "no classes of Java's objects, no global references, no Java call paths";
                details.notes.push(format!("{what}: there is no tool interface: {reason}"));
                return Ok(details);
            }
            let (collections, old) = held.reader.collections(frame);
            match &mut held.histogram {
                Ok(histogram) => {
                    histogram.read(frame, tick, left(), collections, &mut details);
                }
                Err(error) => details.notes.push(format!("no histogram of Java's classes: {error}")),
            }
            let own = held.own();
            held.global_refs.read(frame, tick, left(), own, &mut details);
            match &mut held.sites {
                Some(Ok(sites)) => {
                    let objects = held.histogram.as_ref().ok().and_then(Histogram::objects);
                    sites.read(frame, tick, left(), Heap { collections, old, objects }, &mut details);
                }
                Some(Err(error)) => details.notes.push(format!("no Java call paths: {error}")),
                None => {}
            }
            Ok(details)
        });
        self.learner = learner;
        let (_, details) = read?;
        Ok(details)
    }

    async fn request(&mut self, request: &ProbeRequest) -> Result<Asked, ProbeError> {
        match (request, &mut self.held) {
            (ProbeRequest::Census, Some(Held { histogram: Ok(histogram), global_refs, .. })) => {
                histogram.ask();
                global_refs.ask();
                Ok(Asked::Done)
            }
            _ => Ok(Asked::NotForThis),
        }
    }

    async fn detach(&mut self) {
        places::forget();
        joined::end();
        let (Some(source), Some(Held { reader, histogram, sites, globals, .. })) =
            (self.source, self.held.take())
        else {
            return;
        };
        let Some(vm) = source.vm() else { return sites::forget() };
        let Ok(attached) = vm.attach(THREAD) else { return };
        if let Ok(frame) = Frame::new(&attached, 8) {
            if let Some(Ok(sites)) = sites {
                sites.end(&frame);
            }
            frame.release(globals, (reader, histogram));
        }
    }
}

fn runtime_name(frame: &Frame<'_>) -> Result<String, JvmError> {
    let system = frame.class("java.lang.System")?;
    let property = |name| frame.static_text_of(system, "getProperty", name).map(Option::unwrap_or_default);
    let name = match property("java.vm.name")?.as_str() {
        "Dalvik" => format!("ART {}", property("java.vm.version")?),
        name => format!("{name} {}", property("java.version")?),
    };
    Ok(name.trim().to_owned())
}
