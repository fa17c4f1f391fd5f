//! What a hook keeps for each thread: how many bytes may still be allocated before the next sample, and whether this thread
//! is inside the hook already.
//!
//! Never allocated and never dropped: it lies in the thread's static block, zeroed. An ordinary `thread_local!` in a shared
//! library is reached through a call (`__tls_get_addr`), which would double a hook's cost; so where the system's loader
//! can, the block is asked for in the initial-exec model. It is small, because the loader has only little room for
//! libraries that come late.

use std::cell::Cell;

use super::random::Random;
use crate::heap;

/// One thread's state.
#[derive(Debug)]
#[repr(C, align(8))]
pub struct Thread {
    /// Bytes until the next sample; negative when it is due.
    left: Cell<i64>,
    /// Has not begun where this thread has not.
    random: Cell<Random>,
    /// The mean with which the interval that runs was drawn.
    mean: Cell<u64>,
    /// Whether this thread is inside a hook.
    busy: Cell<u32>,
    /// Calls of a hook that were counted.
    reached: Cell<u32>,
}

const OUTSIDE: u32 = 0;
const INSIDE: u32 = 1;
/// As inside, and calls of a hook are counted.
const ASKING: u32 = 2;

const SIZE: usize = size_of::<Thread>();
const _: () = assert!(SIZE == 32, "the assembly below reserves as much");

impl Thread {
    /// This thread's.
    #[inline(always)]
    pub fn current() -> &'static Self {
        // SAFETY: the block is zeroed, which is a valid state, lives as long as the thread, and the reference does not
        // leave it: the type is not `Sync`, and hooks use it within one call.
        unsafe { &*place::address() }
    }

    /// Counts `size` bytes; true when a sample may be due, which [`Thread::is_due`] then decides.
    #[inline(always)]
    pub fn spend(&self, size: usize) -> bool {
        let left = self.left.get().wrapping_sub(size as i64);
        self.left.set(left);
        left < 0
    }

    /// Whether [`Thread::spend`] said so.
    #[inline(always)]
    pub fn is_over(&self) -> bool {
        self.left.get() < 0
    }

    /// After [`Thread::spend`] said so: whether this allocation of `size` bytes is a sample, at `mean` bytes between two.
    /// Draws the next interval.
    #[cold]
    pub fn is_due(&self, size: usize, mean: u64) -> bool {
        if !self.random.get().has_begun() {
            self.random.set(Random::new(seed()));
            let first = self.draw(mean);
            self.left.set(first.wrapping_sub(size as i64));
            if self.left.get() >= 0 {
                return false;
            }
        }
        // An interval that was drawn with a smaller mean ended too early: points of a Poisson process that are kept with
        // probability a/b are one with b/a times the mean.
        let drawn_with = self.mean.get();
        let kept = drawn_with >= mean || self.uniform() * (mean as f64) < drawn_with as f64;
        let next = self.draw(mean);
        self.left.set(next);
        // A sample allocates, and without memory that would end the host: from then on every hook passes through.
        kept && !heap::is_out_of_memory()
    }

    /// Goes inside a hook; `None` when this thread is inside already: what it allocates there is not the host's doing, or
    /// was counted by the hook around.
    #[inline(always)]
    pub fn enter(&self) -> Option<Inside<'_>> {
        if self.busy.get() != OUTSIDE {
            self.count_if_asked();
            return None;
        }
        self.busy.set(INSIDE);
        Some(Inside(self))
    }

    /// Has hooks pass over this thread for as long as it lives: it is one of leakline's.
    pub fn leave_out(&self) {
        self.busy.set(INSIDE);
    }

    /// The bytes that are left, to be put back when what is done meanwhile is part of something that is counted anyway.
    #[inline(always)]
    pub fn left(&self) -> i64 {
        self.left.get()
    }

    /// Puts back what [`Thread::left`] gave.
    #[inline(always)]
    pub fn put_left(&self, left: i64) {
        self.left.set(left);
    }

    /// Whether this thread is inside a hook, or in what it does for leakline.
    #[inline(always)]
    pub fn is_inside(&self) -> bool {
        self.busy.get() != OUTSIDE
    }

    /// Whether a hook is reached by what `work` does on this thread: one that only counts bytes, or one that finds this
    /// thread inside.
    pub fn reaches_a_hook(&self, work: impl FnOnce()) -> bool {
        let (busy, reached, left) = (self.busy.replace(ASKING), self.reached.replace(0), self.left.get());
        work();
        let counted = self.left.replace(left) != left;
        self.busy.set(busy);
        self.reached.replace(reached) > 0 || counted
    }

    /// For a hook that does nothing else: somebody may be asking whether it is reached.
    #[inline]
    pub fn count_if_asked(&self) {
        if self.busy.get() == ASKING {
            self.reached.set(self.reached.get().wrapping_add(1));
        }
    }

    fn draw(&self, mean: u64) -> i64 {
        self.mean.set(mean);
        let interval = -self.uniform().ln() * mean as f64;
        interval.min(1e18) as i64
    }

    /// Above 0, at most 1.
    fn uniform(&self) -> f64 {
        let mut random = self.random.get();
        let drawn = random.uniform();
        self.random.set(random);
        drawn
    }
}

/// This thread is inside a hook as long as this lives.
#[derive(Debug)]
pub struct Inside<'a>(&'a Thread);

impl Drop for Inside<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.busy.set(OUTSIDE);
    }
}

/// Differs between threads and runs; never 0.
fn seed() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let place = std::ptr::from_ref(Thread::current()) as u64;
    let mut x = place ^ (time.tv_nsec as u64) << 32 ^ time.tv_sec as u64;
    // splitmix64: neighbouring addresses and times give unlike seeds.
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ x >> 31) | 1
}

