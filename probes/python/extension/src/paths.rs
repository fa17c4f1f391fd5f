//! What is kept of call paths that the hook has seen: code objects and instructions, so that lines can be told later
//! without Python. A code object's name, file and line table are copied when it is first seen, while its frame runs, for
//! it may be gone when somebody asks.
//! Never holds a reference to an object.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::frames::{CodeInfo, Layout, RawFrame};

/// A call path, innermost frame first.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    /// Code objects by their index, and instructions.
    pub(crate) frames: Box<[(u32, u32)]>,
    /// Whether outer frames were cut off.
    pub(crate) truncated: bool,
    /// Whether it stands for all paths that there was no room for.
    pub(crate) is_shared: bool,
}

/// The code objects of the paths, by index.
#[derive(Debug, Default)]
pub(crate) struct Codes {
    /// By address and stamp: another object may come to lie at an address.
    indices: FxHashMap<(usize, u32), u32>,
    all: Vec<Code>,
}

#[derive(Debug, Clone)]
struct Code {
    key: (usize, u32),
    info: Arc<CodeInfo>,
}

impl Path {
    /// The path of `frames`, which run on this thread.
    pub(crate) fn new(layout: &Layout, codes: &mut Codes, frames: &[RawFrame], truncated: bool) -> Self {
        let frames = frames.iter().map(|frame| (codes.index(layout, frame), frame.instruction)).collect();
        Self { frames, truncated, is_shared: false }
    }

    /// The one for all paths that there is no room for.
    pub(crate) fn shared() -> Self {
        Self { frames: Box::default(), truncated: true, is_shared: true }
    }

    /// Goes over from the code objects of `before` to those of `after`, which get what they do not have.
    pub(crate) fn go_over(&mut self, before: &Codes, after: &mut Codes) {
        for (code, _) in &mut self.frames {
            if let Some(found) = before.all.get(*code as usize) {
                *code = after.take(found);
            }
        }
    }
}

impl Codes {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { indices: FxHashMap::with_hasher(rustc_hash::FxBuildHasher), all: Vec::new() }
    }

    /// Those from index `from` on.
    pub(crate) fn since(&self, from: usize) -> impl Iterator<Item = &Arc<CodeInfo>> {
        self.all.iter().skip(from).map(|code| &code.info)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The index of the code object of a frame that runs on this thread.
    pub(crate) fn index(&mut self, layout: &Layout, frame: &RawFrame) -> u32 {
        let key = (frame.code, frame.stamp);
        if let Some(index) = self.indices.get(&key) {
            return *index;
        }
        // SAFETY: the frame was just found by `walk` on this thread, and runs as long as this call does.
        let info = unsafe { layout.code(frame.code) };
        self.add(Code { key, info: Arc::new(info) })
    }

    fn take(&mut self, code: &Code) -> u32 {
        match self.indices.get(&code.key) {
            Some(index) => *index,
            None => self.add(code.clone()),
        }
    }

    fn add(&mut self, code: Code) -> u32 {
        let index = self.all.len() as u32;
        self.indices.insert(code.key, index);
        self.all.push(code);
        index
    }
}
