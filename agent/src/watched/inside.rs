//! The probes of a watcher: what the kernel and the shared tables show is read from outside, and what only the host can say
//! is asked of its lanes.

use std::sync::Arc;

use leakline_core::{Clock, Probe};
use leakline_native::{NativeProbe, OtherProcess, ProcessProbe, Watching};
use leakline_probing::shared::Lane;

use super::remote::{Remote, RemoteProbe};
use crate::compose;
use crate::config::{Config, PythonMode};

/// The way into the host.
#[derive(Clone)]
pub(crate) struct Inside {
    pub(super) remote: Arc<Remote>,
}

/// The host, from outside.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) pid: u32,
    /// `None`: it may not be looked into.
    pub(crate) process: Option<Arc<OtherProcess>>,
}

impl Inside {
    /// What `config` asks for, of the process `host`.
    pub(crate) fn probes(&self, config: &Config, clock: &Arc<dyn Clock>, host: Host) -> Vec<Box<dyn Probe>> {
        let mut probes: Vec<Box<dyn Probe>> = Vec::new();
        let python = config.python_mode != PythonMode::Off;
        if python {
            probes.push(self.probe(Lane::Python));
        }
        if config.jvm {
            probes.push(self.probe(Lane::Jvm));
        }
        if let Some(options) = compose::native_options(config) {
            let remote = Arc::clone(&self.remote);
            let tell = move |runtime, numbers: &[u64]| remote.tell(runtime, numbers);
            let lanes = Arc::clone(&self.remote);
            let answer = move || lanes.answer_for_malloc();
            let watching = Watching { pid: host.pid, tell: Arc::new(tell), answer: Arc::new(answer) };
            probes.push(Box::new(NativeProbe::watching(Arc::clone(clock), options, watching)));
            if let Some(process) = host.process {
                let options = compose::process_options(config);
                probes.push(Box::new(ProcessProbe::watching(Arc::clone(clock), options, process)));
            }
        }
        if config.bridge && config.jvm && python {
            probes.push(self.probe(Lane::Bridge));
        }
        probes
    }

    fn probe(&self, lane: Lane) -> Box<dyn Probe> {
        Box::new(RemoteProbe::new(Arc::clone(&self.remote), lane))
    }

    /// The probe of the host's own probes, once there are any; once.
    pub(super) fn new_readers(&self) -> Option<Box<dyn Probe>> {
        self.remote.has_new_readers().then(|| self.probe(Lane::Custom))
    }
}
