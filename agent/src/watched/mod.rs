//! The watcher beside a preloaded host: a process that is forked from the host before `main` and runs the scheduler, the
//! verdict and all sinks. In the host there are only malloc's hooks, which write tables in shared memory, and a thread only
//! where a runtime must be asked from inside.
//!
//! So a host of one thread stays one, has no descriptor of ours to lose or to count, and what it wrote in shared memory
//! outlives it: the last snapshot can be taken after SIGKILL.
//!
//! The host never waits for the watcher without a time-out, and goes on when it has been killed. The watcher takes no lock
//! that the host may wait for.

mod away;
mod codec;
pub(crate) mod commands;
pub(crate) mod confined;
mod ending;
pub(crate) mod family;
mod inside;
mod lane;
pub(crate) mod lanes;
mod line;
pub mod moments;
mod remote;
mod sight;
mod spawn;
mod unwatched;
mod watcher;

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use leakline_core::SessionId;
use leakline_probing::shared::{self, Lanes, Sharing};

use self::line::Line;
use crate::config::{Children, Config};
use crate::{compose, preload, running};

pub(crate) use ending::runtime_is_closing;
pub use ending::{Way, ends};
pub(crate) use inside::{Host, Inside};

/// `PID:WATCHER`, for the program that this process may become: the watcher of this one is to end first.
const PREDECESSOR: &CStr = c"LEAKLINE_WATCHED_BY";
/// How long a watcher is waited for where it might not come up.
const COMES_UP_WITHIN: Duration = Duration::from_millis(250);

/// What the host knows of its watcher.
pub(crate) struct Watched {
    line: &'static Line,
    pub(crate) lanes: &'static Lanes,
    /// The process: another one in a forked child that has a watcher of its own.
    host: AtomicU32,
    final_wait: Duration,
    /// A program that another one has started: one that ends before it has settled leaves nothing.
    is_child: bool,
}

static WATCHED: OnceLock<Watched> = OnceLock::new();

/// Keeps where the command line is, for the watcher to take the host's name off it.
pub fn remember_arguments(argc: c_int, argv: *mut *mut c_char) {
    spawn::remember_arguments(argc, argv);
}

/// Whether a watcher is the agent of this process. It may have been killed, or stopped by the program.
pub(crate) fn runs() -> bool {
    WATCHED.get().is_some_and(|watched| !watched.line.is_stopped() && !watched.line.has_lost_the_watcher())
}

/// Stops the watcher, and leakline's threads in the host.
pub(crate) fn stop() {
    if let Some(watched) = WATCHED.get() {
        // A watcher that does not answer is stopped all the same, as far as this process goes.
        let _ = commands::tell(&commands::Asked::Stop);
        watched.line.stop();
        lanes::stop();
    }
}

/// Makes the watcher. Called before `main`. What it says when there can be none is for the log.
pub(crate) fn start(config: &Config, application: SessionId, is_child: bool) -> Result<(), String> {
    if !config.watcher {
        return Err("it is switched off (setting `watcher`)".to_owned());
    }
    if let Some(why) = spawn::refusal() {
        return Err(why);
    }
    let no_memory = || "no shared memory to be had".to_owned();
    let line = Line::map().ok_or_else(no_memory)?;
    let lanes = Lanes::map(Sharing::WithWatcher).ok_or_else(no_memory)?;
    if !shared::tell_forks_apart() {
        return Err("it needs Linux 4.14 or newer".to_owned());
    }
    if let Some(options) = compose::native_options(config) {
        leakline_native::begin_early(&options, Sharing::WithWatcher);
    }
    let host = std::process::id();
    let predecessor = predecessor(host);
    let desk = if config.children == Children::None { None } else { family::Desk::map() };
    let family =
        watcher::Family { application, parent: is_child.then(std::os::unix::process::parent_id), desk };
    let order = watcher::Watch { config: absolute(config), line, lanes, host, predecessor, family };
    let watcher = spawn::spawn(move || {
        predecessor.into_iter().for_each(watcher::hurry);
        watcher::watch(order);
    })?;
    // A thread that runs already may hold a lock which the watcher, as a copy of this process, would wait for for ever.
    if has_threads() && !line.is_up_within(COMES_UP_WITHIN) {
        spawn::kill(watcher);
        return Err("threads run before main, and one of them holds what a fork needs".to_owned());
    }
    let _ = WATCHED.set(Watched { line, lanes, host: host.into(), final_wait: config.final_wait, is_child });
    running::has_a_watcher();
    lanes::prepare(lanes, &absolute(config));
    name_for_successor(host, watcher);
    if let Some(desk) = desk {
        family::count_programs(desk);
        if config.children.are_forked_ones_watched() {
            family::prepare(config);
        }
    }
    Ok(())
}

/// Programs that this process starts are watched, though it has no watcher itself. To be called before `main`.
pub(crate) fn count_programs() {
    if let Some(desk) = family::Desk::map() {
        family::count_programs(desk);
    }
}

/// A forked child has a watcher of its own from now on. Called on one of its threads, in the middle of an allocation.
fn begin_in_child() {
    let Some(watched) = WATCHED.get() else { return };
    let process = std::process::id();
    watched.host.store(process, Ordering::Release);
    preload::is_loaded_in(process);
    running::has_a_watcher();
    lanes::begin_in_child();
    // From here on this process is one that is watched, for every part of leakline in it.
    shared::tell_forks_apart();
    leakline_native::begin_in_child();
    lanes::start_soon();
}

/// The watcher's folder is another than the host's.
fn absolute(config: &Config) -> Config {
    let mut config = config.clone();
    for path in [&mut config.file, &mut config.python_library].into_iter().flatten() {
        if let Ok(absolute) = std::path::absolute(&*path) {
            *path = absolute;
        }
    }
    config
}

fn has_threads() -> bool {
    let Some(single) = leakline_probing::loader::symbol(c"__libc_single_threaded") else { return true };
    // SAFETY: the C library's variable of that name is a char.
    (unsafe { single.cast::<u8>().as_ptr().read_volatile() }) == 0
}

fn predecessor(host: u32) -> Option<u32> {
    let told = std::env::var(PREDECESSOR.to_str().ok()?).ok()?;
    let (of, watcher) = told.trim_end().split_once(':')?;
    (of.parse() == Ok(host)).then(|| watcher.parse().ok())?
}

/// Written over what `leakline run` has left room for, so that the environment stays where the kernel put it.
fn name_for_successor(host: u32, watcher: u32) {
    let text = format!("{host}:{watcher}");
    // SAFETY: before `main`; the name ends with a NUL.
    let room = unsafe { libc::getenv(PREDECESSOR.as_ptr()) };
    if !room.is_null() {
        // SAFETY: the environment's strings end with a NUL.
        let length = unsafe { CStr::from_ptr(room) }.count_bytes();
        if length >= text.len() {
            let padded = format!("{text:<length$}");
            // SAFETY: as long as what is there, and before `main` nobody reads it.
            unsafe { std::ptr::copy_nonoverlapping(padded.as_ptr(), room.cast(), length) };
            return;
        }
    }
    // SAFETY: called before `main`; where there are threads already, they have not got to the environment.
    unsafe { std::env::set_var(PREDECESSOR.to_str().unwrap_or_default(), text) };
}
