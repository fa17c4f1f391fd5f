//! Clients that send what no agent would: each is told what is wrong, and nobody else is harmed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use leakline_proto::v1::agent_message::Body as Out;
use leakline_proto::v1::collector_client::CollectorClient;
use leakline_proto::v1::collector_message::Body as In;
use leakline_proto::v1::entry::Body;
use leakline_proto::{Encoder, PROTOCOL_VERSION, v1};
use tonic::{Code, Status};

use super::*;

/// Sends `bytes` as a raw client; gives what the collector says of it, and what the client was answered.
fn raw(collector: &mut Running, bytes: &[u8]) -> (String, String) {
    let mut client = TcpStream::connect(collector.address).unwrap();
    let _ = client.write_all(bytes);
    // It may have been sent away already.
    let _ = client.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    // A reset is an answer too.
    let _ = client.read_to_end(&mut answer);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let why = runtime.block_on(collector.refusal());
    (why, String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn clients_that_do_not_speak_grpc_are_sent_away_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Running::start(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut agent = runtime.block_on(async {
        let mut agent = Agent::start(&session(1), options(&collector.address())).await;
        agent.snapshot(10).await;
        agent.until_delivered(1).await;
        agent
    });
    let (why, answer) = raw(&mut collector, b"GET / HTTP/1.1\r\nhost: desk\r\n\r\n");
    assert_eq!(why, "it speaks HTTP/1, a collector speaks gRPC (HTTP/2)");
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("leakline collector"), "{answer}");
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for garbage in [&b"hello?"[..], b"\0\0\0\0", tls_hello, b"PRI * HTTP/2.0\r\n\r\nXX"] {
        assert_eq!(raw(&mut collector, garbage).0, "it does not speak gRPC (HTTP/2)", "{garbage:?}");
    }
    let mut random = Random::new(7);
    for _ in 0..50 {
        let bytes: Vec<u8> = (0..1 + random.below(300)).map(|_| random.below(256) as u8).collect();
        raw(&mut collector, &bytes);
        // And garbage after a good beginning, which is HTTP/2's to refuse.
        let mut client = TcpStream::connect(collector.address).unwrap();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let _ = client.write_all(&bytes);
    }
    runtime.block_on(async {
        agent.snapshot(11).await;
        agent.close().await;
    });
    check_recorded(folder.path(), &session(1), &agent.sent);
    collector.end_now(How::Orderly);
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_keep_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let options = CollectorOptions {
        hello_timeout: Duration::from_millis(100),
        max_connections: 2,
        ..Default::default()
    };
    let mut collector = Running::start_with(folder.path(), "127.0.0.1:0", options);
    let silent = TcpStream::connect(collector.address).unwrap();
    let mut slow = TcpStream::connect(collector.address).unwrap();
    slow.write_all(b"PRI * ").unwrap();
    let third = TcpStream::connect(collector.address).unwrap();
    assert_eq!(collector.refusal().await, "there are too many connections");
    for _ in 0..2 {
        assert_eq!(collector.refusal().await, "it said nothing that is gRPC (HTTP/2) within 100ms");
    }
    drop((silent, slow, third));
    // And one that speaks gRPC, but does not say who it is.
    let (status, _) = talk(&collector, Vec::new(), LeaveOpen::Yes).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(collector.refusal().await, "no hello came within 100ms");
    collector.end(How::Orderly).await;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LeaveOpen {
    Yes,
    No,
}

/// Sends `messages` and gives the status that the stream ends with, and the answers before it.
async fn talk(collector: &Running, messages: Vec<v1::AgentMessage>, open: LeaveOpen) -> (Status, Vec<In>) {
    let mut client = CollectorClient::connect(format!("http://{}", collector.address)).await.unwrap();
    let (sender, receiver) = mpsc::channel(messages.len().max(1));
    for message in messages {
        sender.try_send(message).unwrap();
    }
    let sender = (open == LeaveOpen::Yes).then_some(sender);
    let mut answers = Vec::new();
    let listen = async {
        let mut incoming =
            client.record(tokio_stream::wrappers::ReceiverStream::new(receiver)).await?.into_inner();
        while let Some(message) = incoming.message().await? {
            answers.extend(message.body);
        }
        Ok(())
    };
    let result: Result<(), Status> = tokio::time::timeout(PATIENCE, listen).await.expect("an end");
    drop(sender);
    (result.err().unwrap_or_else(|| Status::ok("")), answers)
}

fn message(body: Out) -> v1::AgentMessage {
    v1::AgentMessage { body: Some(body) }
}

fn hello_of(session: &Session) -> v1::Hello {
    v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        session: Some(session.into()),
        oldest_entry: 0,
        capabilities: Vec::new(),
    }
}

fn hello(session: &Session) -> v1::AgentMessage {
    message(Out::Hello(hello_of(session)))
}

fn entry(number: u64, body: Option<Body>) -> v1::AgentMessage {
    message(Out::Entry(v1::Entry { number, body }))
}

/// The entries that a session begins with, and then one record.
fn entries(session: &Session) -> Vec<v1::AgentMessage> {
    let mut encoder = Encoder::new(session);
    encoder.record(&sample_record(0, 5)).into_iter().map(|entry| message(Out::Entry(entry))).collect()
}

#[tokio::test]
async fn messages_that_make_no_sense_are_refused_with_what_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Running::start(folder.path());
    let host = session(1);
    let bad_hello = |change: &dyn Fn(&mut v1::Hello)| {
        let mut hello = hello_of(&host);
        change(&mut hello);
        vec![message(Out::Hello(hello))]
    };
    // After hello, the session's first entries, and `more`.
    let after = |more: Vec<v1::AgentMessage>| {
        let mut messages = vec![hello(&host)];
        messages.extend(entries(&host));
        messages.extend(more);
        messages
    };
    let next = entries(&host).len() as u64;
    let intern = |strings| Body::Intern(v1::Intern { strings, frames: Vec::new(), sites: Vec::new() });
    let lost_index = Body::Intern(v1::Intern {
        strings: Vec::new(),
        frames: vec![v1::Frame { function: 4_000_000_000, file: 0, line: 1, ..v1::Frame::default() }],
        sites: Vec::new(),
    });
    let cases: Vec<(Vec<v1::AgentMessage>, Code, String)> = vec![
        (vec![v1::AgentMessage { body: None }], Code::InvalidArgument, "AgentMessage.body".into()),
        (entries(&host), Code::InvalidArgument, "an entry came before hello".into()),
        (
            bad_hello(&|hello| hello.protocol_version = 99),
            Code::FailedPrecondition,
            "protocol version 99".into(),
        ),
        (bad_hello(&|hello| hello.session = None), Code::InvalidArgument, "Hello.session".into()),
        (
            bad_hello(&|hello| hello.session.as_mut().unwrap().id = vec![1; 15]),
            Code::InvalidArgument,
            "an identity has 16 bytes: Session.id".into(),
        ),
        (
            bad_hello(&|hello| hello.session.as_mut().unwrap().host = None),
            Code::InvalidArgument,
            "a field is missing: Session.host".into(),
        ),
        (vec![hello(&host), hello(&host)], Code::InvalidArgument, "hello came twice".into()),
        (
            vec![hello(&host), entry(1, Some(intern(Vec::new())))],
            Code::OutOfRange,
            "entry 1 came where 0 was expected".into(),
        ),
        (
            vec![hello(&host), entry(0, Some(intern(Vec::new())))],
            Code::InvalidArgument,
            "entry 0: a session's first entry tells the session".into(),
        ),
        (
            vec![hello(&host), entry(0, Some(Body::Session((&session(2)).into())))],
            Code::InvalidArgument,
            "another session".into(),
        ),
        (after(vec![entry(next + 7, None)]), Code::OutOfRange, format!("where {next} was expected")),
        // It has the entries before by now, so the same again are out of order.
        (after(Vec::new()), Code::OutOfRange, format!("entry 0 came where {next} was expected")),
        (
            vec![hello(&host), entry(next, None)],
            Code::InvalidArgument,
            format!("entry {next}: a field is missing: Entry.body"),
        ),
        (
            vec![hello(&host), entry(next, Some(lost_index))],
            Code::InvalidArgument,
            "index 4000000000 names nothing".into(),
        ),
        (
            vec![hello(&host), entry(next, Some(intern(vec!["x".repeat(4097)])))],
            Code::InvalidArgument,
            "4097 are too many, at most 4096 are taken: Intern.strings".into(),
        ),
        (
            vec![hello(&host), entry(next, Some(intern(vec!["x".repeat(4000); 300])))],
            Code::InvalidArgument,
            "at most 1048576 are taken".into(),
        ),
        (
            vec![hello(&host), entry(next, Some(intern(vec!["x".repeat(4000); 1200])))],
            Code::OutOfRange,
            "message length too large".into(),
        ),
        (
            vec![hello(&host), entry(next, Some(Body::End(v1::End::default())))],
            Code::InvalidArgument,
            "End.at".into(),
        ),
        (
            {
                let mut far = hello_of(&session(3));
                far.oldest_entry = u64::MAX;
                vec![message(Out::Hello(far)), entry(u64::MAX, Some(intern(Vec::new())))]
            },
            Code::InvalidArgument,
            "there is no number after it".into(),
        ),
    ];
    for (messages, code, what) in cases {
        let (status, _) = talk(&collector, messages, LeaveOpen::Yes).await;
        assert_eq!(status.code(), code, "{what}: {status:?}");
        assert!(status.message().contains(&what), "{what:?} is not in {:?}", status.message());
        assert_eq!(collector.refusal().await, status.message());
    }
    // What was good of it is on disk, and readable.
    let found = snapshots(&recorded(folder.path(), &host));
    assert_eq!(found.len(), 1);
    // And an honest agent is served as ever.
    let mut agent = Agent::start(&session(9), options(&collector.address())).await;
    agent.snapshot(10).await;
    agent.close().await;
    check_recorded(folder.path(), &session(9), &agent.sent);
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn a_session_that_comes_twice_stays_with_the_newer_stream() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Running::start(folder.path());
    let host = session(1);
    let mut messages = vec![hello(&host)];
    messages.extend(entries(&host));
    let count = entries(&host).len() as u64;
    let (first, second) = tokio::join!(talk(&collector, messages, LeaveOpen::Yes), async {
        while collector.handle.connected().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let end = v1::End { at: Some(v1::Timestamp { unix_nanos: 1, boot_nanos: 1 }), reason: String::new() };
        talk(&collector, vec![hello(&host), entry(count, Some(Body::End(end)))], LeaveOpen::No).await
    });
    assert_eq!(
        (first.0.code(), first.0.message()),
        (Code::Aborted, "the same session opened a newer stream")
    );
    assert_eq!(second.0.code(), Code::Ok, "{:?}", second.0);
    let welcome = v1::Welcome { protocol_version: PROTOCOL_VERSION, next_entry: count };
    assert_eq!(second.1, [In::Welcome(welcome), In::Ack(v1::Ack { next_entry: count + 1 })]);
    assert!(matches!(recorded(folder.path(), &host).last(), Some(Event::End(_))));
    collector.end(How::Orderly).await;
}
