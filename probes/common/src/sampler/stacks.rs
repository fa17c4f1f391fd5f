//! Call paths, each once, with the sums of what they hold.
//!
//! A path is known by a 64-bit hash of its raw frames; that two of 200,000 have the same one is a matter of one in a
//! billion. What is kept of a path is the probe's own business.
//!
//! A path can be forgotten; its index is then given to another one. So an index says which path it is only together
//! with its [`Stack::serial`], which no two paths have in common.

use super::estimate::Sums;

const FREE: u32 = u32::MAX;

/// A call path.
#[derive(Debug)]
pub struct Stack<P> {
    hash: u64,
    /// Counts the paths that were ever added: another path at the same index has another one.
    pub serial: u64,
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
    /// Indices whose path was forgotten.
    free: Vec<u32>,
    /// Paths that were ever added.
    added: u64,
}

impl<P> Stacks<P> {
    /// None.
    pub const fn new() -> Self {
        Self { all: Vec::new(), places: Vec::new(), free: Vec::new(), added: 0 }
    }

    /// How many indices there are, those of forgotten paths among them.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many paths there are.
    pub fn kept(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// What the tables take, without what the paths themselves hold.
    pub fn held_bytes(&self) -> usize {
        self.all.capacity() * size_of::<Stack<P>>()
            + (self.places.len() + self.free.capacity()) * size_of::<u32>()
    }

    /// All of them, by index. A forgotten one holds nothing.
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
        self.added += 1;
        let stack = Stack { hash, serial: self.added, path, sums: Sums::default() };
        let index = match self.free.pop() {
            Some(index) if (index as usize) < self.all.len() => {
                self.all[index as usize] = stack;
                index
            }
            _ => {
                if self.all.len() == self.all.capacity() {
                    // By a quarter: twice the room for paths that may never come would be most of what there may be.
                    self.all.reserve_exact((self.all.len() / 4).max(16));
                }
                self.all.push(stack);
                (self.all.len() - 1) as u32
            }
        };
        self.place(hash, index);
        index
    }

    /// Forgets the path at `index`, which no sample belongs to, and gives what was kept of it.
    pub fn forget(&mut self, index: u32) -> Option<P>
    where
        P: Default,
    {
        let hash = self.all.get(index as usize)?.hash;
        if !self.displace(hash, index) {
            return None;
        }
        let stack = self.all.get_mut(index as usize)?;
        stack.sums = Sums::default();
        // Nobody finds it any more, and whoever has seen this index before sees that the path is another one.
        stack.serial = 0;
        self.free.push(index);
        Some(std::mem::take(&mut stack.path))
    }

    /// Takes all of them out, by index; a forgotten one has serial 0.
    pub fn take(&mut self) -> Vec<Stack<P>> {
        self.places = Vec::new();
        self.free = Vec::new();
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

    /// Takes `index` out of the places, and moves what comes after it back, so that no search ends too early.
    fn displace(&mut self, hash: u64, index: u32) -> bool {
        let Some(mask) = self.places.len().checked_sub(1) else { return false };
        let mut hole = hash as usize & mask;
        loop {
            match self.places[hole] {
                FREE => return false,
                found if found == index => break,
                _ => hole = (hole + 1) & mask,
            }
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let found = self.places[at];
            if found == FREE {
                break;
            }
            let home = self.all[found as usize].hash as usize;
            // How far each is from where the entry would like to be.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.places[hole] = found;
                hole = at;
            }
        }
        self.places[hole] = FREE;
        true
    }

    #[cold]
    fn grow(&mut self) {
        self.places = vec![FREE; (self.places.len() * 2).max(64)];
        for index in 0..self.all.len() {
            if self.all[index].serial != 0 {
                self.place(self.all[index].hash, index as u32);
            }
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
    #[test]
    fn a_million_paths_that_come_and_go_take_the_room_of_those_that_are_there() {
        let mut stacks = Stacks::new();
        let hash = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut there = std::collections::VecDeque::new();
        for number in 1..=1_000_000_u64 {
            let index = stacks.add(hash(number), number);
            there.push_back((number, index));
            // Not always the oldest: holes come to lie in the middle of runs, too.
            if there.len() > 1_000 {
                let at = (number % 7) as usize;
                let (gone, index) = there.remove(at).unwrap();
                assert_eq!((stacks.forget(index), stacks.find(hash(gone))), (Some(gone), None));
            }
        }
        assert!(there.iter().all(|(number, index)| stacks.find(hash(*number)) == Some(*index)));
        assert_eq!((stacks.kept(), stacks.len()), (1_000, 1_001));
        assert!(stacks.held_bytes() < 256 << 10, "{}", stacks.held_bytes());
        let mut serials: Vec<u64> = stacks.all().iter().map(|stack| stack.serial).collect();
        serials.sort_unstable();
        serials.dedup();
        assert_eq!(serials.len(), 1_001, "each path has a serial of its own");
        assert_eq!(stacks.take().iter().filter(|stack| stack.serial != 0).count(), 1_000);
    }
}
