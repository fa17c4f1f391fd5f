//! Any bytes as a recording: read whole and in pieces they give the same, and every byte is accounted for.

#![no_main]

use leakline_proto::recording::{self, Item, Parser, Problem, Reader, RecordingError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    check(bytes, usize::from(piece) + 1);
    // Most inputs fail at the header: let them past it.
    check(&[&recording::header()[..], bytes].concat(), usize::from(piece) + 1);
});

fn check(bytes: &[u8], piece: usize) {
    let whole = Reader::new(bytes).map(Iterator::collect::<Vec<Item>>);
    assert_eq!(whole, in_pieces(bytes, piece));
    let Ok(items) = whole else { return };
    let mut at = recording::HEADER_BYTES as u64;
    for item in items {
        let begins = match item {
            Item::Entry { offset, .. } | Item::Truncated { offset } => offset,
            Item::Problem { what: Problem::Header, .. } => continue,
            Item::Problem { offset, .. } => offset,
            _ => unreachable!("no other items"),
        };
        assert_eq!(begins, at);
        at = match item {
            Item::Entry { end, .. } => end,
            Item::Problem { bytes, .. } => begins + bytes,
            _ => bytes.len() as u64,
        };
    }
    assert_eq!(at, bytes.len() as u64);
}

fn in_pieces(bytes: &[u8], piece: usize) -> Result<Vec<Item>, RecordingError> {
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
    Ok(items)
}
