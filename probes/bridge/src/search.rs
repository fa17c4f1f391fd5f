//! When to look for a bridge again that was not there.
//! Pure: counts the times that it is asked.

/// Most attempts of the lane between two searches: each of these costs some milliseconds, and a host may load a bridge
/// that it never uses.
const MOST: u32 = 64;

/// Waits twice as long each time that nothing was found.
#[derive(Debug, Default)]
pub(crate) struct Search {
    wait: u32,
    left: u32,
}

impl Search {
    /// Whether to look now.
    pub(crate) fn due(&mut self) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        self.left = self.wait;
        self.wait = (self.wait * 2 + 1).min(MOST);
        true
    }

    /// Everything is new: another JVM, another library.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_become_rarer_and_never_end() {
        let mut search = Search::default();
        let due: Vec<usize> = (0..400).filter(|_| search.due()).collect();
        assert_eq!(due, [0, 1, 3, 7, 15, 31, 63, 127, 192, 257, 322, 387]);
        search.restart();
        assert!(search.due());
    }
}
