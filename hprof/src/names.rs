//! Names as programmers write them, and the classes that the virtual machine treats specially.

use std::io::{Read, Seek};

use crate::dump::Dump;
use crate::error::HprofError;

/// Classes that mean something to the collector or to the reader.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    pub(crate) reference: u64,
    pub(crate) soft: u64,
    pub(crate) finalizer: u64,
    pub(crate) thread: u64,
    pub(crate) loader: u64,
}

impl Known {
    pub(crate) fn of<R: Read + Seek>(dump: &mut Dump<R>) -> Result<Self, HprofError> {
        let mut known = Self::default();
        let classes: Vec<u64> = dump.scan.classes.keys().copied().collect();
        for class in classes {
            let place = match &*dump.class_name(class)? {
                "java.lang.ref.Reference" => &mut known.reference,
                "java.lang.ref.SoftReference" => &mut known.soft,
                "java.lang.ref.FinalReference" | "java.lang.ref.FinalizerReference" => &mut known.finalizer,
                "java.lang.Thread" => &mut known.thread,
                "java.lang.ClassLoader" => &mut known.loader,
                _ => continue,
            };
            *place = class;
        }
        Ok(known)
    }
}

/// `[Ljava/util/Map$Entry;` as `java.util.Map$Entry[]`. ART writes names in this form already.
pub(crate) fn pretty(name: &str) -> String {
    let element = name.trim_start_matches('[');
    let dimensions = name.len() - element.len();
    let base = match element.as_bytes() {
        _ if dimensions == 0 => element.to_owned(),
        [b'L', .., b';'] => element[1..element.len() - 1].to_owned(),
        b"Z" => "boolean".to_owned(),
        b"C" => "char".to_owned(),
        b"F" => "float".to_owned(),
        b"D" => "double".to_owned(),
        b"B" => "byte".to_owned(),
        b"S" => "short".to_owned(),
        b"I" => "int".to_owned(),
        b"J" => "long".to_owned(),
        _ => element.to_owned(),
    };
    base.replace('/', ".") + &"[]".repeat(dimensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(pretty(name), expected);
    }

    #[test]
    fn names_are_those_of_source_code() {
        check("java/lang/String", "java.lang.String");
        check("[Ljava/util/Map$Entry;", "java.util.Map$Entry[]");
        check("[[I", "int[][]");
        check("java.lang.Object[]", "java.lang.Object[]");
        check("[", "[]");
        check("[L;", "[]");
        check("[é;", "é;[]");
        check("", "");
    }
}
