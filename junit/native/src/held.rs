//! What of the table is still there, by call path, in rows of text: class, bytes, objects, a bit for each part of the rounds
//! that objects are left of, frames, with tabs in between; the most bytes first. A frame is class, method, file and line.
//!
//! Never here: which of it is a leak.

use std::collections::HashMap;
use std::fmt::Write as _;

use jni::sys;
use leakline_probing::java::jvmti::Jvmti;

use crate::sampling::{self, Path};

/// Local references that [`tell`] makes at most: one for each method.
pub(crate) const LOCALS: usize = 16_384;
/// Rows at most.
const MAX_ROWS: usize = 100;
/// Parts that are told apart.
const MAX_PARTS: u32 = 32;
/// Between the parts of a frame.
const IN_FRAME: char = '\u{1f}';

/// What is left of one call path.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Left {
    bytes: u64,
    objects: u64,
    /// A bit for each part.
    parts: u32,
}

/// The rows. In a local frame with room for [`LOCALS`].
pub(crate) fn tell() -> String {
    let Some(jvmti) = sampling::tools() else { return String::new() };
    let mut known = HashMap::new();
    let mut text = String::new();
    sampling::with_table(|table| (add_up(table.left()), table.paths(), table.classes.clone())).map_or_else(
        String::new,
        |(left, paths, classes)| {
            for (index, left) in left.into_iter().take(MAX_ROWS) {
                let Some(path) = paths.get(index) else { continue };
                let class = classes.get(path.class).map_or("", String::as_str);
                let Left { bytes, objects, parts } = left;
                // Writing to a text never fails.
                let _ = write!(text, "{class}\t{bytes}\t{objects}\t{}", parts.cast_signed());
                add_frames(&mut text, path, |method, place| {
                    known.entry(method).or_insert_with(|| Method::of(jvmti, method)).words(place)
                });
                text.push('\n');
            }
            text
        },
    )
}

fn add_frames(text: &mut String, path: &Path, mut words: impl FnMut(usize, i64) -> Option<String>) {
    for frame in path.frames.iter().filter_map(|(method, place)| words(*method, *place)) {
        text.push('\t');
        text.push_str(&frame);
    }
}

/// By call path, the most bytes first.
fn add_up(objects: impl Iterator<Item = (usize, u32, u64)>) -> Vec<(usize, Left)> {
    let mut paths: HashMap<usize, Left> = HashMap::new();
    for (path, part, bytes) in objects {
        let left = paths.entry(path).or_default();
        left.bytes += bytes;
        left.objects += 1;
        left.parts |= 1 << part.min(MAX_PARTS - 1);
    }
    let mut paths: Vec<_> = paths.into_iter().collect();
    paths.sort_by_key(|(path, left)| (std::cmp::Reverse(left.bytes), *path));
    paths
}

/// A method in words.
struct Method {
    class: String,
    name: String,
    file: String,
    lines: Box<[(u32, u32)]>,
}

impl Method {
    /// Leaves a local reference.
    fn of(jvmti: Jvmti, method: usize) -> Option<Self> {
        let method = method as sys::jmethodID;
        // SAFETY: the JVM gave this number for a frame, and checks whether there is such a method still.
        let name = unsafe { jvmti.method_name(method) }?;
        // SAFETY: as above.
        let class = unsafe { jvmti.declaring_class(method) }?;
        // SAFETY: it was given just now, in the caller's frame.
        let signature = unsafe { jvmti.class_signature(class) }?;
        // SAFETY: as above.
        let file = unsafe { jvmti.source_file(class) }.unwrap_or_default();
        // SAFETY: as for its name.
        let lines = unsafe { jvmti.lines(method) };
        Some(Self { class: crate::tags::plain(&signature), name, file, lines })
    }

    fn line(&self, place: i64) -> u32 {
        let Ok(place) = u32::try_from(place) else { return 0 };
        let begun = self.lines.iter().filter(|(start, _)| *start <= place);
        begun.max_by_key(|(start, _)| *start).map_or(0, |(_, line)| *line)
    }
}

/// In words, if the method was there still.
trait Words {
    fn words(&self, place: i64) -> Option<String>;
}

impl Words for Option<Method> {
    fn words(&self, place: i64) -> Option<String> {
        let method = self.as_ref()?;
        let Method { class, name, file, .. } = method;
        Some(format!("{class}{IN_FRAME}{name}{IN_FRAME}{file}{IN_FRAME}{}", method.line(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_added_up_by_path_and_the_parts_counted() {
        let objects = [(7, 0, 100), (3, 0, 16), (7, 1, 100), (7, 1, 100), (3, 40, 16)];
        let left = |bytes, objects, parts| Left { bytes, objects, parts };
        assert_eq!(
            add_up(objects.into_iter()),
            [(7, left(300, 3, 0b11)), (3, left(32, 2, 1 | 1 << 31))],
            "a part too many is the last one's"
        );
    }

    #[test]
    fn a_place_has_the_line_that_began_last_before_it() {
        let lines = [(0, 10), (9, 12), (5, 11)].into();
        let method = Method { class: "a.B".into(), name: "open".into(), file: "B.java".into(), lines };
        for (place, line) in [(0, 10), (8, 11), (100, 12), (-1, 0)] {
            assert_eq!(method.line(place), line, "{place}");
        }
        assert_eq!(Some(method).words(6).as_deref(), Some("a.B\u{1f}open\u{1f}B.java\u{1f}11"));
    }
}
