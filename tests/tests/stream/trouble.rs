//! Disks, limits and addresses that say no: the agent keeps its data and is told why.

use super::*;

#[tokio::test]
async fn a_folder_that_is_gone_refuses_the_stream_and_the_agent_keeps_its_data() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("recordings");
    let mut collector = Running::start(&folder);
    std::fs::remove_dir(&folder).unwrap();
    let mut agent = Agent::start(&session(1), options(&collector.address())).await;
    agent.snapshot(10).await;
    let why = collector.refusal().await;
    assert!(why.starts_with("the collector cannot write the recording:"), "{why}");
    assert!(why.contains("recordings"), "{why}");
    agent.until("it is told", |stats| stats.last_error.contains("cannot write the recording")).await;
    assert_eq!(agent.stats().delivered_snapshots, 0);
    std::fs::create_dir(&folder).unwrap();
    agent.close().await;
    check_recorded(&folder, &session(1), &agent.sent);
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn a_foreign_file_in_the_place_of_a_recording_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("com.example.app-reticulum-20240101T000007Z-01010101.leak");
    std::fs::write(&foreign, "my notes").unwrap();
    let collector = Running::start(folder.path());
    let mut agent = Agent::start(&session(1), options(&collector.address())).await;
    agent.snapshot(10).await;
    agent.close().await;
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "my notes");
    check_recorded(folder.path(), &session(1), &agent.sent);
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn one_session_more_than_the_limit_waits_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let one = CollectorOptions { max_sessions: 1, ..CollectorOptions::default() };
    let mut collector = Running::start_with(folder.path(), "127.0.0.1:0", one);
    let mut first = Agent::start(&session(1), options(&collector.address())).await;
    first.snapshot(5).await;
    first.until_delivered(1).await;
    let mut second = Agent::start(&session(2), options(&collector.address())).await;
    second.snapshot(5).await;
    assert_eq!(collector.refusal().await, "the collector has 1 sessions, its limit");
    second.until("it is told", |stats| stats.last_error.contains("its limit")).await;
    first.close().await;
    second.until_delivered(1).await;
    second.close().await;
    check_recorded(folder.path(), &session(1), &first.sent);
    check_recorded(folder.path(), &session(2), &second.sent);
    collector.end(How::Orderly).await;
}

#[tokio::test]
async fn a_collector_that_cannot_begin_says_what_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bind = async |address: &str, folder: &Path| {
        let options = CollectorOptions::default();
        Collector::bind(address, folder, options).await.unwrap_err().to_string()
    };
    let error = bind(&address, folder.path()).await;
    assert!(error.starts_with("cannot listen: ") && error.ends_with(&address), "{error}");
    let error = bind("nonsense", folder.path()).await;
    assert!(error.starts_with("cannot listen: ") && error.ends_with("nonsense"), "{error}");
    let file = folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let error = bind("127.0.0.1:0", &file).await;
    assert!(error.starts_with("cannot use the folder for recordings: "), "{error}");
    assert!(error.ends_with("a-file"), "{error}");
}

#[tokio::test]
async fn a_session_is_found_by_file_name_and_id() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Running::start(folder.path());
    for id in [0x12, 0x13] {
        let mut agent = Agent::start(&session(id), options(&collector.address())).await;
        agent.snapshot(1).await;
        agent.close().await;
    }
    collector.end(How::Orderly).await;
    std::fs::write(folder.path().join("other.leak"), "not a recording").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "12").unwrap();
    let listed = sessions::list(folder.path()).unwrap();
    assert_eq!(listed.len(), 2);
    let path = &listed[0].path;
    let name = path.file_name().unwrap().to_str().unwrap();
    for query in ["12", "1212", &session(0x12).id.to_string(), name, name.trim_end_matches(".leak")] {
        assert_eq!(&sessions::find(folder.path(), query).unwrap(), path, "{query}");
    }
    assert_eq!(&sessions::find(folder.path(), path.to_str().unwrap()).unwrap(), path);
    let error = |query: &str| sessions::find(folder.path(), query).unwrap_err().to_string();
    assert!(error("1").starts_with("\"1\" may be any of com.example.app-"), "{}", error("1"));
    assert!(error("99").starts_with("no session \"99\""), "{}", error("99"));
    assert!(error("").starts_with("no session \"\""), "{}", error(""));
    let foreign = sessions::open(&folder.path().join("other.leak"), Predecessors::LeaveOut).unwrap_err();
    assert!(foreign.to_string().starts_with("not a leakline recording"), "{foreign}");
    let nowhere = sessions::find(&folder.path().join("nowhere"), "12").unwrap_err().to_string();
    assert!(nowhere.starts_with("no session \"12\""), "{nowhere}");
}

#[test]
fn a_damaged_recording_is_read_around_the_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.leak");
    let mut encoder = leakline_proto::Encoder::new(&session(1));
    let mut bytes = leakline_proto::recording::header().to_vec();
    for number in 0..30 {
        for entry in encoder.record(&sample_record(number, 20)) {
            leakline_proto::recording::append(&entry, &mut bytes);
        }
    }
    let intact = bytes.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    bytes.truncate(bytes.len() - 3);
    std::fs::write(&path, &bytes).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) =
        sessions::open(&path, Predecessors::Read).unwrap().partition(Result::is_ok);
    let bad: Vec<String> = bad.into_iter().map(|problem| problem.unwrap_err().to_string()).collect();
    assert!(bad[0].contains("left out: damaged") && bad[0].ends_with("x.leak"), "{bad:?}");
    assert!(bad.last().unwrap().starts_with("truncated at byte "), "{bad:?}");
    let good: Vec<Event> = good.into_iter().map(Result::unwrap).collect();
    assert!(snapshots(&good).len() >= 28, "{}", snapshots(&good).len());
    assert!(good.iter().any(|event| matches!(event, Event::Gap { .. })));
    // Cut off anywhere, it is read as far as it goes.
    for length in (0..intact.len()).step_by(intact.len() / 97) {
        std::fs::write(&path, &intact[..length]).unwrap();
        match sessions::open(&path, Predecessors::Read) {
            Ok(events) => assert!(events.filter(Result::is_err).count() <= 1, "{length}"),
            Err(error) => assert!(length < 16, "{length}: {error}"),
        }
    }
}
