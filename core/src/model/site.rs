//! A site: a call path or a class that holds memory.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One line of a call path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Frame {
    /// The function's name; empty where the source does not tell it (tracemalloc does not).
    pub function: Arc<str>,
    /// The source file as the runtime names it, unshortened.
    pub file: Arc<str>,
    /// The line, from 1; 0 where unknown.
    pub line: u32,
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
