//! A site: a call path or a class that holds memory.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One line of a call path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Frame {
    /// The function's name; empty where the source does not tell it (tracemalloc does not).
    pub function: Arc<str>,
    /// The source file as the runtime names it, unshortened; of native code that nobody resolved, the object's path.
    pub file: Arc<str>,
    /// The line, from 1; 0 where unknown.
    pub line: u32,
    /// Where native code was; `None` for code of a runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<NativePlace>,
}

/// A place in an object's machine code, the same in every process that loads the object. From it, who has the object's
/// symbols can tell function, file and line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NativePlace {
    /// The object's build id, lower-case hex; empty where it has none.
    pub build_id: Arc<str>,
    /// The return address, as the object's file counts addresses (at run time minus load bias). The call is before it:
    /// whoever looks it up subtracts 1.
    pub address: u64,
}

impl Frame {
    /// A frame of a runtime's code. `function` is empty where unknown, `line` 0.
    pub fn new(function: impl Into<Arc<str>>, file: impl Into<Arc<str>>, line: u32) -> Self {
        Self { function: function.into(), file: file.into(), line, native: None }
    }

    /// A frame of native code that nobody resolved: at `place` in the object at `path`. `function` is its exported name
    /// where that is known, otherwise empty.
    pub fn in_object(function: impl Into<Arc<str>>, path: impl Into<Arc<str>>, place: NativePlace) -> Self {
        Self { native: Some(place), ..Self::new(function, path, 0) }
    }
}

/// What holds memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteHolder {
    /// A call path, innermost frame first.
    CallPath {
        /// The frames, shared between the sites that pass through them.
        frames: Box<[Arc<Frame>]>,
        /// Whether outer frames were cut off by the depth limit.
        truncated: bool,
    },
    /// A class, by its runtime's own name.
    Class(Arc<str>),
}

/// Identity of a site: equal for equal content, in every process and on every machine.
/// Not a fingerprint for comparing two builds: a moved line is another site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SiteId(pub u64);

impl fmt::Debug for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A call path or class with its identity. Made once per session and shared from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    id: SiteId,
    holder: SiteHolder,
}

impl Site {
    /// A site for `frames`, innermost first.
    pub fn call_path(frames: impl Into<Box<[Arc<Frame>]>>, truncated: bool) -> Self {
        Self::new(SiteHolder::CallPath { frames: frames.into(), truncated })
    }

    /// A site for the class `name`.
    pub fn class(name: impl Into<Arc<str>>) -> Self {
        Self::new(SiteHolder::Class(name.into()))
    }

    /// A site for `holder`, its identity computed from the content.
    pub fn new(holder: SiteHolder) -> Self {
        Self { id: identity(&holder), holder }
    }

    /// Identity by content.
    pub fn id(&self) -> SiteId {
        self.id
    }

    /// What holds the memory.
    pub fn holder(&self) -> &SiteHolder {
        &self.holder
    }

    /// The frames, innermost first; empty for a class.
    pub fn frames(&self) -> &[Arc<Frame>] {
        match &self.holder {
            SiteHolder::CallPath { frames, .. } => frames,
            SiteHolder::Class(_) => &[],
        }
    }
}

/// FNV-1a, 64 bits: stable across builds and machines, which std's hashers do not promise.
fn identity(holder: &SiteHolder) -> SiteId {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    match holder {
        SiteHolder::CallPath { frames, truncated } => {
            hash.bytes(&[1, u8::from(*truncated)]);
            for frame in frames {
                hash.text(&frame.function);
                hash.text(&frame.file);
                hash.bytes(&frame.line.to_le_bytes());
                if let Some(native) = &frame.native {
                    // No text is that long: so a place cannot be taken for the frame that follows.
                    hash.bytes(&u64::MAX.to_le_bytes());
                    hash.text(&native.build_id);
                    hash.bytes(&native.address.to_le_bytes());
                }
            }
        }
        SiteHolder::Class(name) => {
            hash.bytes(&[2]);
            hash.text(name);
        }
    }
    SiteId(hash.0)
}

struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The length goes in too, so that ("ab", "c") and ("a", "bc") differ.
    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frames: Vec<Frame>, expected: &str) {
        let frames: Vec<_> = frames.into_iter().map(Arc::new).collect();
        assert_eq!(format!("{:?}", Site::call_path(frames, false).id()), expected);
    }

    fn native(build_id: &str, address: u64) -> Frame {
        Frame::in_object("f", "/lib/a.so", NativePlace { build_id: build_id.into(), address })
    }

    /// Recordings and collectors know sites by these: they stay.
    #[test]
    fn identities_stay_as_they_are() {
        check(vec![Frame::new("receive", "a.py", 7)], "44d730695886ca77");
        check(vec![Frame::new("receive", "a.py", 7), Frame::new("", "b.py", 0)], "ce53f4bc34ed12f4");
        check(vec![native("0a1b", 0x1234)], "441691cfb958fcce");
        assert_eq!(format!("{:?}", Site::class("int[]").id()), "43debf18e6a78e99");
    }

    #[test]
    fn a_native_place_is_part_of_the_identity() {
        let id = |frame| Site::call_path(vec![Arc::new(frame)], false).id();
        let all = [
            native("0a", 1),
            native("0b", 1),
            native("0a", 2),
            native("", 1),
            Frame::new("f", "/lib/a.so", 0),
        ];
        let ids: std::collections::BTreeSet<SiteId> = all.into_iter().map(id).collect();
        assert_eq!(ids.len(), 5);
    }
}
