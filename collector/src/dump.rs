//! Heap dumps that arrive: a head, then bytes in their order, into a file beside the session's recording.
//! Never leaves a part of one behind, never overwrites a file, never takes what is no heap dump.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use leakline_proto::v1;
use leakline_proto::v1::dump_part::Body;
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::event::CollectorEvent;
use crate::stream::Service;

/// How every heap dump begins.
const BEGIN: &[u8] = b"JAVA PROFILE 1.0.";
/// Longest part of a dump.
pub(crate) const MAX_PART_BYTES: usize = 1 << 20;
/// Parts between the stream and the disk.
const PARTS: usize = 4;
/// The beginning of an unfinished dump's name.
const UNFINISHED: &str = ".leakline-dump-";
/// An unfinished dump that nobody has written to for this long was left by a collector that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Receives one dump. What was taken is on disk when this gives something.
pub(crate) async fn take(
    service: &Service,
    mut parts: Streaming<v1::DumpPart>,
) -> Result<v1::DumpReply, Status> {
    let options = &service.options;
    let Ok(_permit) = service.dumps.clone().try_acquire_owned() else {
        let most = options.max_dumps;
        return Err(Status::resource_exhausted(format!(
            "{most} heap dumps are under way, the collector's limit"
        )));
    };
    let first = timeout(options.hello_timeout, parts.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no head of a heap dump came"))??;
    let Some(Body::Head(head)) = first.and_then(|part| part.body) else {
        return Err(Status::invalid_argument("the stream did not begin with a head: DumpPart.head"));
    };
    if head.bytes > options.max_dump_bytes {
        return Err(Status::resource_exhausted(format!(
            "the heap dump has {} bytes, the collector takes {}",
            head.bytes, options.max_dump_bytes
        )));
    }
    let session = service.registry.of_process(head.pid, head.started_boot_nanos);
    let (folder, stem) = service.store.dump_name(session, head.pid);

    let (queue, queued) = mpsc::channel(PARTS);
    let (folder, for_file) = (folder.to_owned(), stem);
    let writing = spawn_blocking(move || write(&folder, &for_file, queued));
    let received = receive(&mut parts, head.bytes, options.dump_patience, queue).await;
    let written = writing.await.map_err(|_| Status::unavailable("the collector is ending"))?;
    // What the client did wrong goes before what came of it on the disk; but a full disk ends the queue.
    let path = match (received, written) {
        (Err(Some(status)), _) => return Err(status),
        (_, Err(error)) => return Err(refused_by_disk(&error)),
        (Err(None), Ok(_)) => return Err(Status::unavailable("the collector is ending")),
        (Ok(()), Ok(path)) => path,
    };
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    service.events.tell(CollectorEvent::Dump { session, path, bytes: head.bytes });
    Ok(v1::DumpReply { session: session.map(|id| id.to_string()).unwrap_or_default(), file })
}

/// What the disk is told.
enum Told {
    Bytes(Vec<u8>),
    /// That was all of it: without this the file is not kept.
    Whole,
}

/// Hands the bytes on. The error is none where the writer has given up.
async fn receive(
    parts: &mut Streaming<v1::DumpPart>,
    bytes: u64,
    patience: Duration,
    queue: mpsc::Sender<Told>,
) -> Result<(), Option<Status>> {
    let refuse = |why: String| Some(Status::invalid_argument(why));
    let mut taken = 0_u64;
    loop {
        let part = timeout(patience, parts.message())
            .await
            .map_err(|_| Status::deadline_exceeded(format!("nothing more came for {patience:?}")))
            .and_then(|part| part)
            .map_err(Some)?;
        let data = match part.map(|part| part.body) {
            None if taken == bytes && taken > 0 => break,
            None => return Err(refuse(format!("the stream ended after {taken} of {bytes} bytes"))),
            Some(Some(Body::Data(data))) => data,
            Some(_) => {
                return Err(refuse("the head came twice, or an empty message: DumpPart.body".to_owned()));
            }
        };
        if data.is_empty() || (taken == 0 && !data.starts_with(BEGIN)) {
            return Err(refuse("this is no heap dump: DumpPart.data".to_owned()));
        }
        taken += data.len() as u64;
        if data.len() > MAX_PART_BYTES || taken > bytes {
            return Err(refuse("more bytes than were told, or too many at once: DumpPart.data".to_owned()));
        }
        queue.send(Told::Bytes(data)).await.map_err(|_| None)?;
    }
    queue.send(Told::Whole).await.map_err(|_| None)
}

/// Readable by its owner alone while it is written and after: a heap holds secrets. Gone again unless it is whole.
fn write(folder: &Path, stem: &str, mut queued: mpsc::Receiver<Told>) -> io::Result<PathBuf> {
    remove_abandoned(folder);
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    loop {
        match queued.blocking_recv() {
            Some(Told::Bytes(bytes)) => file.write_all(&bytes)?,
            Some(Told::Whole) => break,
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    file.as_file().sync_all()?;
    keep(file, folder, stem)
}

/// Under a name of its own: the recording's, and the second it came in.
fn keep(mut file: NamedTempFile, folder: &Path, stem: &str) -> io::Result<PathBuf> {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    for number in 0..100 {
        let mark = if number == 0 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("{stem}-{now}{mark}.hprof"));
        match file.persist_noclobber(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => file = error.file,
            Err(error) => return Err(error.error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn remove_abandoned(folder: &Path) {
    let old = |path: &Path| {
        let modified = fs::metadata(path).and_then(|found| found.modified()).ok()?;
        Some(SystemTime::now().duration_since(modified).ok()? > ABANDONED)
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        if is_ours && old(&entry.path()) == Some(true) && fs::remove_file(entry.path()).is_err() {
            tracing::warn!("cannot remove an unfinished heap dump: {}", entry.path().display());
        }
    }
}

fn refused_by_disk(error: &io::Error) -> Status {
    let message = format!("the collector cannot write the heap dump: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Status::resource_exhausted(message),
        _ => Status::unavailable(message),
    }
}
