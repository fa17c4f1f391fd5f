//! What the preloaded library does when it is loaded into a process and when that process ends.
//! Decides first whether the process is any of its business, and takes its own variables out of the environment. Then it
//! makes a watcher beside the process, or, where there can be none, starts the agent inside.
//! Never writes to stdout, never fails the host.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use leakline_probing::shared::Sharing;
use leakline_probing::{heap::OwnHeap, loader};

use crate::config::Config;
use crate::{compose, environment, running, threads, watched};

#[doc(hidden)]
pub use crate::environment::{Getter, Room};
#[doc(hidden)]
pub use crate::watched::confined::Confining;
#[doc(hidden)]
pub use crate::watched::{Way, ends, moments, remember_arguments};
#[doc(hidden)]
pub use leakline_native::{pass_over, shims};

/// How often a settling agent looks whether a runtime has shown up.
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// Whether somebody starts the agent: the settling thread, or the end of a host that was quicker.
static STARTED: AtomicBool = AtomicBool::new(false);

/// The config until the agent is started, by whoever takes it; locked while that goes on.
static WAITING: Mutex<Option<Config>> = Mutex::new(None);

/// Why there is no watcher, until it is in the recording.
static INSIDE: Mutex<Option<String>> = Mutex::new(None);

/// The process that loaded the library with business in it. A forked child is another.
static LOADED_IN: AtomicU32 = AtomicU32::new(0);

/// What the environment says about this process.
#[derive(Debug, PartialEq, Eq)]
enum Business {
    /// Watch it. The number is added to the recording's name when it is not the first process of a family.
    Watch { child: bool },
    /// Leave it alone, and hide from it.
    None,
}

/// Called by the loader before `main`, on the only thread there is.
pub fn on_load() {
    let pid = std::process::id();
    let wanted = std::env::var("LEAKLINE_PID").ok();
    let children = std::env::var("LEAKLINE_CHILDREN").is_ok_and(|value| value == "1");
    match business(pid, wanted.as_deref(), children) {
        Business::None => environment::hide(),
        Business::Watch { child } => {
            if wanted.is_none() {
                // Preloaded by hand: this process is the one, and its children are told so.
                // SAFETY: called before `main`, no other thread exists that could read the environment.
                unsafe { std::env::set_var("LEAKLINE_PID", pid.to_string()) };
            }
            match Config::load() {
                Ok(config) => watch(config, child.then_some(pid), children),
                Err(error) => {
                    if !children {
                        environment::put_away();
                    }
                    tell(&format!("{error}; this program runs unwatched"));
                }
            }
        }
    }
}

fn business(pid: u32, wanted: Option<&str>, children: bool) -> Business {
    match wanted.map(str::parse::<u32>) {
        None => Business::Watch { child: false },
        Some(Ok(wanted)) if wanted == pid => Business::Watch { child: false },
        Some(_) if children => Business::Watch { child: true },
        Some(_) => Business::None,
    }
}

fn watch(mut config: Config, child: Option<u32>, children: bool) {
    LOADED_IN.store(std::process::id(), Ordering::Release);
    if let Some(pid) = child {
        // One file cannot hold two sessions at once.
        config.file = config.file.map(|file| with_suffix(file, pid));
    }
    log_to_stderr();
    let started = watched::start(&config);
    if !children {
        // While there is one thread, and when the name of the watcher is in it.
        environment::put_away();
    }
    match started {
        Ok(()) => compose::before_runtimes_end(&config),
        Err(why) => {
            *INSIDE.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            OwnHeap::survive_forks();
            if let Some(options) = compose::native_options(&config) {
                leakline_native::begin_early(&options, Sharing::Private);
            }
            start_inside(config);
            return;
        }
    }
    begin_with_python(&config);
}

fn begin_with_python(config: &Config) {
    if config.python_mode != crate::PythonMode::Off {
        leakline_python::early::install(compose::python_options(config));
    }
}

/// The agent on threads of the host's process.
fn start_inside(config: Config) {
    begin_with_python(&config);
    let settle = config.settle;
    *WAITING.lock().unwrap_or_else(PoisonError::into_inner) = Some(config);
    let started = threads::with_signals_blocked(|| {
        std::thread::Builder::new().name("leakline-start".into()).stack_size(256 << 10).spawn(move || {
            wait_until_settled(settle);
            // A panic must not reach the host; its message has gone to stderr by then.
            let _ = std::panic::catch_unwind(start_once);
        })
    });
    if let Err(error) = started {
        tell(&format!("cannot start a thread: {error}; this program runs unwatched"));
    }
}

/// Waits for `settle`, or until a runtime shows up.
fn wait_until_settled(settle: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < settle && !STARTED.load(Ordering::Acquire) {
        if leakline_python::is_present() || loader::loaded_object(&["libjvm.so"]).is_some() {
            return;
        }
        std::thread::sleep(SETTLE_POLL.min(settle));
    }
}

fn start_once() {
    STARTED.store(true, Ordering::Release);
    // Held to the end: a host that ends meanwhile waits for what it is to end.
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(config) = waiting.take() else { return };
    match running::start(config) {
        Ok(()) => {
            let why = INSIDE.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(why) = why {
                // The agent runs: it was started above.
                let _ =
                    running::mark(&format!("leakline: works inside the program, without a watcher: {why}"));
            }
        }
        Err(error) => tell(&error.to_string()),
    }
}

/// Called by the loader when the process ends in an orderly way, after `main` and the host's own exit handlers: for what
/// has not gone by one of the ways that [`ends`] is called from.
pub fn on_unload() {
    ends(Way::Exit);
}

/// Whether this is the process that loaded the library with business in it.
pub(crate) fn is_loaded_here() -> bool {
    LOADED_IN.load(Ordering::Acquire) == std::process::id()
}

/// The end of an agent inside: before the first exit handler, where that can be seen.
pub(crate) fn ends_inside() {
    // In a forked child, and in a process that was left alone, there is nothing to end.
    if !is_loaded_here() {
        return;
    }
    // A host that ended before the agent had settled still leaves one snapshot behind.
    start_once();
    running::end();
}

/// The preloaded library's file name.
pub fn own_file_name() -> &'static str {
    "libleakline_agent.so"
}

fn with_suffix(file: PathBuf, pid: u32) -> PathBuf {
    let mut name = file.into_os_string();
    name.push(format!(".{pid}"));
    name.into()
}

/// The agent's own warnings go to stderr; `LEAKLINE_LOG` (error, warn, info, debug) says from which level on.
fn log_to_stderr() {
    let level = std::env::var("LEAKLINE_LOG")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(tracing::Level::ERROR);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .finish();
    // Only the first of a process counts; a second load of the library keeps it.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// One line on stderr; a host without one loses nothing.
fn tell(message: &str) {
    let _ = std::io::stderr().write_all(format!("leakline: {message}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_was_asked_for_is_watched() {
        let (first, child) = (Business::Watch { child: false }, Business::Watch { child: true });
        let cases = [
            (7, Some("7"), false, first),
            (8, Some("7"), false, Business::None),
            (8, Some("7"), true, child),
            (8, None, false, Business::Watch { child: false }),
            (8, Some("junk"), false, Business::None),
        ];
        for (pid, wanted, children, expected) in cases {
            assert_eq!(business(pid, wanted, children), expected, "{pid} {wanted:?} {children}");
        }
    }
}
