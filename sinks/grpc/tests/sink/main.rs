//! The sink against a small real gRPC server that does what a collector should not: refuse, stall, forget, lie, die.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod server;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use leakline_core::conformance::{Seen, SinkSuite, sample_record, sample_session};
use leakline_core::{
    Command, CommandReceiver, Loss, ProbeRequest, Record, Sink, SinkError, SinkStats, Snapshot, Window,
    WindowSource, command_channel,
};
use leakline_grpc::{GrpcOptions, GrpcSink};
use leakline_proto::{Event, limits, v1};
use tonic::Status;

use self::server::{Does, Running};

const PATIENCE: Duration = Duration::from_secs(30);

fn options(address: &str) -> GrpcOptions {
    GrpcOptions {
        collector: address.to_owned(),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        // The contract has profiles that are larger than what an encoder may hold by itself.
        max_encoder_bytes: 64 << 20,
        ..GrpcOptions::default()
    }
}

async fn opened(options: GrpcOptions) -> (GrpcSink, CommandReceiver) {
    let (sender, commands) = command_channel();
    let mut sink = GrpcSink::new(options, sender);
    sink.open(&sample_session()).await.unwrap();
    (sink, commands)
}

async fn deliver(sink: &mut GrpcSink, number: u64, sites: usize) -> Arc<Snapshot> {
    let record = sample_record(number, sites);
    let begin = Instant::now();
    sink.deliver(&record).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "delivering waited {:?}", begin.elapsed());
    let Record::Snapshot { snapshot, .. } = record else { unreachable!("it is one") };
    snapshot
}

