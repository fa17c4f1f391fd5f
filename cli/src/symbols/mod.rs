//! Functions, files and lines of native code, from the objects and debug files of this machine and of folders that the
//! user names.
//!
//! - A recording may come from another machine: a file is used only when it has the build id that was recorded.
//! - Never asks a network, never runs a program, never writes.
//! - A file that cannot be read is a note in the report. A parser's panic is one, too.
//! - Sites stay what they are: only what is shown of their frames changes, so that a site has the same identity with and
//!   without symbols, and two reports can be compared. Sites that look the same afterwards stay apart for that reason: they
//!   differ in their addresses, as two calls on one line do.

mod files;
mod guard;
mod inspect;
mod lookup;
mod sites;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use leakline_core::{Frame, NativePlace};

use self::files::{Files, Found};
use self::lookup::Symbols;

pub(crate) use self::sites::resolve;

/// Objects that are opened for one report; a process has some hundred.
const MAX_OBJECTS: usize = 1024;

/// Nothing says that it is the file that ran.
const UNSURE: &str = "it is shown as the file of its name here has it, which may be another build";

/// An object that has frames in the report that nobody could name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WithoutSymbols {
    /// Its path where the program ran.
    pub(crate) path: String,
    /// Its build id; empty where it has none.
    pub(crate) build_id: String,
    /// Why, in words that follow the object's name.
    pub(crate) why: String,
}

/// Resolves frames, and remembers what it could not.
#[derive(Debug)]
pub(crate) struct Resolver {
    files: Files,
    /// By path and build id.
    objects: HashMap<(Arc<str>, Arc<str>), Object>,
    frames: HashMap<Frame, Arc<[Arc<Frame>]>>,
}

#[derive(Debug)]
struct Object {
    symbols: Option<Symbols>,
    why: String,
    /// Whether a frame of it stayed without a name.
    is_missed: bool,
}

impl Resolver {
    /// Looks in `folders` first, then where this system keeps debug files, then at the recorded paths.
    pub(crate) fn new(folders: &[PathBuf]) -> Self {
        Self { files: Files::new(folders), objects: HashMap::new(), frames: HashMap::new() }
    }

    /// What stands for `frame`, innermost first: more than one where calls were inlined, itself where nobody knows better.
    pub(crate) fn frames(&mut self, frame: &Arc<Frame>) -> Arc<[Arc<Frame>]> {
        let Some(place) = &frame.native else { return Arc::new([Arc::clone(frame)]) };
        if let Some(known) = self.frames.get(&**frame) {
            return Arc::clone(known);
        }
        let resolved = self.look_up(frame, place);
        self.frames.insert(Frame::clone(frame), Arc::clone(&resolved));
        resolved
    }

    fn look_up(&mut self, frame: &Arc<Frame>, place: &NativePlace) -> Arc<[Arc<Frame>]> {
        let key = (Arc::clone(&frame.file), Arc::clone(&place.build_id));
        if !self.objects.contains_key(&key) && self.objects.len() >= MAX_OBJECTS {
            return Arc::new([Arc::clone(frame)]);
        }
        let Self { files, objects, .. } = self;
        let object = objects.entry(key).or_insert_with_key(|(path, build_id)| {
            let Found { symbols, why } = files.find(path, build_id);
            match symbols {
                Some(_) if build_id.is_empty() => Object { symbols, why: UNSURE.to_owned(), is_missed: true },
                _ => Object { symbols, why, is_missed: false },
            }
        });
        let found = match object.symbols.as_ref().map(|symbols| symbols.frames(frame, place)) {
            Some(Ok(found)) => found,
            Some(Err(why)) => {
                object.why = why;
                Vec::new()
            }
            None => Vec::new(),
        };
        if found.is_empty() {
            object.is_missed |= frame.function.is_empty();
            return Arc::new([Arc::clone(frame)]);
        }
        found.into_iter().map(Arc::new).collect()
    }

    /// The objects with frames that stayed without a name.
    pub(crate) fn without_symbols(&self) -> Vec<WithoutSymbols> {
        let missed = self.objects.iter().filter(|(_, object)| object.is_missed);
        let mut found: Vec<_> = missed
            .map(|((path, build_id), object)| WithoutSymbols {
                path: path.to_string(),
                build_id: build_id.to_string(),
                why: object.why.clone(),
            })
            .collect();
        found.sort();
        found
    }
}
