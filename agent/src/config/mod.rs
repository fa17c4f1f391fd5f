//! The agent's settings: one list of keys, each with its default, its environment variable and its parser.
//! Precedence, strongest first: code (the fields of [`Config`]), environment, TOML file, default.
//! Never guesses: an unknown key, a wrong unit or a value out of bounds is refused with what to write instead.

mod keys;
mod shares;
mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use keys::{KEYS, Key};
pub use leakline_logcat::LogcatTarget;

use crate::environment::put_away_variables;
use keys::nearest;
pub(crate) use shares::Shares;

/// What the Python probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PythonMode {
    /// Gauges, and call paths of a sample of all allocations.
    Sampling,
    /// Gauges, and call paths of every allocation by a hook of leakline's own.
    Exact,
    /// Gauges, and call paths of every allocation through the standard library's tracemalloc.
    Tracemalloc,
    /// Gauges only; nothing is traced.
    Gauges,
    /// No probe.
    Off,
}

/// What the native probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeMode {
    /// Malloc's and the process's numbers, and call paths of a sample of all allocations.
    Sampling,
    /// Numbers only; nothing is hooked.
    Gauges,
    /// Neither malloc nor the process is read.
    Off,
}

/// Which children of a watched program are watched, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// Forked ones, and programs that it starts.
    All,
    /// Programs that it starts.
    Exec,
    /// None.
    None,
}

impl Children {
    /// Whether processes are that the program forks and that stay the same program.
    pub fn are_forked_ones_watched(self) -> bool {
        self == Self::All
    }

    /// Whether programs are that the program starts.
    pub fn are_programs_watched(self) -> bool {
        self != Self::None
    }
}

