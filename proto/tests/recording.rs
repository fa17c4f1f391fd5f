//! Entries to the bytes of a file and back, whatever happened to the file.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod common;

use std::path::PathBuf;

use common::{at, decode, encode, expected, fixed_records};
use leakline_proto::recording::{
    HEADER_BYTES, Item, Parser, Problem, Reader, RecordingError, append, header, len, scan,
};
use leakline_proto::{Decoder, Event, v1};
use proptest::prelude::*;

fn recording(entries: &[v1::Entry]) -> Vec<u8> {
    let mut bytes = header().to_vec();
    for entry in entries {
        let before = bytes.len() as u64;
        append(entry, &mut bytes);
        assert_eq!(bytes.len() as u64 - before, len(entry));
    }
    bytes
}

fn fixed() -> Vec<u8> {
    recording(&encode(&fixed_records()))
}

/// Where each entry of the fixed recording ends; the header's end first.
fn ends() -> Vec<u64> {
    let entries = encode(&fixed_records());
    let mut end = HEADER_BYTES as u64;
    let mut ends = vec![end];
    ends.extend(entries.iter().map(|entry| {
        end += len(entry);
        end
    }));
    ends
}

fn read(bytes: &[u8]) -> Result<Vec<Item>, RecordingError> {
    Ok(Reader::new(bytes)?.collect())
}

/// Reads in pieces of `piece` bytes.
fn read_in_pieces(bytes: &[u8], piece: usize) -> Result<Vec<Item>, RecordingError> {
    let mut parser = Parser::new();
    let mut items = Vec::new();
    for piece in bytes.chunks(piece) {
        parser.feed(piece);
        while let Some(item) = parser.next_item()? {
            items.push(item);
        }
    }
    parser.finish();
    while let Some(item) = parser.next_item()? {
        items.push(item);
    }
    assert_eq!(Some(parser.summary()), scan(bytes).ok());
    Ok(items)
}

fn entries(items: &[Item]) -> Vec<v1::Entry> {
    let entries = items.iter().filter_map(|item| match item {
        Item::Entry { entry, .. } => Some(entry.clone()),
        _ => None,
    });
    entries.collect()
}

fn others(items: &[Item]) -> Vec<String> {
    items.iter().filter(|item| !matches!(item, Item::Entry { .. })).map(ToString::to_string).collect()
}

#[test]
fn what_was_written_is_read() {
    let items = read(&fixed()).unwrap();
    assert_eq!(others(&items), Vec::<String>::new());
    assert_eq!(entries(&items), encode(&fixed_records()));
    for piece in [1, 2, 7, 1000] {
        assert_eq!(read_in_pieces(&fixed(), piece).unwrap(), items);
    }
}

#[test]
fn a_recording_cut_anywhere_is_read_to_its_last_whole_entry() {
    let (whole, ends, all) = (fixed(), ends(), encode(&fixed_records()));
    for cut in 0..whole.len() {
        let bytes = &whole[..cut];
        let result = read(bytes);
        assert_eq!(read_in_pieces(bytes, 64), result, "cut at {cut}");
        if cut < HEADER_BYTES {
            let expected =
                if cut == 0 { RecordingError::Empty } else { RecordingError::CutOff { bytes: cut as u64 } };
            assert_eq!(result, Err(expected));
            continue;
        }
        let count = ends.iter().filter(|end| **end <= cut as u64).count() - 1;
        let end = ends[count];
        let items = result.unwrap();
        assert_eq!(entries(&items), all[..count], "cut at {cut}");
        let torn = end < cut as u64;
        let expected = torn.then(|| format!("truncated at byte {end}, everything before is shown"));
        assert_eq!(others(&items), Vec::from_iter(expected), "cut at {cut}");
        let summary = scan(bytes).unwrap();
        assert_eq!(
            (summary.entries, summary.last_number, summary.end, summary.problems, summary.truncated),
            (count as u64, (count as u64).checked_sub(1), end, 0, torn)
        );
        // What a writer appends after it has cut the torn end is read.
        let mut resumed = bytes[..usize::try_from(summary.end).unwrap()].to_vec();
        all[count..].iter().for_each(|entry| append(entry, &mut resumed));
        assert_eq!(resumed, whole);
    }
}

#[test]
fn a_flipped_bit_costs_the_entry_that_it_is_in_and_no_other() {
    let (whole, ends, all) = (fixed(), ends(), encode(&fixed_records()));
    for bit in 0..whole.len() * 8 {
        let (byte, mut bytes) = (bit / 8, whole.clone());
        bytes[byte] ^= 1 << (bit % 8);
        let items = read(&bytes).unwrap();
        assert_eq!(read_in_pieces(&bytes, 100).unwrap(), items, "bit {bit}");
        let Some(hit) = ends.iter().position(|end| (byte as u64) < *end).unwrap().checked_sub(1) else {
            assert_eq!(others(&items), ["16 bytes at byte 0 left out: the header is damaged"]);
            assert_eq!(entries(&items), all);
            continue;
        };
        let left: Vec<_> = all.iter().filter(|entry| entry.number != hit as u64).cloned().collect();
        assert_eq!(entries(&items), left, "bit {bit}");
        let what = others(&items);
        assert_eq!(what.len(), 1, "bit {bit}: {what:?}");
        let place = format!("at byte {}", ends[hit]);
        assert!(what[0].contains(&place), "bit {bit}: {what:?}");
        // And the decoder tells what is missing, and makes the best of the rest.
        let mut decoder = Decoder::new();
        let events: Vec<Event> = left.into_iter().flat_map(|entry| decoder.push(entry).unwrap()).collect();
        let gaps = events.iter().filter(|event| **event == Event::Gap { missing_entries: 1 }).count();
        assert_eq!(gaps, usize::from(hit + 1 < all.len()), "bit {bit}");
    }
}

