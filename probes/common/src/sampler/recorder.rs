//! What a hook reports to: the live samples, and the call paths that they belong to. Knows no lock: the hook has one.
//!
//! Bounded: with more live samples than it may keep, a recorder that samples doubles its mean and drops about half of
//! them, so that what is left stands for the same as before; one that records everything says that it is full. A probe
//! whose paths have taken the room that they may take forgets those that hold nothing ([`Recorder::forget_next`]), one
//! for each new one; only where all hold something, further paths share one, and that is counted.

use super::estimate::{Sums, Weight, probability, weight};
use super::live::{Class, Live, LiveTable, SURVIVAL_READINGS};
use super::random::Random;
use super::stacks::Stacks;

/// What a recorder is started with.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Mean bytes between two samples; 0: every allocation is recorded.
    pub mean: u64,
    /// Most live samples.
    pub max_live: usize,
    /// Most call paths.
    pub max_stacks: usize,
}

/// An allocation.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// Where it is; not 0.
    pub address: usize,
    /// Bytes.
    pub size: usize,
    /// Who served it.
    pub class: Class,
    /// Whether there was a mark at its address: something may be kept there whose free went by unseen.
    pub was_marked: bool,
}

/// What became of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Recorded {
    /// It is kept.
    Kept,
    /// It is not: there is no room.
    Full,
}

/// The tables. `P` is what is kept of a call path, `E` what else the probe keeps beside them.
#[derive(Debug)]
pub struct Recorder<P, E> {
    /// The call paths. The first is the one that paths beyond the bound share.
    pub stacks: Stacks<P>,
    /// What the probe keeps.
    pub extra: E,
    /// All paths together, what malloc served only.
    pub large: Sums,
    /// Counts the starts: numbers of different ones have nothing in common.
    pub epoch: u64,
    /// Frees that nobody saw: another allocation came to lie at the same address.
    pub missed_frees: u64,
    /// Samples whose path shares the first one, because there was no room for it.
    pub merged: u64,
    live: LiveTable,
    bounds: Bounds,
    first_mean: u64,
    random: Random,
    /// Where the search for a path that holds nothing goes on.
    hand: usize,
}

/// An allocation that was taken out.
#[derive(Debug, Clone, Copy)]
pub struct Freed {
    live: Live,
    epoch: u64,
    /// Of its path, which may be forgotten meanwhile.
    serial: u64,
}

impl Freed {
    /// Bytes of the allocation.
    pub fn size(&self) -> u64 {
        self.live.size()
    }
}

impl<P, E> Recorder<P, E> {
    /// One that was not started.
    pub const fn new(extra: E) -> Self {
        let nothing = Weight { bytes: 0, blocks: 0, variance: 0 };
        Self {
            stacks: Stacks::new(),
            extra,
            large: Sums { samples: 0, live: nothing, allocated_bytes: 0, allocated_blocks: 0 },
            epoch: 0,
            missed_frees: 0,
            merged: 0,
            live: LiveTable::new(),
            bounds: Bounds { mean: 0, max_live: 0, max_stacks: 0 },
            first_mean: 0,
            random: Random::new(0x2545_F491_4F6C_DD1D),
            hand: 0,
        }
    }

    /// Begins anew with nothing: `extra` for the probe, `shared` for paths beyond the bound.
    pub fn start(&mut self, bounds: Bounds, extra: E, shared: P) {
        self.stop(extra);
        if bounds.mean == 0 {
            self.live = LiveTable::for_all();
        }
        self.bounds = bounds;
        self.first_mean = bounds.mean;
        self.epoch += 1;
        self.stacks.add(0, shared);
    }

    /// Forgets everything, and gives its memory back.
    pub fn stop(&mut self, extra: E) {
        self.stacks = Stacks::new();
        self.live = LiveTable::new();
        self.extra = extra;
        self.large = Sums::default();
        self.missed_frees = 0;
        self.merged = 0;
        self.hand = 0;
    }

    /// Whether the path of `hash` is known, or would not be kept.
    pub fn needs_no_path(&self, hash: u64) -> bool {
        self.stacks.kept() >= self.bounds.max_stacks || self.stacks.find(hash).is_some()
    }

    /// Keeps a block with the path of `hash`; `path` makes what is kept of a new path.
    #[inline]
    pub fn allocated(&mut self, block: Block, hash: u64, path: impl FnOnce(&mut E) -> P) -> Recorded {
        self.allocated_if(block, hash, |extra| Some(path(extra)))
    }

