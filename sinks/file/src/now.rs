//! The time at which a recording ends. Everything else in it has its time from the agent's clock.

use std::time::SystemTime;

use leakline_core::Timestamp;

/// Both clocks; zero where one cannot be read.
pub(crate) fn now() -> Timestamp {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut boot = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec of ours, which is all that clock_gettime asks for.
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut boot) };
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
    Timestamp {
        unix_nanos: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX),
        boot_nanos: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
    }
}
