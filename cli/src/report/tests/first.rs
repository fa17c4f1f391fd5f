//! What a reader must know before the figures: why a recording was cut, and what is incomplete in the last readings.

use super::*;

/// Three snapshots, each changed by `change`, and then the entries that `last` makes.
fn recorded(
    change: impl Fn(&mut Snapshot),
    last: impl Fn(&mut Encoder) -> Vec<leakline_proto::v1::Entry>,
) -> Vec<u8> {
    let mut encoder = Encoder::new(&session());
    let mut entries = encoder.start();
    for tick in 0..3 {
        let mut snapshot = snapshot(tick);
        change(&mut snapshot);
        entries.extend(
            encoder
                .record(&Record::Snapshot { snapshot: Arc::new(snapshot), verdicts: verdicts(tick).into() }),
        );
    }
    entries.extend(last(&mut encoder));
    let mut bytes = recording::header().to_vec();
    entries.iter().for_each(|entry| recording::append(entry, &mut bytes));
    bytes
}

#[test]
fn a_recording_that_was_cut_says_why() {
    let reason = "the file may not grow further (file size limit)";
    let bytes = recorded(|_| {}, |encoder| vec![encoder.cut(at(20), reason)]);
    let shown = show(&bytes, Range::default(), 3, false);
    assert!(shown.contains(&format!("\nthe recording was cut: {reason}\n")), "{shown}");
    assert!(!shown.contains("no end was recorded") && !shown.contains("unreadable"), "{shown}");
    let json = show(&bytes, Range::default(), 3, true);
    assert!(json.contains(&format!("\"cut\": \"{reason}\"")) && json.contains("\"ended\": null"), "{json}");
    // What stood in its place has the same number.
    let resumed = recorded(
        |_| {},
        |encoder| {
            encoder.cut(at(20), reason);
            encoder.record(&Record::Mark(Mark { name: "resumed".to_owned(), at: at(21) }))
        },
    );
    let shown = show(&resumed, Range::default(), 3, false);
    assert!(!shown.contains("missing:") && !shown.contains("was cut"), "{shown}");
    let long = recorded(|_| {}, |encoder| vec![encoder.cut(at(20), &"ä".repeat(1000))]);
    assert!(show(&long, Range::default(), 3, false).contains("the recording was cut: ää"));
}

#[test]
fn what_is_incomplete_stands_before_the_tables() {
    let notes = [
        "no call paths of malloc: the hook rests",
        "9 samples of malloc were not kept: there was no room",
        "more Python call paths than leakline keeps: 7 samples so far have no line of their own",
        "buffers not asked: the last answer took 3 ms",
    ];
    let bytes = recorded(
        |snapshot| {
            let late = ReadingStatus::Late { since: Duration::from_secs(2) };
            for reading in &mut snapshot.readings {
                match &*reading.probe {
                    "native" => reading.notes.extend(notes.map(str::to_owned)),
                    "jvm" => reading.status = late.clone(),
                    // Was so, and is no longer.
                    "process" if snapshot.number == 1 => reading.notes.push("no call paths: x".to_owned()),
                    _ => {}
                }
            }
        },
        |encoder| vec![encoder.end(at(20))],
    );
    let shown = show(&bytes, Range::default(), 3, false);
    let (first, rest) = shown.split_at(shown.find("\nresident").unwrap());
    for note in notes.iter().take(3) {
        assert!(first.contains(&format!("\nincomplete: native: {note}\n")), "{note}: {shown}");
    }
    assert!(first.contains("\nincomplete: jvm: the last reading was not answered in time\n"), "{shown}");
    assert_eq!(shown.matches("incomplete:").count(), 4, "{shown}");
    assert!(rest.contains(notes[3]) && !first.contains(notes[3]));
    assert!(
        show(&bytes, Range::default(), 3, true)
            .contains("\"native: no call paths of malloc: the hook rests\"")
    );
}
