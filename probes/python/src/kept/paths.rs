//! What is kept of call paths that the hook has seen: code objects and instructions, so that lines can be told later
//! without Python. A code object's name, file and line table are copied when it is first seen, while its frame runs, for
//! it may be gone when somebody asks.
//!
//! Bounded in bytes: paths that hold nothing make room for new ones, and a code object that no kept path runs through is
//! forgotten with the last of them. Its number is given to another one then, which no path can take for the old one:
//! whoever has the number counts as a use of it.
//!
//! Never holds a reference to an object.

use std::sync::Arc;

use leakline_probing::sampler::recorder::{Block, Recorded, Recorder};
use rustc_hash::FxHashMap;

use crate::lines::CodeInfo;

/// What a code object takes beside its texts: its place, its entry in the map at two thirds of its load, the counted
/// allocation, and what the heap keeps for each of four blocks.
const CODE_BYTES: usize = 224;
/// What a path takes beside its frames.
const PATH_BYTES: usize = 16;
/// Paths that are looked at for one that holds nothing, for each new path: a host whose paths all hold something waits
/// for no more than that, and has the new path counted with the shared one.
const LOOKED_AT: usize = 16;
/// Paths that are forgotten for one new one, at most: it may be longer than those before.
const FORGOTTEN: usize = 4;

/// A code object's address and stamp: another object may come to lie at an address.
pub type CodeKey = (usize, u32);

/// Samples, or all allocations.
pub type PythonRecorder = Recorder<Path, Codes>;

/// A call path, innermost frame first.
#[derive(Debug, Clone, Default)]
pub struct Path {
    /// Code objects by their index, and instructions.
    pub frames: Box<[(u32, u32)]>,
    /// Whether outer frames were cut off.
    pub truncated: bool,
    /// Whether it stands for all paths that there was no room for.
    pub is_shared: bool,
}

/// The code objects of the paths, by index, and what both may take.
#[derive(Debug, Default)]
pub struct Codes {
    indices: FxHashMap<CodeKey, u32>,
    all: Vec<Code>,
    free: Vec<u32>,
    /// What the paths and the code objects hold, by [`CODE_BYTES`] and [`PATH_BYTES`].
    held: usize,
    most: usize,
}

#[derive(Debug)]
struct Code {
    key: CodeKey,
    /// `None`: forgotten.
    info: Option<Arc<CodeInfo>>,
    /// Frames of kept paths that run it.
    uses: u32,
}

impl Path {
    /// The path through `frames`. `key` gives a frame's code object and instruction, and `info` copies what is known of
    /// its code object, which is asked for where that is new.
    pub fn new<F>(
        codes: &mut Codes,
        frames: &[F],
        truncated: bool,
        key: impl Fn(&F) -> (CodeKey, u32),
        info: impl Fn(&F) -> CodeInfo,
    ) -> Self {
        let frames = frames
            .iter()
            .map(|frame| {
                let (key, instruction) = key(frame);
                (codes.used(key, || info(frame)), instruction)
            })
            .collect();
        let path = Self { frames, truncated, is_shared: false };
        codes.held += path.bytes();
        path
    }

    /// The one for all paths that there is no room for.
    pub fn shared() -> Self {
        Self { frames: Box::default(), truncated: true, is_shared: true }
    }

    fn bytes(&self) -> usize {
        PATH_BYTES + size_of_val(&*self.frames)
    }
}

impl Codes {
    /// None, and room for none.
    pub const fn new() -> Self {
        Self::within(0)
    }

