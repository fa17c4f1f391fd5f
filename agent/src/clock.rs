//! The machine's clocks, for Linux and Android.
//! Waits on a timer descriptor: it runs on while the machine is suspended, and wakes early when the clock is set.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use async_trait::async_trait;
use leakline_core::{Clock, Timestamp};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The wall clock and the boot-time clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp {
            unix_nanos: read_clock(libc::CLOCK_REALTIME),
            boot_nanos: read_clock(libc::CLOCK_BOOTTIME),
        }
    }

    async fn sleep_until(&self, unix_nanos: u64) {
        let waited = match wall_timer(unix_nanos).and_then(watch) {
            // Expired, or cancelled because somebody set the clock: the caller reads it again either way.
            Ok(timer) => timer.readable().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if waited.is_err() {
            // No descriptor to be had (the host used them all up). Short naps notice suspends and jumps soon enough.
            let left = unix_nanos.saturating_sub(self.now().unix_nanos);
            tokio::time::sleep(Duration::from_nanos(left).min(Duration::from_secs(1))).await;
        }
    }

    fn thread_cpu(&self) -> Option<Duration> {
        Some(Duration::from_nanos(read_clock(libc::CLOCK_THREAD_CPUTIME_ID)))
    }
}

fn read_clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call.
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

fn watch(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned, so it stays open and the same until the `AsyncFd` has let go of it.
    unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }.map_err(io::Error::from)
}

/// A timer that becomes readable when the wall clock shows `unix_nanos`, or when it is set.
fn wall_timer(unix_nanos: u64) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let descriptor =
        unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else has it.
    let timer = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let when = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        // An instant of zero would disarm the timer.
        it_value: libc::timespec {
            tv_sec: (unix_nanos / 1_000_000_000) as libc::time_t,
            tv_nsec: (unix_nanos % 1_000_000_000).max(1) as _,
        },
    };
    const CANCEL_ON_SET: libc::c_int = 2; // TFD_TIMER_CANCEL_ON_SET, which libc does not name for every target
    let flags = libc::TFD_TIMER_ABSTIME | CANCEL_ON_SET;
    // SAFETY: the descriptor is open, `when` outlives the call, and the old value is not asked for.
    match unsafe { libc::timerfd_settime(timer.as_raw_fd(), flags, &when, std::ptr::null_mut()) } {
        0 => Ok(timer),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_ends_at_the_wall_clock_instant_and_not_before() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let until = SystemClock.now().unix_nanos + 20_000_000;
        runtime.block_on(SystemClock.sleep_until(until));
        assert!(SystemClock.now().unix_nanos >= until);
    }

    #[test]
    fn an_instant_that_has_passed_ends_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(SystemClock.sleep_until(0));
        runtime.block_on(SystemClock.sleep_until(SystemClock.now().unix_nanos - 1));
    }
}
