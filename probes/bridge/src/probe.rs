//! The probe `bridge`: waits for both runtimes, then asks the bridge between them.
//! Never stays in the JVM between readings.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leakline_core::{
    Attachment, Clock, Gauge, GaugeReading, Layer, Probe, ProbeError, RuntimeInfo, Tick, names,
};
use leakline_probing::loader::{self, Watch};

use crate::error::BridgeError;
use crate::jpype::Queue;
use crate::vm::{self, Vm};

/// JPype's half that Python loads.
const JPYPE: &[&str] = &["_jpype."];

/// Reads JPype's table of the Python objects that Java holds.
pub struct BridgeProbe {
    clock: Arc<dyn Clock>,
    watch: Watch,
    is_loaded: bool,
    queue: Option<Queue>,
}

impl BridgeProbe {
    /// A probe that has not looked for a bridge yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, watch: Watch::new(JPYPE), is_loaded: false, queue: None }
    }
}

fn absent(reason: &'static str) -> Attachment {
    Attachment::Absent { reason: reason.into() }
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
        if self.watch.changed() {
            self.is_loaded = loader::loaded_object(JPYPE).is_some();
        }
        if !self.is_loaded {
            return Ok(absent("no bridge is loaded"));
        }
        let Some(vm) = Vm::find() else { return Ok(absent("no JVM has been started, or it has ended")) };
        if !vm::is_ready() {
            return Ok(absent("the JVM is starting"));
        }
        let inside = vm.enter()?;
        let Some(queue) = Queue::find(&inside)? else { return Ok(absent("JPype is starting")) };
        self.queue = Some(queue);
        Ok(Attachment::Attached(RuntimeInfo::default()))
    }

    async fn gauges(&mut self, _: &Tick) -> Result<GaugeReading, ProbeError> {
        let Some(vm) = Vm::find() else {
            // The reference went with the JVM.
            self.queue = None;
            return Err(BridgeError::Ended.into());
        };
        let Some(queue) = &self.queue else { return Err(BridgeError::Ended.into()) };
        let inside = vm.enter()?;
        let taken = self.clock.now();
        let held = queue.size(&inside)?;
        let gauges = vec![Gauge::count(names::BRIDGE_JAVA_HOLDS_PYTHON, held)];
        Ok(GaugeReading { taken, gauges, stall: Duration::ZERO })
    }

    async fn detach(&mut self) {
        if let (Some(queue), Some(vm)) = (self.queue.take(), Vm::find())
            && let Ok(inside) = vm.enter()
        {
            queue.release(&inside);
        }
    }
}
