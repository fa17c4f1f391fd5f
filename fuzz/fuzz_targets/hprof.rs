//! Any bytes as a heap dump: no panic, memory in proportion to the input, no more instances held than there are.

#![no_main]

use std::io::Cursor;

use leakline_hprof::Dump;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    check(input);
    // Most inputs fail at the header: let them past it, and into a segment of the heap.
    for (format, id_bytes) in [("1.0.2", 8_u32), ("1.0.3", 4)] {
        let segment = [&[0x1c, 0, 0, 0, 0][..], &(input.len() as u32).to_be_bytes(), input].concat();
        let header = [b"JAVA PROFILE ", format.as_bytes(), b"\0", &id_bytes.to_be_bytes(), &[0; 8]].concat();
        check(&[&header[..], &segment, &[0x2c, 0, 0, 0, 0, 0, 0, 0, 0]].concat());
    }
});

fn check(bytes: &[u8]) {
    let Ok(mut dump) = Dump::open(Cursor::new(bytes)) else { return };
    let Ok(classes) = dump.classes() else { return };
    let names: Vec<String> = classes.into_iter().map(|class| class.name).collect();
    for held in dump.holders(&names, true).unwrap_or_default() {
        let told: u64 = held.paths.iter().map(|path| path.instances).sum();
        assert!(told + held.by_other_paths + held.unheld <= held.class.instances);
    }
}
