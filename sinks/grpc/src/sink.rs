//! The sink itself: turns records into entries and puts them into the buffer.
//! Never waits for the network but in `close`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use leakline_core::{CommandSender, Loss, Record, Session, Sink, SinkError, SinkStats, Snapshot, Timestamp};
use leakline_proto::v1::entry::Body;
use leakline_proto::{Encoder, v1};
use prost::Message as _;
use tokio::task::JoinHandle;

use crate::address;
use crate::buffer::{Bounds, Buffer, Content, Continuity, Held};
use crate::connection::{Connection, Shared};
use crate::options::GrpcOptions;

/// Attempts to reach the collector that `close` waits for before it gives up.
const CLOSING_ATTEMPTS: u64 = 3;

/// Sends a session to a collector.
#[derive(Debug)]
pub struct GrpcSink {
    options: GrpcOptions,
    commands: CommandSender,
    shared: Arc<Shared>,
    open: Option<Open>,
}

/// What there is once the session is known.
#[derive(Debug)]
struct Open {
    encoder: Encoder,
    task: JoinHandle<()>,
    /// The newest time that a record told, and when that was.
    last: (Timestamp, Instant),
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GrpcSink {
    /// A sink that sends to `options.collector` and hands the collector's commands to `commands`.
    pub fn new(options: GrpcOptions, commands: CommandSender) -> Self {
        let bounds = Bounds { bytes: options.max_held_bytes, snapshots: options.max_held_snapshots.max(1) };
        Self { options, commands, shared: Arc::new(Shared::new(Buffer::new(bounds))), open: None }
    }
}

#[async_trait]
impl Sink for GrpcSink {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("grpc")
    }

    async fn open(&mut self, session: &Session) -> Result<(), SinkError> {
        if self.open.is_some() {
            return Ok(());
        }
        let url = address::url(&self.options.collector).map_err(|error| SinkError::Misconfigured {
            what: Cow::Borrowed("the collector's address cannot be used"),
            reason: error.to_string(),
        })?;
        let mut encoder = Encoder::new(session).within(self.options.max_encoder_bytes);
        push(&mut self.shared.lock().buffer, encoder.start());
        let connection = Connection {
            options: self.options.clone(),
            url,
            session: encoder.session().clone(),
            shared: Arc::clone(&self.shared),
            commands: self.commands.clone(),
        };
        let task = tokio::spawn(connection.run());
        self.open = Some(Open { encoder, task, last: (session.started, Instant::now()) });
        Ok(())
    }

    async fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        let open = self.open.as_mut().ok_or_else(|| SinkError::Unavailable {
            what: Cow::Borrowed("the collector's stream was not opened"),
            reason: self.options.collector.clone(),
        })?;
        open.note_time(record);
        let mut state = self.shared.lock();
        put(&mut open.encoder, &mut state.buffer, record);
        // After a break only an epoch may follow, which the next record brings.
        if state.buffer.continuity() == Continuity::Unbroken
            && let Some(untold) = state.buffer.take_untold()
        {
            let entries = open.encoder.record(&Record::Lost(untold));
            push(&mut state.buffer, entries);
        }
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let attempts_failed = {
            let at = open.now();
            let mut state = self.shared.lock();
            let mut entries = match state.buffer.continuity() {
                Continuity::Unbroken => Vec::new(),
                Continuity::Broken => open.encoder.restart_from(state.buffer.next()),
            };
            entries.push(open.encoder.end(at));
            push(&mut state.buffer, entries);
            state.closing = true;
            state.attempts_failed
        };
        self.shared.changed.notify_one();
        loop {
            {
                let mut state = self.shared.lock();
                if state.finished {
                    return Ok(());
                }
                if state.attempts_failed >= attempts_failed + CLOSING_ATTEMPTS || open.task.is_finished() {
                    let held = state.buffer.bytes();
                    state.buffer.drop_all();
                    return Err(SinkError::Unavailable {
                        what: Cow::Owned(format!("{held} bytes never reached the collector")),
                        reason: state.last_error.clone(),
                    });
                }
            }
            self.shared.progress.notified().await;
        }
    }

    fn stats(&self) -> SinkStats {
        let state = self.shared.lock();
        let delivered = state.buffer.delivered();
        SinkStats {
            sink: self.name(),
            delivered_snapshots: delivered.snapshots,
            delivered_bytes: delivered.bytes,
            held_bytes: state.buffer.bytes(),
            lost: state.buffer.lost(),
            last_error: state.last_error.clone(),
        }
    }
}

