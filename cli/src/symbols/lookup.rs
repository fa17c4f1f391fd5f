//! One object's symbols: from an address to functions, files and lines.
//! Never chooses the file.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use addr2line::{Loader, demangle_auto};
use leakline_core::{Frame, NativePlace};

use super::guard::guarded;

/// Frames that one address may stand for; compilers inline some ten deep.
const MAX_INLINED: usize = 64;
/// Names of C++ templates can be longer than what people read.
const MAX_NAME: usize = 400;

/// Symbols of one file.
pub(super) struct Symbols {
    loader: Loader,
}

impl fmt::Debug for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Symbols").finish_non_exhaustive()
    }
}

impl Symbols {
    /// Those in the file at `path`; `shared` is the file with what several debug files share.
    pub(super) fn open(path: &Path, shared: Option<&Path>) -> Result<Self, String> {
        match guarded(|| Loader::new_with_sup(path, shared).map_err(|error| error.to_string())) {
            Some(Ok(loader)) => Ok(Self { loader }),
            Some(Err(error)) => Err(error),
            None => Err("its symbols are damaged".to_owned()),
        }
    }

    /// What stands for `frame` at `place`, innermost first; empty where the file does not tell.
    pub(super) fn frames(&self, frame: &Frame, place: &NativePlace) -> Result<Vec<Frame>, String> {
        // What is recorded is where the call returns to, which may be another line or another function.
        let Some(call) = place.address.checked_sub(1) else { return Ok(Vec::new()) };
        let lines = guarded(|| self.lines(call, place).map_err(|error| error.to_string()));
        let (frames, error) = match lines {
            Some(Ok(frames)) => (frames, None),
            Some(Err(error)) => (Vec::new(), Some(error)),
            None => (Vec::new(), Some("its lines are damaged".to_owned())),
        };
        if !frames.is_empty() {
            return Ok(frames);
        }
        let named = guarded(|| self.name(call)).flatten().map(|(name, begin)| {
            let function = format!("{}+{:#x}", shorten(&name), place.address - begin);
            Frame { function: function.into(), ..frame.clone() }
        });
        match (named, error) {
            (Some(named), _) => Ok(vec![named]),
            (None, Some(error)) => Err(format!("its lines cannot be read: {error}")),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// By the line tables.
    fn lines(&self, call: u64, place: &NativePlace) -> Result<Vec<Frame>, Box<dyn std::error::Error>> {
        let mut found = self.loader.find_frames(call)?;
        let mut frames = Vec::new();
        let mut is_mangled = false;
        while let Some(frame) = found.next()? {
            let function = match &frame.function {
                Some(name) => {
                    is_mangled = name.raw_name()?.starts_with("_");
                    shorten(&name.demangle()?).into_owned()
                }
                // A unit without functions, as of assembly, has lines only.
                None => String::new(),
            };
            let location = frame.location.as_ref();
            let Some(file) = location.and_then(|location| location.file) else {
                // Without a file it says no more than the name, which is told with its object.
                if frames.is_empty() {
                    return Ok(frames);
                }
                continue;
            };
            let line = location.and_then(|location| location.line).unwrap_or(0);
            frames.push(Frame { native: Some(place.clone()), ..Frame::new(function, file, line) });
            if frames.len() >= MAX_INLINED {
                break;
            }
        }
        // The outermost is the function that the table of symbols has, with its scope where the lines have the bare name:
        // `operator()` of a lambda.
        if let Some(outermost) = frames.last_mut()
            && !is_mangled
            && let Some((name, _)) = self.name(call)
            && (outermost.function.is_empty() || name.contains("::"))
        {
            outermost.function = shorten(&name).into();
        }
        Ok(frames)
    }

    /// By the table of symbols: the function's name, and where it begins.
    fn name(&self, call: u64) -> Option<(Cow<'_, str>, u64)> {
        let symbol = self.loader.find_symbol_info(call)?;
        (!symbol.name().is_empty())
            .then(|| (demangle_auto(Cow::Owned(symbol.name().to_owned()), None), symbol.address()))
    }
}

fn shorten(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => Cow::Owned(format!("{}…", name.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_demangled_without_their_hashes_and_not_without_end() {
        let demangled = |name: &str| demangle_auto(Cow::Borrowed(name), None).into_owned();
        assert_eq!(demangled("_ZN4leak5Inbox7receive17h0123456789abcdefE"), "leak::Inbox::receive");
        assert_eq!(demangled("_RNvNtCs1234_4leak5inbox7receive"), "leak::inbox::receive");
        assert_eq!(demangled("_ZN4mesh6PacketpLEi"), "mesh::Packet::operator+=(int)");
        assert_eq!(demangled("_ZN"), "_ZN");
        assert_eq!(shorten(&"é".repeat(MAX_NAME + 1)).chars().count(), MAX_NAME + 1);
        assert_eq!(shorten("main"), "main");
    }
}
