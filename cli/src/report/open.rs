//! Finds the recording that is meant and reads it into a report.
//! Never writes, never gives up at damage that has something readable behind it.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use leakline_collector::CollectorError;
use leakline_collector::sessions::{self, Predecessors, Problem, StoredSession};
use leakline_proto::recording::RecordingError;

use super::build::{Builder, NoReport, Range};
use super::model::Report;
use crate::when::{self, Detail};
use crate::words::{clean, short_id};

/// The recording that `what` means: a file, or a session in `folder` by the beginning of its id, its file's name or its
/// program's name.
pub(crate) fn find(folder: &Path, what: &Path) -> Result<PathBuf> {
    if what.exists() {
        return Ok(what.to_owned());
    }
    let query = what.to_string_lossy();
    match sessions::find(folder, &query) {
        Ok(found) => Ok(found),
        Err(CollectorError::NotFound { .. }) => by_name(folder, &query),
        Err(error) => Err(error.into()),
    }
}

fn by_name(folder: &Path, query: &str) -> Result<PathBuf> {
    let mut named = sessions::list(folder).unwrap_or_default();
    named.retain(|stored| is_named(&stored.session.host.name, query));
    match named.as_slice() {
        [one] => Ok(one.path.clone()),
        [] if query.contains(std::path::MAIN_SEPARATOR) || query.ends_with(".leak") => bail!(
            "there is no such file: {query}\n  \
             Check the path, or see the collector's sessions with `leakline report` alone."
        ),
        [] => bail!(
            "neither a file nor a session in {}: {query}\n  \
             Check the path, or see the sessions with `leakline report` alone; --folder names another folder.",
            folder.display()
        ),
        several => bail!(
            "{query} is the name of {} sessions; say which by the beginning of its id:\n{}",
            several.len(),
            table(several).trim_end()
        ),
    }
}

/// A host's name is its command line, or an Android process's name.
fn is_named(name: &str, query: &str) -> bool {
    let program = name.split_whitespace().next().unwrap_or_default();
    let file = program.rsplit('/').next().unwrap_or_default();
    !query.is_empty() && [name, program, file].contains(&query)
}

/// The sessions of a folder, the latest first, each on a line.
pub(crate) fn list(folder: &Path) -> Result<String> {
    match sessions::list(folder) {
        Ok(stored) if stored.is_empty() => bail!(
            "no sessions in {}\n  Start `leakline collect`, then programs with `leakline run --collector HOST:PORT`, \
             or name a recording.",
            folder.display()
        ),
        Ok(stored) => Ok(table(&stored)),
        Err(error) => bail!(
            "{error}\n  `leakline collect` makes this folder; --folder names another; or name a recording."
        ),
    }
}

fn table(stored: &[StoredSession]) -> String {
    let line = |stored: &StoredSession| {
        let session = &stored.session;
        let started = when::date_time(session.started.unix_nanos, Detail::Seconds);
        let size = leakline_core::text::bytes(stored.bytes as f64);
        let end = if stored.ended { "ended" } else { "open " };
        let name = clean(&session.host.name);
        format!(
            "  {}  {started} UTC  {end}  {size:>10}  {name} pid {}\n",
            short_id(session.id),
            session.host.pid
        )
    };
    stored.iter().map(line).collect()
}

/// The report on the recording in `path`, with the parts that were rotated away from it.
pub(crate) fn report(path: &Path, range: Range) -> Result<Report> {
    let mut builder = Builder::new(range);
    for event in sessions::open(path, Predecessors::Read).map_err(cannot_read)? {
        match event {
            Ok(event) => builder.event(event),
            Err(problem) => {
                let damage = !matches!(problem, Problem::Truncated { .. });
                builder.problem(problem.to_string(), damage);
            }
        }
    }
    let problems: String = builder.problems().iter().map(|line| format!("\n  {line}")).collect();
    let path = path.display();
    builder.finish().map_err(|why| match why {
        NoReport::NoSession => anyhow!(
            "no session can be read from this recording: {path}{problems}\n  \
             It ends, or is damaged, before its first whole entry. Try again once the program has run for a moment."
        ),
        NoReport::NoSnapshot => anyhow!(
            "no snapshot can be read from this recording: {path}{problems}\n  \
             The program ended, or was killed, before the first reading. Run it again, perhaps with a shorter --interval."
        ),
        NoReport::NoneInRange(first, last) => {
            anyhow!("no snapshot in this range: the recording has {first} to {last}: {path}")
        }
    })
}

fn cannot_read(error: CollectorError) -> anyhow::Error {
    let remedy = match &error {
        CollectorError::NotARecording { source: RecordingError::Foreign { .. }, .. } => {
            "Recordings are written by `leakline run -o FILE` and by `leakline collect`."
        }
        CollectorError::NotARecording {
            source: RecordingError::Empty | RecordingError::CutOff { .. },
            ..
        } => "Try again once the program has run for a moment.",
        CollectorError::Read { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied => "Read it as the user who recorded it.",
            io::ErrorKind::IsADirectory => "Name a file in it, or list its sessions with --folder.",
            _ => return error.into(),
        },
        _ => return error.into(),
    };
    anyhow!("{error}\n  {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_by_its_program() {
        let cases = [
            ("python3 app.py", "python3", true),
            ("/usr/bin/java -jar x.jar", "java", true),
            ("/usr/bin/java -jar x.jar", "/usr/bin/java", true),
            ("com.example.app:reticulum", "com.example.app:reticulum", true),
            ("python3 app.py", "python3 app.py", true),
            ("python3 app.py", "python", false),
            ("python3 app.py", "", false),
            ("", "", false),
        ];
        for (name, query, expected) in cases {
            assert_eq!(is_named(name, query), expected, "{name} {query}");
        }
    }
}
