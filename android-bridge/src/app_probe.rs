//! The probe `app`: reads the probes that the app has registered in Java, Kotlin, or both, as one.
//! Never in the JVM between readings; a probe of the app that throws costs its own gauges, and is told in the notes.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use leakline::{Clock as _, Details, GaugeReading, Layer, Probe, ProbeError, SystemClock, Tick};

use crate::{answer, vm};

/// Reads what `Leakline.addProbe` registered. They may come and go while the agent runs.
#[derive(Debug, Default)]
pub(crate) struct AppProbe {
    notes: Vec<String>,
}

#[async_trait]
impl Probe for AppProbe {
    fn name(&self) -> Cow<'static, str> {
        "app".into()
    }

    /// They run in the JVM; what each one's gauges belong to stands in their names.
    fn layer(&self) -> Layer {
        Layer::Jvm
    }

    async fn gauges(&mut self, _: &Tick) -> Result<GaugeReading, ProbeError> {
        let text = vm::read_probes(c"leakline-app")
            .map_err(|error| ProbeError::failed("reading the app's probes", error))?;
        let taken = SystemClock.now();
        let (gauges, notes) = answer::gauges(&text);
        self.notes = notes;
        Ok(GaugeReading { taken, gauges, stall: Duration::ZERO })
    }

    async fn details(&mut self, _: &Tick) -> Result<Details, ProbeError> {
        Ok(Details { notes: std::mem::take(&mut self.notes), ..Details::default() })
    }
}
