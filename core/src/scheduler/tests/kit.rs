//! A running scheduler with a clock in the test's hand, probes and sinks that follow a script, and a record of all.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::conformance::{TestClock, sample_session};
use crate::scheduler::engine::Judge;
use crate::*;

/// No test waits longer for what must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// One-minute ticks, and a first pause after a failure that is over by the next one; every short wait long enough that only what hangs exceeds it.
pub(super) fn options() -> SchedulerOptions {
    SchedulerOptions {
        interval: MINUTE,
        first_attach_wait: PATIENCE,
        first_reader_wait: PATIENCE,
        gauges_wait: PATIENCE,
        failure_backoff_min: Duration::from_secs(50),
        ..SchedulerOptions::default()
    }
}

/// As `options`, for tests in which a reading hangs: the waits for it are short.
pub(super) fn impatient() -> SchedulerOptions {
    let short = Duration::from_millis(5);
    SchedulerOptions { first_reader_wait: short, gauges_wait: short, ..options() }
}

/// An agent that holds `held_bytes` and never has to end.
pub(super) fn unbound(held_bytes: fn() -> Option<u64>) -> Own {
    Own { held_bytes, must_end: || None }
}

pub(super) struct Rig {
    pub(super) clock: Arc<TestClock>,
    pub(super) handle: SchedulerHandle,
    pub(super) commands: CommandSender,
    records: Receiver<Record>,
}

impl Rig {
    pub(super) fn start(
        options: SchedulerOptions,
        probes: &[&Arc<Script>],
        sinks: Vec<Box<dyn Sink>>,
    ) -> Self {
        Self::start_with(options, probes, sinks, Box::new(|_| Vec::new()))
    }

    pub(super) fn start_with(
        options: SchedulerOptions,
        probes: &[&Arc<Script>],
        sinks: Vec<Box<dyn Sink>>,
        judge: Judge,
    ) -> Self {
        Self::start_all(options, probes, sinks, judge, unbound(|| Some(4711)))
    }

    /// Without probes, in a process that says `own`.
    pub(super) fn start_own(options: SchedulerOptions, own: Own) -> Self {
        Self::start_all(options, &[], Vec::new(), Box::new(|_| Vec::new()), own)
    }

    fn start_all(
        options: SchedulerOptions,
        probes: &[&Arc<Script>],
        mut sinks: Vec<Box<dyn Sink>>,
        judge: Judge,
        own: Own,
    ) -> Self {
        let clock = TestClock::new();
        let (sender, records) = sync_channel(20_000);
        sinks.push(Box::new(Recorder(sender)));
        let probes = probes.iter().map(|script| probe(script, &clock)).collect();
        let (commands, receiver) = command_channel();
        let handle = Scheduler::start_with_judge(
            options,
            sample_session(),
            Arc::clone(&clock) as Arc<dyn Clock>,
            (probes, sinks),
            (commands.clone(), receiver),
            own,
            judge,
        );
        Self { clock, handle: handle.unwrap(), commands, records }
    }

    /// The next record of any kind.
    pub(super) fn record(&self) -> Record {
        self.records.recv_timeout(PATIENCE).unwrap()
    }

    /// The next snapshot.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        loop {
            if let Record::Snapshot { snapshot, .. } = self.record() {
                return snapshot;
            }
        }
    }

    /// Lets time pass until the next multiple of a minute and gives the snapshot that is taken then.
    pub(super) fn tick(&self) -> Arc<Snapshot> {
        self.clock.advance_to_next(MINUTE);
        self.snapshot()
    }

    /// A snapshot besides the ticks: when it is here, everything that was due before has been done.
    pub(super) fn barrier(&self) -> Arc<Snapshot> {
        self.handle.snapshot_now(PATIENCE).unwrap()
    }

    /// Waits until the scheduler sleeps until `unix_nanos`.
    pub(super) fn asleep_until(&self, unix_nanos: u64) {
        eventually("asleep", || self.clock.next_wake() == Some(unix_nanos));
    }

    pub(super) fn seconds(&self) -> u64 {
        self.clock.now().unix_nanos / 1_000_000_000
    }
}

