//! What an object or a debug file is, and what it refers to.
//! Takes bytes; never opens a file.

use std::fmt::Write as _;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, ReadRef};

use super::guard::guarded;

/// How much a file tells, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quality {
    /// No symbols at all.
    Nothing,
    /// The names that it exports.
    Exports,
    /// All functions' names.
    Names,
    /// Lines and inlined calls.
    Lines,
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inspected {
    /// Lower-case hex; empty where it has none.
    pub(super) build_id: String,
    pub(super) quality: Quality,
    /// The name of a separate debug file, and the CRC-32 of its content.
    pub(super) link: Option<(String, u32)>,
    /// The path and the build id of a file with what several debug files share (dwz).
    pub(super) shared: Option<(String, String)>,
}

/// `None`: the file is no object, or damaged.
pub(super) fn inspect<'a>(bytes: impl ReadRef<'a>) -> Option<Inspected> {
    guarded(|| {
        let file = object::File::parse(bytes).ok()?;
        let build_id = match (file.build_id(), file.mach_uuid()) {
            (Ok(Some(id)), _) => hex(id),
            (_, Ok(Some(uuid))) => hex(&uuid),
            _ => String::new(),
        };
        let quality = if has_lines(&file) {
            Quality::Lines
        } else if file.symbols().any(|symbol| symbol.is_definition()) {
            Quality::Names
        } else if file.dynamic_symbols().any(|symbol| symbol.is_definition()) {
            Quality::Exports
        } else {
            Quality::Nothing
        };
        let link = file.gnu_debuglink().ok().flatten().and_then(|(name, crc)| Some((text(name)?, crc)));
        let shared = file.gnu_debugaltlink().ok().flatten();
        let shared = shared.and_then(|(path, build_id)| Some((text(path)?, hex(build_id))));
        Some(Inspected { build_id, quality, link, shared })
    })
    .flatten()
}

fn has_lines<'a>(file: &object::File<'a, impl ReadRef<'a>>) -> bool {
    let is_there = |name: &str| file.section_by_name(name).is_some_and(|section| section.size() > 0);
    is_there(".debug_info") || is_there("__debug_info")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}
