//! The probes of a watcher: what the kernel and the shared tables show is read from outside, and what only the host can say
//! is asked of its lanes.

use std::sync::Arc;

use leakline_core::{Clock, Probe};
use leakline_native::{NativeProbe, ProcessProbe, Watching};
use leakline_probing::shared::Lanes;

use crate::compose;
use crate::config::Config;

/// The way into the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inside {
    pub(crate) lanes: &'static Lanes,
}

impl Inside {
    /// What `config` asks for, of the process `host`.
    pub(crate) fn probes(self, config: &Config, clock: &Arc<dyn Clock>, host: u32) -> Vec<Box<dyn Probe>> {
        let mut probes: Vec<Box<dyn Probe>> = Vec::new();
        if let Some(options) = compose::native_options(config) {
            let watching = Watching { pid: host, tell: Arc::new(|_, _| None) };
            probes.push(Box::new(NativeProbe::watching(Arc::clone(clock), options, watching)));
            probes.push(Box::new(ProcessProbe::new(Arc::clone(clock), compose::process_options(config))));
        }
        probes
    }
}