    /// As [`Recorder::allocated`]; `path` gives `None` where there is no room for a new path.
    #[inline]
    pub fn allocated_if(
        &mut self,
        block: Block,
        hash: u64,
        path: impl FnOnce(&mut E) -> Option<P>,
    ) -> Recorded {
        if self.live.len() >= self.bounds.max_live && !self.thin() {
            return Recorded::Full;
        }
        let has_room = self.stacks.kept() < self.bounds.max_stacks;
        let stack = match self.stacks.find(hash) {
            Some(stack) => stack,
            None => match has_room.then(|| path(&mut self.extra)).flatten() {
                Some(path) => self.stacks.add(hash, path),
                None => {
                    self.merged += 1;
                    0
                }
            },
        };
        let live = Live::new(stack, block.size, block.class);
        self.change(live, Sums::add);
        if let Some(old) = self.live.insert(block.address, live, block.was_marked) {
            self.missed_frees += 1;
            self.change(old, Sums::remove);
        }
        Recorded::Kept
    }

    /// Takes an allocation out that is about to be freed. `None`: it is not here.
    #[inline]
    pub fn freed(&mut self, address: usize) -> Option<Freed> {
        let live = self.live.remove(address)?;
        self.change(live, Sums::remove);
        let serial = self.serial(live.stack());
        Some(Freed { live, epoch: self.epoch, serial })
    }

    fn serial(&self, stack: u32) -> u64 {
        self.stacks.all().get(stack as usize).map_or(0, |stack| stack.serial)
    }

    /// Puts an allocation back that was not freed after all.
    pub fn put_back(&mut self, address: usize, freed: Freed) {
        if freed.epoch != self.epoch {
            return;
        }
        let is_there = self.serial(freed.live.stack()) == freed.serial;
        let live = if is_there { freed.live } else { freed.live.moved_to(0) };
        self.change(live, Sums::add_back);
        self.live.insert(address, live, true);
    }

    /// Counts one more reading for every live sample, and gives for each path, by index, what was live at
    /// [`SURVIVAL_READINGS`] of them or more. Takes as long as there are samples: for one that samples.
    ///
    /// [`SURVIVAL_READINGS`]: super::live::SURVIVAL_READINGS
    pub fn grow_older(&mut self, survived: &mut Vec<Weight>) {
        survived.clear();
        survived.resize(self.stacks.len(), Weight::default());
        self.each_by_age(true, &mut |live, weight| {
            if live.readings() == SURVIVAL_READINGS
                && let Some(sum) = survived.get_mut(live.stack() as usize)
            {
                sum.add(weight);
            }
        });
    }

    /// Tells every live sample with what it stands for, one reading older if `older`.
    pub fn each_by_age(&mut self, older: bool, each: &mut dyn FnMut(Live, Weight)) {
        let mean = self.bounds.mean;
        self.live.each(&mut |live| {
            if older {
                live.grow_older();
            }
            each(*live, weight(live.size(), mean));
        });
    }

    /// Whether the sample at `address` is kept still.
    pub fn holds(&mut self, address: usize) -> bool {
        let found = self.live.remove(address);
        found.is_some_and(|live| self.live.insert(address, live, false).is_none())
    }

    /// Live samples.
    pub fn samples(&self) -> usize {
        self.live.len()
    }

    /// Mean bytes between two samples. It grows when there are too many.
    pub fn mean(&self) -> u64 {
        self.bounds.mean
    }

    /// The mean that it was started with.
    pub fn first_mean(&self) -> u64 {
        self.first_mean
    }

    /// The bounds, with the mean as it is now.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// What is wrong with the tables, in words; `None` when the sums of the paths are as many samples as there are.
    pub fn check(&self) -> Option<String> {
        let samples: u64 = self.stacks.all().iter().map(|stack| stack.sums.samples).sum();
        let live = self.live.len();
        (samples != live as u64).then(|| format!("{live} live samples, but {samples} by call path"))
    }

