//! Writes the entries of the committed recording as an input for the target `decoder`.

use std::error::Error;
use std::fs;
use std::path::Path;

use leakline_proto::recording::{Item, Reader};
use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recording = fs::read(here.join("../proto/tests/fixtures/v1.leak"))?;
    let mut seed = vec![1];
    for item in Reader::new(&recording)? {
        if let Item::Entry { entry, .. } = item {
            entry.encode_length_delimited(&mut seed)?;
        }
    }
    fs::create_dir_all(here.join("corpus/decoder"))?;
    fs::write(here.join("corpus/decoder/v1"), seed)?;
    Ok(())
}
