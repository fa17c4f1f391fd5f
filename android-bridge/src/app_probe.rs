//! The probe `app`: reads the probes that the app has registered in Java, Kotlin, or both, as one.
//! Never in the JVM between readings; a probe of the app that throws costs its own gauges, and is told in the notes.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use leakline::{Clock as _, Details, GaugeReading, Layer, Probe, ProbeError, SystemClock, Tick, custom};

use crate::vm;

/// Reads what `Leakline.addProbe` registered. They may come and go while the agent runs.
#[derive(Debug, Default)]
pub(crate) struct AppProbe;

#[async_trait]
impl Probe for AppProbe {
    fn name(&self) -> Cow<'static, str> {
        "app".into()
    }

    /// They run in the JVM; what each one's gauges belong to stands in their names.
    fn layer(&self) -> Layer {
        Layer::Jvm
    }

    /// Nothing: the app's code takes as long as it takes, and the layers' own gauges are of one instant.
    async fn gauges(&mut self, _: &Tick) -> Result<GaugeReading, ProbeError> {
        Ok(GaugeReading { taken: SystemClock.now(), gauges: Vec::new(), stall: Duration::ZERO })
    }

    async fn details(&mut self, _: &Tick) -> Result<Details, ProbeError> {
        let text = vm::read_probes(c"leakline-app")
            .map_err(|error| ProbeError::failed("reading the app's probes", error))?;
        let (gauges, notes) = custom::gauges(&text);
        Ok(Details { gauges, notes, ..Details::default() })
    }
}