async fn until(sink: &GrpcSink, what: &str, holds: impl Fn(&SinkStats) -> bool) {
    let begin = Instant::now();
    while !holds(&sink.stats()) {
        assert!(begin.elapsed() < PATIENCE, "{what} does not happen: {:?}", sink.stats());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn close(sink: &mut GrpcSink) -> Result<(), SinkError> {
    tokio::time::timeout(PATIENCE, sink.close()).await.expect("closing ends")
}

#[test]
fn the_sink_keeps_the_contract_of_all_sinks() {
    let place = std::cell::RefCell::new(None::<Running>);
    let make = || {
        let running = Running::start([Does::Work(Vec::new())]);
        let sink = GrpcSink::new(options(&running.address.to_string()), command_channel().0);
        place.replace(Some(running));
        Box::new(sink) as Box<dyn Sink>
    };
    let read_back = || {
        let seen = |event| match event {
            Event::Snapshot { snapshot, .. } => {
                let profiles = snapshot.readings.iter().flat_map(|reading| &reading.profiles);
                let sites = Some(profiles.map(|profile| profile.sites().len()).sum());
                Some(Seen::Snapshot { number: snapshot.number, sites })
            }
            Event::Mark(mark) => Some(Seen::Mark { name: mark.name }),
            Event::Lost(loss) => Some(Seen::Lost(loss)),
            _ => None,
        };
        place.borrow().as_ref().unwrap().events().into_iter().filter_map(seen).collect()
    };
    let fault = |broken: bool| {
        let mut place = place.borrow_mut();
        let (address, kept) = {
            let running = place.as_ref().unwrap();
            (running.address, Arc::clone(&running.kept))
        };
        if broken {
            let mut running = place.take().unwrap();
            drop(running.end.take());
            let _ = running.thread.take().unwrap().join();
            // A place without a server, that keeps what came.
            running.thread = Some(thread::Builder::new().spawn(|| {}).unwrap());
            place.replace(running);
        } else {
            place.replace(Running::start_at(address, [Does::Work(Vec::new())], kept));
        }
    };
    SinkSuite::new(make, read_back).with_fault(fault).run();
}

#[tokio::test]
async fn an_address_that_can_never_work_is_refused_at_once() {
    for (address, told) in [
        ("", "the port is missing: write HOST:PORT: \"\""),
        ("desk", "the port is missing: write HOST:PORT: \"desk\""),
        ("https://desk:4711", "leakline does not speak TLS yet"),
        ("::1:4711", "an IPv6 address goes into brackets"),
    ] {
        let mut sink = GrpcSink::new(options(address), command_channel().0);
        let error = sink.open(&sample_session()).await.unwrap_err();
        assert!(matches!(error, SinkError::Misconfigured { .. }), "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
        assert!(sink.deliver(&sample_record(0, 1)).await.is_err());
        sink.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_and_tried_again() {
    let (mut sink, _commands) = opened(options("nowhere.invalid:4711")).await;
    deliver(&mut sink, 0, 5).await;
    until(&sink, "a failure is told", |stats| !stats.last_error.is_empty()).await;
    let told = sink.stats().last_error;
    assert!(told.starts_with("the collector's name does not resolve"), "{told}");
    assert!(told.ends_with(": nowhere.invalid:4711"), "{told}");
    assert_eq!(sink.stats().lost, Loss::default());
    let error = close(&mut sink).await.unwrap_err().to_string();
    assert!(error.contains("never reached the collector"), "{error}");
    assert_eq!((sink.stats().lost.snapshots, sink.stats().held_bytes), (1, 0));
}

/// How often the sink comes back within a second to a collector that does this, and what it tells.
async fn check_no_hot_loop(does: Does, told: &str) {
    let running = Running::start([does]);
    let address = running.address.to_string();
    let patient = GrpcOptions { backoff_max: Duration::from_secs(60), ..options(&address) };
    let (mut sink, _commands) = opened(patient).await;
    deliver(&mut sink, 0, 5).await;
    until(&sink, "a failure is told", |stats| !stats.last_error.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running.hellos(), 1);
    let error = sink.stats().last_error;
    assert!(error.contains(told) && error.ends_with(&format!(": {address}")), "{error}");
    assert_eq!((sink.stats().delivered_snapshots, sink.stats().lost.snapshots), (0, 0));
}

#[tokio::test]
async fn a_collector_that_will_never_agree_is_not_asked_all_the_time() {
    check_no_hot_loop(Does::SpeakVersion(2), "the collector speaks protocol version 2, this agent speaks 1")
        .await;
    let refused = Status::failed_precondition("the agent speaks protocol version 1, this collector speaks 2");
    check_no_hot_loop(Does::Refuse(refused), "the collector refuses: the agent speaks protocol version 1")
        .await;
    check_no_hot_loop(
        Does::Refuse(Status::unimplemented("")),
        "what answers there is not a leakline collector",
    )
    .await;
    check_no_hot_loop(Does::AskFor(1000), "the collector asks for entry 1000, but only").await;
    check_no_hot_loop(Does::Acknowledge(1000), "the collector asks for entry 1000, but only").await;
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_and_nothing_twice() {
    let breaks = [0, 1, 2, 3, 5, 8, 13].map(|after| Does::BreakAfter(after + 1));
    let running = Running::start(breaks.into_iter().chain([Does::Work(Vec::new())]));
    let (mut sink, _commands) = opened(options(&running.address.to_string())).await;
    let mut sent = Vec::new();
    for number in 0..40 {
        sent.push(deliver(&mut sink, number, 20).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // A sink that closes bears few breaks.
    until(&sink, "every break is over", |_| running.hellos() == 8).await;
    close(&mut sink).await.unwrap();
    assert_eq!(running.hellos(), 8);
    assert!(running.snapshots() == sent);
    let stats = sink.stats();
    assert_eq!((stats.delivered_snapshots, stats.lost, stats.held_bytes), (40, Loss::default(), 0));
    assert!(matches!(running.events().last(), Some(Event::End(_))));
}

#[tokio::test]
async fn entries_that_the_collector_will_never_take_do_not_block_those_after_them() {
    let running = Running::start([Does::Choke(3), Does::Work(Vec::new())]);
    let (mut sink, _commands) = opened(options(&running.address.to_string())).await;
    deliver(&mut sink, 0, 5).await;
    until(&sink, "the loss is counted", |stats| stats.lost.snapshots == 1).await;
    let last = deliver(&mut sink, 1, 5).await;
    close(&mut sink).await.unwrap();
    let events = running.events();
    assert!(events.contains(&Event::Snapshot { snapshot: last, verdicts: Vec::new() }), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Lost(Loss { snapshots: 1, .. }))), "{events:?}");
    assert_eq!((sink.stats().delivered_snapshots, sink.stats().lost.snapshots), (1, 1));
}

#[tokio::test]
async fn a_collector_that_stalls_never_stalls_delivery_and_memory_stays_bounded() {
    for does in [Does::Stall, Does::BeSilent] {
        let running = Running::start([does]);
        let bound = 256 << 10;
        let small = GrpcOptions { max_held_bytes: bound, ..options(&running.address.to_string()) };
        let (mut sink, _commands) = opened(small).await;
        for number in 0..300 {
            deliver(&mut sink, number, 400).await;
            assert!(sink.stats().held_bytes <= bound + 100, "{:?}", sink.stats());
            tokio::task::yield_now().await;
        }
        let stats = sink.stats();
        assert!(stats.lost.snapshots > 0 && stats.lost.snapshots < 300, "{stats:?}");
        assert_eq!(stats.delivered_snapshots, 0);
    }
}

#[tokio::test]
async fn snapshots_are_bounded_by_count_too() {
    let (mut sink, _commands) = opened(GrpcOptions { max_held_snapshots: 3, ..options("127.0.0.1:1") }).await;
    for number in 0..10 {
        deliver(&mut sink, number, 1).await;
    }
    assert_eq!(sink.stats().lost.snapshots, 7);
}

#[tokio::test]
async fn a_large_profile_is_split_far_below_what_grpc_takes() {
    let running = Running::start([Does::Work(Vec::new())]);
    let large = GrpcOptions { max_held_bytes: 64 << 20, ..options(&running.address.to_string()) };
    let (mut sink, _commands) = opened(large).await;
    let sent = vec![deliver(&mut sink, 0, 200_000).await];
    let held = sink.stats().held_bytes;
    close(&mut sink).await.unwrap();
    assert!(held > 4 << 20, "{held} bytes would fit into one message");
    assert!(running.snapshots() == sent);
    let largest = running.kept.lock().unwrap().largest;
    assert!(largest <= limits::MAX_ENTRY_BYTES as u64 + 64, "{largest}");
}

const WINDOW: Window = Window {
    source: WindowSource::Tracemalloc,
    frames: Some(7),
    duration: Duration::from_secs(60),
    max_traces: Some(1000),
};

#[tokio::test]
async fn commands_are_obeyed_and_what_is_not_understood_is_passed_over() {
    let command = |body| v1::Command { body };
    let commands = vec![
        command(Some(v1::command::Body::SnapshotNow(v1::Empty {}))),
        command(None),
        command(Some(v1::command::Body::SetIntervalNanos(0))),
        command(Some(v1::command::Body::ResetBaseline(v1::Empty {}))),
        command(Some(v1::command::Body::SetIntervalNanos(2_000_000_000))),
        command(Some(v1::command::Body::OpenWindow(v1::Window::default()))),
        command(Some(v1::command::Body::OpenWindow((&WINDOW).into()))),
        command(Some(v1::command::Body::CloseWindow(v1::Empty {}))),
        command(Some(v1::command::Body::Census(v1::Empty {}))),
        command(Some(v1::command::Body::Cycles(v1::Empty {}))),
    ];
    let running = Running::start([Does::Work(commands)]);
    let (mut sink, mut commands) = opened(options(&running.address.to_string())).await;
    for expected in [
        Command::SnapshotNow,
        Command::ResetBaseline,
        Command::SetInterval(Duration::from_secs(2)),
        Command::Ask(ProbeRequest::OpenWindow(WINDOW)),
        Command::Ask(ProbeRequest::CloseWindow),
        Command::Ask(ProbeRequest::Census),
        Command::Ask(ProbeRequest::Cycles),
    ] {
        let got = tokio::time::timeout(PATIENCE, commands.next()).await.unwrap();
        assert_eq!(got, Some(expected));
    }
    deliver(&mut sink, 0, 1).await;
    close(&mut sink).await.unwrap();
    assert_eq!(running.snapshots().len(), 1);
}

#[tokio::test]
async fn a_peer_that_vanished_is_noticed_by_the_pings_it_does_not_answer() {
    let running = Running::start([Does::Work(Vec::new())]);
    // A NAT that forgets: from some point on it takes bytes and passes none on.
    let nat = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, behind) = (nat.local_addr().unwrap(), running.address);
    let forward = tokio::spawn(async move {
        let (mut agent, _) = nat.accept().await.unwrap();
        let mut collector = tokio::net::TcpStream::connect(behind).await.unwrap();
        let copy = tokio::io::copy_bidirectional(&mut agent, &mut collector);
        let _ = tokio::time::timeout(Duration::from_millis(500), copy).await;
        let (second, _) = nat.accept().await.unwrap();
        drop((agent, collector));
        let mut second = second;
        let mut collector = tokio::net::TcpStream::connect(behind).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut second, &mut collector).await;
    });
    let lively = GrpcOptions {
        keepalive_interval: Duration::from_millis(200),
        keepalive_timeout: Duration::from_millis(200),
        ..options(&address.to_string())
    };
    let (mut sink, _commands) = opened(lively).await;
    let mut sent = vec![deliver(&mut sink, 0, 3).await];
    until(&sink, "the first arrives", |stats| stats.delivered_snapshots == 1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    sent.push(deliver(&mut sink, 1, 3).await);
    until(&sink, "the second arrives by a new connection", |stats| stats.delivered_snapshots == 2).await;
    close(&mut sink).await.unwrap();
    assert_eq!(running.hellos(), 2);
    assert!(running.snapshots() == sent);
    forward.abort();
}

#[tokio::test]
async fn something_else_at_the_address_is_told_and_data_is_kept() {
    // Takes connections, and says what a mail server says.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let serve = tokio::spawn(async move {
        loop {
            let (mut stream, _) = other.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail ESMTP\r\n").await;
        }
    });
    let (mut sink, _commands) = opened(options(&address)).await;
    deliver(&mut sink, 0, 5).await;
    until(&sink, "a failure is told", |stats| stats.last_error.ends_with(&address)).await;
    assert!(sink.stats().last_error.contains("collector"), "{}", sink.stats().last_error);
    assert_eq!(sink.stats().lost, Loss::default());
    serve.abort();
}

#[tokio::test]
async fn closing_without_a_collector_gives_up_soon_and_counts_what_is_lost() {
    let (mut sink, _commands) = opened(GrpcOptions {
        backoff_min: Duration::from_secs(60),
        backoff_max: Duration::from_secs(60),
        ..options("127.0.0.1:1")
    })
    .await;
    for number in 0..3 {
        deliver(&mut sink, number, 5).await;
    }
    let begin = Instant::now();
    let error = close(&mut sink).await.unwrap_err().to_string();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(error.ends_with("127.0.0.1:1") && error.contains("never reached the collector"), "{error}");
    let stats = sink.stats();
    assert_eq!((stats.lost.snapshots, stats.delivered_snapshots, stats.held_bytes), (3, 0, 0));
}
