//! Records to entries and back.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod common;

use std::sync::Arc;

use common::{at, decode, encode, expected, frame, of, reading, records, session, snapshot, stat};
use leakline_core::{
    Amount, Frame, Gauge, Mark, NativePlace, Profile, ProfileSource, Record, Site, SiteStat, Snapshot,
    Subject,
};
use leakline_proto::limits::{KEYFRAME_EVERY, MAX_ENTRY_BYTES, MAX_FRAMES, MAX_SOURCES, MAX_STRING_BYTES};
use leakline_proto::v1::{self, entry::Body};
use leakline_proto::{Decoder, Encoder, Event};
use proptest::prelude::*;
use prost::Message as _;

fn snapshots(events: &[Event]) -> Vec<Arc<Snapshot>> {
    let snapshots = events.iter().filter_map(|event| match event {
        Event::Snapshot { snapshot, .. } => Some(Arc::clone(snapshot)),
        _ => None,
    });
    snapshots.collect()
}

fn is_epoch(entry: &v1::Entry) -> bool {
    matches!(entry.body, Some(Body::Epoch(_)))
}

/// Checks what holds for all entries of a session.
fn check_entries(entries: &[v1::Entry]) {
    for (number, entry) in entries.iter().enumerate() {
        assert_eq!(entry.number, number as u64, "numbered without a gap");
        assert!(entry.encoded_len() <= MAX_ENTRY_BYTES, "{} bytes", entry.encoded_len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn what_was_recorded_is_what_is_read(records in prop::collection::vec(records(), 0..30)) {
        let entries = encode(&records);
        check_entries(&entries);
        let mut events = decode(entries);
        prop_assert_eq!(events.pop(), Some(Event::End(at(9999))));
        prop_assert_eq!(events, expected(&records));
    }

    #[test]
    fn what_was_lost_on_the_way_is_told_and_the_rest_is_right(
        records in prop::collection::vec(records(), 0..40),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut entries = encode(&records);
        for index in lost {
            let index = index.index(entries.len());
            entries.drain(index..(index + 3).min(entries.len()));
            if entries.is_empty() {
                return Ok(());
            }
        }
        let last = entries[entries.len() - 1].number;
        let (mut told, mut missing) = (entries.len() as u64, 0);
        for event in decode(entries) {
            match event {
                Event::Gap { missing_entries } => missing += missing_entries,
                Event::Snapshot { snapshot, .. } => {
                    // Each is the one that was recorded, but for profiles that are not known and say so.
                    let original = records.iter().find_map(|record| match record {
                        Record::Snapshot { snapshot: original, .. }
                            if original.number == snapshot.number && original.tick == snapshot.tick =>
                        {
                            Some(original)
                        }
                        _ => None,
                    });
                    let original = original.expect("only what was recorded");
                    for (reading, original) in snapshot.readings.iter().zip(&original.readings) {
                        if reading.profiles.is_empty() && !original.profiles.is_empty() {
                            prop_assert!(reading.notes.last().unwrap().starts_with("the profile is unknown"));
                        } else {
                            prop_assert_eq!(&reading.profiles, &original.profiles);
                        }
                        prop_assert_eq!(reading.gauges.len(), original.gauges.len());
                    }
                }
                _ => {}
            }
        }
        told += missing;
        prop_assert_eq!(told, last + 1);
    }
}

proptest! {
    // Few: each makes and hashes tens of MB of text.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn no_entry_is_too_large_however_long_the_strings(
        lengths in prop::collection::vec(0..20_000_usize, 1..40),
        depth in 1..400_usize,
    ) {
        let frames: Vec<_> = (0..depth)
            .map(|index| frame(&"f".repeat(lengths[index % lengths.len()]), &format!("{index}"), 1))
            .collect();
        let stats = lengths
            .iter()
            .enumerate()
            .flat_map(|(index, length)| [
                stat(Site::class("ü".repeat(*length)), 1, 1),
                stat(Site::call_path(frames[(depth - 1 - index % depth)..].to_vec(), false), 1 + index as u64, 1),
            ])
            .chain([stat(Site::call_path(frames.clone(), false), 1, 1), stat(Site::class("c".repeat(2 << 20)), 1, 1)])
            .collect();
        let mut reading = reading(Some(stats));
        reading.probe = "p".repeat(lengths[0]).into();
        reading.notes = lengths.iter().map(|length| "n".repeat(*length)).collect();
        reading.gauges =
            lengths.iter().map(|length| Gauge::bytes("g".repeat(*length), *length as u64)).collect();
        let mark = Mark { name: "m".repeat(lengths[0]), at: at(1) };
        let entries = encode(&[of(snapshot(0, vec![reading; 20]), Vec::new()), Record::Mark(mark)]);
        check_entries(&entries);
        prop_assert_eq!(snapshots(&decode(entries)).len(), 1);
    }
}

#[test]
fn a_snapshot_that_is_too_large_is_cut_and_says_so() {
    let mut large = reading(None);
    large.gauges = (0..100_000).map(|index| Gauge::count(format!("custom.gauge_{index}"), index)).collect();
    let entries = encode(&[of(snapshot(0, vec![reading(None), large]), Vec::new())]);
    check_entries(&entries);
    let read = snapshots(&decode(entries)).remove(0);
    assert_eq!(read.readings[0].gauges.len(), 1, "the small reading is whole");
    assert!(read.readings[1].gauges.len() > 10_000);
    assert!(read.readings[0].notes[1].contains("too large for one entry"), "{:?}", read.readings[0].notes);
}

#[test]
fn a_large_profile_is_split_and_comes_back_whole() {
    let caller = frame("caller", "caller.py", 1);
    let stats: Vec<_> = (0..60_000_u64)
        .map(|index| {
            let inner =
                frame("function", &format!("/a/rather/long/path/to/module_{}.py", index / 50), index as u32);
            stat(Site::call_path([inner, Arc::clone(&caller)], false), index + 1, 1)
        })
        .collect();
    let record = of(snapshot(0, vec![reading(Some(stats))]), Vec::new());
    let entries = encode(std::slice::from_ref(&record));
    check_entries(&entries);
    assert!(entries.len() > 10, "{} entries", entries.len());
    assert_eq!(decode(entries)[..2], expected(&[record]));
}

#[test]
fn strings_and_call_paths_are_cut_at_their_bounds() {
    let long = "ü".repeat(MAX_STRING_BYTES);
    let deep = vec![frame("f", "g", 1); MAX_FRAMES + 1];
    let stats = vec![stat(Site::class(long), 1, 1), stat(Site::call_path(deep, false), 2, 2)];
    let read =
        snapshots(&decode(encode(&[of(snapshot(0, vec![reading(Some(stats))]), Vec::new())]))).remove(0);
    let sites = read.readings[0].profiles[0].sites().to_vec();
    for stat in sites {
        match stat.site.holder() {
            leakline_core::SiteHolder::Class(name) => {
                assert!(name.len() <= MAX_STRING_BYTES && name.ends_with("ü…"), "{} bytes", name.len());
            }
            leakline_core::SiteHolder::CallPath { frames, truncated } => {
                assert_eq!((frames.len(), *truncated), (MAX_FRAMES, true));
            }
        }
    }
}

#[test]
fn only_sites_that_changed_are_sent() {
    let stats = |first: u64| {
        (0..1000)
            .map(|index| stat(Site::class(format!("C{index}")), if index == 0 { first } else { 9 }, 1))
            .collect()
    };
    let mut encoder = Encoder::new(&session());
    encoder.record(&of(snapshot(0, vec![reading(Some(stats(1)))]), Vec::new()));
    let entries = encoder.record(&of(snapshot(1, vec![reading(Some(stats(2)))]), Vec::new()));
    let changed: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.body {
            Some(Body::Profile(change)) => Some((change.whole, change.sites.len())),
            Some(Body::Intern(_)) => panic!("nothing is new"),
            _ => None,
        })
        .collect();
    assert_eq!(changed, [(false, 1)]);
    let entries = encoder.record(&of(snapshot(2, vec![reading(Some(stats(2)))]), Vec::new()));
    assert_eq!(entries.len(), 1, "nothing but the snapshot");
}

