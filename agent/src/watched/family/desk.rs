//! Where forked children of a host ask for a watcher of their own: words in memory that the host, all its descendants by
//! `fork`, and the spare watcher have in common.
//!
//! Plain words: zeroes are a valid value. Whoever has a request may be killed at any instruction, so a request that belongs
//! to nobody any more is taken back by the spare.

use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicI32, AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed,
    Ordering::Release,
};
use std::time::{Duration, Instant};

use leakline_probing::shared::anew::Identity;
use leakline_probing::shared::{Sharing, futex, map};

/// Children that ask at the same instant; one more asks again later.
const REQUESTS: usize = 32;
/// Forks that are remembered until the spare has looked at them, which it does every two seconds.
const FORKS: usize = 2048;
/// Once it was taken up, a request is answered within the time that a fork takes.
const TAKEN_LONGEST: Duration = Duration::from_millis(250);

/// Programs that are watched start so long after each other, on average, in nanoseconds.
const BETWEEN_PROGRAMS: u64 = 100_000_000;
/// Those of a pool start all at once.
const PROGRAMS_AT_ONCE: u64 = 20;

const IDLE: u32 = 0;
const ASKED: u32 = 1;
const TAKEN: u32 = 2;
const GRANTED: u32 = 3;
const REFUSED: u32 = 4;
/// Its child has gone on without an answer.
const LEFT: u32 = 5;

/// See the module.
#[repr(C)]
pub(in crate::watched) struct Desk {
    /// Counts what was asked: a futex of the spare.
    asked: AtomicU32,
    /// 1 once the first watcher has ended, with its host or before.
    host_over: AtomicU32,
    /// When the next program could be started that is watched, if they came evenly: by boot time.
    next_program: AtomicU64,
    /// Programs that were started and are not watched.
    unwatched: AtomicU32,
    /// Counts forks; each child writes its number at the next place.
    forks: AtomicU32,
    forked: [AtomicU32; FORKS],
    requests: [Request; REQUESTS],
}

/// One child's.
#[repr(C)]
struct Request {
    /// The child's process; 0: free.
    owner: AtomicU32,
    /// A futex of the child.
    state: AtomicU32,
    file: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

/// What a child asks for: to be watched through the memory that its descriptor is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) process: u32,
    pub(super) file: RawFd,
    pub(super) identity: Identity,
}

/// A wish that the spare is to answer.
pub(super) struct Pending<'a> {
    pub(super) wish: Wish,
    request: &'a Request,
}

