//! Probes of the host's own through readers: one process, one agent, so one test file with one test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use leakline::{Config, LogcatTarget, ReadingStatus, Snapshot, custom};

const PATIENCE: Duration = Duration::from_secs(60);

/// A thread of the host's that answers with `lines` each time; while `hangs`, it does not come to its end.
fn reader(lines: &'static [&'static str], hangs: Arc<AtomicBool>) -> (u32, JoinHandle<u32>) {
    let number = custom::open().expect("a reader");
    let work = move || {
        let mut times = 0;
        while custom::wait(number) {
            times += 1;
            for line in lines {
                custom::tell(number, line);
            }
            while hangs.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            custom::tell(number, "probe\tlast\ngauge\tprocess.last\tcount\tlevel\t1\n");
            custom::done(number);
        }
        times
    };
    (number, Builder::new().name("host".into()).spawn(work).expect("a thread"))
}

/// Takes snapshots until one is as it should be: a busy machine may keep a reader from answering in time.
#[track_caller]
fn until(what: &str, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let begun = Instant::now();
    loop {
        let snapshot = leakline::snapshot_now().expect("a snapshot");
        if holds(&snapshot) {
            return snapshot;
        }
        assert!(begun.elapsed() < PATIENCE, "never {what}: {:#?}", snapshot.reading("custom"));
    }
}

fn has(name: &'static str, value: f64) -> impl Fn(&Snapshot) -> bool {
    move |snapshot| snapshot.gauge(name) == Some(value)
}

#[test]
fn threads_of_the_host_are_asked_at_each_reading_and_cost_nothing_but_what_is_theirs() {
    let config = || Config {
        logcat_target: LogcatTarget::Off,
        interval: Duration::from_secs(2),
        final_wait: Duration::from_secs(10),
        ..Config::default()
    };
    let (free, stuck) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));

    // The first comes before the agent, and is there when it is started again.
    const QUEUE: &[&str] =
        &["probe\tqueue\n", "gauge\tprocess.queue_length\tcount\tlevel\t7\n", "note\tnews\n"];
    let (first, thread) = reader(QUEUE, Arc::clone(&free));
    for _ in 0..2 {
        leakline::start(config()).unwrap();
        assert!(leakline::is_running());
        let snapshot = until("read", has("process.queue_length", 7.0));
        let reading = snapshot.reading("custom").unwrap();
        assert_eq!((&reading.notes[..], reading.taken), (&["news".to_owned()][..], None));
        leakline::stop();
        assert!(!leakline::is_running());
    }

    // The next comes while it runs, and one without a thread of its own makes nobody wait.
    leakline::start(config()).unwrap();
    let (second, other) =
        reader(&["probe\tcache\ngauge\tprocess.cache\tbytes\tlevel\t5\n"], Arc::clone(&stuck));
    let third = custom::open().unwrap();
    assert!(!custom::wait(third), "on the thread that opened it");
    until("both", |snapshot| {
        has("process.queue_length", 7.0)(snapshot) && has("process.cache", 5.0)(snapshot)
    });

    // One that does not come back costs its own gauges, and is named.
    stuck.store(true, Ordering::Release);
    let is_named = |snapshot: &Snapshot| {
        let reading = snapshot.reading("custom").unwrap();
        reading.status == ReadingStatus::Ok
            && reading.notes.iter().any(|note| note.starts_with("cache: no answer for "))
    };
    until("named", is_named);
    until("named again, with the other's gauges", |snapshot| {
        is_named(snapshot)
            && has("process.queue_length", 7.0)(snapshot)
            && snapshot.gauge("process.cache").is_none()
    });
    let begun = Instant::now();
    stuck.store(false, Ordering::Release);
    until("back", has("process.cache", 5.0));
    assert!(begun.elapsed() < PATIENCE);

    // Closed, its thread goes on; what is told from then on is nobody's.
    custom::close(second);
    assert!(other.join().unwrap() > 2);
    assert!(!custom::tell(second, "gauge\tprocess.cache\tbytes\tlevel\t5\n"));
    assert!(leakline::snapshot_now().unwrap().gauge("process.cache").is_none());

    let more: Vec<u32> = std::iter::from_fn(custom::open).collect();
    assert_eq!(more.len(), 6, "eight at a time");
    more.into_iter().chain([first, third]).for_each(custom::close);
    assert!(thread.join().unwrap() > 3);
    let last = leakline::snapshot_now().unwrap();
    assert_eq!(last.reading("custom").map(|reading| reading.gauges.len()), Some(0));
    leakline::stop();
}
