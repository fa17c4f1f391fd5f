//! Writes a fetched recording: under a temporary name until it is whole, then under its own.
//! Never replaces a file but by its own continuation: another one that is there is kept under a name of its own.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use leakline_core::text;
use leakline_proto::recording::{HEADER_BYTES, Parser, RecordingError};

use super::listing::first_line;

/// Far more than a recording may grow to on a device.
const MOST_BYTES: u64 = 16 << 30;
/// Names that are tried for what was there before.
const MOST_KEPT: u32 = 999;
/// Enough of what is no recording to tell what it says.
const BEGINNING: usize = 1 << 10;

/// What became of a file here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    New,
    /// It was here, the same.
    Unchanged,
    /// What was here is how it begins.
    Continued {
        from: u64,
    },
    /// Another recording was here, and has this name now.
    Kept {
        aside: String,
    },
    /// There is nothing in it yet, so it is not written.
    Empty,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::Unchanged => f.write_str("unchanged"),
            Self::Continued { from } => write!(f, "{} were here before", text::bytes(*from as f64)),
            Self::Kept { aside } => write!(f, "another session's was here and is now {aside}"),
            Self::Empty => f.write_str("nothing is recorded yet, not written"),
        }
    }
}

/// A file on its way. Without `finish` nothing of it stays.
#[derive(Debug)]
pub(super) struct Waiting {
    folder: PathBuf,
    name: String,
    path: PathBuf,
    file: File,
    beginning: Vec<u8>,
    bytes: u64,
}