    /// As [`Recorder::check`], but compares every sum with what the live samples add up to, which takes a while.
    pub fn check_all(&mut self) -> Option<String> {
        let mut sums = vec![Sums::default(); self.stacks.len()];
        let (mean, mut nowhere) = (self.bounds.mean, 0_u64);
        self.live.each(&mut |live| match sums.get_mut(live.stack() as usize) {
            Some(sums) => sums.add_back(weight(live.size(), mean)),
            None => nowhere += 1,
        });
        let all = self.stacks.all().iter().zip(&sums);
        let wrong =
            all.filter(|(stack, sums)| (stack.sums.samples, stack.sums.live) != (sums.samples, sums.live));
        let wrong = wrong.count();
        (wrong > 0 || nowhere > 0).then(|| {
            format!("{wrong} call paths hold something else than their samples, and {nowhere} samples belong to none")
        })
    }

    /// Forgets paths that hold nothing, when there are more than `most`. `keep` is told of each that stays, in their new
    /// order. Indices change. False: there was nothing to do.
    pub fn compact(&mut self, most: usize, keep: &mut dyn FnMut(&mut P, &mut E)) -> bool {
        if self.stacks.len() <= most {
            return false;
        }
        let mut moved = Vec::new();
        for (index, mut stack) in self.stacks.take().into_iter().enumerate() {
            if stack.sums.samples > 0 || index == 0 {
                keep(&mut stack.path, &mut self.extra);
                moved.push(self.stacks.put_back(stack));
            } else {
                moved.push(0);
            }
        }
        self.live.each(&mut |live| {
            *live = live.moved_to(moved.get(live.stack() as usize).copied().unwrap_or(0));
        });
        true
    }

    /// Whether the path of `hash` is known.
    #[inline]
    pub fn knows(&self, hash: u64) -> bool {
        self.stacks.find(hash).is_some()
    }

    /// Forgets the next path that holds nothing, and gives what was kept of it; `None`: there was none among the next
    /// `steps`. Goes round: a path has as much time to be used again as the others take to be looked at.
    pub fn forget_next(&mut self, steps: usize) -> Option<P>
    where
        P: Default,
    {
        for _ in 0..steps.min(self.stacks.len()) {
            // The first one is shared, and stays.
            self.hand = if self.hand + 1 < self.stacks.len() { self.hand + 1 } else { 1 };
            let stack = self.stacks.all().get(self.hand)?;
            if stack.serial != 0 && stack.sums.samples == 0 {
                return self.stacks.forget(self.hand as u32);
            }
        }
        None
    }

    /// Forgets all paths that hold nothing; `forgotten` is given what was kept of each.
    pub fn forget_all(&mut self, forgotten: &mut dyn FnMut(P, &mut E))
    where
        P: Default,
    {
        for index in 1..self.stacks.len() {
            let is_unused = self
                .stacks
                .all()
                .get(index)
                .is_some_and(|stack| stack.serial != 0 && stack.sums.samples == 0);
            if is_unused && let Some(path) = self.stacks.forget(index as u32) {
                forgotten(path, &mut self.extra);
            }
        }
    }

    #[inline]
    fn change(&mut self, live: Live, how: impl Fn(&mut Sums, Weight)) {
        let weight = weight(live.size(), self.bounds.mean);
        if let Some(stack) = self.stacks.get_mut(live.stack()) {
            how(&mut stack.sums, weight);
        }
        if live.class() == Class::Large {
            how(&mut self.large, weight);
        }
    }

    /// Doubles the mean, and keeps each sample with the probability that it would have been one with that mean. False:
    /// everything is recorded here, or the mean cannot grow any more.
    #[cold]
    pub fn thin(&mut self) -> bool {
        let old = self.bounds.mean;
        let new = old.saturating_mul(2);
        if old == 0 || new > 1 << 40 {
            return false;
        }
        let mut random = self.random;
        self.live.retain(&mut |live| {
            random.uniform() <= probability(live.size(), new) / probability(live.size(), old)
        });
        self.random = random;
        self.bounds.mean = new;
        self.weigh_anew();
        true
    }

