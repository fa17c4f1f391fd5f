//! Sends a heap dump that was written here to a collector.
//! Never removes a file: whether it stays is not decided here.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use leakline_collector::{Dumped, KeptDump, send_dump};

use super::target::Target;
use crate::words::clean;

/// Where a dump is on its way to a collector.
pub(super) fn passing(pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("leakline-{pid}-{}.hprof", std::process::id()))
}

/// Gives where the collector keeps it, for people.
pub(super) fn send(collector: &str, dump: &Path, target: &Target) -> Result<String> {
    let file = File::open(dump).with_context(|| dump.display().to_string())?;
    let whose = Dumped { pid: target.own_pid, started_boot_nanos: target.started_boot_nanos };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let KeptDump { session, file } = runtime.block_on(send_dump(collector, file, whose))?;
    let session: String = clean(&session).chars().take(8).collect();
    let session =
        if session.is_empty() { "of no session".to_owned() } else { format!("of session {session}") };
    Ok(format!("{} at {collector}, {session}", clean(&file)))
}
