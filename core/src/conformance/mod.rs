//! The suites that every probe and every sink must pass, the clock that tests turn by hand, and samples to feed them.
//! For tests only: it panics with what is wrong. Behind the feature `conformance`.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use leakline_core::{Clock, Probe, conformance};
//! # fn my_probe(clock: Arc<dyn Clock>) -> Box<dyn Probe> { unimplemented!() }
//! conformance::probe(my_probe); // in a #[test]
//! ```

mod clock;
mod probe;
mod samples;
mod sink;
#[cfg(test)]
mod tests;

use std::future::Future;

pub use self::clock::TestClock;
pub use self::probe::{probe, probe_violations};
pub use self::samples::{sample_mark, sample_profile, sample_record, sample_session, sample_snapshot};
pub use self::sink::{Seen, SinkSuite, sink};

/// What a suite found.
#[derive(Debug, Default)]
struct Violations(Vec<String>);

impl Violations {
    fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.0.push(otherwise());
        }
    }

    /// The result of `call`, or that it panicked.
    async fn call<T>(&mut self, what: &str, call: impl Future<Output = T>) -> Option<T> {
        match crate::lane::guard(call).await {
            Ok(result) => Some(result),
            Err(message) => {
                self.0.push(format!("`{what}` panicked: {message}"));
                None
            }
        }
    }
}

/// Runs a suite as a lane would: on one thread, in a current-thread runtime without I/O.
fn on_a_lane<T>(suite: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    match runtime {
        Ok(runtime) => runtime.block_on(suite),
        Err(error) => panic!("the suite cannot make a runtime: {error}"),
    }
}

fn report(whose: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{whose} breaks its contract:\n  - {}", violations.join("\n  - "));
}
