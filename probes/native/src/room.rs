//! What the machine has left to give to programs.
//! Reads one file; never guesses where the kernel does not tell.

use std::fs;

use crate::parse;

/// Free memory, and what is given up for the asking (`MemAvailable`, since Linux 3.14), with free swap where it is a disk's,
/// less `kept_free`, below which the system begins to end programs. Bytes; `None` where the kernel does not tell.
pub(crate) fn left(kept_free: u64) -> Option<u64> {
    let told = parse::meminfo(&fs::read("/proc/meminfo").ok()?);
    // Android's swap is compressed memory, and its killer does not wait until that is full.
    let swap = if cfg!(target_os = "android") { 0 } else { told.swap_free.unwrap_or(0) };
    Some(told.available?.saturating_add(swap).saturating_sub(kept_free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_free_is_not_left() {
        let all = left(0).unwrap();
        assert!(all > 0);
        assert_eq!(left(u64::MAX), Some(0));
        // Others take and give back memory meanwhile, but not half of it.
        assert!(left(all / 2).unwrap() < all);
    }
}