#[test]
fn a_keyframe_comes_every_so_many_snapshots() {
    let records: Vec<_> = (0..2 * KEYFRAME_EVERY + 1)
        .map(|number| {
            of(snapshot(number, vec![reading(Some(vec![stat(Site::class("C"), 5, 1)]))]), Vec::new())
        })
        .collect();
    let entries = encode(&records);
    assert_eq!(entries.iter().filter(|entry| is_epoch(entry)).count(), 3);
}

#[test]
fn the_table_is_given_up_when_it_has_grown_and_a_steady_one_is_not() {
    let mut encoder = Encoder::new(&session());
    let mut record = |number: u64, from: usize| {
        let stats =
            (from..from + 500).map(|index| stat(Site::class(format!("{index:04000}")), 1, 1)).collect();
        let entries = encoder.record(&of(snapshot(number, vec![reading(Some(stats))]), Vec::new()));
        (entries.iter().any(is_epoch), encoder.held_bytes())
    };
    // 2 MB each, all new: past 4 MiB after the third.
    let epochs: Vec<bool> = (0..7).map(|number| record(number, 500 * number as usize).0).collect();
    assert_eq!(epochs, [true, false, false, true, false, false, true]);
    assert!(record(7, 3500).1 < 8 << 20);
    let steady: Vec<bool> = (8..11).map(|number| record(number, 3500).0).collect();
    assert_eq!(steady, [false, false, false]);
}

