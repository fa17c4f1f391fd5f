//! An application of several processes: its first one, and what that forked and started. Their recordings lie beside each
//! other, each with the session of the first one in it.
//! Judges nothing: each process has the verdicts of its own report.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use leakline_collector::sessions;
use leakline_core::{Layer, SessionId, Subject, Verdict, names, text};
use serde_json::{Value, json};

use super::build::Range;
use super::lives::Leak;
use super::model::Report;
use super::open;
use crate::gate;
use crate::style::{BAD, FAINT, STRONG, paint};
use crate::words::{clean, painted, plural};

/// Processes that are shown each on a line of its own.
const MOST_LINES: usize = 12;
/// Call paths of a role.
const MOST_LEAKS: usize = 3;

/// One process of an application.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) path: PathBuf,
    pub(crate) report: Report,
}

/// See the module. There are at least two processes.
#[derive(Debug)]
pub(crate) struct Application {
    /// The one that was asked for, which is the first of the application, and then the others, the oldest first.
    pub(crate) processes: Vec<Process>,
    /// By role: what its processes grow by, each to its end.
    lives: BTreeMap<String, Vec<Leak>>,
}

impl Application {
    /// With the recordings beside `path` that are of the same application; `Err`: there are none.
    pub(crate) fn find(path: &Path, report: Report) -> Result<Self, Box<Report>> {
        let first = Process { path: path.to_owned(), report };
        if first.report.session.origin.is_some() {
            return Err(Box::new(first.report));
        }
        let application = first.report.session.id;
        let mut others: Vec<Process> = others(path)
            .into_iter()
            .filter(|other| is_part(other, application))
            // One that has no reading yet says nothing.
            .filter_map(|path| Some(Process { report: open::report(&path, Range::default()).ok()?, path }))
            .collect();
        if others.is_empty() {
            return Err(Box::new(first.report));
        }
        others.sort_by_key(|process| {
            (process.report.session.started.unix_nanos, process.report.session.host.pid)
        });
        let mut processes = vec![first];
        processes.extend(others);
        let mut application = Self { processes, lives: BTreeMap::new() };
        application.lives =
            application.roles().into_iter().map(|(role, processes)| (role, Leak::find(&processes))).collect();
        Ok(application)
    }

    /// The process that leaks most; the first where none does.
    pub(crate) fn worst(&self) -> usize {
        let rates = self.processes.iter().map(|process| leaks(&process.report)).enumerate();
        rates.fold((0, 0.0), |worst, (index, rate)| if rate > worst.1 { (index, rate) } else { worst }).0
    }

    /// What the exit status rests on: the verdicts of all.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        self.processes.iter().flat_map(|process| process.report.verdicts.iter().cloned()).collect()
    }

    /// How fast the fastest call path of a role leaks, bytes per second; 0: none does.
    pub(crate) fn rate_of_lives(&self) -> f64 {
        self.lives.values().flatten().map(Leak::rate).fold(0.0, f64::max)
    }

    /// The processes as a person reads them.
    pub(crate) fn show(&self) -> String {
        let resident: f64 = self.processes.iter().filter_map(|process| running(&process.report)).sum();
        let mut out = paint(STRONG, format!("Application of {} processes", self.processes.len()));
        if resident > 0.0 {
            let _ = write!(out, ", those that run hold {} together", text::bytes(resident));
        }
        out.push('\n');
        for (role, processes) in self.roles() {
            let ended = processes.iter().filter(|process| process.report.ended.is_some()).count();
            let _ = write!(out, "  {}", clean(&role));
            if processes.len() > 1 {
                let _ = write!(out, ": {} processes, {ended} ended", processes.len());
            }
            out.push('\n');
            for leak in self.lives.get(&role).into_iter().flatten().take(MOST_LEAKS) {
                let words = clean(&leak.words());
                let (tag, rest) = words.split_once(' ').unwrap_or((&words, ""));
                let _ = writeln!(out, "    {} {rest}", paint(BAD, tag));
            }
            let mut worst = processes;
            worst.sort_by(|one, other| leaks(&other.report).total_cmp(&leaks(&one.report)));
            for process in worst.iter().take(MOST_LINES) {
                let _ = writeln!(out, "    {}", line(&process.report));
            }
            if let Some(more) = worst.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
                let _ = writeln!(
                    out,
                    "    {}",
                    paint(
                        FAINT,
                        format!("and {} that leak less or not", plural(more as u64, "process", "processes"))
                    )
                );
            }
        }
        out
    }

    /// The same for programs: fields of the report's object.
    pub(crate) fn objects(&self) -> Vec<(&'static str, Value)> {
        let object = |process: &Process| {
            let (session, report) = (&process.report.session, &process.report);
            json!({
                "path": process.path,
                "session": session.id.to_string(),
                "pid": session.host.pid,
                "parent_pid": session.origin.map(|origin| origin.parent),
                "name": session.host.name,
                "role": self.role(report),
                "ended": report.ended.is_some(),
                "resident_bytes": last_resident(report),
                "proportional_bytes": last_share(report),
                "leaks": leaks(report) > 0.0,
                "leak_bytes_per_second": leaks(report),
            })
        };
        let role = |(role, leaks): (&String, &Vec<Leak>)| json!({ "role": role, "leaks": leaks.iter().map(Leak::object).collect::<Vec<_>>() });
        let processes = self.processes.iter().map(object).collect();
        vec![("processes", processes), ("roles", self.lives.iter().map(role).collect())]
    }

    /// By role, in the order in which they came up.
    fn roles(&self) -> Vec<(String, Vec<&Process>)> {
        let mut order = Vec::new();
        let mut all: BTreeMap<String, Vec<&Process>> = BTreeMap::new();
        for process in &self.processes {
            let role = self.role(&process.report);
            if !all.contains_key(&role) {
                order.push(role.clone());
            }
            all.entry(role).or_default().push(process);
        }
        order.into_iter().filter_map(|role| all.remove(&role).map(|processes| (role, processes))).collect()
    }

    /// What a process is in its application. A forked one has its parent's command, unless it has given itself a title.
    fn role(&self, report: &Report) -> String {
        let name = &report.session.host.name;
        let Some(origin) = report.session.origin else { return name.clone() };
        let is_parent = |process: &&Process| process.report.session.host.pid == origin.parent;
        match self.processes.iter().rfind(is_parent).map(|process| &process.report.session.host.name) {
            Some(parent) if parent == name => format!("{name} (forked)"),
            _ => name.clone(),
        }
    }
}