    /// None, with room for `most` bytes of paths and code objects together.
    pub const fn within(most: usize) -> Self {
        Self {
            indices: FxHashMap::with_hasher(rustc_hash::FxBuildHasher),
            all: Vec::new(),
            free: Vec::new(),
            held: 0,
            most,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most that paths and code objects may take together, bytes.
    pub fn most(&self) -> usize {
        self.most
    }

    /// What tells the lines of a code object that a kept path runs through.
    pub fn get(&self, index: u32) -> Option<&Arc<CodeInfo>> {
        self.all.get(index as usize)?.info.as_ref()
    }

    /// The index of the code object of a frame, which has one use more from now on.
    fn used(&mut self, key: CodeKey, info: impl FnOnce() -> CodeInfo) -> u32 {
        if let Some(index) = self.indices.get(&key)
            && let Some(code) = self.all.get_mut(*index as usize)
        {
            code.uses = code.uses.saturating_add(1);
            return *index;
        }
        let info = info();
        self.held += code_bytes(&info);
        let code = Code { key, info: Some(Arc::new(info)), uses: 1 };
        let index = self.free.pop().unwrap_or(self.all.len() as u32);
        match self.all.get_mut(index as usize) {
            Some(free) => *free = code,
            None => self.all.push(code),
        }
        self.indices.insert(key, index);
        index
    }

    /// Takes back what a path held that is forgotten.
    pub fn release(&mut self, path: &Path) {
        self.held = self.held.saturating_sub(path.bytes());
        for (index, _) in &path.frames {
            let Some(code) = self.all.get_mut(*index as usize) else { continue };
            // At the highest count it is not known how many there are.
            if code.uses < u32::MAX {
                code.uses = code.uses.saturating_sub(1);
            }
            if code.uses == 0
                && let Some(info) = code.info.take()
            {
                self.held = self.held.saturating_sub(code_bytes(&info));
                self.indices.remove(&code.key);
                self.free.push(*index);
            }
        }
    }
}

/// What is kept of a code object.
pub fn code_bytes(info: &CodeInfo) -> usize {
    CODE_BYTES + info.function.len() + info.file.len() + info.lines.len()
}

/// What the paths and code objects of `recorder` take.
pub fn held_bytes(recorder: &PythonRecorder) -> usize {
    recorder.stacks.held_bytes() + recorder.extra.held
}

/// Keeps a block with the path of `hash`; `path` makes what is kept of it where there is room for it.
#[inline(always)]
pub fn allocated(
    recorder: &mut PythonRecorder,
    block: Block,
    hash: u64,
    path: impl FnOnce(&mut Codes) -> Path,
) -> Recorded {
    let has_room = has_room(recorder) || recorder.knows(hash) || make_room(recorder);
    recorder.allocated_if(block, hash, |codes| has_room.then(|| path(codes)))
}

#[inline(always)]
fn has_room(recorder: &PythonRecorder) -> bool {
    recorder.stacks.kept() < recorder.bounds().max_stacks && held_bytes(recorder) < recorder.extra.most()
}

/// Forgets a few paths that hold nothing.
#[cold]
fn make_room(recorder: &mut PythonRecorder) -> bool {
    for _ in 0..FORGOTTEN {
        let Some(path) = recorder.forget_next(LOOKED_AT) else { break };
        recorder.extra.release(&path);
        if has_room(recorder) {
            return true;
        }
    }
    has_room(recorder)
}

#[cfg(test)]
mod tests {
    use leakline_probing::sampler::live::Class;
    use leakline_probing::sampler::recorder::Bounds;

    use super::*;
    use crate::lines::LineFormat;

    const MOST: usize = 1 << 20;

    fn recorder(max_live: usize) -> PythonRecorder {
        let mut recorder = PythonRecorder::new(Codes::new());
        let bounds = Bounds { mean: 0, max_live, max_stacks: 30_000 };
        recorder.start(bounds, Codes::within(MOST), Path::shared());
        recorder
    }

    /// A block of 100 bytes, allocated by code object `code`, which `main` has called.
    fn allocate(recorder: &mut PythonRecorder, address: usize, code: usize) {
        let frames = [code, 7];
        let info = |code: &usize| CodeInfo {
            function: format!("render_{code:x}").into(),
            file: format!("<template {code:x}>").into(),
            first_line: 1,
            lines: vec![0; 40].into(),
            format: LineFormat::Locations,
        };
        let block = Block { address, size: 100, class: Class::Small, was_marked: true };
        let hash = (code as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let path = |codes: &mut Codes| Path::new(codes, &frames, false, |code| ((*code, 1), 2), info);
        let recorded = allocated(recorder, block, hash, path);
        assert_eq!(recorded, Recorded::Kept);
    }

    #[test]
    fn a_million_code_objects_that_come_and_go_take_no_more_than_the_bound() {
        let mut recorder = recorder(10_000);
        let address = |code: usize| 0x1000 + 16 * code;
        for code in 8..1_000_000_usize {
            allocate(&mut recorder, address(code), code);
            if code > 508 {
                recorder.freed(address(code - 500)).unwrap();
            }
            assert!(held_bytes(&recorder) < MOST + (64 << 10), "{code}: {}", held_bytes(&recorder));
        }
        assert_eq!((recorder.merged, recorder.check_all()), (0, None));
        assert!(recorder.extra.indices.capacity() < 32_768, "{}", recorder.extra.indices.capacity());
        let live = recorder.stacks.all().iter().filter(|stack| stack.sums.samples > 0);
        for stack in live {
            let (code, _) = stack.path.frames[0];
            let info = recorder.extra.get(code).unwrap();
            assert!(
                info.function.starts_with("render_") && recorder.extra.get(stack.path.frames[1].0).is_some()
            );
        }
        let mut forgotten = |path: Path, codes: &mut Codes| codes.release(&path);
        recorder.forget_all(&mut forgotten);
        assert_eq!(
            (recorder.stacks.kept(), recorder.extra.len()),
            (502, 502),
            "501 live, the shared path, and `main`"
        );
    }

    #[test]
    fn where_all_paths_hold_something_further_ones_share_one_and_are_counted() {
        let mut recorder = recorder(200_000);
        for code in 8..100_008 {
            allocate(&mut recorder, 0x1000 + 16 * code, code);
        }
        assert!(held_bytes(&recorder) < MOST + (64 << 10), "{}", held_bytes(&recorder));
        let kept = recorder.stacks.kept() as u64 - 1;
        assert!(kept > 2_000, "{kept}");
        assert_eq!((recorder.merged, recorder.samples()), (100_000 - kept, 100_000));
        assert_eq!(recorder.stacks.all()[0].sums.samples, recorder.merged);
        assert_eq!(recorder.check_all(), None);
    }

    #[test]
    fn the_number_of_a_forgotten_code_object_is_free_and_no_path_has_it() {
        let mut recorder = recorder(100);
        allocate(&mut recorder, 0x1000, 8);
        allocate(&mut recorder, 0x2000, 9);
        let code = |recorder: &PythonRecorder, stack: usize| recorder.stacks.all()[stack].path.frames[0].0;
        let number = code(&recorder, 1);
        recorder.freed(0x1000).unwrap();
        let path = recorder.forget_next(10).unwrap();
        recorder.extra.release(&path);
        assert!(recorder.extra.get(number).is_none() && recorder.stacks.all()[1].path.frames.is_empty());
        allocate(&mut recorder, 0x3000, 10);
        assert_eq!(code(&recorder, 1), number);
        assert_eq!(&*recorder.extra.get(number).unwrap().function, "render_a");
        assert_eq!(&*recorder.extra.get(code(&recorder, 2)).unwrap().function, "render_9");
    }
}