/// Waits for what another thread is about to do.
pub(super) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `ok`, `absent`, `late 30`, `failed 60`: the status of `probe`, with the seconds in it.
pub(super) fn status(snapshot: &Snapshot, probe: &str) -> String {
    match &snapshot.reading(probe).unwrap().status {
        ReadingStatus::Ok => "ok".to_owned(),
        ReadingStatus::Absent { .. } => "absent".to_owned(),
        ReadingStatus::Late { since } => format!("late {}", since.as_secs()),
        ReadingStatus::Failed { retry_in, .. } => format!("failed {}", retry_in.as_secs()),
    }
}

/// What a probe or a sink does, one letter per call, and what was asked of it.
/// `.` goes well, `x` fails, `p` panics, `h` hangs until released, and so on, as said where it is used.
pub(super) struct Script {
    pub(super) name: &'static str,
    pub(super) layer: Layer,
    pub(super) reads_first: bool,
    /// Of `attach` or `open`; `a` is absent, `m` misconfigured.
    attach: Mutex<VecDeque<char>>,
    /// Of `gauges` with its `details`, or of `deliver`; `g` is gone, and a capital letter means the details.
    reads: Mutex<VecDeque<char>>,
    log: Mutex<Vec<String>>,
    released: (Mutex<u32>, Condvar),
}

impl Script {
    pub(super) fn new(name: &'static str, attach: &str, reads: &str) -> Arc<Self> {
        Self::of(name, Layer::Native, false, attach, reads)
    }

    pub(super) fn of(
        name: &'static str,
        layer: Layer,
        reads_first: bool,
        attach: &str,
        reads: &str,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            layer,
            reads_first,
            attach: Mutex::new(attach.chars().collect()),
            reads: Mutex::new(reads.chars().collect()),
            log: Mutex::default(),
            released: (Mutex::new(0), Condvar::new()),
        })
    }

    /// Everything that was asked so far.
    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().join(" ")
    }

    /// Lets `times` calls that hang, now or later, go on.
    pub(super) fn release(&self, times: u32) {
        *self.released.0.lock().unwrap() += times;
        self.released.1.notify_all();
    }

    /// Whether the last read or delivery that was scripted has begun.
    pub(super) fn has_run_out(&self) -> bool {
        self.reads.lock().unwrap().is_empty()
    }

    /// Whether the next call of `attach` or `open` goes well.
    pub(super) fn attaches_next(&self) -> bool {
        self.attach.lock().unwrap().front().is_none_or(|act| *act == '.')
    }

    fn note(&self, what: impl ToString) {
        self.log.lock().unwrap().push(what.to_string());
    }

    fn hang(&self) {
        let released = self.released.0.lock().unwrap();
        let (mut released, timeout) =
            self.released.1.wait_timeout_while(released, PATIENCE, |released| *released == 0).unwrap();
        assert!(!timeout.timed_out(), "never released");
        *released -= 1;
    }

    fn attach(&self) -> char {
        self.attach.lock().unwrap().pop_front().unwrap_or('.')
    }

    fn read(&self) -> char {
        self.reads.lock().unwrap().pop_front().unwrap_or('.')
    }
}

pub(super) fn probe(script: &Arc<Script>, clock: &Arc<TestClock>) -> Box<dyn Probe> {
    Box::new(ScriptedProbe { script: Arc::clone(script), clock: Arc::clone(clock), act: '.', reads: 0 })
}

struct ScriptedProbe {
    script: Arc<Script>,
    clock: Arc<TestClock>,
    /// Of the read in hand.
    act: char,
    reads: u64,
}

