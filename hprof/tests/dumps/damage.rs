//! Dumps that are cut off, changed, or none at all: an error that says where, never a panic.

use std::io::Cursor;

use leakline_hprof::{Dump, HprofError};
use proptest::prelude::*;

use crate::writer::{ART, Form, HOTSPOT, SMALL, dump};

const TEXT: &str = "
    info
    class java.lang.Object
    class java.lang.String : java.lang.Object value:L coder:B
    class java.lang.Thread : java.lang.Object name:L
    class java.lang.ref.Reference : java.lang.Object referent:L
    class java.lang.ref.SoftReference : java.lang.ref.Reference
    class X : java.lang.Object next:L a:Z b:C c:F d:D e:B f:S g:I h:J
    new a X
    new b X next=a
    segment
    string name main
    new t java.lang.Thread name=name
    thread 1 t Holder.hold:7
    array items X[] a b null
    new soft java.lang.ref.SoftReference referent=items
    class A : java.lang.Object static.KEPT=soft
    root 03 b 1 0
    root 01 items
    root 8e soft 1 0
";

/// Everything that can be asked of a dump.
fn read(bytes: &[u8]) -> Result<usize, HprofError> {
    let mut dump = Dump::open(Cursor::new(bytes))?;
    let names: Vec<String> = dump.classes()?.into_iter().map(|class| class.name).collect();
    let held = dump.holders(&names, true)?;
    Ok(held.iter().map(|held| held.paths.len()).sum())
}

#[track_caller]
fn check(bytes: &[u8], expected: &str) {
    assert_eq!(read(bytes).expect_err("it is damaged").to_string(), expected);
}

#[test]
fn the_error_says_where_and_in_what() {
    let whole = dump(HOTSPOT, "class A\n new a A");
    check(b"", "not a heap dump: it begins with nothing, not with JAVA PROFILE");
    check(
        b"\x1f\x8b\x08\0",
        "not a heap dump: it begins with what gzip writes (gunzip it first), not with JAVA PROFILE",
    );
    check(b"#!/bin/sh\n", r"not a heap dump: it begins with #!/bin/sh\n, not with JAVA PROFILE");
    check(b"JAVA PROFILE 1.0.2\0\0\0\0\x03\0\0\0\0\0\0\0\0", "identifiers of 3 bytes; 4 or 8 are known");
    check(&whole[..25], "cut off at offset 25, in the header");
    check(&whole[..31], "cut off at offset 31, in the file, before any heap");
    check(
        &whole[..whole.len() - 9],
        &format!("cut off at offset {}, in the file, before HEAP DUMP END", whole.len() - 9),
    );
    check(&whole[..35], "cut off at offset 35, in a record's head");
    check(&whole[..45], "cut off at offset 45, in UTF8");
    check(
        &whole[..whole.len() - 10],
        &format!("cut off at offset {}, in HEAP DUMP SEGMENT", whole.len() - 10),
    );

    let mut unknown = whole.clone();
    let first = unknown.iter().position(|byte| *byte == 0x1c).expect("a segment") + 9;
    unknown[first] = 0x77;
    check(&unknown, &format!("unknown tag 0x77 at offset {first}, in the heap"));
}

#[test]
fn an_instance_that_is_shorter_than_its_class_is_an_error() {
    let mut bytes = dump(HOTSPOT, "class A next:L\n new a A\n root 05 a");
    // Behind the instance's head come its data, the root, and the end's record.
    let root = bytes.len() - 9 - 9;
    let length = root - 8 - 4;
    assert_eq!(bytes[length..length + 4], [0, 0, 0, 8]);
    assert!(read(&bytes).is_ok());
    // Without its data the file can still be passed over.
    bytes[length + 3] = 0;
    bytes.splice(root - 8..root, []);
    let segment = bytes.iter().position(|byte| *byte == 0x1c).expect("a segment");
    let stated = u32::from_be_bytes(bytes[segment + 5..segment + 9].try_into().expect("four bytes"));
    bytes[segment + 5..segment + 9].copy_from_slice(&(stated - 8).to_be_bytes());
    check(&bytes, &format!("fewer bytes than the class has fields at offset {}, in INSTANCE DUMP", root - 8));
}

#[test]
fn every_cut_is_an_error() {
    for form in [HOTSPOT, ART] {
        let whole = dump(form, TEXT);
        assert!(read(&whole).expect("it is whole") > 4, "{form:?}");
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{form:?} {end}");
        }
    }
}

fn forms() -> impl Strategy<Value = Form> {
    prop_oneof![Just(HOTSPOT), Just(SMALL), Just(ART)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn changed_bytes_do_no_harm(
        form in forms(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = dump(form, TEXT);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = read(&bytes);
    }

    #[test]
    fn any_bytes_do_no_harm(form in forms(), rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = dump(form, "");
        bytes.truncate(31);
        let segment = [&[0x1c, 0, 0, 0, 0][..], &(rest.len() as u32).to_be_bytes(), &rest].concat();
        bytes.extend(segment);
        let _ = read(&bytes);
    }
}
