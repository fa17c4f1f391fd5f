//! A clock that tests turn by hand: days pass in milliseconds, and suspends and set clocks happen on demand.
//! Real time never moves it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};

/// 2024-01-01 00:00:07.5 UTC: on no tick of any usual interval.
const START_UNIX: u64 = 1_704_067_207_500_000_000;
const START_BOOT: u64 = 1_000_000_000_000;

thread_local! {
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The clocks of a machine that exists only in a test.
#[derive(Debug)]
pub struct TestClock {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    /// How often the wall clock was set: it wakes who sleeps, as it does on a real machine.
    sets: u64,
    sleepers: BTreeMap<u64, u64>,
    next_sleeper: u64,
}

impl TestClock {
    /// A clock at 2024-01-01 00:00:07.5 UTC, on a machine that was booted 1000 s before.
    pub fn new() -> Arc<Self> {
        Self::at(Timestamp { unix_nanos: START_UNIX, boot_nanos: START_BOOT })
    }

    /// A clock at `now`.
    pub fn at(now: Timestamp) -> Arc<Self> {
        let state = State { now, sets: 0, sleepers: BTreeMap::new(), next_sleeper: 0 };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Lets `time` pass, in one step, on both clocks.
    pub fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.change(|state| {
            state.now.unix_nanos = state.now.unix_nanos.saturating_add(nanos);
            state.now.boot_nanos = state.now.boot_nanos.saturating_add(nanos);
        });
    }

    /// Lets time pass until the wall clock shows the next multiple of `interval`, and gives it.
    pub fn advance_to_next(&self, interval: Duration) -> u64 {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let now = self.now().unix_nanos;
        let next = (now / interval + 1) * interval;
        self.advance(Duration::from_nanos(next - now));
        next
    }

    /// The machine sleeps for `time`. Both clocks have moved when it wakes, and nothing ran in between.
    pub fn suspend(&self, time: Duration) {
        self.advance(time);
    }

    /// Somebody sets the wall clock forward or back by `nanos`; boot time does not move.
    pub fn set_wall(&self, nanos: i64) {
        self.change(|state| {
            state.now.unix_nanos = state.now.unix_nanos.saturating_add_signed(nanos);
            state.sets += 1;
        });
    }

    /// Until when, by the wall clock, the first of those who sleep on this clock sleeps.
    pub fn next_wake(&self) -> Option<u64> {
        self.lock().sleepers.values().min().copied()
    }

    /// Lets the calling thread have used `time` more of CPU.
    pub fn spend_cpu(time: Duration) {
        SPENT.with(|spent| spent.set(spent.get() + time));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    async fn sleep_until(&self, unix_nanos: u64) {
        let sleeper = Sleeper::new(self, unix_nanos);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.lock();
                if state.now.unix_nanos >= unix_nanos || state.sets != sleeper.sets {
                    return;
                }
            }
            changed.await;
        }
    }

    fn thread_cpu(&self) -> Option<Duration> {
        Some(SPENT.with(Cell::get))
    }
}

struct Sleeper<'a> {
    clock: &'a TestClock,
    key: u64,
    sets: u64,
}

impl<'a> Sleeper<'a> {
    fn new(clock: &'a TestClock, until: u64) -> Self {
        let mut state = clock.lock();
        let key = state.next_sleeper;
        state.next_sleeper += 1;
        state.sleepers.insert(key, until);
        Self { clock, key, sets: state.sets }
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.key);
    }
}
