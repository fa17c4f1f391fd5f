//! The machine's clocks, and a probe driven by hand. Shared by the tests and examples of this crate.

use std::sync::Arc;
use std::time::Duration;

use leakline_core::{
    Asked, Attachment, Cause, Clock, Details, GaugeReading, Probe, ProbeError, ProbeRequest, Tick, Timestamp,
};

/// The machine's clocks.
#[derive(Debug, Default)]
pub(crate) struct MachineClock;

impl MachineClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` into ours.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut time) }, 0);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

#[async_trait::async_trait]
impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        Timestamp { unix_nanos: read(libc::CLOCK_REALTIME), boot_nanos: read(libc::CLOCK_BOOTTIME) }
    }

    async fn sleep_until(&self, unix_nanos: u64) {
        let nanos = unix_nanos.saturating_sub(self.now().unix_nanos);
        tokio::time::sleep(Duration::from_nanos(nanos)).await;
    }

    fn thread_cpu(&self) -> Option<Duration> {
        Some(Duration::from_nanos(read(libc::CLOCK_THREAD_CPUTIME_ID)))
    }
}

/// A probe that is asked on this thread.
pub(crate) struct Driven<P> {
    pub(crate) probe: P,
    pub(crate) runtime_name: String,
    clock: Arc<MachineClock>,
    runtime: tokio::runtime::Runtime,
}

impl<P: Probe> Driven<P> {
    pub(crate) fn new(clock: Arc<MachineClock>, probe: P) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { probe, runtime_name: String::new(), clock, runtime }
    }

    fn tick(&self) -> Tick {
        let at = self.clock.now();
        Tick { cause: Cause::Tick, at, deadline_boot_nanos: at.boot_nanos + 10_000_000_000 }
    }

    pub(crate) fn attach(&mut self) -> Attachment {
        self.runtime.block_on(self.probe.attach()).unwrap_or(Attachment::Absent { reason: "failed".into() })
    }

    pub(crate) fn ask_census(&mut self) {
        let asked = self.runtime.block_on(self.probe.request(&ProbeRequest::Census));
        assert_eq!(asked.unwrap(), Asked::Done);
    }

    pub(crate) fn gauges(&mut self) -> GaugeReading {
        self.try_gauges().unwrap()
    }

    pub(crate) fn details(&mut self) -> Details {
        self.try_details().unwrap()
    }

    pub(crate) fn try_gauges(&mut self) -> Result<GaugeReading, ProbeError> {
        let tick = self.tick();
        self.runtime.block_on(self.probe.gauges(&tick))
    }

    pub(crate) fn try_details(&mut self) -> Result<Details, ProbeError> {
        let tick = self.tick();
        self.runtime.block_on(self.probe.details(&tick))
    }
}