/// The agent's settings. Start from [`Config::load`] (file and environment) or [`Config::default`], then set fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What leakline itself may hold, in the host and beside it together, bytes; each part has its share. An exact window
    /// comes on top while it is open: at most another share of call paths, and [`Config::python_window_traces`] at some 40
    /// bytes each.
    pub max_own_bytes: u64,
    /// Snapshots are taken at multiples of this since the Unix epoch.
    pub interval: Duration,
    /// What the Python probe does.
    pub python_mode: PythonMode,
    /// Bytes between two samples on average, when sampling.
    pub python_sample_bytes: u64,
    /// Frames kept of each Python call path; `None`: as the mode has it, see [`Config::python_frames_in_force`].
    pub python_frames: Option<u16>,
    /// Objects are counted by type at every so many snapshots; 0: only when somebody asks.
    pub python_census: u32,
    /// Whether every allocation is recorded for a while when Python leaks and its samples do not say where.
    pub python_window_when_leaking: bool,
    /// How long that is.
    pub python_window: Duration,
    /// Any window closes when so many of its allocations are live.
    pub python_window_traces: u64,
    /// The library that holds the Python part; `None`: looked for beside the agent's.
    pub python_library: Option<PathBuf>,
    /// What the native probe does.
    pub native_mode: NativeMode,
    /// Mean bytes between two samples of malloc.
    pub native_sample_bytes: u64,
    /// Frames kept of each call path of malloc.
    pub native_frames: u16,
    /// Below so many free bytes the system begins to end programs.
    pub native_kept_free_bytes: u64,
    /// Whether a JVM is looked for and read.
    pub jvm: bool,
    /// Mean bytes between two sampled allocations of Java objects; 0: none.
    pub jvm_sample_bytes: u64,
    /// Frames of each call path of Java objects.
    pub jvm_frames: u16,
    /// Java's objects are counted by class at every so many snapshots; 0: only when somebody asks.
    pub jvm_histogram: u32,
    /// Counting is left out when it would stop the program for longer.
    pub jvm_histogram_pause: Duration,
    /// Whether an Android app's runtime may take leakline as an agent. Only Android's asks for that.
    pub jvm_agent: bool,
    /// Whether what lies between Python and a JVM is read, where both are.
    pub bridge: bool,
    /// Where the log lines go.
    pub logcat_target: LogcatTarget,
    /// How many growing sites each snapshot logs.
    pub logcat_top_sites: usize,
    /// The recording; `None`: no file is written.
    pub file: Option<PathBuf>,
    /// A recording is rotated before it grows beyond this, bytes.
    pub file_max_bytes: u64,
    /// Rotated recordings that are kept beside the current one.
    pub file_keep: u32,
    /// `HOST:PORT` of a collector; `None`: nothing is sent.
    pub collector: Option<String>,
    /// What the collector has not acknowledged is kept up to this many bytes, or its share of
    /// [`Config::max_own_bytes`] where that is less; then the oldest is dropped and counted.
    pub collector_max_held_bytes: u64,
    /// Snapshots that may wait in front of each sink before its oldest is dropped and counted.
    pub queue_snapshots: usize,
    /// Estimated bytes that may wait in front of each sink, or the queues' share of [`Config::max_own_bytes`].
    pub queue_bytes: u64,
    /// How long the host's end is held up, at most, for the last snapshot and for getting it out. Python's end, which has
    /// the snapshot of Python, is held up for as long once more.
    pub final_wait: Duration,
    /// A preloaded agent stays invisible for this long, unless Python or a JVM shows up before: a shell that only
    /// replaces itself by the program that matters is not worth a session.
    pub settle: Duration,
    /// Whether a preloaded agent works in a process of its own beside the host, where it can.
    pub watcher: bool,
    /// Which children of a host are watched, each in a session of its own.
    pub children: Children,
    /// A child that ends before is left alone: what programs start for a moment is legion.
    pub children_settle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_own_bytes: 16 << 20,
            interval: Duration::from_secs(300),
            python_mode: PythonMode::Sampling,
            python_sample_bytes: 64 << 10,
            python_frames: None,
            python_census: 12,
            python_window_when_leaking: false,
            python_window: Duration::from_secs(60),
            python_window_traces: 1_000_000,
            python_library: None,
            native_mode: NativeMode::Sampling,
            native_sample_bytes: 512 << 10,
            native_frames: 48,
            native_kept_free_bytes: 0,
            jvm: true,
            jvm_sample_bytes: 64 << 10,
            jvm_frames: 48,
            jvm_histogram: 3,
            jvm_histogram_pause: Duration::from_millis(100),
            jvm_agent: true,
            bridge: true,
            logcat_target: LogcatTarget::Auto,
            logcat_top_sites: 10,
            file: None,
            file_max_bytes: 64 << 20,
            file_keep: 1,
            collector: None,
            collector_max_held_bytes: 8 << 20,
            queue_snapshots: 64,
            queue_bytes: 16 << 20,
            final_wait: Duration::from_secs(1),
            settle: Duration::from_millis(250),
            watcher: true,
            children: Children::All,
            children_settle: Duration::from_secs(1),
        }
    }
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key that does not exist.
    #[error("unknown setting `{key}`{}: {origin}", suggestion.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default())]
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The nearest that exists.
        suggestion: Option<&'static str>,
        /// The file or `environment`.
        origin: String,
    },
    /// A value that the key does not take.
    #[error("`{key}` cannot be `{value}`: {expected}: {origin}")]
    BadValue {
        /// The key as it was written.
        key: String,
        /// The value as it was written.
        value: String,
        /// What it takes, with an example.
        expected: String,
        /// The file or `environment`.
        origin: String,
    },
    /// The file cannot be read.
    #[error("cannot read the settings: {source}: {path}")]
    Unreadable {
        /// What the system said.
        source: std::io::Error,
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML.
    #[error("not a TOML file: {reason}: {path}")]
    NotToml {
        /// What and where.
        reason: String,
        /// The file.
        path: PathBuf,
    },
}

impl Config {
    /// The defaults, with the file that `LEAKLINE_CONFIG` names and then this process's environment on top: also with what
    /// a preloaded library has taken out of it.
    pub fn load() -> Result<Self, ConfigError> {
        let mut environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .collect();
        for (name, value) in put_away_variables() {
            if environment.iter().all(|(known, _)| *known != name) {
                environment.push((name, value));
            }
        }
        Self::from_sources(&environment)
    }

    /// As [`Config::load`], with the environment given.
    pub fn from_sources(environment: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some((_, path)) =
            environment.iter().find(|(name, value)| name == keys::CONFIG && !value.is_empty())
        {
            config.apply_file(Path::new(path))?;
        }
        config.apply_environment(environment)?;
        Ok(config)
    }

