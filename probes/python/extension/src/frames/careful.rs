//! A first look at frames whose layout nobody has seen: every word is read through the kernel, which says where there is
//! no memory, instead of ending the process.
//! Called at attach only, never from a hook.

use std::fs::File;
use std::os::unix::fs::FileExt;

use leakline_python::layouts::{FIRST_ENTRY_MARK, InterpreterFrames};

use super::walk::NO_TAG;
use crate::host;

/// More frames than the self-test has, and its caller.
const MOST: usize = 100_000;

/// Memory of this process, as the kernel reads it.
pub(super) struct Memory(File);

impl Memory {
    pub(super) fn open() -> Result<Self, String> {
        let path = "/proc/self/mem";
        File::open(path)
            .map(Self)
            .map_err(|error| format!("this process's memory cannot be read: {error}: {path}"))
    }

    fn word(&self, address: usize, offset: u32) -> Option<usize> {
        let mut word = [0; size_of::<usize>()];
        self.0.read_exact_at(&mut word, address.checked_add(offset as usize)? as u64).ok()?;
        Some(usize::from_ne_bytes(word))
    }

    fn byte(&self, address: usize, offset: u32) -> Option<u8> {
        let mut byte = [0];
        self.0.read_exact_at(&mut byte, address.checked_add(offset as usize)? as u64).ok()?;
        Some(byte[0])
    }

    /// Whether the chain of frames of a thread state can be followed to its end, and each frame has a code object.
    pub(super) fn is_chain(&self, shape: &InterpreterFrames, thread_state: usize) -> bool {
        self.follow(shape, thread_state).is_some()
    }

    fn follow(&self, shape: &InterpreterFrames, thread_state: usize) -> Option<()> {
        let code_type = host::symbol(c"PyCode_Type")?.as_ptr() as usize;
        let mut frame = self.word(thread_state, shape.innermost)?;
        for _ in 0..MOST {
            if frame == 0 {
                return Some(());
            }
            if !frame.is_multiple_of(8) {
                return None;
            }
            if self.byte(frame, shape.owner)? < FIRST_ENTRY_MARK {
                let code = self.word(frame, shape.code)? & NO_TAG;
                self.word(frame, shape.instruction)?;
                if self.word(code, 8)? != code_type {
                    return None;
                }
            }
            frame = self.word(frame, shape.previous)?;
        }
        None
    }
}
