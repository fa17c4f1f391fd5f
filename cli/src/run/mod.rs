//! `leakline run`: puts the agent's library and its settings into the environment and becomes the command.
//!
//! The watcher is not made here but by the library, before the command's `main`: so there is one way for `run`, for
//! `LD_PRELOAD` by hand and for programs that the command becomes by `exec`, and the watcher has the library at the same
//! addresses as the program.
//!
//! Never forks, never starts a runtime, never stands between the command and its signals, terminal or exit status.

#[cfg(target_os = "linux")]
mod exec;
#[cfg(target_os = "linux")]
mod locate;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod signal;

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::duration::{self, Interval};

const EXAMPLES: &str = "\
Examples:
  leakline run -- python3 app.py
      A short line on the terminal every 5 minutes, nothing else.

  leakline run --interval 1m -o app.leak -- java -jar app.jar
      Also write a recording; read it any time, even while the program runs or after it
      was killed:  leakline report app.leak

  leakline run --collector 192.168.1.20:7474 -- ./service --port 80
      Also send to a workstation where `leakline collect` runs.

The program is started in place of leakline: same process id, so Ctrl-C, SIGTERM, job
control, input and the exit status are the program's own. 127 means that the command was
not found and 126 that it cannot be executed, as in a shell.

leakline works in a process beside the program (leakline-watch in ps), which ends with it.
The program itself gets no thread and no descriptor of leakline's, but for one thread that
asks CPython and up to two that ask a JVM. Process 1 of a container, programs that adopt
orphans, and systems with a glibc before 2.35 are watched from the inside instead.

Other settings come from LEAKLINE_* variables or a file (--config); options given here win.";

/// What the Python probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PythonMode {
    /// Numbers, and call paths of a sample of all allocations: cheap enough to leave on
    Sampling,
    /// Numbers, and call paths of every allocation, by leakline's own hook
    Exact,
    /// The same with the standard library's tracemalloc
    Tracemalloc,
    /// Numbers only: nothing is traced, next to no cost
    Gauges,
    /// Leave Python alone
    Off,
}

/// What the native probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NativeMode {
    /// Numbers, and call paths of a sample of what malloc serves and of all mappings: cheap enough to leave on
    Sampling,
    /// Numbers only: nothing is hooked
    Gauges,
    /// Leave malloc and the process alone: there is no ledger then
    Off,
}

/// Which children of the program are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Children {
    /// Processes that it forks, and programs that it starts
    All,
    /// Programs that it starts
    Exec,
    /// None
    None,
}

/// Where leakline works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Watcher {
    /// In a process of its own beside the program, where that can be had
    On,
    /// Inside the program, on threads of its own
    Off,
}

/// Options of `leakline run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Time between readings, taken at multiples of it on the clock [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = duration::interval)]
    pub(crate) interval: Option<Interval>,

    /// Send the readings to `leakline collect` at this address
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) collector: Option<String>,

    /// Write a recording to this file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Frames kept of each Python call path; more cost more [default: 32 when sampling, otherwise 10]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=128))]
    pub(crate) frames: Option<u16>,

    /// What is read of Python [default: sampling]
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) python: Option<PythonMode>,

    /// Bytes between two samples on average, from 1KiB to 16MiB; less shows smaller leaks sooner and costs more
    /// [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = python_sample)]
    pub(crate) python_sample: Option<String>,

    /// What is read of malloc and of the process [default: sampling]
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) native: Option<NativeMode>,

    /// Bytes between two samples of malloc on average, from 4KiB to 1GiB [default: 512KiB]
    #[arg(long, value_name = "SIZE", value_parser = native_sample)]
    pub(crate) native_sample: Option<String>,

    /// Bytes between two samples of what Java allocates on average, from 4KiB to 1GiB [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = jvm_sample)]
    pub(crate) jvm_sample: Option<String>,

    /// Which children of the program are watched, too, each in a session of its own [default: all]
    #[arg(long, value_name = "WHICH", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    pub(crate) children: Option<Children>,

    /// Whether leakline works in a process beside the program [default: on]
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) watcher: Option<Watcher>,

    /// Print nothing on the terminal
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Read further settings from this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The program to run, and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

fn python_sample(text: &str) -> Result<String, String> {
    sample(text, 1 << 10..=16 << 20, "write a size from 1KiB to 16MiB, such as 64KiB")
}

fn native_sample(text: &str) -> Result<String, String> {
    sample(text, 4 << 10..=1 << 30, "write a size from 4KiB to 1GiB, such as 512KiB")
}

fn jvm_sample(text: &str) -> Result<String, String> {
    sample(text, 4 << 10..=1 << 30, "write a size from 4KiB to 1GiB, such as 64KiB")
}

/// A size that the agent takes as the mean between samples; told on as it was written.
fn sample(text: &str, bounds: RangeInclusive<u64>, right: &str) -> Result<String, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    match bytes {
        Some(bytes) if bounds.contains(&bytes) => Ok(text.to_owned()),
        _ => Err(right.to_owned()),
    }
}

/// `HOST:PORT`, with a port that can be connected to.
fn address(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    match bare.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0) => {
            Ok(text.to_owned())
        }
        _ => Err("write HOST:PORT, such as 127.0.0.1:7474".to_owned()),
    }
}

/// Becomes the command. Comes back only with an exit status for a command that could not be run, or with an error.
#[cfg(target_os = "linux")]
pub(crate) fn run(options: &Options) -> anyhow::Result<std::process::ExitCode> {
    exec::become_command(options)
}

/// Says where the agent can run.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_options: &Options) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!(
        "`leakline run` works on Linux only: it preloads a library\n  \
         Run the program on Linux with `--collector HOST:PORT` and receive it here with `leakline collect`."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_size_within_bounds() {
        for good in ["1KiB", "1024", "64KiB", "64k", "16MiB", "16777216"] {
            assert_eq!(python_sample(good).as_deref(), Ok(good));
        }
        for bad in ["", "1023", "17MiB", "64 potatoes", "99999999999999999999M"] {
            assert!(python_sample(bad).unwrap_err().contains("64KiB"), "{bad}");
        }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:7474", "workstation:1", "[::1]:7474", "http://localhost:7474/"] {
            assert_eq!(address(good).as_deref(), Ok(good));
        }
        for bad in
            ["", "localhost", ":7474", "localhost:", "localhost:0", "localhost:70000", "localhost:http"]
        {
            assert!(address(bad).unwrap_err().contains("127.0.0.1:7474"), "{bad}");
        }
    }
}