impl Desk {
    /// Maps one, for good. To be called before the watcher is made.
    pub(in crate::watched) fn map() -> Option<&'static Self> {
        let memory: NonNull<Self> = map(size_of::<Self>(), Sharing::WithWatcher)?.cast();
        // SAFETY: that many zeroes, aligned to a page, mapped for good; zeroes are a valid value of every field.
        Some(unsafe { memory.as_ref() })
    }

    /// Whether a program that is started at `now` (boot time) is to be watched: each costs some milliseconds, so of many in a
    /// short time most are not. Allocates nothing and takes no lock.
    pub(in crate::watched) fn may_watch_program(&self, now: u64) -> bool {
        let may = |next: u64| {
            let next = next.max(now) + BETWEEN_PROGRAMS;
            (next <= now + BETWEEN_PROGRAMS * PROGRAMS_AT_ONCE).then_some(next)
        };
        let is_one = self.next_program.fetch_update(AcqRel, Acquire, may).is_ok();
        if !is_one {
            self.unwatched.fetch_add(1, Relaxed);
        }
        is_one
    }

    /// How many were not.
    pub(in crate::watched) fn unwatched_programs(&self) -> u32 {
        self.unwatched.load(Relaxed)
    }

    /// A child was forked: `process`, which calls this.
    pub(super) fn forked(&self, process: u32) {
        let number = self.forks.fetch_add(1, Relaxed);
        if let Some(place) = self.forked.get(number as usize % FORKS) {
            place.store(process, Relaxed);
        }
    }

    /// The children that were forked since `seen` forks, which is counted on.
    pub(super) fn forked_since(&self, seen: &mut u32) -> impl Iterator<Item = u32> + '_ {
        let to = self.forks.load(Acquire);
        let from = std::mem::replace(seen, to);
        let count = to.wrapping_sub(from).min(FORKS as u32);
        (0..count).filter_map(move |back| {
            let place = self.forked.get(to.wrapping_sub(back + 1) as usize % FORKS)?;
            Some(place.load(Relaxed)).filter(|process| *process != 0)
        })
    }

    /// Asks for a watcher, and waits for it at most so long before the wish is taken up. False: there is none.
    /// Allocates nothing and takes no lock.
    pub(super) fn ask(&self, wish: Wish, timeout: Duration) -> bool {
        let claims =
            |request: &&Request| request.owner.compare_exchange(0, wish.process, AcqRel, Relaxed).is_ok();
        let Some(request) = self.requests.iter().find(claims) else { return false };
        request.file.store(wish.file, Relaxed);
        request.device.store(wish.identity.device, Relaxed);
        request.inode.store(wish.identity.inode, Relaxed);
        request.state.store(ASKED, Release);
        self.asked.fetch_add(1, AcqRel);
        futex::wake(&self.asked);
        request.wait(ASKED, timeout);
        if request.state.compare_exchange(ASKED, IDLE, AcqRel, Acquire).is_ok() {
            request.owner.store(0, Release);
            return false;
        }
        request.wait(TAKEN, TAKEN_LONGEST);
        if request.state.compare_exchange(TAKEN, LEFT, AcqRel, Acquire).is_ok() {
            return false;
        }
        let is_granted = request.state.swap(IDLE, AcqRel) == GRANTED;
        request.owner.store(0, Release);
        is_granted
    }

    /// The spare's side: sleeps until somebody asks, or the time is over. `seen` is what was asked before.
    pub(super) fn wait(&self, seen: &mut u32, timeout: Duration) {
        let now = self.asked.load(Acquire);
        if now == *seen {
            futex::wait(&self.asked, now, timeout);
        }
        *seen = self.asked.load(Acquire);
    }

    /// The host has ended, or has become another program.
    pub(in crate::watched) fn host_is_over(&self) {
        self.host_over.store(1, Release);
        self.asked.fetch_add(1, AcqRel);
        futex::wake(&self.asked);
    }

    pub(super) fn is_host_over(&self) -> bool {
        self.host_over.load(Acquire) != 0
    }

    /// A wish that nobody has taken up.
    pub(super) fn take(&self) -> Option<Pending<'_>> {
        let takes =
            |request: &&Request| request.state.compare_exchange(ASKED, TAKEN, AcqRel, Relaxed).is_ok();
        let request = self.requests.iter().find(takes)?;
        let wish = Wish {
            process: request.owner.load(Acquire),
            file: request.file.load(Relaxed),
            identity: Identity { device: request.device.load(Relaxed), inode: request.inode.load(Relaxed) },
        };
        Some(Pending { wish, request })
    }

    /// Takes back what children have left behind that are no more.
    pub(super) fn clean(&self, is_there: impl Fn(u32) -> bool) {
        for request in &self.requests {
            let owner = request.owner.load(Acquire);
            if owner != 0 && !is_there(owner) {
                request.state.store(IDLE, Relaxed);
                request.owner.store(0, Release);
            }
        }
    }
}

impl Request {
    /// Until the state is another one, or the time is over.
    fn wait(&self, state: u32, timeout: Duration) {
        let begun = Instant::now();
        while self.state.load(Acquire) == state {
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            futex::wait(&self.state, state, left);
        }
    }
}

