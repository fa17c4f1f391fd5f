//! The probe `bridge`: waits for both runtimes, then asks the bridge between them.
//! Never stays in the JVM between readings.

use std::borrow::Cow;
use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leakline_core::{
    Asked, Attachment, Clock, Details, Gauge, GaugeReading, Layer, Probe, ProbeError, ProbeRequest,
    RuntimeInfo, Tick, names,
};
use leakline_probing::java::bridges::LIBRARIES;
use leakline_probing::java::ready::{Readiness, thread_names};
use leakline_probing::java::structs;
use leakline_probing::java::vm::{Vm, VmSource};
use leakline_probing::loader::{self, Watch};

use crate::cycles;
use crate::error::BridgeError;
use crate::java::Frame;
use crate::search::Search;
use crate::tables::{Bridge, Table};

/// The lane's thread as the JVM's users see it.
const THREAD: &CStr = c"leakline-bridge";

/// Reads the bridge's table of the Python objects that Java holds.
pub struct BridgeProbe {
    clock: Arc<dyn Clock>,
    watch: Watch,
    /// `None`: no bridge, or no JVM, is loaded.
    source: Option<VmSource>,
    readiness: Readiness,
    search: Search,
    table: Option<Table>,
    /// Somebody asked for cycles.
    wants_cycles: bool,
}

impl BridgeProbe {
    /// A probe that has not looked for a bridge yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            watch: Watch::new(&[]),
            source: None,
            readiness: Readiness::default(),
            search: Search::default(),
            table: None,
            wants_cycles: false,
        }
    }

    /// The JVM beside the bridge, once it may be entered.
    fn look(&mut self) -> Result<Vm, &'static str> {
        if self.source.is_none() && self.watch.changed() && loader::loaded_object(LIBRARIES).is_some() {
            self.source = VmSource::find();
        }
        let source = self.source.ok_or("no bridge between Python and Java is loaded")?;
        let Some(vm) = source.vm() else {
            self.readiness = Readiness::default();
            self.search.restart();
            return Err("no JVM has been started, or it has ended");
        };
        let (version, names) = (structs::version(), thread_names());
        let names = names.iter().map(String::as_str);
        let ready = self.readiness.ready(version, names, self.clock.now().boot_nanos);
        if ready { Ok(vm) } else { Err("the JVM is starting") }
    }
}

#[async_trait]
impl Probe for BridgeProbe {
    fn name(&self) -> Cow<'static, str> {
        "bridge".into()
    }

    /// Neither runtime's own: what lies between them.
    fn layer(&self) -> Layer {
        Layer::Process
    }

    async fn attach(&mut self) -> Result<Attachment, ProbeError> {
        let absent = |reason: &'static str| Ok(Attachment::Absent { reason: reason.into() });
        let vm = match self.look() {
            Ok(vm) => vm,
            Err(reason) => return absent(reason),
        };
        if !self.search.due() {
            return absent("the bridge is not in use");
        }
        let attached = vm.attach(THREAD).map_err(BridgeError::from)?;
        let frame = match Frame::with_tools(&attached, vm) {
            Err(BridgeError::NoTools) => return absent("the JVM gives no tool interface to find it by"),
            other => other?,
        };
        let found = Table::find(&frame)?;
        let Some(table) = found else { return absent("the bridge is not in use") };
        let name = match table.bridge {
            Bridge::Jpype => "JPype",
            Bridge::Jep => "jep",
            Bridge::Chaquopy => "Chaquopy",
        };
        self.table = Some(table);
        Ok(Attachment::Attached(RuntimeInfo { name: name.to_owned(), source_roots: Vec::new() }))
    }

    async fn gauges(&mut self, _: &Tick) -> Result<GaugeReading, ProbeError> {
        let Some(vm) = self.source.and_then(VmSource::vm) else {
            // The reference went with the JVM.
            self.table = None;
            self.readiness = Readiness::default();
            self.search.restart();
            return Err(BridgeError::Ended.into());
        };
        let Some(table) = &self.table else { return Err(BridgeError::Ended.into()) };
        let attached = vm.attach(THREAD).map_err(BridgeError::from)?;
        let frame = Frame::new(&attached)?;
        let taken = self.clock.now();
        let held = frame.count(&table.count)?;
        let gauges = vec![Gauge::count(names::BRIDGE_JAVA_HOLDS_PYTHON, held)];
        Ok(GaugeReading { taken, gauges, stall: Duration::ZERO })
    }

    /// Only what was asked for; nothing otherwise.
    async fn details(&mut self, tick: &Tick) -> Result<Details, ProbeError> {
        if !std::mem::take(&mut self.wants_cycles) {
            return Ok(Details::default());
        }
        let Some(vm) = self.source.and_then(VmSource::vm) else { return Err(BridgeError::Ended.into()) };
        let Some(table) = &self.table else { return Err(BridgeError::Ended.into()) };
        let now = self.clock.now().boot_nanos;
        let left = Duration::from_nanos(tick.deadline_boot_nanos.saturating_sub(now));
        // The JVM must not end while Python's lock is held on its behalf.
        let attached = vm.attach_for_sure(THREAD).map_err(BridgeError::from)?;
        let frame = Frame::with_tools(&attached, vm)?;
        let found = match cycles::search(&frame, table.bridge, left) {
            Ok(found) => found,
            // The gauges are not lost because of it.
            Err(error) => {
                let notes = vec![format!("cycles could not be looked for: {error}")];
                return Ok(Details { notes, ..Details::default() });
            }
        };
        Ok(Details {
            cycles: found.cycles,
            notes: found.notes,
            gil_held: found.gil_held,
            longest_stall: found.longest_stall,
            ..Details::default()
        })
    }

    async fn request(&mut self, request: &ProbeRequest) -> Result<Asked, ProbeError> {
        match request {
            ProbeRequest::Cycles => {
                self.wants_cycles = true;
                Ok(Asked::Done)
            }
            _ => Ok(Asked::NotForThis),
        }
    }

    async fn detach(&mut self) {
        self.search.restart();
        if let (Some(table), Some(vm)) = (self.table.take(), self.source.and_then(VmSource::vm))
            && let Ok(attached) = vm.attach(THREAD)
            && let Ok(frame) = Frame::new(&attached)
        {
            frame.release(table.count);
        }
    }
}
