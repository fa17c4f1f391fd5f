//! Sends a heap dump to a collector: the other end of `dump.rs`.
//! Reads the file once, some parts ahead at most; what the collector did not acknowledge is not there.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use leakline_proto::v1;
use leakline_proto::v1::collector_client::CollectorClient;
use leakline_proto::v1::dump_part::Body;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::dump::MAX_PART_BYTES;
use crate::error::CollectorError;

/// A collector that cannot be connected to within this cannot be reached.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection over which nothing comes is asked for a sign of life, and given up without one.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Parts between the file and the stream.
const PARTS: usize = 4;

/// Whose heap a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dumped {
    /// The process, as it sees itself.
    pub pid: u32,
    /// When it started, in boot-time nanoseconds: tells the collector whose session it belongs to; 0: unknown.
    pub started_boot_nanos: u64,
}

/// Where the collector keeps the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDump {
    /// The id of the connected session that it belongs to; empty: none does.
    pub session: String,
    /// The file's name in the collector's folder.
    pub file: String,
}

/// Sends all of `file` to the collector at `address` (`HOST:PORT`). It is on the collector's disk when this gives
/// something.
pub async fn send_dump(address: &str, file: File, whose: Dumped) -> Result<KeptDump, CollectorError> {
    let failed = |reason: String| CollectorError::Dump { reason, address: address.to_owned() };
    let bytes = file.metadata().map_err(|error| failed(error.to_string()))?.len();
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| failed("this is no address".to_owned()))?
        .connect_timeout(PATIENCE)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    let channel = endpoint
        .connect()
        .await
        .map_err(|_| failed("nobody answers; does `leakline collect` run there?".to_owned()))?;
    let (queue, parts) = mpsc::channel(PARTS);
    let head = v1::DumpHead { pid: whose.pid, started_boot_nanos: whose.started_boot_nanos, bytes };
    let reading = spawn_blocking(move || read(file.take(bytes), head, &queue));
    let reply = CollectorClient::new(channel).dump(ReceiverStream::new(parts)).await;
    let read = reading.await.map_err(|_| failed("its reader ended".to_owned()))?;
    // A file that cannot be read ends the stream early, and then that is the reason.
    read.map_err(|error| failed(format!("cannot read it: {error}")))?;
    let reply = reply.map_err(|status| failed(status.message().to_owned()))?.into_inner();
    Ok(KeptDump { session: reply.session, file: reply.file })
}

fn read(mut file: impl Read, head: v1::DumpHead, queue: &mpsc::Sender<v1::DumpPart>) -> std::io::Result<()> {
    let mut body = Body::Head(head);
    loop {
        // Nobody takes it any more: the reply says why.
        if queue.blocking_send(v1::DumpPart { body: Some(body) }).is_err() {
            return Ok(());
        }
        let mut data = Vec::with_capacity(MAX_PART_BYTES);
        file.by_ref().take(MAX_PART_BYTES as u64).read_to_end(&mut data)?;
        if data.is_empty() {
            return Ok(());
        }
        body = Body::Data(data);
    }
}
