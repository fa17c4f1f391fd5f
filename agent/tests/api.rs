//! The agent's functions in a Rust host: one process, one agent, so one test file with one test.

use std::borrow::Cow;
use std::time::Duration;

use leakline::{AgentError, Config, LogcatTarget, Probe};
use leakline_core::{Cause, Clock as _, Gauge, GaugeReading, Layer, ProbeError, Tick};

/// A probe of the host's own: what a user writes to read something that nobody foresaw.
struct QueueLength;

#[async_trait::async_trait]
impl Probe for QueueLength {
    fn name(&self) -> Cow<'static, str> {
        "queue".into()
    }

    fn layer(&self) -> Layer {
        Layer::Process
    }

    async fn gauges(&mut self, _: &Tick) -> Result<GaugeReading, ProbeError> {
        let gauges = vec![Gauge::count("process.queue_length", 7)];
        Ok(GaugeReading { taken: leakline::SystemClock.now(), gauges, stall: Duration::ZERO })
    }
}

fn config(folder: &tempfile::TempDir) -> Config {
    Config {
        logcat_target: LogcatTarget::Off,
        file: Some(folder.path().join("host.leak")),
        ..Config::default()
    }
}

#[test]
fn every_call_is_safe_in_any_order_from_any_thread_and_twice() {
    let folder = tempfile::tempdir().unwrap();

    // Nothing runs yet.
    assert!(matches!(leakline::snapshot_now(), Err(AgentError::NotRunning)));
    assert!(matches!(leakline::stats(), Err(AgentError::NotRunning)));
    assert!(matches!(leakline::mark("early"), Err(AgentError::NotRunning)));
    assert!(matches!(leakline::take_census(), Err(AgentError::NotRunning)));
    leakline::stop();

    for round in 0..2 {
        leakline::start_with(config(&folder), vec![Box::new(QueueLength)], vec![]).unwrap();
        assert!(matches!(leakline::start(config(&folder)), Err(AgentError::AlreadyRunning)));

        let asked = leakline::snapshot_now().unwrap();
        assert_eq!(asked.gauge("process.queue_length"), Some(7.0), "round {round}");
        assert!(asked.gauge("process.resident_bytes").is_some_and(|bytes| bytes > 0.0));

        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        leakline::mark("reconnect").unwrap();
                        leakline::snapshot_now().unwrap();
                        leakline::stats().unwrap();
                    }
                });
            }
        });

        let before = leakline::snapshot_now().unwrap();
        leakline::reset_baseline().unwrap();
        let after = leakline::snapshot_now().unwrap();
        assert!(after.baseline > before.baseline, "{} {}", after.baseline, before.baseline);

        // A window has a snapshot at each end; a probe that has none to open says nothing.
        let window = leakline::Window::exact(std::time::Duration::from_millis(1));
        leakline::open_window(window).unwrap();
        leakline::close_window().unwrap();
        leakline::take_census().unwrap();
        leakline::look_for_cycles().unwrap();
        assert!(leakline::snapshot_now().unwrap().number > after.number);

        let stats = leakline::stats().unwrap();
        let queue = stats.layers.iter().find(|layer| layer.probe == "queue").unwrap();
        assert_eq!(queue.gauges, [("process.queue_length".to_owned(), 7.0, Some(7.0))]);
        assert_ne!(stats.snapshot.tick.cause, Cause::Final);

        leakline::stop();
        leakline::stop();
        assert!(matches!(leakline::mark("late"), Err(AgentError::NotRunning)));
    }
}
