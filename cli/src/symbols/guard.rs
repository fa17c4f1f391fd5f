//! Runs a parser on a file that may be damaged. Its panic becomes an error, and prints nothing.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The value of `parse`, or `None` where it panicked.
pub(super) fn guarded<T>(parse: impl FnOnce() -> T) -> Option<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_GUARDED.get() {
                before(info);
            }
        }));
    });
    let outer = IS_GUARDED.replace(true);
    let value = panic::catch_unwind(AssertUnwindSafe(parse)).ok();
    IS_GUARDED.set(outer);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_no_value() {
        assert_eq!(guarded(|| 7), Some(7));
        let number = guarded(|| -> u32 { panic!("a parser's bug") });
        assert_eq!(number, None);
        assert!(!IS_GUARDED.get());
    }
}
