//! Any bytes as a stream of entries, one after the other with their lengths in front, as gRPC would hand them over:
//! the decoder gives events or errors, and its profiles hold.

#![no_main]

use leakline_proto::v1::Entry;
use leakline_proto::{Decoder, Event};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|input: &[u8]| {
    let Some((in_order, mut bytes)) = input.split_first() else { return };
    let mut decoder = Decoder::new();
    while let Ok(mut entry) = Entry::decode_length_delimited(&mut bytes) {
        if bytes.is_empty() && entry == Entry::default() {
            break;
        }
        // Numbers as they come end in gaps nearly always.
        if in_order % 4 != 0 {
            entry.number = decoder.next_number();
        }
        for event in decoder.push(entry).unwrap_or_default() {
            if let Event::Snapshot { snapshot, .. } = event {
                for reading in &snapshot.readings {
                    for (index, profile) in reading.profiles.iter().enumerate() {
                        assert!(profile.sites().is_sorted_by_key(|stat| stat.site.id()));
                        let mut before = reading.profiles[..index].iter();
                        assert!(before.all(|other| other.source().name != profile.source().name));
                    }
                }
            }
        }
    }
});
