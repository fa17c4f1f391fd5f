//! Which of the process's file descriptors are leakline's own, so that nobody counts them as the host's.
//!
//! Only numbers, in a table of fixed size without a lock. Whoever keeps a descriptor open for longer than a call registers it.
//!
//! Never here: opening, closing or looking at a descriptor.

use std::sync::atomic::{AtomicI32, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// More are not told apart from the host's: leakline needs a dozen.
const MOST: usize = 64;
const FREE: i32 = -1;

static OWN: [AtomicI32; MOST] = [const { AtomicI32::new(FREE) }; MOST];

/// A descriptor is leakline's own for as long as this lives.
#[derive(Debug)]
#[must_use = "the descriptor counts as the host's again once this is dropped"]
pub struct OwnDescriptor {
    place: Option<&'static AtomicI32>,
}

impl OwnDescriptor {
    /// Registers the open descriptor `number`.
    pub fn new(number: i32) -> Self {
        let is_taken = |place: &&AtomicI32| place.compare_exchange(FREE, number, AcqRel, Relaxed).is_ok();
        Self { place: if number < 0 { None } else { OWN.iter().find(is_taken) } }
    }
}

impl Drop for OwnDescriptor {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            place.store(FREE, Release);
        }
    }
}

/// The numbers that are registered.
pub fn own_descriptors() -> impl Iterator<Item = i32> {
    OWN.iter().map(|place| place.load(Acquire)).filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_own_for_as_long_as_it_is_held() {
        let is_own = |number| own_descriptors().any(|own| own == number);
        let held = OwnDescriptor::new(100_000);
        assert!(is_own(100_000) && !is_own(100_001));
        drop(held);
        assert!(!is_own(100_000));
        let many: Vec<OwnDescriptor> = (0..100).map(|number| OwnDescriptor::new(200_000 + number)).collect();
        assert!(own_descriptors().count() <= MOST);
        drop(many);
        assert!(!own_descriptors().any(|number| number >= 200_000));
    }
}
