//! The probe `custom`: asks the readers, and waits for them no longer than the tick allows.
//! Never in the host's code itself.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use leakline_core::{Clock as _, Details, GaugeReading, Layer, Probe, ProbeError, Tick};

use super::{readers, told};
use crate::clock::SystemClock;

/// Of the time until the tick's deadline: who takes longer costs the gauges that are missing, and not the whole reading.
const SHARE: f64 = 0.8;
/// And no snapshot waits longer for code that ought to be quick.
const LONGEST: Duration = Duration::from_secs(5);

/// Reads what the host has registered through readers. They may come and go while it runs.
#[derive(Debug)]
pub(crate) struct CustomProbe;

#[async_trait]
impl Probe for CustomProbe {
    fn name(&self) -> Cow<'static, str> {
        "custom".into()
    }

    /// What each gauge belongs to stands in its name.
    fn layer(&self) -> Layer {
        Layer::Process
    }

    /// Nothing: the host's code takes as long as it takes, and the layers' own gauges are of one instant.
    async fn gauges(&mut self, _: &Tick) -> Result<GaugeReading, ProbeError> {
        Ok(GaugeReading { taken: SystemClock.now(), gauges: Vec::new(), stall: Duration::ZERO })
    }

    async fn details(&mut self, tick: &Tick) -> Result<Details, ProbeError> {
        let left = tick.deadline_boot_nanos.saturating_sub(SystemClock.now().boot_nanos);
        let collected = readers::collect(Duration::from_nanos(left).mul_f64(SHARE).min(LONGEST));
        let (gauges, mut notes) = told::gauges(&collected.texts.concat());
        for (since, text) in collected.missing {
            let who = told::last_probe(&text).unwrap_or("a probe of the program's own");
            notes.push(format!("{who}: no answer for {} ms", since.as_millis()));
        }
        Ok(Details { gauges, notes, ..Details::default() })
    }
}