#[test]
fn a_profile_beyond_all_bounds_loses_its_small_sites_and_says_so() {
    let stats = (0..20_000_u64).map(|index| stat(Site::class(format!("{index:04000}")), index, 1)).collect();
    let entries = encode(&[of(snapshot(0, vec![reading(Some(stats))]), Vec::new())]);
    check_entries(&entries);
    let read = snapshots(&decode(entries)).remove(0);
    let sites = read.readings[0].profiles[0].sites().to_vec();
    assert!(sites.len() > 10_000 && sites.len() < 20_000, "{}", sites.len());
    let smallest = sites.iter().map(|stat| stat.live.bytes).min().unwrap();
    assert_eq!(smallest, 20_000 - sites.len() as u64, "the largest are kept");
    assert!(read.readings[0].notes[1].contains("small sites are left out"), "{:?}", read.readings[0].notes);
}

#[test]
fn abandoned_numbers_are_given_again_to_a_new_epoch() {
    let mut encoder = Encoder::new(&session());
    let mut entries = encoder.start();
    let record =
        |number| of(snapshot(number, vec![reading(Some(vec![stat(Site::class("C"), 5, 1)]))]), Vec::new());
    entries.extend(encoder.record(&record(0)));
    let first = encoder.next_number();
    encoder.record(&record(1));
    encoder.abandon_from(first);
    entries.extend(encoder.record(&record(2)));
    check_entries(&entries);
    assert_eq!(decode(entries), expected(&[record(0), record(2)]));
}

#[test]
fn an_entry_that_comes_twice_is_told_and_ignored() {
    let entries = encode(&common::fixed_records());
    let twice = entries.iter().flat_map(|entry| [entry.clone(), entry.clone()]);
    let events = decode(twice);
    let duplicates = events.iter().filter(|event| matches!(event, Event::Duplicate { .. })).count();
    assert_eq!(duplicates, entries.len());
    let rest: Vec<_> = events.into_iter().filter(|event| !matches!(event, Event::Duplicate { .. })).collect();
    assert_eq!(rest[..rest.len() - 1], expected(&common::fixed_records()));
}

