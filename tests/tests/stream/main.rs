//! The stream between an agent's gRPC sink and a collector: real sockets, real files, and everything that goes wrong
//! on the way. No host is started here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod clients;
mod delivery;
mod dumps;
mod trouble;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use leakline_collector::sessions::{self, Predecessors};
use leakline_collector::{Collector, CollectorEvent, CollectorOptions, Handle};
use leakline_core::conformance::{sample_mark, sample_record, sample_session};
use leakline_core::{
    CommandReceiver, Record, Session, SessionId, Sink, SinkStats, Snapshot, command_channel,
};
use leakline_grpc::{GrpcOptions, GrpcSink};
use leakline_proto::Event;
use tokio::sync::{mpsc, oneshot};

/// No test waits longer for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A collector in a runtime of its own.
struct Running {
    address: SocketAddr,
    handle: Handle,
    events: mpsc::Receiver<CollectorEvent>,
    end: oneshot::Sender<How>,
    thread: JoinHandle<()>,
}

#[derive(Clone, Copy)]
enum How {
    /// As after Ctrl-C.
    Orderly,
    /// Every task is dropped where it stands.
    Killed,
}

impl Running {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, "127.0.0.1:0", CollectorOptions::default())
    }

    fn start_with(folder: &Path, address: &str, options: CollectorOptions) -> Self {
        let (folder, address) = (folder.to_owned(), address.to_owned());
        let (told, bound) = std_mpsc::sync_channel(1);
        let (end, ended) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut collector = Collector::bind(&address, &folder, options).await.unwrap();
                let events = collector.events().unwrap();
                told.send((collector.local_addr(), collector.handle(), events)).unwrap();
                let (shut_down, shutdown) = oneshot::channel::<()>();
                let serve = collector.serve(async { drop(shutdown.await) });
                tokio::pin!(serve);
                tokio::select! {
                    served = &mut serve => panic!("the collector ended by itself: {served:?}"),
                    how = ended => match how.unwrap_or(How::Killed) {
                        How::Killed => {}
                        How::Orderly => {
                            shut_down.send(()).unwrap();
                            serve.await.unwrap();
                        }
                    }
                }
            });
        };
        let thread = thread::Builder::new().name("collector".to_owned()).spawn(run).unwrap();
        let (address, handle, events) = bound.recv().unwrap();
        Self { address, handle, events, end, thread }
    }

    fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends it while the agents of the test's own runtime go on.
    async fn end(self, how: How) {
        tokio::task::spawn_blocking(move || self.end_now(how)).await.unwrap();
    }

    fn end_now(self, how: How) {
        let _ = self.end.send(how);
        self.thread.join().unwrap();
    }

    /// The first event that `wanted` gives something for; those before it are passed over.
    async fn event<T>(&mut self, mut wanted: impl FnMut(CollectorEvent) -> Option<T>) -> T {
        let find = async {
            loop {
                let event = self.events.recv().await.expect("the collector is there");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, find).await.expect("the event comes")
    }

    /// What the next client that is sent away is told.
    async fn refusal(&mut self) -> String {
        self.event(|event| match event {
            CollectorEvent::Refused { why, .. } => Some(why),
            _ => None,
        })
        .await
    }
}

fn session(id: u8) -> Session {
    Session { id: SessionId([id; 16]), ..sample_session() }
}

fn options(address: &str) -> GrpcOptions {
    GrpcOptions {
        collector: address.to_owned(),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        // Some profiles here are larger than what an encoder may hold by itself.
        max_encoder_bytes: 64 << 20,
        ..GrpcOptions::default()
    }
}

/// An agent's end of the stream.
struct Agent {
    sink: GrpcSink,
    commands: CommandReceiver,
    sent: Vec<Arc<Snapshot>>,
}

impl Agent {
    async fn start(session: &Session, options: GrpcOptions) -> Self {
        let (sender, commands) = command_channel();
        let mut sink = GrpcSink::new(options, sender);
        sink.open(session).await.unwrap();
        Self { sink, commands, sent: Vec::new() }
    }

    /// Delivers the next snapshot, which must not take long whatever the collector does.
    async fn snapshot(&mut self, sites: usize) {
        let record = sample_record(self.sent.len() as u64, sites);
        if let Record::Snapshot { snapshot, .. } = &record {
            self.sent.push(Arc::clone(snapshot));
        }
        self.deliver(&record).await;
    }

    async fn mark(&mut self, name: &str) {
        self.deliver(&Record::Mark(sample_mark(name))).await;
    }

    async fn deliver(&mut self, record: &Record) {
        let begin = Instant::now();
        self.sink.deliver(record).await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(5), "delivering waited {:?}", begin.elapsed());
    }

    fn stats(&self) -> SinkStats {
        self.sink.stats()
    }

    /// Waits until the sink's statistics are as they should be.
    async fn until(&self, what: &str, holds: impl Fn(&SinkStats) -> bool) {
        let begin = Instant::now();
        while !holds(&self.stats()) {
            assert!(begin.elapsed() < PATIENCE, "{what} does not happen: {:?}", self.stats());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn until_delivered(&self, snapshots: u64) {
        self.until("everything is acknowledged", |stats| {
            stats.delivered_snapshots >= snapshots && stats.held_bytes == 0
        })
        .await;
    }

    async fn close(&mut self) {
        tokio::time::timeout(PATIENCE, self.sink.close()).await.expect("closing ends").unwrap();
    }
}

/// What the recording of `session` in `folder` says. Panics where anything in it cannot be read.
fn recorded(folder: &Path, session: &Session) -> Vec<Event> {
    let path = sessions::find(folder, &session.id.to_string()).unwrap();
    sessions::open(&path, Predecessors::Read).unwrap().collect::<Result<_, _>>().unwrap()
}

fn snapshots(events: &[Event]) -> Vec<Arc<Snapshot>> {
    let snapshot = |event: &Event| match event {
        Event::Snapshot { snapshot, .. } => Some(Arc::clone(snapshot)),
        _ => None,
    };
    events.iter().filter_map(snapshot).collect()
}

/// The recording has exactly what was sent: no gap, no duplicate, in order, to the last profile.
fn check_recorded(folder: &Path, session: &Session, sent: &[Arc<Snapshot>]) {
    let events = recorded(folder, session);
    assert_eq!(events.first(), Some(&Event::Session(session.clone())));
    for event in &events {
        assert!(!matches!(event, Event::Gap { .. } | Event::Duplicate { .. } | Event::Lost(_)), "{event:?}");
    }
    let found = snapshots(&events);
    let numbers = |list: &[Arc<Snapshot>]| list.iter().map(|snapshot| snapshot.number).collect::<Vec<_>>();
    assert_eq!(numbers(&found), numbers(sent));
    assert!(found == sent, "the snapshots differ in their content");
}

/// Numbers that look random, the same ones for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}
