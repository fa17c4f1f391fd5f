//! Code objects that are known by numbers which nobody gives back: the oldest are forgotten when all of them take too much,
//! and no number is given twice.
//! Never decides how much is too much.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::paths::{CodeKey, code_bytes};
use crate::lines::CodeInfo;

/// Code objects that are looked at for one that was not met again, for each new one.
const LOOKED_AT: usize = 16;

/// Code objects by numbers of which none is given twice.
#[derive(Debug)]
pub struct Codes {
    numbers: FxHashMap<CodeKey, u32>,
    all: FxHashMap<u32, Code>,
    /// The one that was met longest ago first.
    queue: VecDeque<u32>,
    next: u32,
    held: usize,
}

#[derive(Debug)]
struct Code {
    key: CodeKey,
    info: Arc<CodeInfo>,
    /// Whether it was met again since it came to the end of the queue.
    again: bool,
}

impl Codes {
    /// None.
    pub const fn new() -> Self {
        Self {
            numbers: FxHashMap::with_hasher(rustc_hash::FxBuildHasher),
            all: FxHashMap::with_hasher(rustc_hash::FxBuildHasher),
            queue: VecDeque::new(),
            next: 0,
            held: 0,
        }
    }

    /// None, and numbers that were not given yet: for a child that was forked while another thread was in here. Of what may
    /// be in between two states, one number is read.
    pub fn renewed(&self) -> Self {
        Self { next: self.next.wrapping_add(1), ..Self::new() }
    }

    /// The number of a code object; `info` copies what is known of one that is new, and older ones are forgotten when
    /// all of them take more than `most` bytes.
    pub fn number(&mut self, key: CodeKey, most: usize, info: impl FnOnce() -> CodeInfo) -> u32 {
        if let Some(number) = self.numbers.get(&key)
            && let Some(code) = self.all.get_mut(number)
        {
            code.again = true;
            return *number;
        }
        let info = info();
        self.held += code_bytes(&info);
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.all.insert(number, Code { key, info: Arc::new(info), again: false });
        self.numbers.insert(key, number);
        self.queue.push_back(number);
        self.forget(most);
        number
    }

    /// What is known of the code object with `number`, unless it was forgotten.
    pub fn get(&self, number: u32) -> Option<&Arc<CodeInfo>> {
        Some(&self.all.get(&number)?.info)
    }

    fn forget(&mut self, most: usize) {
        for look in 0.. {
            // All of them are met again and again: then the oldest goes all the same.
            let is_last = look >= LOOKED_AT;
            if self.held <= most || self.queue.len() <= 1 || look > 2 * LOOKED_AT {
                return;
            }
            let Some(number) = self.queue.pop_front() else { return };
            match self.all.get_mut(&number) {
                Some(code) if code.again && !is_last => {
                    code.again = false;
                    self.queue.push_back(number);
                }
                _ => {
                    if let Some(code) = self.all.remove(&number) {
                        self.held = self.held.saturating_sub(code_bytes(&code.info));
                        self.numbers.remove(&code.key);
                    }
                }
            }
        }
    }
}

impl Default for Codes {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::LineFormat;

    #[test]
    fn a_million_code_objects_take_no_more_than_the_bound_and_no_number_comes_twice() {
        const MOST: usize = 256 << 10;
        let mut codes = Codes::new();
        let mut number = |code: usize| {
            let info = || CodeInfo {
                function: format!("f{code:x}").into(),
                file: format!("<cell {code:x}>").into(),
                first_line: 1,
                lines: vec![0; 40].into(),
                format: LineFormat::Locations,
            };
            let number = codes.number((code, 1), MOST, info);
            assert!(codes.held <= MOST && codes.all.capacity() <= 4096, "{code}");
            assert_eq!((codes.all.len(), codes.numbers.len()), (codes.queue.len(), codes.queue.len()));
            number
        };
        let main = number(7);
        for code in 8..1_000_000 {
            assert_eq!(number(code), code as u32 - 7);
            assert_eq!(number(7), main, "what is met again and again stays");
        }
    }
}
