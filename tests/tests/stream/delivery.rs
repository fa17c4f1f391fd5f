//! What is sent arrives, once and in order, whatever becomes of the collector meanwhile.

use std::fs::OpenOptions;
use std::io::Write as _;

use leakline_collector::EndReason;
use leakline_core::conformance::{Seen, SinkSuite};
use leakline_core::{Command, Loss, ProbeRequest, Window};
use leakline_proto::recording;

use super::*;

#[tokio::test]
async fn a_session_arrives_as_it_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Running::start(folder.path());
    let mut agent = Agent::start(&session(1), options(&collector.address())).await;
    for sites in [10, 12, 0, 500, 9] {
        agent.snapshot(sites).await;
    }
    agent.mark("reconnect").await;
    agent.close().await;
    assert_eq!(agent.stats().delivered_snapshots, 5);
    assert_eq!((agent.stats().held_bytes, agent.stats().lost), (0, Loss::default()));
    check_recorded(folder.path(), &session(1), &agent.sent);
    let events = recorded(folder.path(), &session(1));
    assert!(
        matches!(&events[events.len() - 2..], [Event::Mark(mark), Event::End(_)] if mark.name == "reconnect")
    );

    let mut seen = Vec::new();
    let reason = collector
        .event(|event| match event {
            CollectorEvent::Snapshot { snapshot, .. } => {
                seen.push(snapshot);
                None
            }
            CollectorEvent::SessionEnded { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
    assert_eq!(reason, EndReason::Finished);
    assert!(seen == agent.sent, "the live events have the same snapshots");

    let stored = sessions::list(folder.path()).unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!((&stored[0].session, stored[0].ended), (&session(1), true));
    assert!(stored[0].last_entry.is_some_and(|last| last > 5));
    let name = stored[0].path.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, "com.example.app-reticulum-20240101T000007Z-01010101.leak");
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_at_first_gets_everything_once_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let address = Running::start(folder.path());
    let (address, gone) = (address.address(), address);
    gone.end(How::Orderly).await;
    let mut agent = Agent::start(&session(1), options(&address)).await;
    for _ in 0..20 {
        agent.snapshot(30).await;
    }
    agent.until("the failure is told", |stats| stats.last_error.contains(&address)).await;
    assert_eq!(agent.stats().delivered_snapshots, 0);
    assert!(agent.stats().last_error.starts_with("cannot connect to the collector"), "{:?}", agent.stats());
    let collector = Running::start_with(folder.path(), &address, CollectorOptions::default());
    agent.until_delivered(20).await;
    assert_eq!(agent.stats().last_error, "");
    agent.close().await;
    check_recorded(folder.path(), &session(1), &agent.sent);
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn a_collector_that_ends_and_comes_back_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Running::start(folder.path());
    let address = collector.address();
    let mut agent = Agent::start(&session(1), options(&address)).await;
    for how in [How::Orderly, How::Killed, How::Orderly] {
        agent.snapshot(40).await;
        agent.until_delivered(agent.sent.len() as u64).await;
        collector.end(how).await;
        agent.snapshot(41).await;
        collector = Running::start_with(folder.path(), &address, CollectorOptions::default());
    }
    agent.close().await;
    check_recorded(folder.path(), &session(1), &agent.sent);
    collector.end(How::Orderly).await;
}

/// Kills the collector at random points, leaves torn entries behind, and starts it again on the same folder and port.
async fn check_kills(seed: u64) {
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Running::start(folder.path());
    let address = collector.address();
    let session = session(u8::try_from(seed % 251).unwrap());
    let mut agent = Agent::start(&session, options(&address)).await;
    for _ in 0..2 + random.below(4) {
        for _ in 0..random.below(12) {
            let sites = [0, 3, 50, 4000][random.below(4) as usize];
            agent.snapshot(sites).await;
            if random.below(3) == 0 {
                tokio::time::sleep(Duration::from_micros(random.below(30_000))).await;
            }
        }
        // The runtime of the sink gets as far as it gets in this time.
        tokio::time::sleep(Duration::from_micros(random.below(40_000))).await;
        collector.end(if random.below(4) == 0 { How::Orderly } else { How::Killed }).await;
        tear(folder.path(), &mut random);
        collector = Running::start_with(folder.path(), &address, CollectorOptions::default());
    }
    agent.snapshot(7).await;
    agent.close().await;
    collector.end(How::Orderly).await;
    assert_eq!(agent.stats().lost, Loss::default(), "seed {seed}");
    check_recorded(folder.path(), &session, &agent.sent);
}

/// Leaves a part of an entry at the end of each recording, as a crash in the middle of a write does.
fn tear(folder: &Path, random: &mut Random) {
    for stored in sessions::list(folder).unwrap() {
        let mut torn = Vec::new();
        let mark = leakline_proto::v1::Mark { name: "x".repeat(200), at: None };
        let body = Some(leakline_proto::v1::entry::Body::Mark(mark));
        recording::append(&leakline_proto::v1::Entry { number: u64::MAX, body }, &mut torn);
        torn.truncate(random.below(torn.len() as u64) as usize);
        OpenOptions::new().append(true).open(&stored.path).unwrap().write_all(&torn).unwrap();
    }
}

#[tokio::test]
async fn whenever_the_collector_is_killed_the_recording_is_what_was_sent() {
    for seed in 0..15 {
        check_kills(seed).await;
    }
}

#[tokio::test]
async fn a_buffer_that_overflows_tells_the_loss_and_the_profiles_are_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let gone = Running::start(folder.path());
    let address = gone.address();
    gone.end(How::Orderly).await;
    let small = GrpcOptions { max_held_bytes: 64 << 10, ..options(&address) };
    let mut agent = Agent::start(&session(1), small).await;
    for _ in 0..100 {
        agent.snapshot(300).await;
        assert!(agent.stats().held_bytes <= 64 << 10, "{:?}", agent.stats());
    }
    let lost = agent.stats().lost;
    assert!(lost.snapshots > 0 && lost.snapshots < 100, "{lost:?}");
    let collector = Running::start_with(folder.path(), &address, CollectorOptions::default());
    agent.until_delivered(100 - lost.snapshots).await;
    agent.snapshot(300).await;
    agent.close().await;
    assert_eq!(agent.stats().delivered_snapshots + agent.stats().lost.snapshots, 101);

    let events = recorded(folder.path(), &session(1));
    let found = snapshots(&events);
    let expected: Vec<u64> = (lost.snapshots..=100).collect();
    assert_eq!(found.iter().map(|snapshot| snapshot.number).collect::<Vec<_>>(), expected);
    let told =
        events.iter().filter_map(|event| if let Event::Lost(loss) = event { Some(loss) } else { None });
    assert_eq!(told.map(|loss| loss.snapshots).sum::<u64>(), lost.snapshots);
    assert!(events.iter().any(|event| matches!(event, Event::Gap { .. })), "the missing entries show too");
    assert_eq!(found.last(), agent.sent.last(), "the profile is known again");
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn a_collector_whose_folder_was_emptied_gets_the_profiles_from_the_next_snapshot_on() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Running::start(folder.path());
    let address = collector.address();
    let mut agent = Agent::start(&session(1), options(&address)).await;
    agent.snapshot(20).await;
    agent.until_delivered(1).await;
    collector.end(How::Killed).await;
    std::fs::remove_file(sessions::find(folder.path(), "01").unwrap()).unwrap();
    agent.snapshot(20).await;
    let collector = Running::start_with(folder.path(), &address, CollectorOptions::default());
    agent.until_delivered(2).await;
    agent.snapshot(20).await;
    agent.close().await;
    let found = snapshots(&recorded(folder.path(), &session(1)));
    assert_eq!(found.iter().map(|snapshot| snapshot.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(found[0].readings[0].profiles, []);
    assert_eq!(found[0].readings[0].gauges, agent.sent[1].readings[0].gauges);
    assert_eq!(found[1], agent.sent[2]);
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn two_hundred_thousand_sites_fit_through() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Running::start(folder.path());
    let large = GrpcOptions { max_held_bytes: 64 << 20, ..options(&collector.address()) };
    let mut agent = Agent::start(&session(1), large).await;
    agent.snapshot(200_000).await;
    let held = agent.stats().held_bytes;
    agent.snapshot(200_000).await;
    agent.close().await;
    assert!(held > 4 << 20, "{held} bytes would fit into one message");
    check_recorded(folder.path(), &session(1), &agent.sent);
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn a_snapshot_larger_than_the_buffer_arrives_without_its_profile() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Running::start(folder.path());
    let small = GrpcOptions { max_held_bytes: 64 << 10, ..options(&collector.address()) };
    let mut agent = Agent::start(&session(1), small).await;
    for sites in [10, 20_000, 11] {
        agent.snapshot(sites).await;
        agent.until_delivered(agent.sent.len() as u64).await;
    }
    agent.close().await;
    let found = snapshots(&recorded(folder.path(), &session(1)));
    assert_eq!(found.len(), 3);
    assert_eq!((&found[0], &found[2]), (&agent.sent[0], &agent.sent[2]));
    assert_eq!(found[1].readings[0].profiles, []);
    assert_eq!(found[1].readings[0].gauges, agent.sent[1].readings[0].gauges);
    assert!(
        found[1].readings[0].notes[0].starts_with("the profile is left out"),
        "{:?}",
        found[1].readings[0]
    );
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn many_hosts_at_once_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Running::start(folder.path());
    let mut agents = Vec::new();
    for id in 0..8 {
        agents.push(Agent::start(&session(id), options(&collector.address())).await);
    }
    for round in 0..10 {
        for (index, agent) in agents.iter_mut().enumerate() {
            agent.snapshot(10 * index + round).await;
        }
        tokio::task::yield_now().await;
    }
    for (id, agent) in agents.iter_mut().enumerate() {
        agent.close().await;
        check_recorded(folder.path(), &session(id as u8), &agent.sent);
    }
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn commands_reach_the_host_they_are_meant_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Running::start(folder.path());
    let mut agent = Agent::start(&session(1), options(&collector.address())).await;
    let mut other = Agent::start(&session(2), options(&collector.address())).await;
    for _ in 0..2 {
        collector.event(|event| matches!(event, CollectorEvent::SessionStarted { .. }).then_some(())).await;
    }
    // Ready right after the event.
    while collector.handle.connected().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let commands =
        [Command::SnapshotNow, Command::ResetBaseline, Command::SetInterval(Duration::from_millis(1500))];
    for command in &commands {
        collector.handle.send(session(1).id, command).unwrap();
    }
    for command in commands {
        let got = tokio::time::timeout(PATIENCE, agent.commands.next()).await.unwrap();
        assert_eq!(got, Some(command));
    }
    assert_eq!(other.commands.next_now(), None);

    // The same from another process on this machine.
    let address = collector.address();
    let window = Command::Ask(ProbeRequest::OpenWindow(Window::exact(Duration::from_secs(60))));
    let id = session(2).id.to_string();
    let host = leakline_collector::ask(&address, &id[..8], &window).await.unwrap();
    assert_eq!(host, session(2).host.name);
    assert_eq!(tokio::time::timeout(PATIENCE, other.commands.next()).await.unwrap(), Some(window.clone()));
    for (query, expected) in
        [("", "several sessions are connected"), ("nobody", "no session is connected that is")]
    {
        let error = leakline_collector::ask(&address, query, &window).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.ends_with(&address), "{error}");
    }
    assert_eq!(agent.commands.next_now(), None);
    agent.close().await;
    other.close().await;
    while !collector.handle.connected().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let error = collector.handle.send(session(1).id, &Command::SnapshotNow).unwrap_err().to_string();
    assert!(error.starts_with("the host is not connected"), "{error}");
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn a_recording_that_grew_too_large_is_continued_in_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let small = CollectorOptions { max_recording_bytes: 48 << 10, ..CollectorOptions::default() };
    let mut collector = Running::start_with(folder.path(), "127.0.0.1:0", small.clone());
    let address = collector.address();
    let mut agent = Agent::start(&session(1), options(&address)).await;
    let mut largest = 0;
    for index in 0..60 {
        agent.snapshot(200).await;
        agent.until_delivered(index + 1).await;
        for stored in sessions::list(folder.path()).unwrap() {
            largest = largest.max(stored.bytes);
        }
        if index == 40 {
            collector.end(How::Killed).await;
            collector = Running::start_with(folder.path(), &address, small.clone());
        }
    }
    agent.close().await;
    // One epoch may stick out.
    assert!(largest < 96 << 10, "{largest}");
    let path = sessions::find(folder.path(), "01").unwrap();
    let newest: Vec<Event> =
        sessions::open(&path, Predecessors::LeaveOut).unwrap().collect::<Result<_, _>>().unwrap();
    let all = recorded(folder.path(), &session(1));
    assert!(snapshots(&newest).len() < snapshots(&all).len());
    for events in [newest, all] {
        let found = snapshots(&events);
        assert!(found == agent.sent[60 - found.len()..], "the newest, without a hole");
    }
    collector.end(How::Orderly).await;
}

#[test]
fn the_sink_keeps_the_contract_of_all_sinks_with_a_real_collector() {
    struct Place {
        folder: tempfile::TempDir,
        collector: Option<Running>,
        address: String,
    }
    let place = std::cell::RefCell::new(None::<Place>);
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let collector = Running::start(folder.path());
        let address = collector.address();
        let sink = GrpcSink::new(options(&address), command_channel().0);
        if let Some(old) = place.replace(Some(Place { folder, collector: Some(collector), address }))
            && let Some(collector) = old.collector
        {
            collector.end_now(How::Killed);
        }
        Box::new(sink) as Box<dyn Sink>
    };
    let read_back = || {
        let place = place.borrow();
        let folder = place.as_ref().unwrap().folder.path();
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
        recorded(folder, &sample_session()).into_iter().filter_map(seen).collect()
    };
    let fault = |broken: bool| {
        let mut place = place.borrow_mut();
        let place = place.as_mut().unwrap();
        if broken {
            place.collector.take().unwrap().end_now(How::Killed);
        } else {
            let options = CollectorOptions::default();
            place.collector = Some(Running::start_with(place.folder.path(), &place.address, options));
        }
    };
    SinkSuite::new(make, read_back).with_fault(fault).run();
}
