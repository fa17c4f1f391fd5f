//! Writes the entries of the committed recording as inputs for the target `decoder`: as an older agent wrote them, and as
//! one that names its sources.

use std::error::Error;
use std::fs;
use std::path::Path;

use leakline_proto::recording::{Item, Reader};
use leakline_proto::v1::{Entry, Holder, entry::Body};
use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recording = fs::read(here.join("../proto/tests/fixtures/v1.leak"))?;
    let (mut seed, mut with_sources) = (vec![1], vec![1]);
    for item in Reader::new(&recording)? {
        if let Item::Entry { mut entry, .. } = item {
            entry.encode_length_delimited(&mut seed)?;
            name_sources(&mut entry);
            entry.encode_length_delimited(&mut with_sources)?;
        }
    }
    fs::create_dir_all(here.join("corpus/decoder"))?;
    fs::write(here.join("corpus/decoder/v1"), seed)?;
    fs::write(here.join("corpus/decoder/sources"), with_sources)?;
    Ok(())
}

fn name_sources(entry: &mut Entry) {
    match &mut entry.body {
        Some(Body::Profile(change)) => {
            change.source = "sampled".to_owned();
            change.mean_sample_bytes = Some(65_536);
            change.epoch = 1;
            for amount in &mut change.sites {
                amount.standard_error_bytes = 7;
                amount.allocated_bytes = Some(amount.bytes);
                amount.allocated_blocks = Some(amount.blocks);
                amount.survived_bytes = Some(amount.bytes / 2);
                amount.survived_blocks = Some(amount.blocks / 2);
            }
        }
        Some(Body::Intern(intern)) => {
            for (frame, address) in intern.frames.iter_mut().zip(0x1000..) {
                frame.address = Some(address);
                frame.build_id = (frame.line % 2 == 0).then_some(frame.file);
            }
        }
        Some(Body::Snapshot(snapshot)) => {
            for reading in snapshot.readings.iter_mut().filter(|reading| reading.has_profile) {
                reading.profile_sources = vec!["sampled".to_owned()];
                let held = Holder { of: "dict".to_owned(), holder: "list x".to_owned(), count: 3 };
                reading.holders = vec![held];
            }
        }
        _ => {}
    }
}
