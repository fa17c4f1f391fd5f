//! Heap dumps on the way to a collector: kept whole beside the session's recording, or not at all.

use std::fs;
use std::io::Write as _;

use leakline_collector::{Dumped, KeptDump, send_dump};
use leakline_proto::v1;
use leakline_proto::v1::collector_client::CollectorClient;
use leakline_proto::v1::dump_part::Body;

use super::*;

/// The process of `session`.
const PROCESS: Dumped = Dumped { pid: 4711, started_boot_nanos: 990_000_000_000 };

/// A file of `bytes` that begins as a heap dump does.
fn dump(bytes: usize) -> (fs::File, Vec<u8>) {
    let mut content = b"JAVA PROFILE 1.0.2\0".to_vec();
    content.extend((0..bytes - content.len()).map(|place| (place % 251) as u8));
    (file(&content), content)
}

fn file(content: &[u8]) -> fs::File {
    use std::io::Seek as _;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

fn names(folder: &Path, end: &str) -> Vec<String> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    all.filter(|name| name.ends_with(end)).collect()
}

#[tokio::test]
async fn a_dump_is_kept_beside_the_recording_of_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Running::start(folder.path());
    let mut agent = Agent::start(&session(1), options(&collector.address())).await;
    agent.snapshot(5).await;
    agent.until_delivered(1).await;

    let (file, content) = dump(5 << 20 | 3);
    let KeptDump { session: kept, file } = send_dump(&collector.address(), file, PROCESS).await.unwrap();
    assert_eq!(kept, session(1).id.to_string());
    let stem = "com.example.app-reticulum-20240101T000007Z-01010101-";
    assert!(file.starts_with(stem) && file.ends_with(".hprof"), "{file}");
    let path = folder.path().join(&file);
    assert!(fs::read(&path).unwrap() == content);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let told = collector
        .event(|event| match event {
            CollectorEvent::Dump { session, path, bytes } => Some((session, path, bytes)),
            _ => None,
        })
        .await;
    assert_eq!(told, (Some(session(1).id), path, content.len() as u64));

    // The next one has a name of its own, also within the same second.
    let again = send_dump(&collector.address(), dump(100).0, PROCESS).await.unwrap();
    assert_ne!(again.file, file);
    agent.snapshot(6).await;
    agent.close().await;
    check_recorded(folder.path(), &session(1), &agent.sent);
    assert_eq!(sessions::list(folder.path()).unwrap().len(), 1);
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn a_dump_of_a_process_that_is_not_connected_is_kept_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Running::start(folder.path());
    let mut agent = Agent::start(&session(1), options(&collector.address())).await;
    agent.snapshot(5).await;
    agent.until_delivered(1).await;
    for started_boot_nanos in [0, 1] {
        let other = Dumped { started_boot_nanos, ..PROCESS };
        let kept = send_dump(&collector.address(), dump(100).0, other).await.unwrap();
        assert_eq!(kept.session, "");
        assert!(kept.file.starts_with("process-4711-"), "{}", kept.file);
    }
    agent.close().await;
    collector.end(How::Orderly).await;
}

/// Sends `file`, and gives what the sender is told.
async fn refused(collector: &Running, file: fs::File) -> String {
    send_dump(&collector.address(), file, PROCESS).await.unwrap_err().to_string()
}

#[tokio::test]
async fn what_is_no_dump_or_too_large_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let small = CollectorOptions { max_dump_bytes: 3 << 20, ..CollectorOptions::default() };
    let mut collector = Running::start_with(folder.path(), "127.0.0.1:0", small);
    let why = refused(&collector, file(b"my notes")).await;
    assert!(why.contains("this is no heap dump"), "{why}");
    assert!(collector.refusal().await.contains("this is no heap dump"));
    let why = refused(&collector, file(b"")).await;
    assert!(why.contains("the stream ended after 0 of 0 bytes"), "{why}");
    let why = refused(&collector, dump(4 << 20).0).await;
    assert!(why.contains("the heap dump has 4194304 bytes, the collector takes 3145728"), "{why}");
    let why = send_dump("127.0.0.1:1", dump(100).0, PROCESS).await.unwrap_err().to_string();
    assert!(why.contains("nobody answers") && why.contains("127.0.0.1:1"), "{why}");
    assert_eq!(names(folder.path(), ""), [""; 0]);
    collector.end(How::Orderly).await;
}

