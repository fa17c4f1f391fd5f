//! A fingerprint of a call path that outlives a change of the program: for comparing two builds.
//! Not an identity: two paths that differ in their lines or in their machine code only have the same one.

use super::{Frame, Site, SiteHolder};

/// Of folders, this many names before the file's own tell modules of the same name apart. More would tell apart where
/// the same program was built or installed.
const FOLDERS: usize = 1;

/// Equal for call paths through the same functions of the same files, and for the same class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(Box<str>);

impl Site {
    /// The fingerprint of what holds the memory, as its frames are shown: with symbols where somebody had them. Line
    /// numbers, addresses and build ids are left out; so is whether outer frames were cut off.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut text = String::new();
        match self.holder() {
            SiteHolder::Class(name) => {
                text.push_str("class ");
                text.push_str(name);
            }
            SiteHolder::CallPath { frames, .. } => {
                let mut last = None;
                for frame in frames.iter().map(|frame| words(frame)) {
                    // Without names all calls within one object look the same, however many there are.
                    if frame.0.is_empty() && last == Some(frame) {
                        continue;
                    }
                    text.push_str(frame.0);
                    text.push('\u{1f}');
                    text.push_str(frame.1);
                    text.push('\u{1e}');
                    last = Some(frame);
                }
            }
        }
        Fingerprint(text.into())
    }
}

/// The function, and the end of its file's path.
fn words(frame: &Frame) -> (&str, &str) {
    let file = &*frame.file;
    let start = file.rmatch_indices(['/', '\\']).nth(FOLDERS).map_or(0, |(at, _)| at + 1);
    (&frame.function, file.get(start..).unwrap_or(file))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::NativePlace;

    /// A frame is `function file line`; `-` for an unnamed function, and a line in hexadecimal is an address.
    fn site(text: &str) -> Site {
        let frame = |text: &str| {
            let words: Vec<&str> = text.split(' ').collect();
            let function = if words[0] == "-" { "" } else { words[0] };
            match words[2].strip_prefix("0x") {
                Some(address) => {
                    let address = u64::from_str_radix(address, 16).unwrap();
                    Frame::in_object(function, words[1], NativePlace { build_id: "0a".into(), address })
                }
                None => Frame::new(function, words[1], words[2].parse().unwrap()),
            }
        };
        Site::call_path(text.split(", ").map(|text| Arc::new(frame(text))).collect::<Vec<_>>(), false)
    }

    fn check(one: &str, other: &str, same: bool) {
        assert_eq!(site(one).fingerprint() == site(other).fingerprint(), same, "{one} / {other}");
    }

    #[test]
    fn a_moved_line_and_another_folder_are_the_same_path() {
        check("receive /app/rns/a.py 7", "receive /app/rns/a.py 9", true);
        check("receive /old/rns/a.py 7, run /old/b.py 1", "receive /new/rns/a.py 8, run /old/b.py 2", true);
        check("f /lib/a.so 0x10", "f /lib/a.so 0x30", true);
    }

    #[test]
    fn another_function_file_or_caller_is_another_path() {
        check("receive /app/rns/a.py 7", "send /app/rns/a.py 7", false);
        check("receive /app/rns/a.py 7", "receive /app/lxmf/a.py 7", false);
        check("receive /app/rns/a.py 7, run b.py 1", "receive /app/rns/a.py 7, walk b.py 1", false);
        check("f a.py 1, f a.py 1", "f a.py 1", false);
    }

    #[test]
    fn calls_within_an_object_without_names_count_once() {
        check("- /lib/a.so 0x10, - /lib/a.so 0x20", "- /lib/a.so 0x30", true);
        check("- /lib/a.so 0x10", "- /lib/b.so 0x10", false);
    }

    #[test]
    fn a_class_is_its_name() {
        assert_eq!(Site::class("int[]").fingerprint(), Site::class("int[]").fingerprint());
        assert_ne!(Site::class("int[]").fingerprint(), Site::class("char[]").fingerprint());
    }
}
