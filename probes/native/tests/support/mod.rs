//! The machine's clocks, and a probe driven by hand. Shared by the tests and examples of this crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leakline_core::{Attachment, Cause, Clock, Details, Gauge, GaugeReading, Probe, Tick, Timestamp};

/// The machine's clocks, and as much more as a test wants to have waited.
#[derive(Debug, Default)]
pub(crate) struct MachineClock {
    pub(crate) waited_nanos: AtomicU64,
}

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
        let waited = self.waited_nanos.load(Ordering::Relaxed);
        Timestamp {
            unix_nanos: read(libc::CLOCK_REALTIME) + waited,
            boot_nanos: read(libc::CLOCK_BOOTTIME) + waited,
        }
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
    clock: Arc<MachineClock>,
    runtime: tokio::runtime::Runtime,
}

impl<P: Probe> Driven<P> {
    pub(crate) fn new(clock: Arc<MachineClock>, probe: P) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { probe, clock, runtime }
    }

    fn tick(&self) -> Tick {
        let at = self.clock.now();
        Tick { cause: Cause::Tick, at, deadline_boot_nanos: at.boot_nanos + 10_000_000_000 }
    }

    pub(crate) fn attach(&mut self) -> Attachment {
        self.runtime.block_on(self.probe.attach()).unwrap()
    }

    pub(crate) fn gauges(&mut self) -> GaugeReading {
        let tick = self.tick();
        self.runtime.block_on(self.probe.gauges(&tick)).unwrap()
    }

    /// The gauges, or why there are none.
    #[allow(dead_code, clippy::allow_attributes, reason = "each test file uses a part of this")]
    pub(crate) fn try_gauges(&mut self) -> Result<GaugeReading, String> {
        let tick = self.tick();
        self.runtime.block_on(self.probe.gauges(&tick)).map_err(|error| error.to_string())
    }

    pub(crate) fn details(&mut self) -> Details {
        let tick = self.tick();
        self.runtime.block_on(self.probe.details(&tick)).unwrap()
    }
}

/// The value of one gauge.
pub(crate) fn value(gauges: &[Gauge], name: &str) -> Option<u64> {
    gauges.iter().find(|gauge| gauge.name == name).map(|gauge| gauge.value as u64)
}
