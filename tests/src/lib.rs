//! The kit of the end-to-end tests: finds the built programs and the runtimes of this machine, runs real hosts under
//! `leakline run`, and reads what they left. No mocks, no state that two tests share.

mod host;
mod machine;
#[path = "../../probes/common/tests/support/prepared.rs"]
mod prepared;
mod twice;

pub use host::{Host, Outcome, Running, read_recording};
pub use machine::{Dist, Python, built_host, dist, jdks, pythons, venv_python, workspace};
pub use twice::{Same, Twice};