/// The recordings that may be of the same application: by their names, or because a collector keeps them in one folder.
fn others(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_child = |file: &str| {
        let suffix = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        suffix.is_some_and(|suffix| {
            suffix.len() >= 5 && suffix.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        })
    };
    let named = entries.flatten().map(|entry| entry.path()).filter(|other| {
        let file = other.file_name().and_then(|file| file.to_str());
        other != path && file.is_some_and(|file| is_child(file) || file.ends_with(".leak"))
    });
    named.collect()
}

fn is_part(path: &Path, application: SessionId) -> bool {
    let origin = sessions::session_of(path).ok().flatten().and_then(|session| session.origin);
    origin.is_some_and(|origin| origin.application == application)
}

/// How fast the layers that leak do so together, bytes per second; 0: none does.
fn leaks(report: &Report) -> f64 {
    let rate = |found: &Verdict| {
        found.rate.map_or(f64::MIN_POSITIVE, |rate| rate.bytes_per_second.max(f64::MIN_POSITIVE))
    };
    layers(report).filter(|found| gate::leaks(found)).map(rate).sum()
}

fn layers(report: &Report) -> impl Iterator<Item = &Verdict> {
    report.verdicts.iter().filter(|verdict| matches!(verdict.subject, Subject::Layer(_)))
}

fn last_resident(report: &Report) -> Option<f64> {
    report.rows.iter().rev().find_map(|row| row.ledger.as_ref().map(|ledger| ledger.resident))
}

/// Its part of what processes share, where the kernel tells: those of all add up to what they hold together.
fn last_share(report: &Report) -> Option<f64> {
    report.rows.iter().rev().find_map(|row| row.gauge(names::PROPORTIONAL))
}

fn running(report: &Report) -> Option<f64> {
    last_share(report).or_else(|| last_resident(report)).filter(|_| report.ended.is_none())
}

/// A process on one line: its number, what it holds, and the worst that is said of it.
fn line(report: &Report) -> String {
    let resident = last_resident(report).map_or_else(|| "-".to_owned(), text::bytes);
    let end = if report.ended.is_some() { "ended " } else { "" };
    let said = layers(report).find(|found| gate::leaks(found));
    let said = match said {
        Some(found) => painted(found, &report.roots),
        None if layers(report)
            .any(|found| matches!(found.subject, Subject::Layer(Layer::Process | Layer::Native))) =>
        {
            "no leak found".to_owned()
        }
        None => "not enough data".to_owned(),
    };
    let share =
        last_share(report).map_or(String::new(), |share| format!(" (its share {})", text::bytes(share)));
    format!("pid {:<8}{end}{resident:>10}{share:<22}  {said}", report.session.host.pid)
}
