//! Numbers and paths as people read them. Rounding happens here and nowhere else.

use crate::model::{Frame, ProfileSource, Site, SiteHolder};

const UNITS: [(&str, f64); 4] = [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1024.0), ("B", 1.0)];

/// `1.2 MiB`, `512 B`, with a minus where negative.
pub fn bytes(value: f64) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "-" } else { "" };
    let (unit, scale) = UNITS.into_iter().find(|(_, scale)| size >= *scale).unwrap_or(("B", 1.0));
    if scale == 1.0 { format!("{sign}{size:.0} {unit}") } else { format!("{sign}{:.1} {unit}", size / scale) }
}

/// `+1.2 MiB`, `-3.0 KiB`, `0 B`: a sign unless it is nothing.
pub fn signed_bytes(value: f64) -> String {
    if value > 0.0 { format!("+{}", bytes(value)) } else { bytes(value) }
}

/// Half the width of the 95 % interval of a number with `standard_error`, as ` ± 1.2 MiB`; nothing where it is exact.
pub fn plus_minus(standard_error: u64) -> String {
    match standard_error {
        0 => String::new(),
        error => format!(" ± {}", bytes(1.96 * error as f64)),
    }
}

/// `sampled every 64 KiB`, `tracemalloc`.
pub fn source(source: &ProfileSource) -> String {
    match source.mean_sample_bytes {
        Some(mean) => format!("{} every {}", source.name, bytes(mean as f64).replacen(".0 ", " ", 1)),
        None => source.name.to_string(),
    }
}

/// The file of `frame` without the longest of `roots` that it begins with, and the line: `RNS/Destination.py:230`.
pub fn place(frame: &Frame, roots: &[String]) -> String {
    let file = short_path(&frame.file, roots);
    if frame.line == 0 { file.to_owned() } else { format!("{file}:{}", frame.line) }
}

/// `frame` as people read it: `RNS/Destination.py:230 receive`, `src/leak.c:12 hold`; of native code whose line is not
/// known `malloc (libc.so.6)` or `libc.so.6+0x9d1a4`.
pub fn frame(frame: &Frame, roots: &[String]) -> String {
    match (&frame.native, &*frame.function) {
        (Some(place), "") if frame.line == 0 => format!("{}+{:#x}", file_name(&frame.file), place.address),
        (Some(_), function) if frame.line == 0 => format!("{function} ({})", file_name(&frame.file)),
        (_, "") => place(frame, roots),
        (_, function) => format!("{} {function}", place(frame, roots)),
    }
}

/// The last part of a path of any system.
pub fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().filter(|name| !name.is_empty()).unwrap_or(path)
}

/// `path` without the longest of `roots` that it begins with.
pub fn short_path<'a>(path: &'a str, roots: &[String]) -> &'a str {
    roots
        .iter()
        .filter_map(|root| path.strip_prefix(root.as_str())?.strip_prefix('/'))
        .min_by_key(|rest| rest.len())
        .filter(|rest| !rest.is_empty())
        .unwrap_or(path)
}

/// A site on one line, innermost frame first: `RNS/Destination.py:230 receive < reticulum_wrapper.py:450`.
/// Shows at most `max_frames` frames and says with `< …` that there are more.
pub fn site(site: &Site, roots: &[String], max_frames: usize) -> String {
    match site.holder() {
        SiteHolder::Class(name) => name.to_string(),
        SiteHolder::CallPath { frames, truncated } => {
            let mut words: Vec<String> =
                frames.iter().take(max_frames).map(|shown| frame(shown, roots)).collect();
            if *truncated || frames.len() > max_frames {
                words.push("…".to_owned());
            }
            words.join(" < ")
        }
    }
}

/// Notes that say that figures are incomplete for longer than a tick, by how they begin: a hook rests, an allocator cannot be
/// asked.
const INCOMPLETE_FROM: [&str; 4] =
    ["no call paths", "no Java call paths", "malloc not asked: ", "no memory map: "];

/// The same, by words in them: a table is full, leakline failed, sampling does not account for what malloc says.
const INCOMPLETE_WITH: [&str; 6] = [
    "than leakline keeps",
    "for want of room",
    "there was no room",
    "please report this",
    "call paths do not account for",
    "are not told apart",
];

/// Whether a reading's note says that its figures are incomplete, so that a reader must see it before them.
///
/// The words are an interface between the probes and the report: whoever adds such a note begins it, or words it, as one of
/// these.
pub fn is_incomplete(note: &str) -> bool {
    INCOMPLETE_FROM.iter().any(|from| note.starts_with(from))
        || INCOMPLETE_WITH.iter().any(|with| note.contains(with))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NativePlace;

    #[test]
    fn a_frame_has_its_line_or_else_its_object() {
        let place = |function: &str, line| {
            let native = NativePlace { build_id: "".into(), address: 0x9d1a4 };
            Frame { line, ..Frame::in_object(function, "/usr/lib/libfoo.so", native) }
        };
        let cases = [
            (place("", 0), "libfoo.so+0x9d1a4"),
            (place("hold", 0), "hold (libfoo.so)"),
            (place("hold", 7), "/usr/lib/libfoo.so:7 hold"),
            (Frame::new("receive", "/app/a.py", 230), "a.py:230 receive"),
            (Frame::new("", "/app/a.py", 230), "a.py:230"),
            (Frame::new("hold", "<unknown>", 0), "<unknown> hold"),
        ];
        for (shown, expected) in cases {
            assert_eq!(frame(&shown, &["/app".to_owned()]), expected);
        }
        assert_eq!(file_name(r"C:\x\a.dll"), "a.dll");
    }

    #[test]
    fn bytes_are_rounded_to_one_decimal_of_a_binary_unit() {
        let cases = [
            (0.0, "0 B"),
            (1023.0, "1023 B"),
            (1024.0, "1.0 KiB"),
            (1_258_291.0, "1.2 MiB"),
            (-5120.0, "-5.0 KiB"),
            (3.0 * 1_073_741_824.0, "3.0 GiB"),
        ];
        for (value, expected) in cases {
            assert_eq!(bytes(value), expected);
        }
        assert_eq!(signed_bytes(2048.0), "+2.0 KiB");
        assert_eq!(signed_bytes(-2048.0), "-2.0 KiB");
        assert_eq!(signed_bytes(0.0), "0 B");
    }

    #[test]
    fn a_source_is_told_with_its_mean_and_an_error_as_an_interval() {
        assert_eq!(source(&ProfileSource::sampled("sampled", 65_536)), "sampled every 64 KiB");
        assert_eq!(source(&ProfileSource::sampled("sampled", 1536)), "sampled every 1.5 KiB");
        assert_eq!(source(&ProfileSource::exact("exact")), "exact");
        assert_eq!(plus_minus(1024), " ± 2.0 KiB");
        assert_eq!(plus_minus(0), "");
    }

    #[test]
    fn the_longest_root_is_taken_off_and_only_at_a_folder() {
        let roots = ["/usr/lib", "/usr/lib/python3"].map(String::from);
        let cases = [
            ("/usr/lib/python3/RNS/Link.py", "RNS/Link.py"),
            ("/usr/lib/x.py", "x.py"),
            ("/usr/library/x.py", "/usr/library/x.py"),
            ("<string>", "<string>"),
        ];
        for (path, expected) in cases {
            assert_eq!(short_path(path, &roots), expected);
        }
    }
}