impl Pending<'_> {
    /// False: the child has gone on without.
    pub(super) fn answer(self, is_granted: bool) -> bool {
        let answer = if is_granted { GRANTED } else { REFUSED };
        let is_told = self.request.state.compare_exchange(TAKEN, answer, AcqRel, Acquire).is_ok();
        if is_told {
            futex::wake(&self.request.state);
        } else {
            self.request.state.store(IDLE, Relaxed);
            self.request.owner.store(0, Release);
        }
        is_told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(process: u32) -> Wish {
        Wish { process, file: 3, identity: Identity { device: 5, inode: u64::from(process) } }
    }

    #[test]
    fn a_wish_is_granted_refused_or_given_up() {
        let desk = Desk::map().unwrap();
        // Nobody is there.
        assert!(!desk.ask(wish(1), Duration::from_millis(5)));
        assert!(desk.take().is_none());
        std::thread::scope(|scope| {
            let children: Vec<_> = (1..=40)
                .map(|process| {
                    scope.spawn(move || (process, desk.ask(wish(process), Duration::from_secs(60))))
                })
                .collect();
            let (mut seen, mut answered) = (0, 0);
            while !children.iter().all(|child| child.is_finished()) {
                desk.wait(&mut seen, Duration::from_millis(10));
                while let Some(pending) = desk.take() {
                    assert_eq!(pending.wish, wish(pending.wish.process));
                    let is_odd = pending.wish.process % 2 == 1;
                    assert!(pending.answer(is_odd));
                    answered += 1;
                }
            }
            let granted: Vec<u32> = children
                .into_iter()
                .map(|child| child.join().unwrap())
                .filter(|child| child.1)
                .map(|child| child.0)
                .collect();
            // Those that found no place were not asked for.
            assert!(answered >= REQUESTS.min(40) / 2 && granted.iter().all(|process| process % 2 == 1));
        });
    }

    #[test]
    fn what_a_lost_child_left_is_taken_back() {
        let desk = Desk::map().unwrap();
        for request in &desk.requests {
            request.owner.store(77, Relaxed);
            request.state.store(GRANTED, Relaxed);
        }
        assert!(!desk.ask(wish(1), Duration::ZERO));
        desk.clean(|process| process == 77);
        assert!(!desk.ask(wish(1), Duration::ZERO));
        desk.clean(|_| false);
        let request = desk.requests.first().unwrap();
        assert_eq!((request.owner.load(Relaxed), request.state.load(Relaxed)), (0, IDLE));
    }

    #[test]
    fn of_many_programs_at_once_most_are_not_watched() {
        let desk = Desk::map().unwrap();
        let second = 1_000_000_000;
        let watched =
            |times: &mut dyn Iterator<Item = u64>| times.filter(|now| desk.may_watch_program(*now)).count();
        assert_eq!(watched(&mut (0..1000).map(|_| 5 * second)), PROGRAMS_AT_ONCE as usize);
        // Eight in a second, for ten minutes.
        assert_eq!(watched(&mut (0..4800).map(|each| 20 * second + each * second / 8)), 4800);
        // A thousand in each of ten seconds.
        let many = watched(&mut (0..10_000).map(|each| 1000 * second + each * second / 1000));
        assert!((100..=100 + 2 * PROGRAMS_AT_ONCE as usize).contains(&many), "{many}");
        assert_eq!(desk.unwatched.load(Relaxed), 1000 - PROGRAMS_AT_ONCE as u32 + 10_000 - many as u32);
    }

    #[test]
    fn forks_are_remembered_until_they_were_looked_at() {
        let (desk, mut seen) = (Desk::map().unwrap(), 0);
        [11, 12, 13].into_iter().for_each(|process| desk.forked(process));
        assert_eq!(desk.forked_since(&mut seen).collect::<Vec<_>>(), [13, 12, 11]);
        assert_eq!(desk.forked_since(&mut seen).count(), 0);
        (0..5000).for_each(|process| desk.forked(process + 100));
        let found: Vec<u32> = desk.forked_since(&mut seen).collect();
        assert_eq!(
            (found.len(), found.first(), found.last()),
            (FORKS, Some(&5099), Some(&(5100 - FORKS as u32)))
        );
    }
}
