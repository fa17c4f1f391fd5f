//! The tracers that are compared, as their users start them, and what has to be on the machine for each.
//! A tracer that is not there is named, never installed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dist;
use crate::process::root;

/// What watches a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Variant {
    /// Nothing, with the C library's allocator.
    Plain,
    Gauges,
    /// Mean between two samples.
    Sampling(&'static str),
    /// A JVM's numbers only, every second.
    JavaGauges,
    /// The same with samples of Java's allocations.
    JavaSites,
    /// Its live objects by sampled allocations, with leakline's mean.
    AsyncProfiler,
    Heaptrack,
    Bytehound,
    /// Nothing, with jemalloc in the C library's place.
    Jemalloc,
    /// jemalloc's own profiling, at 512 KiB.
    JemallocProfiling,
}

/// All of them, in the order in which they are told. `Plain` measures how good the measurement is.
pub(in crate::bench) const ALL: &[Variant] = &[
    Variant::Plain,
    Variant::Gauges,
    Variant::Sampling("512KiB"),
    Variant::Heaptrack,
    Variant::Bytehound,
    Variant::Jemalloc,
    Variant::JemallocProfiling,
];

impl Variant {
    pub(in crate::bench) fn name(self) -> String {
        match self {
            Self::Plain => "plain, once more".to_owned(),
            Self::Gauges => "leakline, gauges".to_owned(),
            Self::Sampling(mean) => format!("leakline, sampling, {mean}"),
            Self::JavaGauges => "leakline, numbers only, once more".to_owned(),
            Self::JavaSites => "with Java's call paths, 64 KiB".to_owned(),
            Self::AsyncProfiler => "async-profiler, live, 64 KiB, beside plain".to_owned(),
            Self::Heaptrack => "heaptrack".to_owned(),
            Self::Bytehound => "bytehound".to_owned(),
            Self::Jemalloc => "jemalloc, beside plain".to_owned(),
            Self::JemallocProfiling => "jemalloc's profiling, 512 KiB, beside jemalloc".to_owned(),
        }
    }

    /// What it is beside.
    pub(in crate::bench) fn base(self) -> Self {
        match self {
            Self::JemallocProfiling => Self::Jemalloc,
            Self::JavaGauges | Self::JavaSites => Self::JavaGauges,
            _ => Self::Plain,
        }
    }

    /// Whether it is of leakline or nothing at all: those need nothing that a machine may lack.
    pub(in crate::bench) fn is_own(self) -> bool {
        matches!(self, Self::Plain | Self::Gauges | Self::Sampling(_) | Self::JavaGauges | Self::JavaSites)
    }

    /// Whether it takes a multiple of the time, so that fewer and smaller runs have to do.
    pub(in crate::bench) fn is_slow(self) -> bool {
        matches!(self, Self::Heaptrack | Self::Bytehound)
    }

    /// Why it cannot be measured here.
    pub(in crate::bench) fn missing(self) -> Option<&'static str> {
        let (is_there, package) = match self {
            Self::Plain | Self::Gauges | Self::Sampling(_) | Self::JavaGauges | Self::JavaSites => {
                return None;
            }
            Self::AsyncProfiler => (async_profiler().is_file(), "not fetched: see xtask/src/maven.rs"),
            Self::Heaptrack => (in_path("heaptrack").is_some(), "not installed: apt-get install heaptrack"),
            Self::Bytehound => (
                library("libbytehound.so").is_some(),
                "not installed: no registry has it, build libbytehound.so",
            ),
            Self::Jemalloc | Self::JemallocProfiling => {
                (library(JEMALLOC).is_some(), "not installed: apt-get install libjemalloc2")
            }
        };
        (!is_there).then_some(package)
    }

    /// Up to the program's file.
    pub(in crate::bench) fn command(self, program: &Path, recording: &Path) -> Command {
        let leakline = |options: &[&str]| {
            let mut command = Command::new(dist::installed().join("bin/leakline"));
            command.args(["run", "--quiet", "--interval", "5m"]).args(options).arg("-o").arg(recording);
            command.arg("--").arg(program).env("LEAKLINE_PYTHON_MODE", "off").env("LEAKLINE_JVM", "false");
            command
        };
        let preloading = |name: &str| {
            let mut command = Command::new(program);
            command.env("LD_PRELOAD", library(name).unwrap_or_default());
            command
        };
        match self {
            Self::Plain => Command::new(program),
            Self::Gauges => leakline(&["--native", "gauges"]),
            Self::Sampling(mean) => leakline(&["--native", "sampling", "--native-sample", mean]),
            Self::JavaGauges | Self::JavaSites => {
                let mut command = Command::new(dist::installed().join("bin/leakline"));
                command.args(["run", "--quiet", "--interval", "1s", "--native", "off", "-o"]).arg(recording);
                command.arg("--").arg(program).env("LEAKLINE_PYTHON_MODE", "off");
                command.env("LEAKLINE_JVM_HISTOGRAM", "0");
                if self == Self::JavaGauges {
                    command.env("LEAKLINE_JVM_SAMPLE_BYTES", "0");
                }
                command
            }
            Self::AsyncProfiler => {
                let mut command = Command::new(program);
                let file = recording.with_extension("collapsed");
                let options = format!("start,alloc=64k,live,collapsed,file={}", file.display());
                command.arg(format!("-agentpath:{}={options}", async_profiler().display()));
                command
            }
            Self::Heaptrack => {
                let mut command = Command::new("heaptrack");
                command.arg("-o").arg(recording.with_extension("heaptrack")).arg(program);
                command
            }
            Self::Bytehound => {
                let mut command = preloading("libbytehound.so");
                command.env("MEMORY_PROFILER_OUTPUT", recording.with_extension("bytehound"));
                command
            }
            Self::Jemalloc => preloading(JEMALLOC),
            Self::JemallocProfiling => {
                let mut command = preloading(JEMALLOC);
                command.env("MALLOC_CONF", "prof:true,prof_active:true,lg_prof_sample:19");
                command
            }
        }
    }
}

/// Where its library is, once it was fetched.
pub(in crate::bench) fn async_profiler() -> PathBuf {
    root().join(".leakline/async-profiler/libasyncProfiler.so")
}

const JEMALLOC: &str = "libjemalloc.so.2";

/// Where the system's libraries are.
fn library(name: &str) -> Option<PathBuf> {
    let arch = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    let folders = [arch.as_str(), "/usr/lib64", "/usr/lib", "/usr/local/lib"];
    folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists())
}

pub(in crate::bench) fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}
