//! The environment that the agent reads, the checks before, and the `exec`.
//! Sets what the options say and no more: a user's own LEAKLINE_* variables and settings file stay in force beside them.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::net::ToSocketAddrs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::program::{self, NotRunnable, Obstacle};
use super::{Children, NativeMode, Options, PythonMode, Watcher, locate, signal};
use crate::style::warn;

/// As shells answer.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// How long a name server may hold up the start.
const RESOLVE_WAIT: Duration = Duration::from_secs(1);

/// Overwritten in place before `main` by `PID:WATCHER`, so that the environment stays where the kernel has put it.
const WATCHED_BY: &str = "                     ";

type Environment = BTreeMap<OsString, OsString>;

/// Becomes the command, with the agent in it.
pub(super) fn become_command(options: &Options) -> Result<ExitCode> {
    let mut environment: Environment = std::env::vars_os().collect();
    let (command, path) = (command_of(options), environment.get(OsStr::new("PATH")).cloned());
    let program = match program::resolve(command, path.as_deref()) {
        Ok(program) => program,
        Err(NotRunnable::Missing) => {
            refuse(&format!("command not found: {}", command.display()));
            return Ok(ExitCode::from(NOT_FOUND));
        }
        Err(NotRunnable::NotExecutable(file)) => {
            refuse(&format!("cannot be executed: {}", file.display()));
            return Ok(ExitCode::from(NOT_EXECUTABLE));
        }
    };
    let executable = std::env::current_exe().context("cannot tell where leakline itself is")?;
    let library =
        locate::agent(environment.get(OsStr::new("LEAKLINE_LIBRARY")).map(OsString::as_os_str), &executable)?;

    let mut wanted = settings(options, &environment)?;
    check_targets(options)?;
    warn_of_missing_parts(options, &environment, &library);
    let obstacle = program::obstacle(&program, &library, path.as_deref());
    if let Some((obstacle, file)) = &obstacle {
        warn(&obstacle_words(obstacle, file));
    }
    let refuses_to_start = |obstacle| matches!(obstacle, Obstacle::Musl | Obstacle::Sanitizer);
    if !obstacle.is_some_and(|(obstacle, _)| refuses_to_start(obstacle)) {
        wanted.push(("LD_PRELOAD", preload(&library, environment.get(OsStr::new("LD_PRELOAD")))));
    }
    environment.extend(wanted.into_iter().map(|(name, value)| (OsString::from(name), value)));

    let error = exec(&program, &options.command, &environment)?;
    refuse(&format!("cannot be executed: {error}: {}", program.display()));
    Ok(ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }))
}

fn command_of(options: &Options) -> &OsStr {
    options.command.first().map_or(OsStr::new(""), OsString::as_os_str)
}

fn refuse(message: &str) {
    crate::style::error(message);
}

