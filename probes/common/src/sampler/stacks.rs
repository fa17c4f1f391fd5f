//! Call paths, each once, with the sums of what they hold.
//!
//! A path is known by a 64-bit hash of its raw frames; that two of 200,000 have the same one is a matter of one in a
//! billion. What is kept of a path is the probe's own business.

use super::estimate::Sums;

const FREE: u32 = u32::MAX;

/// A call path.
#[derive(Debug)]
pub struct Stack<P> {
    hash: u64,
    /// What the probe keeps of it.
    pub path: P,
    /// What it holds.
    pub sums: Sums,
}

/// The call paths, by index.
#[derive(Debug)]
pub struct Stacks<P> {
    all: Vec<Stack<P>>,
    /// Indices into `all`, by hash; a power of two.
    places: Vec<u32>,
}

impl<P> Stacks<P> {
    /// None.
    pub const fn new() -> Self {
        Self { all: Vec::new(), places: Vec::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, by index.
    pub fn all(&self) -> &[Stack<P>] {
        &self.all
    }

    /// The one at `index`.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Stack<P>> {
        self.all.get_mut(index as usize)
    }

    /// The index of the path with `hash`, if it is known.
    #[inline]
    pub fn find(&self, hash: u64) -> Option<u32> {
        let mask = self.places.len().checked_sub(1)?;
        let mut at = hash as usize;
        loop {
            let index = *self.places.get(at & mask)?;
            let stack = self.all.get(index as usize)?;
            if stack.hash == hash {
                return Some(index);
            }
            at += 1;
        }
    }

    /// Adds a path that [`Stacks::find`] did not find.
    pub fn add(&mut self, hash: u64, path: P) -> u32 {
        if self.all.len() * 2 >= self.places.len() {
            self.grow();
        }
        let index = self.all.len() as u32;
        self.all.push(Stack { hash, path, sums: Sums::default() });
        self.place(hash, index);
        index
    }

    /// Takes all of them out.
    pub fn take(&mut self) -> Vec<Stack<P>> {
        self.places = Vec::new();
        std::mem::take(&mut self.all)
    }

    /// Puts one back that was taken out.
    pub fn put_back(&mut self, stack: Stack<P>) -> u32 {
        let index = self.add(stack.hash, stack.path);
        if let Some(added) = self.all.last_mut() {
            added.sums = stack.sums;
        }
        index
    }

    fn place(&mut self, hash: u64, index: u32) {
        let mask = self.places.len() - 1;
        let mut at = hash as usize;
        while self.places[at & mask] != FREE {
            at += 1;
        }
        self.places[at & mask] = index;
    }

    #[cold]
    fn grow(&mut self) {
        self.places = vec![FREE; (self.places.len() * 2).max(64)];
        for index in 0..self.all.len() {
            self.place(self.all[index].hash, index as u32);
        }
    }
}

impl<P> Default for Stacks<P> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_index() {
        let mut stacks = Stacks::new();
        let hash = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        assert_eq!(stacks.find(hash(1)), None);
        for number in 0..10_000 {
            assert_eq!(stacks.find(hash(number)), None);
            assert_eq!(stacks.add(hash(number), number), number as u32);
        }
        for number in 0..10_000 {
            assert_eq!(stacks.find(hash(number)), Some(number as u32));
        }
        let taken = stacks.take();
        assert!(stacks.is_empty() && stacks.find(hash(5)).is_none());
        for stack in taken.into_iter().filter(|stack| stack.path % 2 == 1) {
            stacks.put_back(stack);
        }
        assert_eq!((stacks.len(), stacks.find(hash(5)), stacks.find(hash(6))), (5_000, Some(2), None));
    }
}