impl Open {
    fn note_time(&mut self, record: &Record) {
        let at = match record {
            Record::Snapshot { snapshot, .. } => snapshot.tick.at,
            Record::Mark(mark) => mark.at,
            Record::Lost(_) => return,
        };
        self.last = (at, Instant::now());
    }

    /// Now, as the host's clocks have it: the last time that was told, and what passed since.
    fn now(&self) -> Timestamp {
        let (at, told) = self.last;
        let passed = u64::try_from(told.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Timestamp {
            unix_nanos: at.unix_nanos.saturating_add(passed),
            boot_nanos: at.boot_nanos.saturating_add(passed),
        }
    }
}

/// Encodes `record` so that it fits, and pushes it.
fn put(encoder: &mut Encoder, buffer: &mut Buffer, record: &Record) {
    if buffer.continuity() == Continuity::Unbroken {
        let entries = encoder.record(record);
        let size = encoded_bytes(&entries);
        if buffer.could_hold(size)
            && (buffer.make_room(size) == Continuity::Unbroken || begins_epoch(&entries))
        {
            return push(buffer, entries);
        }
    }
    // What came before is not there on the other side: everything is told anew.
    let (mut entries, mut size) = anew(encoder, buffer, record);
    if !buffer.could_hold(size)
        && let Record::Snapshot { snapshot, verdicts } = record
    {
        let snapshot = Arc::new(without_profiles(snapshot, size));
        let record = Record::Snapshot { snapshot, verdicts: Arc::clone(verdicts) };
        (entries, size) = anew(encoder, buffer, &record);
    }
    if buffer.could_hold(size) {
        buffer.make_room(size);
        return push(buffer, entries);
    }
    let snapshots = u64::from(matches!(record, Record::Snapshot { .. }));
    buffer.skip(Loss { snapshots, bytes: size });
}

/// `record` in an epoch of its own.
fn anew(encoder: &mut Encoder, buffer: &Buffer, record: &Record) -> (Vec<v1::Entry>, u64) {
    let mut entries = encoder.restart_from(buffer.next());
    entries.extend(encoder.record(record));
    let size = encoded_bytes(&entries);
    (entries, size)
}

fn push(buffer: &mut Buffer, entries: Vec<v1::Entry>) {
    for entry in entries {
        let content = match &entry.body {
            // It comes before each epoch, and nowhere else.
            Some(Body::Session(_)) => Content::Epoch,
            Some(Body::Snapshot(_)) => Content::Snapshot,
            Some(Body::Lost(loss)) => Content::Lost((*loss).into()),
            _ => Content::Other,
        };
        buffer.push(Held { number: entry.number, content, bytes: entry.encode_to_vec() });
    }
}

fn begins_epoch(entries: &[v1::Entry]) -> bool {
    entries.first().is_some_and(|entry| matches!(entry.body, Some(Body::Session(_))))
}

fn encoded_bytes(entries: &[v1::Entry]) -> u64 {
    entries.iter().map(|entry| entry.encoded_len() as u64).sum()
}

/// `snapshot` with its gauges only, and a note that says why.
fn without_profiles(snapshot: &Snapshot, bytes: u64) -> Snapshot {
    let mut snapshot = snapshot.clone();
    for reading in &mut snapshot.readings {
        reading.holders.clear();
        reading.cycles.clear();
        if !std::mem::take(&mut reading.profiles).is_empty() {
            reading.notes.push(format!(
                "the profile is left out: the snapshot has {bytes} bytes, more than are kept for the collector"
            ));
        }
    }
    snapshot
}