/// The variables that the options stand for.
fn settings(options: &Options, environment: &Environment) -> Result<Vec<(&'static str, OsString)>> {
    let mut wanted: Vec<(&'static str, OsString)> =
        vec![("LEAKLINE_PID", std::process::id().to_string().into())];
    // Room for the watcher to leave its number in: see `WATCHED_BY`.
    wanted.push(("LEAKLINE_WATCHED_BY", WATCHED_BY.into()));
    let mut set = |name, value: Option<OsString>| wanted.extend(value.map(|value| (name, value)));
    set(
        "LEAKLINE_CHILDREN",
        options.children.map(|children| match children {
            Children::All => "all".into(),
            Children::Exec => "exec".into(),
            Children::None => "none".into(),
        }),
    );
    set("LEAKLINE_INTERVAL", options.interval.as_ref().map(|interval| interval.text.clone().into()));
    set("LEAKLINE_COLLECTOR", options.collector.clone().map(OsString::from));
    set("LEAKLINE_FILE", options.output.as_deref().map(absolute).transpose()?);
    set("LEAKLINE_PYTHON_FRAMES", options.frames.map(|frames| frames.to_string().into()));
    set("LEAKLINE_PYTHON_SAMPLE_BYTES", options.python_sample.clone().map(OsString::from));
    set("LEAKLINE_NATIVE_SAMPLE_BYTES", options.native_sample.clone().map(OsString::from));
    set("LEAKLINE_JVM_SAMPLE_BYTES", options.jvm_sample.clone().map(OsString::from));
    set("LEAKLINE_CONFIG", options.config.as_deref().map(absolute).transpose()?);
    set(
        "LEAKLINE_PYTHON_MODE",
        options.python.map(|mode| match mode {
            PythonMode::Sampling => "sampling".into(),
            PythonMode::Exact => "exact".into(),
            PythonMode::Tracemalloc => "tracemalloc".into(),
            PythonMode::Gauges => "gauges".into(),
            PythonMode::Off => "off".into(),
        }),
    );
    set(
        "LEAKLINE_NATIVE_MODE",
        options.native.map(|mode| match mode {
            NativeMode::Sampling => "sampling".into(),
            NativeMode::Gauges => "gauges".into(),
            NativeMode::Off => "off".into(),
        }),
    );
    set(
        "LEAKLINE_WATCHER",
        options.watcher.map(|watcher| match watcher {
            Watcher::On => "on".into(),
            Watcher::Off => "off".into(),
        }),
    );
    // On a terminal a user wants to see lines, and few. These are habits of `run`, not options: they give way to
    // anything that the user set, and a settings file is the user's.
    let has_file = options.config.is_some() || environment.contains_key(OsStr::new("LEAKLINE_CONFIG"));
    let free = |name: &str| !has_file && !environment.contains_key(OsStr::new(name));
    let target = if options.quiet { Some("off") } else { free("LEAKLINE_LOGCAT_TARGET").then_some("stderr") };
    set("LEAKLINE_LOGCAT_TARGET", target.map(OsString::from));
    set("LEAKLINE_LOGCAT_TOP_SITES", free("LEAKLINE_LOGCAT_TOP_SITES").then(|| "3".into()));
    Ok(wanted)
}

/// The program may change its folder before the agent reads a path.
fn absolute(path: &Path) -> Result<OsString> {
    let absolute =
        std::path::absolute(path).with_context(|| format!("no usable path: {}", path.display()))?;
    Ok(absolute.into_os_string())
}

/// Ours goes first, and what was there stays.
fn preload(library: &Path, existing: Option<&OsString>) -> OsString {
    let mut value = library.as_os_str().to_owned();
    if let Some(existing) = existing.filter(|existing| !existing.is_empty()) {
        value.push(":");
        value.push(existing);
    }
    value
}

/// What would go wrong later, out of sight, is told now.
fn check_targets(options: &Options) -> Result<()> {
    if let Some(file) = &options.output {
        let absolute = PathBuf::from(absolute(file)?);
        if absolute.is_dir() {
            bail!("--output names a folder: {}\n  Name a file in it, such as app.leak.", file.display());
        }
        if let Some(folder) = absolute.parent().filter(|folder| !folder.is_dir()) {
            bail!(
                "the folder for the recording does not exist: {}\n  Make it first, or give another --output.",
                folder.display()
            );
        }
    }
    if let Some(config) = options.config.as_ref().filter(|config| !config.is_file()) {
        bail!(
            "the settings file is not there: {}\n  Give the path of a TOML file to --config.",
            config.display()
        );
    }
    if let Some(address) = options.collector.as_deref().filter(|address| !resolves(address)) {
        warn(&format!(
            "the collector's address does not resolve; the program runs all the same and it is tried again: {address}"
        ));
    }
    Ok(())
}

/// Whether the name has an address. A name server that is slow to answer counts as yes: the agent will see.
fn resolves(address: &str) -> bool {
    let bare = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/').to_owned();
    if bare.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let (answer, answered) = mpsc::sync_channel(1);
    let ask = move || {
        let _ = answer.send(bare.to_socket_addrs().is_ok_and(|mut found| found.next().is_some()));
    };
    match std::thread::Builder::new().name("leakline-resolve".to_owned()).spawn(ask) {
        Ok(_) => answered.recv_timeout(RESOLVE_WAIT).unwrap_or(true),
        Err(_) => true,
    }
}

fn warn_of_missing_parts(options: &Options, environment: &Environment, library: &Path) {
    let set = |name: &str| environment.get(OsStr::new(name)).is_some_and(|value| !value.is_empty());
    let python_off = options.python == Some(PythonMode::Off);
    if !python_off && !set("LEAKLINE_PYTHON_LIBRARY") && !locate::has_python_part(library) {
        warn(&format!(
            "the Python part {} is missing, Python will not be read; put it beside {}",
            locate::CPYTHON,
            library.display()
        ));
    }
    let somewhere = options.output.is_some() || options.collector.is_some() || options.config.is_some();
    if options.quiet
        && !somewhere
        && !["LEAKLINE_FILE", "LEAKLINE_COLLECTOR", "LEAKLINE_CONFIG"].into_iter().any(set)
    {
        warn("with --quiet and neither --output nor --collector the readings go nowhere");
    }
}

fn obstacle_words(obstacle: &Obstacle, file: &Path) -> String {
    let why = match obstacle {
        Obstacle::Static => "is statically linked: nothing can be loaded into it, so it will not be watched",
        Obstacle::Privileged => {
            "runs with rights of its own (setuid, setgid or capabilities): it will not be watched"
        }
        Obstacle::OtherMachine => "is made for another processor than leakline: it will not be watched",
        Obstacle::Musl => "is made for musl and leakline for glibc: it will not be watched",
        Obstacle::Sanitizer => {
            "is built with a sanitizer, whose malloc finds errors and must come first: it will not be watched"
        }
    };
    format!("{} {why}", file.display())
}

/// Comes back only with what went wrong.
fn exec(program: &Path, command: &[OsString], environment: &Environment) -> Result<io::Error> {
    let text = |bytes: &[u8]| CString::new(bytes).context("an argument or a variable has a zero byte in it");
    let program = text(program.as_os_str().as_bytes())?;
    let arguments = command.iter().map(|word| text(word.as_bytes())).collect::<Result<Vec<_>>>()?;
    let variables = in_callers_order(environment, std::env::vars_os().map(|(name, _)| name))
        .into_iter()
        .map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<_>>>()?;
    let pointers = |words: &[CString]| -> Vec<*const libc::c_char> {
        words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&variables));
    signal::restore();
    // execvpe and not execve: a script without a first line is given to the shell, as a shell would do.
    // SAFETY: all strings end with a zero byte, both lists with a null, and all live through the call.
    unsafe { libc::execvpe(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Ok(io::Error::last_os_error())
}

/// The program sees its variables as they would be without leakline, in their order too; what was added comes last.
fn in_callers_order(
    environment: &Environment,
    callers: impl Iterator<Item = OsString>,
) -> Vec<(&OsString, &OsString)> {
    let callers: Vec<OsString> = callers.collect();
    let mut variables: Vec<_> = environment.iter().collect();
    let place = |name: &OsString| callers.iter().position(|known| known == name).unwrap_or(callers.len());
    variables.sort_by_cached_key(|(name, _)| place(name));
    variables
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    /// `line` is what stands after `leakline run`, `environment` is `NAME=value` words;
    /// the answer is what is set, without the process id.
    fn check(line: &str, environment: &str, expected: &str) {
        let words = ["run"].into_iter().chain(line.split_whitespace());
        let options = Command::try_parse_from(words).unwrap().options;
        let environment: Environment = environment
            .split_whitespace()
            .map(|word| word.split_once('=').unwrap())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let found: Vec<String> = settings(&options, &environment)
            .unwrap()
            .into_iter()
            .filter(|(name, _)| !["LEAKLINE_PID", "LEAKLINE_WATCHED_BY"].contains(name))
            .map(|(name, value)| format!("{}={}", name.trim_start_matches("LEAKLINE_"), value.display()))
            .collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn the_order_of_the_variables_is_the_callers() {
        let environment: Environment =
            ["A", "B", "LD_PRELOAD", "Z"].map(|name| (name.into(), "1".into())).into();
        let callers = ["Z", "B", "A"].map(OsString::from).into_iter();
        let names: Vec<_> =
            in_callers_order(&environment, callers).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Z", "B", "A", "LD_PRELOAD"]);
    }

    #[test]
    fn without_options_only_the_habits_of_a_terminal_are_set() {
        check("-- true", "", "LOGCAT_TARGET=stderr LOGCAT_TOP_SITES=3");
    }

    #[test]
    fn every_option_becomes_its_variable() {
        check(
            "--interval 30s --collector h:1 -o /tmp/x.leak --frames 5 --python gauges --python-sample 4KiB --native gauges \
             --native-sample 1MiB --watcher off --children=exec --quiet --config /etc/l.toml -- true",
            "",
            "CHILDREN=exec INTERVAL=30s COLLECTOR=h:1 FILE=/tmp/x.leak PYTHON_FRAMES=5 PYTHON_SAMPLE_BYTES=4KiB NATIVE_SAMPLE_BYTES=1MiB \
             CONFIG=/etc/l.toml PYTHON_MODE=gauges NATIVE_MODE=gauges WATCHER=off LOGCAT_TARGET=off",
        );
    }

    #[test]
    fn what_the_user_set_gives_way_to_options_only() {
        let user = "LEAKLINE_INTERVAL=1m LEAKLINE_LOGCAT_TARGET=liblog LEAKLINE_LOGCAT_TOP_SITES=50";
        check("-- true", user, "");
        check("--interval 2m -q -- true", user, "INTERVAL=2m LOGCAT_TARGET=off");
        check("-- true", "LEAKLINE_CONFIG=/x.toml", "");
    }

    #[test]
    fn the_agent_goes_before_what_was_preloaded() {
        let library = Path::new("/opt/libleakline_agent.so");
        assert_eq!(preload(library, None), "/opt/libleakline_agent.so");
        assert_eq!(preload(library, Some(&"".into())), "/opt/libleakline_agent.so");
        assert_eq!(preload(library, Some(&"/a.so:/b.so".into())), "/opt/libleakline_agent.so:/a.so:/b.so");
    }

    #[test]
    fn an_address_in_figures_is_not_asked_of_a_name_server() {
        assert!(resolves("127.0.0.1:1"));
        assert!(resolves("[::1]:1"));
        assert!(resolves("localhost:7474"));
    }
}