impl Waiting {
    /// Of the file that shall be `name` in `folder`.
    pub(super) fn new(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(format!(".{name}.{}", std::process::id()));
        let file = File::create_new(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            path,
            file,
            beginning: Vec::new(),
            bytes: 0,
        })
    }

    pub(super) fn take(&mut self, piece: &[u8]) -> Result<()> {
        let wanted = BEGINNING.saturating_sub(self.beginning.len()).min(piece.len());
        self.beginning.extend_from_slice(piece.get(..wanted).unwrap_or_default());
        self.bytes += piece.len() as u64;
        if self.bytes > MOST_BYTES {
            bail!("has no end");
        }
        self.file.write_all(piece).with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Gives it its name, when it is a recording of at least `listed` bytes. Tells its size, too.
    pub(super) fn finish(mut self, listed: u64) -> Result<(Outcome, u64)> {
        if !is_recording(&self.beginning) {
            let said = first_line(&String::from_utf8_lossy(&self.beginning));
            bail!("no recording came, the device says: {said}");
        }
        if self.bytes < listed {
            bail!(
                "only {} of {} came: is the device still connected? It may also have begun a new recording; fetch it again",
                text::bytes(self.bytes as f64),
                text::bytes(listed as f64)
            );
        }
        if self.bytes == 0 {
            return Ok((Outcome::Empty, 0));
        }
        self.file.flush()?;
        self.file.sync_all().with_context(|| format!("cannot write {}", self.path.display()))?;
        let target = self.folder.join(&self.name);
        let outcome = match old(&target, &self.path)? {
            Old::None => Outcome::New,
            Old::Same => return Ok((Outcome::Unchanged, self.bytes)),
            Old::Beginning(from) => Outcome::Continued { from },
            Old::Other => Outcome::Kept { aside: self.keep(&target)? },
        };
        fs::rename(&self.path, &target).with_context(|| format!("cannot write {}", target.display()))?;
        Ok((outcome, self.bytes))
    }

    /// Gives what is at `target` a name that nothing has.
    fn keep(&self, target: &Path) -> Result<String> {
        for number in 1..=MOST_KEPT {
            let name = format!("{}.before-{number}", self.name);
            let aside = self.folder.join(&name);
            if aside.symlink_metadata().is_err() {
                fs::rename(target, &aside).with_context(|| format!("cannot keep {}", target.display()))?;
                return Ok(name);
            }
        }
        bail!(
            "another recording is here, and {MOST_KEPT} older ones; move some away, or choose another --output"
        )
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It has another name by then, or is not wanted.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_recording(beginning: &[u8]) -> bool {
    let mut parser = Parser::new();
    parser.feed(beginning.get(..HEADER_BYTES).unwrap_or(beginning));
    parser.finish();
    !matches!(parser.next_item(), Err(RecordingError::Foreign { .. }))
}

/// What is at a path, seen from what shall be there.
enum Old {
    None,
    Same,
    /// So many bytes, which the new one begins with.
    Beginning(u64),
    Other,
}

fn old(target: &Path, new: &Path) -> Result<Old> {
    let old = match File::open(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Old::None),
        old => old.with_context(|| format!("cannot read what is here: {}", target.display()))?,
    };
    let size = old.metadata()?;
    if !size.is_file() {
        bail!("something that is no file is here: {}", target.display());
    }
    let new = File::open(new).with_context(|| new.display().to_string())?;
    let new_size = new.metadata()?.len();
    if size.len() > new_size || !begins_with(&new, &old).with_context(|| target.display().to_string())? {
        return Ok(Old::Other);
    }
    Ok(if size.len() == new_size { Old::Same } else { Old::Beginning(size.len()) })
}

fn begins_with(mut long: &File, mut short: &File) -> io::Result<bool> {
    let (mut one, mut other) = (vec![0; 64 << 10], Vec::new());
    loop {
        let count = match short.read(&mut one) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        if count == 0 {
            return Ok(true);
        }
        other.resize(count, 0);
        match long.read_exact(&mut other) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            done => done?,
        }
        if one.get(..count) != Some(other.as_slice()) {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(tail: &str) -> Vec<u8> {
        [&leakline_proto::recording::header()[..], tail.as_bytes()].concat()
    }

    /// What comes of `new` (as large as `listed`) where `old` is, and which files are there then.
    fn check(old: Option<&[u8]>, new: &[u8], listed: u64, expected: Result<Outcome, &str>, files: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(old) = old {
            fs::write(folder.path().join("main.leak"), old).expect("written");
        }
        let outcome = Waiting::new(folder.path(), "main.leak").and_then(|mut waiting| {
            new.chunks(7).try_for_each(|piece| waiting.take(piece))?;
            waiting.finish(listed)
        });
        match (outcome, expected) {
            (Ok((outcome, bytes)), Ok(expected)) => {
                assert_eq!((outcome, bytes), (expected, new.len() as u64))
            }
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (outcome, expected) => panic!("{outcome:?}, not {expected:?}"),
        }
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names.join(" "), files);
        if let (Some(old), true) = (old, files.contains("before")) {
            assert_eq!(fs::read(folder.path().join("main.leak.before-1")).expect("kept"), old);
        }
    }

    #[test]
    fn nothing_is_lost_and_nothing_is_there_in_part() {
        let (short, long, other) = (recording("abc"), recording("abcdef"), recording("abX"));
        let bytes = |file: &[u8]| file.len() as u64;
        check(None, &long, bytes(&long), Ok(Outcome::New), "main.leak");
        check(None, &long, 3, Ok(Outcome::New), "main.leak");
        check(Some(&long), &long, 3, Ok(Outcome::Unchanged), "main.leak");
        check(Some(&short), &long, 3, Ok(Outcome::Continued { from: bytes(&short) }), "main.leak");
        let kept = || Ok(Outcome::Kept { aside: "main.leak.before-1".into() });
        check(Some(&other), &long, 3, kept(), "main.leak main.leak.before-1");
        check(Some(&long), &short, 3, kept(), "main.leak main.leak.before-1");
        check(None, &long, 1000, Err("only 22 B of 1000 B came"), "");
        check(Some(&short), &long, 1000, Err("only 22 B"), "main.leak");
        check(None, b"", 0, Ok(Outcome::Empty), "");
        check(None, b"cat: files/leakline/main.leak: Permission denied\n", 3, Err("says: cat: files"), "");
    }
}
