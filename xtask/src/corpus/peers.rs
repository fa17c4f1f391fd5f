//! What other tools say of the same programs: the line that each puts first. A tool that cannot be had here says nothing.
//! They watch a run of their own, for a shorter time: they count exactly, so they need no more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::programs::Programs;
use super::seed::Parameters;
use super::truth::Truth;
use super::watch::{self, Outcome};
use crate::bench;

/// How long a peer watches.
const SECONDS: f64 = 4.0;
/// A call path is read to this depth.
const LEAKED: &str = r#"
import os, sys, memray
reader = memray.FileReader(sys.argv[1])
records = sorted(reader.get_leaked_allocation_records(merge_threads=True), key=lambda record: -record.size)
for record in records[:1]:
    for function, file, line in record.stack_trace(20):
        print(f"peer {os.path.basename(file)}:{line} {record.size}")
"#;

/// The peers that are no part of Python.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// A Python that has it.
    memray: Option<PathBuf>,
    heaptrack: bool,
}

impl Tools {
    /// Looks for those that apply to these programs, has memray installed, and says which cannot be had, and why.
    pub(super) fn find(programs: &Programs, wanted: &[Truth]) -> Self {
        let wants = |group: &str| wanted.iter().any(|truth| applies(truth) && truth.group() == group);
        let mut tools = Self::default();
        if wants("python") {
            let found = bench::with_memray(programs.python());
            let missing = |error: &anyhow::Error| println!("without memray, which pip installs: {error:#}");
            tools.memray = found.inspect_err(missing).ok();
        }
        if wants("native") {
            let found = Command::new("heaptrack").arg("--version").output();
            let missing =
                |error: &std::io::Error| println!("without heaptrack: {error}; apt-get install heaptrack");
            tools.heaptrack = found.inspect_err(missing).is_ok();
        }
        tools
    }
}

/// Whether there is a line to be named first.
fn applies(truth: &Truth) -> bool {
    truth.leaks && truth.site
}

/// What one peer said.
type Answer = fn(&Peers) -> Option<bool>;

/// Whether the line to blame came first. `None`: it does not apply, or is not here.
#[derive(Debug, Default)]
pub(super) struct Peers {
    tracemalloc: Option<bool>,
    memray: Option<bool>,
    heaptrack: Option<bool>,
}

impl Peers {
    /// Asks those that apply to a leaking program.
    pub(super) fn ask(
        tools: &Tools,
        programs: &Programs,
        truth: &Truth,
        parameters: &Parameters,
        folder: &Path,
    ) -> Self {
        let mut peers = Self::default();
        if !applies(truth) {
            return peers;
        }
        // What they write must not take the place of what leakline's run has left.
        let folder = &folder.join("peers");
        if let Err(error) = fs::create_dir_all(folder) {
            eprintln!("no peer is asked: cannot make the folder {}: {error}", folder.display());
            return peers;
        }
        let variables = || programs.variables(parameters, SECONDS);
        let words = programs.words(truth);
        let run = |mut command: Command, variables| {
            let ran = watch::run(&mut command, variables, SECONDS, folder, truth);
            ran.inspect_err(|error| eprintln!("a peer failed: {error:#}")).ok()
        };
        match truth.group() {
            "python" => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]);
                let mut traced = variables();
                traced.push(("LEAK_PEER", "tracemalloc".into()));
                peers.tracemalloc = run(command, traced).map(|(out, _)| {
                    // One line is one site.
                    out.lines()
                        .find(|line| line.starts_with("peer "))
                        .is_some_and(|line| is_there(truth, line))
                });
                if let Some(python) = &tools.memray {
                    let data = folder.join("memray.bin");
                    let _ = fs::remove_file(&data);
                    let mut command = Command::new(python);
                    command.args(["-m", "memray", "run", "-q", "-f", "-o"]).arg(&data).args(&words[1..]);
                    let mut traced = variables();
                    traced.push(("PYTHONMALLOC", "malloc".into()));
                    peers.memray = run(command, traced).and_then(|_| {
                        let mut command = Command::new(python);
                        command.args(["-c", LEAKED]).arg(&data);
                        let (out, _) = run(command, Vec::new())?;
                        Some(out.lines().any(|line| is_there(truth, line)))
                    });
                }
            }
            "native" if tools.heaptrack => {
                peers.heaptrack = heaptrack(truth, &words, variables(), folder, &run)
            }
            _ => {}
        }
        peers
    }

    /// For the columns.
    pub(super) fn words(&self) -> String {
        let word = |found: Option<bool>| match found {
            Some(true) => "first",
            Some(false) => "no",
            None => "",
        };
        let words = format!("{:<12}{:<7}{}", word(self.tracemalloc), word(self.memray), word(self.heaptrack));
        words.trim_end().to_owned()
    }

    /// How often each had the line first, beside leakline on the same programs.
    pub(super) fn summary<'a>(all: impl Iterator<Item = (&'a Truth, &'a Self, Option<&'a Outcome>)>) {
        let all: Vec<_> = all.collect();
        let peers: [(&str, Answer); 3] = [
            ("tracemalloc's top difference", |peers| peers.tracemalloc),
            ("memray's leaked records", |peers| peers.memray),
            ("heaptrack's leaked list", |peers| peers.heaptrack),
        ];
        for (name, of) in peers {
            let asked: Vec<_> =
                all.iter().filter_map(|(_, peers, outcome)| Some((of(peers)?, outcome.as_ref()?))).collect();
            if asked.is_empty() {
                continue;
            }
            let theirs = asked.iter().filter(|(first, _)| *first).count();
            let ours = asked.iter().filter(|(_, outcome)| outcome.found.rank == Some(1)).count();
            let of = asked.len();
            println!("{name:<38}{theirs:>3} of {of:>3} have the line first; leakline on the same: {ours}");
        }
    }
}

/// Whether a line that says `file:number` says one that is marked.
fn is_there(truth: &Truth, line: &str) -> bool {
    truth.lines.iter().any(|number| {
        let place = format!("{}:{number}", truth.source());
        line.split_whitespace().any(|word| word.rsplit('/').next() == Some(&place))
    })
}

type Run<'a> = dyn Fn(Command, Vec<(&'static str, String)>) -> Option<(String, String)> + 'a;

fn heaptrack(
    truth: &Truth,
    words: &[PathBuf],
    variables: Vec<(&'static str, String)>,
    folder: &Path,
    run: &Run<'_>,
) -> Option<bool> {
    let data = folder.join("heaptrack");
    for old in [data.with_extension("gz"), data.with_extension("zst")] {
        let _ = fs::remove_file(old);
    }
    let mut command = Command::new("heaptrack");
    command.arg("-o").arg(&data).args(words);
    run(command, variables)?;
    let data =
        [data.with_extension("zst"), data.with_extension("gz")].into_iter().find(|file| file.exists())?;
    let mut command = Command::new("heaptrack_print");
    let lists =
        ["--print-peaks", "0", "--print-allocators", "0", "--print-temporary", "0", "--print-leaks", "1"];
    command.args(lists).arg("--file").arg(&data);
    let (out, _) = run(command, Vec::new())?;
    // The first entry of the list: the innermost frame, and the paths that lead there, up to an empty line.
    let (_, list) = out.split_once("MEMORY LEAKS\n")?;
    let first = list.split("\n\n").next()?;
    Some(first.lines().any(|line| is_there(truth, line)))
}