    /// Sets settings by the names that a settings file has for them (`python.frames`). `origin` says whose they are.
    pub fn set_all<'a>(
        &mut self,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
        origin: &str,
    ) -> Result<(), ConfigError> {
        for (key, value) in settings {
            self.set_named(key, value, origin.to_owned())?;
        }
        Ok(())
    }

    fn set_named(&mut self, key: &str, value: &str, origin: String) -> Result<(), ConfigError> {
        match KEYS.iter().find(|known| known.name == key) {
            Some(known) => self.set(known, key, value, origin),
            None => {
                let suggestion = nearest(key, KEYS.iter().map(|known| known.name));
                Err(ConfigError::UnknownKey { key: key.to_owned(), suggestion, origin })
            }
        }
    }

    /// Frames kept of each Python call path: a sample is rare enough for a whole path, every allocation is not.
    pub fn python_frames_in_force(&self) -> u16 {
        self.python_frames.unwrap_or(match self.python_mode {
            PythonMode::Sampling => 32,
            PythonMode::Exact | PythonMode::Tracemalloc | PythonMode::Gauges | PythonMode::Off => 10,
        })
    }

    fn apply_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { source, path: path.to_owned() })?;
        self.apply_toml(&text, path)
    }

    fn apply_toml(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::NotToml {
            reason: error.to_string().trim_end().replace('\n', "; "),
            path: path.to_owned(),
        })?;
        for (key, value) in flatten(&table) {
            let origin = path.display().to_string();
            self.set_named(&key, &value, origin)?;
        }
        Ok(())
    }

    fn apply_environment(&mut self, environment: &[(String, String)]) -> Result<(), ConfigError> {
        let ours = environment.iter().filter(|(name, _)| {
            name.starts_with("LEAKLINE_") && !keys::NOT_SETTINGS.contains(&name.as_str())
        });
        for (name, value) in ours {
            let origin = "environment".to_owned();
            let Some(known) = KEYS.iter().find(|known| known.variable == name) else {
                let suggestion = nearest(name, KEYS.iter().map(|known| known.variable));
                return Err(ConfigError::UnknownKey { key: name.clone(), suggestion, origin });
            };
            self.set(known, name, value, origin)?;
        }
        Ok(())
    }

    fn set(&mut self, known: &Key, key: &str, value: &str, origin: String) -> Result<(), ConfigError> {
        (known.set)(self, value).map_err(|expected| ConfigError::BadValue {
            key: key.to_owned(),
            value: value.to_owned(),
            expected,
            origin,
        })
    }
}