    /// The sums of all live samples, at the mean that is in force now. What was allocated so far stays as it is.
    fn weigh_anew(&mut self) {
        let nothing_live = |sums: &mut Sums| *sums = Sums { samples: 0, live: Weight::default(), ..*sums };
        (0..self.stacks.len()).for_each(|index| {
            self.stacks.get_mut(index as u32).into_iter().for_each(|stack| nothing_live(&mut stack.sums));
        });
        nothing_live(&mut self.large);
        let mut live = std::mem::take(&mut self.live);
        live.each(&mut |live| self.change(*live, Sums::add_back));
        self.live = live;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Small = Recorder<u64, ()>;

    fn recorder(mean: u64, max_live: usize, max_stacks: usize) -> Small {
        let mut recorder = Small::new(());
        recorder.start(Bounds { mean, max_live, max_stacks }, (), u64::MAX);
        recorder
    }

    fn allocate(recorder: &mut Small, address: usize, size: usize, path: u64) -> Recorded {
        let hash = path.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let class = if size > 512 { Class::Large } else { Class::Small };
        recorder.allocated(Block { address, size, class, was_marked: true }, hash, |()| path)
    }

    fn live(recorder: &Small) -> u64 {
        recorder.stacks.all().iter().map(|stack| stack.sums.live.bytes).sum()
    }

    fn no_fault(recorder: &mut Small) {
        assert_eq!((recorder.check(), recorder.check_all()), (None, None));
    }

    #[test]
    fn what_is_allocated_is_live_until_it_is_freed() {
        let mut recorder = recorder(0, 100, 100);
        assert_eq!(allocate(&mut recorder, 0x1000, 100, 1), Recorded::Kept);
        assert_eq!(allocate(&mut recorder, 0x2000, 1000, 2), Recorded::Kept);
        assert_eq!((live(&recorder), recorder.large.live.bytes), (1100, 1000));
        assert!(recorder.freed(0x3000).is_none());
        let freed = recorder.freed(0x2000).unwrap();
        assert_eq!(live(&recorder), 100);
        recorder.put_back(0x2000, freed);
        assert_eq!(live(&recorder), 1100);
        recorder.freed(0x2000).unwrap();
        assert_eq!((recorder.stacks.all()[2].sums.allocated_bytes, recorder.large.live.bytes), (1000, 0));
        no_fault(&mut recorder);
    }

    #[test]
    fn an_address_that_comes_back_without_a_free_replaces_what_was_there() {
        let mut recorder = recorder(0, 100, 100);
        assert_eq!(allocate(&mut recorder, 0x1000, 600, 1), Recorded::Kept);
        assert_eq!(allocate(&mut recorder, 0x1000, 50, 2), Recorded::Kept);
        assert_eq!((live(&recorder), recorder.missed_frees, recorder.large.live.bytes), (50, 1, 0));
        no_fault(&mut recorder);
    }

    #[test]
    fn what_was_taken_out_before_a_new_start_is_not_put_back_after_it() {
        let mut recorder = recorder(0, 100, 100);
        assert_eq!(allocate(&mut recorder, 0x1000, 600, 1), Recorded::Kept);
        let freed = recorder.freed(0x1000).unwrap();
        recorder.start(Bounds { mean: 0, max_live: 100, max_stacks: 100 }, (), u64::MAX);
        recorder.put_back(0x1000, freed);
        assert_eq!(live(&recorder), 0);
    }

    #[test]
    fn paths_beyond_the_bound_share_the_first() {
        let mut recorder = recorder(0, 100, 3);
        for path in 0..10 {
            assert_eq!(allocate(&mut recorder, 0x1000 + 16 * path as usize, 10, path), Recorded::Kept);
        }
        let held: Vec<(u64, u64)> =
            recorder.stacks.all().iter().map(|stack| (stack.path, stack.sums.samples)).collect();
        assert_eq!(held, [(u64::MAX, 8), (0, 1), (1, 1)]);
        assert_eq!(recorder.merged, 8);
        no_fault(&mut recorder);
    }

    #[test]
    fn a_full_recorder_says_so_and_one_that_samples_thins() {
        let mut full = recorder(0, 10, 100);
        let kept = (0..20).filter(|n| allocate(&mut full, 0x1000 + 16 * n, 10, 1) == Recorded::Kept).count();
        assert_eq!(kept, 10);

        let mut recorder = recorder(1024, 1000, 100);
        for sample in 0..6_000 {
            let kept = allocate(&mut recorder, 0x10_0000 + 16 * sample, 16, (sample % 7) as u64);
            assert_eq!(kept, Recorded::Kept);
        }
        no_fault(&mut recorder);
        assert!(recorder.samples() <= 1000 && recorder.mean() >= 32 * 1024, "{recorder:?}");
    }

    #[test]
    fn thinning_keeps_the_estimate() {
        // Each round: 400 samples of a mean of 1 KiB, thinned to a mean of 8 KiB.
        let rounds = 200;
        let mut total = 0.0;
        let mut recorder = recorder(1024, 100, 100);
        for _ in 0..rounds {
            recorder.start(Bounds { mean: 1024, max_live: 401, max_stacks: 100 }, (), u64::MAX);
            for sample in 0..400 {
                assert_eq!(allocate(&mut recorder, 0x10_0000 + 16 * sample, 64 + sample, 1), Recorded::Kept);
            }
            let before = live(&recorder) as f64;
            assert!((0..3).all(|_| recorder.thin()));
            no_fault(&mut recorder);
            total += live(&recorder) as f64 / before;
        }
        let mean = total / f64::from(rounds);
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
    }

    #[test]
    fn what_was_live_at_three_readings_has_survived() {
        let mut recorder = recorder(0, 100, 100);
        let mut survived = Vec::new();
        let mut bytes = |recorder: &mut Small| {
            recorder.grow_older(&mut survived);
            survived.iter().map(|weight| weight.bytes).collect::<Vec<_>>()
        };
        recorder.live = LiveTable::new();
        assert_eq!(allocate(&mut recorder, 0x1000, 100, 1), Recorded::Kept);
        assert_eq!(bytes(&mut recorder), [0, 0]);
        assert_eq!(allocate(&mut recorder, 0x2000, 1000, 1), Recorded::Kept);
        assert_eq!(bytes(&mut recorder), [0, 0]);
        assert_eq!(bytes(&mut recorder), [0, 100]);
        assert_eq!(bytes(&mut recorder), [0, 1100]);
        recorder.freed(0x1000).unwrap();
        assert_eq!(bytes(&mut recorder), [0, 1000]);
        no_fault(&mut recorder);
    }

    #[test]
    fn compacting_forgets_only_what_holds_nothing() {
        let mut recorder = recorder(0, 1000, 1000);
        let address = |path: u64| 0x1000 + 16 * path as usize;
        for path in 0..100 {
            assert_eq!(allocate(&mut recorder, address(path), 10, path), Recorded::Kept);
        }
        for path in (0..100).filter(|path| path % 4 != 0) {
            recorder.freed(address(path)).unwrap();
        }
        let mut kept = 0;
        assert!(recorder.compact(50, &mut |_, ()| kept += 1));
        assert_eq!((kept, recorder.stacks.len(), live(&recorder)), (26, 26, 250));
        no_fault(&mut recorder);
        for path in (0..100).filter(|path| path % 4 == 0) {
            recorder.freed(address(path)).unwrap();
        }
        assert_eq!(live(&recorder), 0);
        no_fault(&mut recorder);
    }

    #[test]
    fn a_million_paths_that_hold_nothing_any_more_make_room_for_the_next() {
        let mut recorder = recorder(0, 2_000, 1_000);
        let address = |path: u64| 0x1000 + 16 * path as usize;
        for path in 1..=1_000_000_u64 {
            if !recorder.knows(path.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
                && recorder.stacks.kept() >= 1_000
            {
                assert!(recorder.forget_next(1_000).is_some(), "{path}");
            }
            assert_eq!(allocate(&mut recorder, address(path), 10, path), Recorded::Kept);
            if path > 500 {
                recorder.freed(address(path - 500)).unwrap();
            }
        }
        assert_eq!((recorder.merged, recorder.stacks.len(), recorder.samples()), (0, 1_000, 500));
        no_fault(&mut recorder);
        let mut forgotten = 0;
        recorder.forget_all(&mut |_, ()| forgotten += 1);
        assert_eq!((forgotten, recorder.stacks.kept(), live(&recorder)), (499, 501, 5_000));
        no_fault(&mut recorder);
    }

    #[test]
    fn what_is_put_back_after_its_path_was_forgotten_is_not_another_paths() {
        let mut recorder = recorder(0, 100, 100);
        assert_eq!(allocate(&mut recorder, 0x1000, 600, 1), Recorded::Kept);
        let freed = recorder.freed(0x1000).unwrap();
        assert_eq!(recorder.forget_next(10), Some(1));
        assert_eq!(allocate(&mut recorder, 0x2000, 50, 2), Recorded::Kept);
        recorder.put_back(0x1000, freed);
        let held: Vec<u64> = recorder.stacks.all().iter().map(|stack| stack.sums.live.bytes).collect();
        assert_eq!(held, [600, 50]);
        no_fault(&mut recorder);
    }
}
