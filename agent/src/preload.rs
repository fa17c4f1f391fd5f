//! What the preloaded library does when it is loaded into a process and when that process ends.
//! Decides first whether the process is any of its business, and takes its own variables out of the environment. Then it
//! makes a watcher beside the process, or, where there can be none, starts the agent inside.
//! Never writes to stdout, never fails the host.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use leakline_core::SessionId;
use leakline_probing::shared::Sharing;
use leakline_probing::{heap::OwnHeap, loader};

use crate::config::Config;
use crate::{compose, environment, host, running, threads, watched};

#[doc(hidden)]
pub use crate::environment::{Getter, Room};
#[doc(hidden)]
pub use crate::fitting::Search;
#[doc(hidden)]
pub use crate::watched::confined::Confining;
#[doc(hidden)]
pub use crate::watched::{Way, ends, moments, remember_arguments};
#[doc(hidden)]
pub use leakline_native::{pass_over, shims};

/// The session of the process that an application began with, for what it starts.
pub(crate) const APPLICATION: &str = "LEAKLINE_APPLICATION";

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
    /// Watch it, as a part of an application where it is not the first process of one.
    Watch { child: Option<SessionId> },
    /// Leave it alone, and hide from it.
    None,
}

/// Called by the loader before `main`, on the only thread there is.
pub fn on_load() {
    let pid = std::process::id();
    let wanted = std::env::var("LEAKLINE_PID").ok();
    let application = std::env::var(APPLICATION).ok();
    let child = match business(pid, wanted.as_deref(), application.as_deref()) {
        Business::None => return environment::hide(),
        Business::Watch { child } => child,
    };
    if wanted.is_none() {
        // Preloaded by hand: this process is the one, and its children are told so.
        // SAFETY: called before `main`, no other thread exists that could read the environment.
        unsafe { std::env::set_var("LEAKLINE_PID", pid.to_string()) };
    }
    match Config::load() {
        Ok(config) if child.is_some() && !config.children.are_programs_watched() => environment::hide(),
        Ok(config) => watch(config, child),
        Err(error) => {
            environment::put_away(None);
            tell(&format!("{error}; this program runs unwatched"));
        }
    }
}

fn business(pid: u32, wanted: Option<&str>, application: Option<&str>) -> Business {
    match wanted.map(str::parse::<u32>) {
        None => Business::Watch { child: None },
        Some(Ok(wanted)) if wanted == pid => Business::Watch { child: None },
        // What was started by a watched program is told so.
        Some(_) => match application.and_then(session_id) {
            Some(application) => Business::Watch { child: Some(application) },
            None => Business::None,
        },
    }
}

fn session_id(text: &str) -> Option<SessionId> {
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(SessionId(number.to_be_bytes()))
}

fn watch(mut config: Config, child: Option<SessionId>) {
    LOADED_IN.store(std::process::id(), Ordering::Release);
    let application = child.unwrap_or_else(host::random_id);
    if child.is_some() {
        config.settle = config.children_settle;
    }
    log_to_stderr();
    let started = watched::start(&config, application, child.is_some());
    // While there is one thread, and when the name of the watcher is in it.
    let for_children = config.children.are_programs_watched() && config.watcher;
    environment::put_away(for_children.then_some(application));
    match started {
        Ok(()) => compose::before_runtimes_end(&config),
        // Threads of ours are too much for what is started for a moment.
        Err(_) if child.is_some() => return,
        Err(why) => {
            if for_children {
                // Process 1 of a container has no watcher, but what it starts may have one.
                watched::count_programs();
            }
            *INSIDE.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            OwnHeap::survive_forks();
            if let Some(options) = compose::native_options(&config) {
                leakline_native::begin_early(&options, Sharing::Private);
            }
            host::next_session_is(application);
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

/// The process, a forked child of the one that loaded the library, is watched on its own from now on.
pub(crate) fn is_loaded_in(process: u32) {
    LOADED_IN.store(process, Ordering::Release);
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
        let id = "00112233445566778899aabbccddeeff";
        let child = session_id(id);
        assert_eq!(child.map(|id| id.to_string()).as_deref(), Some(id));
        let cases = [
            (7, Some("7"), None, Business::Watch { child: None }),
            (7, Some("7"), Some(id), Business::Watch { child: None }),
            (8, Some("7"), None, Business::None),
            (8, Some("7"), Some("7"), Business::None),
            (8, Some("7"), Some(id), Business::Watch { child }),
            (8, None, None, Business::Watch { child: None }),
            (8, Some("junk"), None, Business::None),
        ];
        for (pid, wanted, application, expected) in cases {
            assert_eq!(business(pid, wanted, application), expected, "{pid} {wanted:?} {application:?}");
        }
    }
}