/// Streams what no `send_dump` would; gives what is answered.
async fn check_stream(bodies: Vec<Option<Body>>, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let collector = Running::start(folder.path());
    let mut client = CollectorClient::connect(format!("http://{}", collector.address)).await.unwrap();
    let parts: Vec<_> = bodies.into_iter().map(|body| v1::DumpPart { body }).collect();
    let status = client.dump(tokio_stream::iter(parts)).await.unwrap_err();
    assert!(status.message().contains(expected), "{status}");
    assert_eq!(names(folder.path(), ""), [""; 0]);
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn streams_that_are_none_are_refused() {
    let head = |bytes| Some(Body::Head(v1::DumpHead { pid: 1, started_boot_nanos: 1, bytes }));
    let data = |bytes: usize| {
        let mut content = b"JAVA PROFILE 1.0.2\0".to_vec();
        content.resize(bytes, 0);
        Some(Body::Data(content))
    };
    check_stream(vec![], "did not begin with a head").await;
    check_stream(vec![data(100)], "did not begin with a head").await;
    check_stream(vec![head(100), head(100)], "the head came twice").await;
    check_stream(vec![head(100), None], "an empty message").await;
    check_stream(vec![head(100), Some(Body::Data(Vec::new()))], "this is no heap dump").await;
    check_stream(vec![head(101), data(100)], "the stream ended after 100 of 101 bytes").await;
    check_stream(vec![head(99), data(100)], "more bytes than were told").await;
    check_stream(vec![head(4 << 20), data((1 << 20) + 1)], "too many at once").await;
}

#[tokio::test]
async fn dumps_that_stand_still_are_given_up_and_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let one = CollectorOptions {
        max_dumps: 1,
        dump_patience: Duration::from_millis(300),
        ..CollectorOptions::default()
    };
    let mut collector = Running::start_with(folder.path(), "127.0.0.1:0", one);
    let mut client = CollectorClient::connect(format!("http://{}", collector.address)).await.unwrap();
    let (parts, stream) = mpsc::channel(4);
    let head = v1::DumpHead { pid: 1, started_boot_nanos: 0, bytes: 1000 };
    parts.send(v1::DumpPart { body: Some(Body::Head(head)) }).await.unwrap();
    parts.send(v1::DumpPart { body: Some(Body::Data(dump(500).1)) }).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let standing = tokio::spawn(async move { client.dump(stream).await });
    let deadline = Instant::now() + PATIENCE;
    // It is under way when its file is there.
    while names(folder.path(), "").is_empty() {
        assert!(Instant::now() < deadline, "no file");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let why = refused(&collector, dump(100).0).await;
    assert!(why.contains("1 heap dumps are under way, the collector's limit"), "{why}");
    let status = standing.await.unwrap().unwrap_err();
    assert!(status.message().contains("nothing more came for 300ms"), "{status}");
    drop(parts);
    assert!(collector.refusal().await.contains("are under way"));
    send_dump(&collector.address(), dump(100).0, PROCESS).await.unwrap();
    assert_eq!(names(folder.path(), "").len(), 1);
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn a_collector_that_is_killed_leaves_no_dump_that_looks_whole() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Running::start(folder.path());
    let mut client = CollectorClient::connect(format!("http://{}", collector.address)).await.unwrap();
    let (parts, stream) = mpsc::channel(4);
    let head = v1::DumpHead { pid: 1, started_boot_nanos: 0, bytes: 1000 };
    parts.send(v1::DumpPart { body: Some(Body::Head(head)) }).await.unwrap();
    parts.send(v1::DumpPart { body: Some(Body::Data(dump(500).1)) }).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let sending = tokio::spawn(async move { client.dump(stream).await });
    let deadline = Instant::now() + PATIENCE;
    while names(folder.path(), "").is_empty() {
        assert!(Instant::now() < deadline, "no file");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    collector.end(How::Killed).await;
    sending.await.unwrap().unwrap_err();
    assert_eq!(names(folder.path(), ".hprof"), [""; 0]);
}