/// Every leaf of `table` as `outer.inner` and the text of its value.
fn flatten(table: &toml::Table) -> Vec<(String, String)> {
    let mut leaves = Vec::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => {
                leaves
                    .extend(flatten(inner).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            toml::Value::String(text) => leaves.push((key.clone(), text.clone())),
            other => leaves.push((key.clone(), other.to_string())),
        }
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `file` is TOML, `environment` is `NAME=value` words; the answer is what `show` reads, or the error's text.
    fn check(file: &str, environment: &str, show: impl Fn(&Config) -> String, expected: &str) {
        let environment: Vec<(String, String)> = environment
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut config = Config::default();
        let result = config
            .apply_toml(file, Path::new("leakline.toml"))
            .and_then(|()| config.apply_environment(&environment))
            .map(|()| show(&config))
            .unwrap_or_else(|error| error.to_string());
        assert_eq!(result, expected);
    }

    fn interval(config: &Config) -> String {
        format!("{:?}", config.interval)
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
        check("", "", interval, "300s");
        check("interval = '1m'", "", interval, "60s");
        check("interval = '1m'", "LEAKLINE_INTERVAL=2m", interval, "120s");
    }

    #[test]
    fn tables_of_the_file_are_dotted_keys() {
        check("[python]\nframes = 25", "", |config| config.python_frames_in_force().to_string(), "25");
        check("[file]\nmax_bytes = '2MiB'", "", |config| config.file_max_bytes.to_string(), "2097152");
        check("[file]\nmax_bytes = 2097152", "", |config| config.file_max_bytes.to_string(), "2097152");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_name() {
        check(
            "[python]\nframe = 3",
            "",
            interval,
            "unknown setting `python.frame` (did you mean `python.frames`?): leakline.toml",
        );
        check(
            "",
            "LEAKLINE_INTERVALL=5m",
            interval,
            "unknown setting `LEAKLINE_INTERVALL` (did you mean `LEAKLINE_INTERVAL`?): environment",
        );
        check("", "LEAKLINE_XYZZY=1", interval, "unknown setting `LEAKLINE_XYZZY`: environment");
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_would_be_right() {
        check(
            "",
            "LEAKLINE_INTERVAL=5",
            interval,
            "`LEAKLINE_INTERVAL` cannot be `5`: a time with its unit, such as `5m`, `30s` or `500ms`: environment",
        );
        check(
            "interval = '10ms'",
            "",
            interval,
            "`interval` cannot be `10ms`: between 100ms and 1day, such as `5m`: leakline.toml",
        );
        check(
            "[python]\nmode = 'fast'",
            "",
            interval,
            "`python.mode` cannot be `fast`: one of `sampling`, `exact`, `tracemalloc`, `gauges`, `off`: leakline.toml",
        );
        check(
            "[file]\nmax_bytes = '5 potatoes'",
            "",
            interval,
            "`file.max_bytes` cannot be `5 potatoes`: a size in bytes, such as `65536`, `512KiB` or `64MiB`: leakline.toml",
        );
    }

    #[test]
    fn the_mean_between_samples_is_within_bounds() {
        let mean = |config: &Config| config.python_sample_bytes.to_string();
        check("", "", mean, "65536");
        check("", "LEAKLINE_PYTHON_SAMPLE_BYTES=1KiB", mean, "1024");
        check("[python]\nsample_bytes = '16MiB'", "", mean, "16777216");
        for bad in ["1023", "17MiB", "0", "often"] {
            check(
                "",
                &format!("LEAKLINE_PYTHON_SAMPLE_BYTES={bad}"),
                mean,
                &format!(
                    "`LEAKLINE_PYTHON_SAMPLE_BYTES` cannot be `{bad}`: a size from 1KiB to 16MiB, such as `64KiB`: environment"
                ),
            );
        }
    }

    #[test]
    fn frames_go_by_the_mode_unless_they_are_set() {
        let frames = |config: &Config| config.python_frames_in_force().to_string();
        check("", "", frames, "32");
        check("", "LEAKLINE_PYTHON_MODE=exact", frames, "10");
        check("", "LEAKLINE_PYTHON_MODE=tracemalloc", frames, "10");
        check("", "LEAKLINE_PYTHON_MODE=tracemalloc LEAKLINE_PYTHON_FRAMES=3", frames, "3");
    }

    #[test]
    fn windows_and_the_census_are_set_by_their_keys() {
        let shown = |config: &Config| {
            let Config { python_window, python_window_traces, python_census, .. } = config;
            let when = config.python_window_when_leaking;
            format!("{when} {python_window:?} {python_window_traces} {python_census}")
        };
        check("", "", shown, "false 60s 1000000 12");
        check(
            "[python]\nwindow_when_leaking = true\nwindow = '2m'\nwindow_traces = 5000",
            "LEAKLINE_PYTHON_CENSUS=0",
            shown,
            "true 120s 5000 0",
        );
    }

    #[test]
    fn a_file_that_is_no_toml_is_named() {
        let mut config = Config::default();
        let error = config.apply_toml("interval = ", Path::new("leakline.toml")).unwrap_err().to_string();
        assert!(error.starts_with("not a TOML file: ") && error.ends_with(": leakline.toml"), "{error}");
    }

    #[test]
    fn variables_that_are_not_settings_are_left_alone() {
        check("", "LEAKLINE_PID=1 LEAKLINE_APPLICATION=x LEAKLINE_LIBRARY=/x", interval, "300s");
    }

    #[test]
    fn every_setting_stands_in_the_readme_with_its_default() {
        let readme = include_str!("../../../README.md");
        for Key { name, variable, default, meaning, .. } in KEYS {
            let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
            let row = format!("| `{name}` | `{variable}` | {default} | {meaning} |");
            assert!(readme.contains(&row), "README.md lacks: {row}");
        }
    }

    #[test]
    fn every_default_is_what_its_key_says() {
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            let mut config = Config::default();
            (key.set)(&mut config, key.default).unwrap();
            assert_eq!(config, Config::default(), "{}", key.name);
        }
    }
}