#[test]
fn after_a_gap_gauges_are_told_without_profiles_until_the_next_epoch() {
    let mut encoder = Encoder::new(&session());
    let record = |number| {
        let verdict = leakline_core::Verdict {
            subject: Subject::Site(leakline_core::Layer::Python, Arc::new(Site::class("C"))),
            gauge: String::new(),
            kind: leakline_core::Kind::Quiet,
            rate: None,
            points: 1,
            share: None,
            seconds_to_limit: None,
            evidence: leakline_core::Evidence::default(),
        };
        of(snapshot(number, vec![reading(Some(vec![stat(Site::class("C"), 5, 1)]))]), vec![verdict])
    };
    let mut decoder = Decoder::new();
    let mut push = |entries: Vec<v1::Entry>| -> Vec<Event> {
        entries.into_iter().flat_map(|entry| decoder.push(entry).unwrap()).collect()
    };
    push(encoder.record(&record(0)));
    let lost = encoder.record(&record(1)).len() as u64;
    let events = push(encoder.record(&record(2)));
    assert_eq!(events[0], Event::Gap { missing_entries: lost });
    let Event::Snapshot { snapshot, verdicts } = &events[1] else { panic!("{events:?}") };
    assert_eq!(snapshot.readings[0].profiles, []);
    assert_eq!(snapshot.readings[0].gauges.len(), 1);
    assert_eq!(snapshot.readings[0].notes.len(), 2);
    assert_eq!(verdicts.len(), 0, "the site is not known");
    push(encoder.restart());
    assert_eq!(push(encoder.record(&record(3))), expected(&[record(3)])[1..]);
}

#[test]
fn another_session_begins_anew() {
    let mut other = session();
    other.id.0[0] ^= 1;
    let mut decoder = Decoder::new();
    for entry in encode(&common::fixed_records()) {
        decoder.push(entry).unwrap();
    }
    let events: Vec<_> =
        Encoder::new(&other).start().into_iter().flat_map(|entry| decoder.push(entry).unwrap()).collect();
    assert_eq!(events, [Event::Session(other)]);
}

/// What a site at which nothing is live says of itself is kept as long as it says something.
#[test]
fn what_was_allocated_and_freed_is_told_too() {
    let freed = |bytes| {
        let allocated = Some(Amount { bytes, blocks: 1 });
        vec![SiteStat { allocated, ..stat(Site::class("C"), 0, 0) }, stat(Site::class("D"), 1, 1)]
    };
    let records: Vec<Record> =
        (1..4).map(|number| of(snapshot(number, vec![reading(Some(freed(number)))]), Vec::new())).collect();
    assert_eq!(decode(encode(&records))[..4], expected(&records));
}

/// The same function in two builds of an object, in an object without a build id, and resolved by nobody.
#[test]
fn native_places_and_survivors_are_told() {
    let native = |function: &str, build_id: &str, address| {
        let place = NativePlace { build_id: build_id.into(), address };
        Arc::new(Frame::in_object(function, "/lib/libc.so.6", place))
    };
    let paths = [
        vec![native("malloc", "0a1b", 0x1234), native("", "0a1b", u64::MAX)],
        vec![native("malloc", "0a1c", 0x1234), frame("receive", "a.py", 7)],
        vec![native("malloc", "", 0x1234)],
    ];
    let records: Vec<Record> = (1..5)
        .map(|number| {
            let survived = (number > 2).then(|| Amount { bytes: number - 2, blocks: 1 });
            let stats = paths
                .iter()
                .map(|path| SiteStat { survived, ..stat(Site::call_path(path.clone(), false), 64, 8) });
            of(snapshot(number, vec![reading(Some(stats.collect()))]), Vec::new())
        })
        .collect();
    assert_eq!(decode(encode(&records))[..5], expected(&records));
}

