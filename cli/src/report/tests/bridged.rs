//! Reports on Python's growth in a process where Java holds Python objects.

use super::*;

/// Twelve ticks at which Python keeps 412 blocks more each time, and Java holds `held` Python objects more, which it was given at
/// `line` of the function that the leaking path goes through, as so many samples tell.
fn recorded(held: u64, line: u32, samples: f64) -> Vec<u8> {
    let mut encoder = Encoder::new(&session());
    let mut bytes = recording::header().to_vec();
    let frames = [
        Frame::made("org.jpype.ref.JPypeReference"),
        Frame::new("org.jpype.proxy.JPypeProxy.newInstance", "", 0),
        Frame::new("on_packet", "/app/reticulum_wrapper.py", line),
    ];
    let given = Arc::new(Site::call_path(frames.map(Arc::new).to_vec(), false));
    for tick in 0..12_u64 {
        let mut snapshot = snapshot(tick);
        snapshot.readings[1].status = ReadingStatus::Ok;
        let objects = 20 + tick * held;
        let live = Amount { bytes: 56 * objects, blocks: objects };
        let stat = SiteStat {
            standard_error_bytes: (live.bytes as f64 / samples.sqrt()) as u64,
            ..SiteStat::exact(Arc::clone(&given), live)
        };
        let source = ProfileSource::sampled(ProfileSource::SAMPLED, 65_536);
        snapshot.readings[1].profiles = vec![Arc::new(Profile::new(source, vec![stat]))];
        snapshot.readings[1].gauges.push(Gauge::count(names::BRIDGE_JAVA_HOLDS_PYTHON, objects));
        let record = Record::Snapshot { snapshot: Arc::new(snapshot), verdicts: verdicts(tick).into() };
        encoder.record(&record).iter().for_each(|entry| recording::append(entry, &mut bytes));
    }
    bytes
}

fn check(held: u64, line: u32, samples: f64, expected: Option<&str>) {
    let shown = show(&recorded(held, line, samples), Range::default(), 1, false);
    let told =
        shown.lines().find(|line| line.contains("Java holds") && line.contains("of it")).map(str::trim);
    assert_eq!(told, expected, "{shown}");
}

#[test]
fn what_java_holds_of_pythons_growth_is_told_where_it_was_given_it() {
    let words = |share: &str| format!("Java holds {share}, given at reticulum_wrapper.py:450 on_packet");
    check(412, 450, 400.0, Some(&words("96 % of it (95 %: 89 to 100)")));
    check(206, 450, 400.0, Some(&words("48 % of it (95 %: 46 to 51)")));
    // More objects than blocks explain no more than there is.
    check(4120, 450, 400.0, Some(&words("96 % of it (95 %: 89 to 100)")));
}

#[test]
fn with_few_samples_the_line_may_not_be_the_only_one() {
    check(
        412,
        450,
        16.0,
        Some("Java holds 96 % of it (95 %: 69 to 100), given at reticulum_wrapper.py:450 on_packet"),
    );
    check(412, 450, 5.0, None);
}

#[test]
fn what_was_allocated_elsewhere_is_not_said_to_be_javas() {
    check(412, 451, 400.0, None);
    check(0, 450, 400.0, None);
}