impl ScriptedProbe {
    fn act(&self, act: char) -> Result<(), ProbeError> {
        match act {
            'x' => Err(ProbeError::failed("reading", "not today")),
            'g' => Err(ProbeError::Gone { reason: "it ended".into() }),
            'p' => panic!("a probe's bug"),
            'h' => {
                self.script.hang();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Probe for ScriptedProbe {
    fn name(&self) -> Cow<'static, str> {
        self.script.name.into()
    }

    fn layer(&self) -> Layer {
        self.script.layer
    }

    fn reads_first(&self) -> bool {
        self.script.reads_first
    }

    async fn attach(&mut self) -> Result<Attachment, ProbeError> {
        self.script.note("attach");
        let act = self.script.attach();
        self.act(act)?;
        Ok(match act {
            'a' => Attachment::Absent { reason: "not here".into() },
            _ => Attachment::Attached(RuntimeInfo {
                name: "Scripted 1.0".to_owned(),
                source_roots: Vec::new(),
            }),
        })
    }

    /// The script's name decides: all that `all-slow` reads is among its details.
    async fn gauges(&mut self, _: &Tick) -> Result<GaugeReading, ProbeError> {
        self.script.note("gauges");
        self.act = self.script.read();
        self.act(self.act)?;
        TestClock::spend_cpu(Duration::from_millis(1));
        self.reads += 1;
        let level = if self.reads == 2 { 1000 } else { self.reads };
        let all_slow = self.script.name == "all-slow";
        let gauge = (!all_slow).then(|| Gauge::bytes(format!("native.{}_bytes", self.script.name), level));
        Ok(GaugeReading {
            taken: self.clock.now(),
            gauges: gauge.into_iter().collect(),
            stall: Duration::from_micros(10),
        })
    }

    async fn details(&mut self, _: &Tick) -> Result<Details, ProbeError> {
        self.script.note("details");
        if self.act.is_ascii_uppercase() {
            self.act(self.act.to_ascii_lowercase())?;
        }
        TestClock::spend_cpu(Duration::from_millis(2));
        // Samples that say nothing.
        let sampled = ProfileSource::sampled(ProfileSource::SAMPLED, 65_536);
        let profiles = match self.script.name {
            "sampled" => vec![Arc::new(Profile::new(sampled, Vec::new()))],
            _ => Vec::new(),
        };
        Ok(Details { longest_stall: Duration::from_micros(30), profiles, ..Details::default() })
    }

    /// The script's name decides: `deaf` is not for requests, `refuses` refuses, `slow` hangs until released.
    async fn request(&mut self, request: &ProbeRequest) -> Result<Asked, ProbeError> {
        self.script.note(Command::Ask(*request).name());
        match self.script.name {
            "deaf" => return Ok(Asked::NotForThis),
            "refuses" => return Ok(Asked::Refused { reason: "no hook here".into() }),
            "fails" => return Err(ProbeError::failed("opening a window", "not today")),
            "panics" => panic!("a probe's bug"),
            "slow" => self.script.hang(),
            _ => {}
        }
        Ok(Asked::Done)
    }

    async fn detach(&mut self) {
        self.script.note("detach");
    }
}

/// A sink that follows a script.
pub(super) fn scripted_sink(script: &Arc<Script>) -> Box<dyn Sink> {
    Box::new(ScriptedSink { script: Arc::clone(script), stats: SinkStats::default() })
}

struct ScriptedSink {
    script: Arc<Script>,
    stats: SinkStats,
}

impl ScriptedSink {
    fn act(&self, act: char) -> Result<(), SinkError> {
        let (what, reason) = ("writing".into(), "not today".to_owned());
        match act {
            'x' => Err(SinkError::Unavailable { what, reason }),
            'm' => Err(SinkError::Misconfigured { what, reason }),
            'p' => panic!("a sink's bug"),
            'h' => {
                self.script.hang();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Sink for ScriptedSink {
    fn name(&self) -> Cow<'static, str> {
        self.script.name.into()
    }

    async fn open(&mut self, _: &Session) -> Result<(), SinkError> {
        let opened = self.act(self.script.attach());
        self.script.note(if opened.is_ok() { "open" } else { "shut" });
        opened
    }

    async fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        self.act(self.script.read())?;
        match record {
            Record::Snapshot { snapshot, .. } => {
                self.script.note(snapshot.number);
                self.stats.delivered_snapshots += 1;
            }
            Record::Mark(mark) => self.script.note(&mark.name),
            Record::Lost(loss) => self.script.note(format!("lost:{}", loss.snapshots)),
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.script.note("close");
        Ok(())
    }

    fn stats(&self) -> SinkStats {
        self.stats.clone()
    }
}

/// Passes every record on to the test.
struct Recorder(SyncSender<Record>);

#[async_trait]
impl Sink for Recorder {
    fn name(&self) -> Cow<'static, str> {
        "recorder".into()
    }

    async fn open(&mut self, _: &Session) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        let full =
            |_| SinkError::Unavailable { what: "recording".into(), reason: "the test is gone".to_owned() };
        self.0.try_send(record.clone()).map_err(full)
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn stats(&self) -> SinkStats {
        SinkStats::default()
    }
}