#[test]
fn a_source_that_began_anew_says_so_even_with_the_same_sites() {
    let record = |number: u64| {
        let source = ProfileSource::sampled(ProfileSource::SAMPLED, 65_536).in_epoch(number);
        let mut python = reading(None);
        python.profiles = vec![Arc::new(Profile::new(source, vec![stat(Site::class("C"), 5, 1)]))];
        of(snapshot(number, vec![python]), Vec::new())
    };
    let records = [record(0), record(1)];
    assert_eq!(decode(encode(&records))[..3], expected(&records));
}

#[test]
fn more_sources_than_the_bounds_are_left_out_and_long_names_are_cut() {
    let profile =
        |name: String| Arc::new(Profile::new(ProfileSource::exact(name), vec![stat(Site::class("C"), 5, 1)]));
    let mut python = reading(None);
    python.profiles =
        (0..MAX_SOURCES + 1).map(|index| profile(format!("{index}{}", "x".repeat(5000)))).collect();
    let entries = encode(&[of(snapshot(0, vec![python]), Vec::new())]);
    check_entries(&entries);
    let read = snapshots(&decode(entries)).remove(0);
    assert_eq!(read.readings[0].profiles.len(), MAX_SOURCES);
    assert!(read.readings[0].profiles.iter().all(|profile| profile.source().name.len() <= 64));
    assert!(read.readings[0].notes[1].ends_with("is left out: there are too many"));
}

/// The profile of `sites` call paths that were never there before and never will be again, and one that always is.
fn passing(number: u64, sites: u64) -> Record {
    let path = |name: String, bytes: u64| {
        let frames = vec![frame(&name, &format!("<template {name}>"), 1), frame("main", "app.py", 7)];
        stat(Site::call_path(frames, false), bytes, 1)
    };
    let fresh = (0..sites).map(|site| path(format!("render_{number}_{site}"), 3_000));
    let stats = fresh.chain([path("keep".to_owned(), 1_000_000 + number)]).collect();
    of(snapshot(number, vec![reading(Some(stats))]), Vec::new())
}

#[test]
fn a_million_sites_that_come_and_go_take_no_more_than_the_bound_and_are_read_as_they_were() {
    const MOST: u64 = 3 << 19;
    let mut encoder = Encoder::new(&session()).within(MOST);
    let mut decoder = Decoder::new();
    for number in 0..1_000 {
        let record = passing(number, 1_000);
        let entries = encoder.record(&record);
        assert!(encoder.held_bytes() <= MOST, "{number}: {}", encoder.held_bytes());
        // Eight epochs of them: reading takes longer than writing.
        if number < 100 {
            let events: Vec<Event> =
                entries.into_iter().flat_map(|entry| decoder.push(entry).unwrap()).collect();
            let Record::Snapshot { snapshot, .. } = &record else { unreachable!("it is one") };
            assert_eq!(snapshots(&events), [Arc::clone(snapshot)], "{number}");
        }
    }
}

#[test]
fn of_more_sites_than_there_is_room_for_the_largest_are_told_and_a_note_says_how_many_are_not() {
    const MOST: u64 = 3 << 19;
    let mut encoder = Encoder::new(&session()).within(MOST);
    let mut decoder = Decoder::new();
    for number in 0..5 {
        let entries = encoder.record(&passing(number, 100_000));
        assert!(encoder.held_bytes() <= MOST, "{}", encoder.held_bytes());
        let events: Vec<Event> = entries.into_iter().flat_map(|entry| decoder.push(entry).unwrap()).collect();
        let told = snapshots(&events).pop().unwrap();
        let sites = told.readings[0].profiles[0].sites();
        assert!((1_000..10_000).contains(&sites.len()), "{}", sites.len());
        assert!(sites.iter().any(|stat| stat.live.bytes == 1_000_000 + number));
        let left_out = format!("{} small sites are left out", 100_001 - sites.len());
        assert!(
            told.readings[0].notes.iter().any(|note| note.starts_with(&left_out)),
            "{:?}",
            told.readings[0].notes
        );
    }
}