#[test]
fn garbage_between_entries_is_stepped_over() {
    let (whole, ends) = (fixed(), ends());
    let split = usize::try_from(ends[3]).unwrap();
    // The beginning of a frame, a marker, and a frame of a length that nobody writes.
    for garbage in
        [&b"\xff"[..], b"\xffLK\xfe", b"\xffLK\xfe\xff\xff\xff\x7f1234", b"plain text", &whole[..50]]
    {
        let bytes = [&whole[..split], garbage, &whole[split..]].concat();
        let items = read(&bytes).unwrap();
        assert_eq!(read_in_pieces(&bytes, 10).unwrap(), items);
        let found = entries(&items);
        assert!(found.len() >= encode(&fixed_records()).len(), "{garbage:?}");
        assert!(scan(&bytes).unwrap().problems >= 1);
    }
}

#[test]
fn something_else_is_named_by_how_it_begins() {
    let check = |bytes: &[u8], expected: &str| {
        assert_eq!(read(bytes).unwrap_err().to_string(), expected);
        assert_eq!(read_in_pieces(bytes, 3).unwrap_err().to_string(), expected);
    };
    check(
        b"\x7fELF\x02\x01\x01\0 and so on, and so on",
        "not a leakline recording (begins with 7f 45 4c 46 02 01 01 00)",
    );
    check(b"JAVA PROFILE 1.0.2\0", r#"not a leakline recording (begins with "JAVA PRO")"#);
    check(b"hi", r#"not a leakline recording (begins with "hi")"#);
    check(b"", "an empty file: nothing was recorded yet");
    check(
        b"leakline\x01",
        "a leakline recording that was cut off in its header, after 9 bytes: nothing was recorded yet",
    );
}

#[test]
fn a_newer_format_is_named() {
    let mut bytes = fixed();
    bytes[8] = 2;
    let checksum = crc32fast::hash(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&checksum);
    assert_eq!(read(&bytes), Err(RecordingError::Newer { version: 2 }));
    let message = read(&bytes).unwrap_err().to_string();
    assert!(message.starts_with("recording of a newer format version 2"), "{message}");
}

#[test]
fn a_frame_that_holds_no_entry_is_told_and_stepped_over() {
    let payload = [0xff_u8; 5];
    let length = 5_u32.to_le_bytes();
    let checksum = crc32fast::hash(&[&length[..], &payload].concat()).to_le_bytes();
    let frame = [b"\xffLK\xfe", &length[..], &checksum, &payload].concat();
    let bytes = [&header()[..], &frame, &fixed()[HEADER_BYTES..]].concat();
    let items = read(&bytes).unwrap();
    let Item::Problem { offset: 16, bytes: 17, what: Problem::Unknown { .. } } = &items[0] else {
        panic!("{:?}", items[0]);
    };
    assert_eq!(entries(&items), encode(&fixed_records()));
}

fn fixture() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "v1.leak"].iter().collect()
}

/// The fixture is never made anew: it shows that what an older leakline wrote is still read.
#[test]
#[ignore = "makes the fixture of a new format"]
fn make_the_fixture() {
    assert!(!fixture().exists(), "it stays as it is");
    std::fs::write(fixture(), fixed()).unwrap();
}

#[test]
fn the_recording_that_version_1_wrote_is_read_as_ever() {
    let items = read(&std::fs::read(fixture()).unwrap()).unwrap();
    assert_eq!(others(&items), Vec::<String>::new());
    let mut expected = expected(&fixed_records());
    expected.push(Event::End(at(9999)));
    assert_eq!(decode(entries(&items)), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn whole_and_in_pieces_any_bytes_read_the_same(
        garbage in prop::collection::vec(any::<u8>(), 0..300),
        with_header: bool,
        markers in prop::collection::vec(0..300_usize, 0..4),
        piece in 1..100_usize,
    ) {
        let mut bytes = if with_header { header().to_vec() } else { Vec::new() };
        bytes.extend(garbage);
        for marker in markers {
            if let Some(place) = bytes.get_mut(marker..marker + 8) {
                place.copy_from_slice(b"\xffLK\xfe\x03\0\0\0");
            }
        }
        prop_assert_eq!(read(&bytes), read_in_pieces(&bytes, piece));
    }

    #[test]
    fn damaged_recordings_read_the_same_whole_and_in_pieces(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut: prop::sample::Index,
        piece in 1..100_usize,
    ) {
        let mut bytes = fixed();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let items = read(&bytes);
        prop_assert_eq!(&items, &read_in_pieces(&bytes, piece));
        if let Ok(items) = items {
            let mut decoder = Decoder::new();
            for entry in entries(&items) {
                let _ = decoder.push(entry);
            }
            // Every byte is accounted for.
            let mut at = HEADER_BYTES as u64;
            for item in &items {
                match item {
                    Item::Entry { offset, end, .. } => { prop_assert_eq!(*offset, at); at = *end; }
                    Item::Problem { what: Problem::Header, .. } => {}
                    Item::Problem { offset, bytes, .. } => { prop_assert_eq!(*offset, at); at += bytes; }
                    Item::Truncated { offset } => { prop_assert_eq!(*offset, at); at = bytes.len() as u64; }
                    other => panic!("{other:?}"),
                }
            }
            prop_assert_eq!(at, bytes.len() as u64);
        }
    }
}
