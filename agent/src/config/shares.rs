//! What each part of leakline may hold, out of the one setting for all of it (`own.max_bytes`).
//! Never looks at what is held: each part keeps its own bound, counts what had no room, and says so.
//!
//! The shares add up to the whole, host's part and watcher's part together. Where a part is not there (no collector, no
//! JVM), nobody else takes its share, because a runtime may show up at any time.
//!
//! | part | of 64 | at 16 MiB, and why |
//! |---|---|---|
//! | native | 16 | 4 MiB: samples and call paths of malloc, and their sites where they are read |
//! | python paths | 8 | 2 MiB: call paths and code objects in the hook, some 3,000 of each, and a sixth of them for those in call paths of malloc |
//! | python samples | 5 | 1.25 MiB: 30,000 samples, 2 GB of live memory at the default mean; then the mean doubles |
//! | python names | 6 | 1.5 MiB: files, functions and lines of what is live, on both sides of the Python part |
//! | jvm | 8 | 2 MiB: call paths, methods and lines of sampled objects; a Java path is long |
//! | python dictionary | 6 | 768 KiB in the host and as much in its watcher: the sites that one has told the other, some 2,000 |
//! | jvm dictionary | 3 | 384 KiB on each side: some 1,000 sites |
//! | verdict | 4 | 1 MiB: the series of some 1,100 sites |
//! | sinks | 4 | 1 MiB, one share for each that encodes: what was told in this epoch |
//! | queues | 2 | 512 KiB: snapshots that wait in front of sinks, which share them |
//! | collector | 2 | 512 KiB: encoded entries that were not acknowledged: days of gauges, hours of profiles |

/// The parts' shares, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Tables of the native hook.
    pub(crate) native: u64,
    /// Call paths and code objects of Python's hook.
    pub(crate) python_paths: u64,
    /// Python's live samples.
    pub(crate) python_samples: u64,
    /// Names that Python's profiles tell.
    pub(crate) python_names: u64,
    /// Call paths, methods and names of the JVM's samples.
    pub(crate) jvm: u64,
    /// What Python's lane and its watcher know of each other's sites, on one side.
    pub(crate) python_dictionary: u64,
    /// As for Python's lane.
    pub(crate) jvm_dictionary: u64,
    /// Series of sites.
    pub(crate) verdict: u64,
    /// What each sink that encodes keeps of what it told.
    pub(crate) encoder: u64,
    /// Snapshots that wait for sinks.
    pub(crate) queues: u64,
    /// Entries that wait for a collector.
    pub(crate) collector: u64,
}

impl Shares {
    /// Of `whole`, for so many sinks that encode.
    pub(crate) fn of(whole: u64, encoders: u64) -> Self {
        let part = |parts: u64| whole / 64 * parts;
        Self {
            native: part(16),
            // A sixth of the share is for code objects in call paths of malloc.
            python_paths: part(8) / 6 * 5,
            python_samples: part(5),
            python_names: part(6),
            jvm: part(8),
            python_dictionary: part(6) / 2,
            jvm_dictionary: part(3) / 2,
            verdict: part(4),
            encoder: part(4) / encoders.max(1),
            queues: part(2),
            collector: part(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_add_up_to_the_whole() {
        for whole in [4 << 20, 16 << 20, 100_000_000_u64] {
            for encoders in 0..4 {
                let shares = Shares::of(whole, encoders);
                let parts = [
                    shares.native,
                    shares.python_paths / 5 * 6,
                    shares.python_samples,
                    shares.python_names,
                    shares.jvm,
                    2 * (shares.python_dictionary + shares.jvm_dictionary),
                    shares.verdict,
                    shares.encoder * encoders.max(1),
                    shares.queues,
                    shares.collector,
                ];
                let sum: u64 = parts.iter().sum();
                assert!(sum <= whole && sum > whole - 1000, "{sum} of {whole}");
            }
        }
    }

    #[test]
    fn the_defaults_of_the_parts_are_their_shares_of_the_default() {
        let shares = Shares::of(crate::Config::default().max_own_bytes, 1);
        let python = leakline_python::PythonOptions::default();
        assert_eq!(python.max_path_bytes, shares.python_paths);
        assert_eq!(python.max_name_bytes, shares.python_names);
        assert_eq!(python.max_samples, leakline_python::samples_within(shares.python_samples));
        assert_eq!(leakline_core::SchedulerOptions::default().max_verdict_bytes, shares.verdict);
        assert_eq!(leakline_jvm::SitesOptions::default().max_bytes, shares.jvm);
    }
}