/// Where the block is: initial-exec TLS, declared in assembly because stable Rust cannot ask for the model.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod place {
    use super::Thread;

    #[cfg(target_arch = "x86_64")]
    std::arch::global_asm!(
        ".section .tbss.leakline_sampler_thread,\"awT\",@nobits",
        ".balign 8",
        ".globl leakline_sampler_thread",
        ".hidden leakline_sampler_thread",
        ".type leakline_sampler_thread,@object",
        ".size leakline_sampler_thread,32",
        "leakline_sampler_thread:",
        ".zero 32",
        ".text",
    );

    #[cfg(target_arch = "aarch64")]
    std::arch::global_asm!(
        ".section .tbss.leakline_sampler_thread,\"awT\",%nobits",
        ".balign 8",
        ".globl leakline_sampler_thread",
        ".hidden leakline_sampler_thread",
        ".type leakline_sampler_thread,%object",
        ".size leakline_sampler_thread,32",
        "leakline_sampler_thread:",
        ".zero 32",
        ".text",
    );

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn address() -> *const Thread {
        let address: *const Thread;
        // SAFETY: the loader fills the slot with the block's offset from the thread pointer, which the ABI keeps at fs:0.
        unsafe {
            std::arch::asm!(
                "mov {0}, qword ptr [rip + leakline_sampler_thread@GOTTPOFF]",
                "add {0}, qword ptr fs:[0]",
                out(reg) address,
                options(pure, readonly, nostack)
            );
        }
        address
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(super) fn address() -> *const Thread {
        let address: *const Thread;
        // SAFETY: the loader fills the slot with the block's offset from the thread pointer, which is in tpidr_el0.
        unsafe {
            std::arch::asm!(
                "adrp {0}, :gottprel:leakline_sampler_thread",
                "ldr {0}, [{0}, :gottprel_lo12:leakline_sampler_thread]",
                "mrs {1}, tpidr_el0",
                "add {0}, {0}, {1}",
                out(reg) address,
                out(reg) _,
                options(pure, readonly, nostack)
            );
        }
        address
    }
}

/// Where the block is: what the system has. Android's loader has no room for initial-exec blocks of late libraries.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod place {
    use std::cell::Cell;

    use super::Thread;

    thread_local! {
        static THREAD: Thread = const {
            Thread {
                left: Cell::new(0),
                random: Cell::new(super::Random::new(0)),
                mean: Cell::new(0),
                busy: Cell::new(0),
                reached: Cell::new(0),
            }
        };
    }

    #[inline(always)]
    pub(super) fn address() -> *const Thread {
        THREAD.with(std::ptr::from_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on a thread of its own, whose state is fresh.
    fn on_a_thread<T: Send + 'static>(work: impl FnOnce(&'static Thread) -> T + Send + 'static) -> T {
        std::thread::Builder::new().spawn(|| work(Thread::current())).unwrap().join().unwrap()
    }

    fn samples(thread: &Thread, allocations: usize, size: usize, mean: u64) -> usize {
        (0..allocations).filter(|_| thread.spend(size) && thread.is_due(size, mean)).count()
    }

    #[test]
    fn as_many_are_sampled_as_the_estimator_expects() {
        for (size, mean) in [(64, 4096), (4096, 4096), (100_000, 65536), (1, 1024)] {
            let allocations = 400_000;
            let found = on_a_thread(move |thread| samples(thread, allocations, size, mean)) as f64;
            let probability = super::super::estimate::probability(size as u64, mean);
            let expected = allocations as f64 * probability;
            let deviation = (expected * (1.0 - probability)).sqrt().max(1.0);
            // Five standard deviations: one run in two million.
            assert!((found - expected).abs() < 5.0 * deviation, "{size} {mean}: {found}, not {expected}");
        }
    }

    #[test]
    fn a_grown_mean_thins_the_interval_that_was_running() {
        // Of the first allocation after the change, one in 64 is to be sampled, as if the mean had always been so.
        let runs = 20_000;
        let found = on_a_thread(move |thread| {
            thread.random.set(Random::new(seed()));
            (0..runs)
                .filter(|_| {
                    thread.left.set(-1);
                    thread.mean.set(1024);
                    thread.is_due(1, 65536)
                })
                .count()
        });
        let expected = runs as f64 / 64.0;
        assert!((found as f64 - expected).abs() < 5.0 * expected.sqrt(), "{found}, not {expected}");
    }

    #[test]
    fn nobody_goes_inside_twice() {
        on_a_thread(|thread| {
            let inside = thread.enter().unwrap();
            assert!(thread.enter().is_none());
            drop(inside);
            assert!(thread.enter().is_some());
            assert!(!thread.reaches_a_hook(|| ()));
            assert!(thread.reaches_a_hook(|| assert!(thread.enter().is_none())));
            assert!(thread.reaches_a_hook(|| assert!(thread.spend(1))));
            assert!(thread.reaches_a_hook(|| thread.count_if_asked()));
            assert!(thread.enter().is_some());
        });
    }

    #[test]
    fn each_thread_has_its_own_random_numbers() {
        let draws: Vec<i64> = (0..8)
            .map(|_| on_a_thread(|thread| (thread.spend(1), thread.is_due(1, 1 << 40), thread.left.get()).2))
            .collect();
        let mut unlike = draws.clone();
        unlike.sort_unstable();
        unlike.dedup();
        assert_eq!(unlike.len(), draws.len());
    }
}
