//! Reads `tests/leaks/truth.toml` and the marks in the programs' sources: what each program really does.
//! Knows nothing of what leakline says of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::process::root;

/// One program of the corpus and the truth about it; the fields are explained at the top of the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Truth {
    pub(super) file: PathBuf,
    pub(super) program: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default = "yes")]
    pub(super) leaks: bool,
    pub(super) layer: String,
    #[serde(default)]
    pub(super) also: Vec<String>,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default = "yes")]
    pub(super) rate: bool,
    #[serde(default = "yes")]
    pub(super) site: bool,
    #[serde(default)]
    pub(super) resource: String,
    #[serde(default)]
    pub(super) java: Vec<String>,
    #[serde(default)]
    pub(super) smoke: bool,
    #[serde(default = "usual_rate")]
    pub(super) kib_per_second: (f64, f64),
    /// The lines to blame, from the source; empty for an innocent.
    #[serde(skip)]
    pub(super) lines: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    program: Vec<Truth>,
}

fn yes() -> bool {
    true
}

fn usual_rate() -> (f64, f64) {
    (250.0, 1500.0)
}

impl Truth {
    /// The source's name without its folder, as frames tell it.
    pub(super) fn source(&self) -> &str {
        self.file.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// `python`, `java`, `native` or `bridge`.
    pub(super) fn group(&self) -> &str {
        self.file.parent().and_then(Path::to_str).unwrap_or_default()
    }
}

/// Where the corpus is.
pub(super) fn folder() -> PathBuf {
    root().join("tests/leaks")
}

/// All programs, in the table's order.
pub(super) fn read() -> anyhow::Result<Vec<Truth>> {
    let path = folder().join("truth.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut table: Table =
        toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    for truth in &mut table.program {
        if truth.name.is_empty() {
            truth.name = format!("{}-{}", truth.group(), truth.program);
        }
        if !truth.leaks {
            continue;
        }
        let source = folder().join(&truth.file);
        let text =
            fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
        truth.lines = marked(&text, &truth.program);
        ensure!(
            !truth.site || !truth.lines.is_empty(),
            "no line is marked with `leak: {}`: {}",
            truth.program,
            source.display()
        );
    }
    let mut names: Vec<&str> = table.program.iter().map(|truth| truth.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    ensure!(twice.is_none(), "two programs have one name: {twice:?}");
    Ok(table.program)
}

/// The numbers, from 1, of the lines whose comment ends in `leak: program`.
fn marked(text: &str, program: &str) -> Vec<u64> {
    let is_marked = |line: &str| {
        let line = line.trim_end().trim_end_matches("*/").trim_end();
        line.rsplit_once("leak: ").is_some_and(|(_, name)| name == program)
    };
    (1..).zip(text.lines()).filter(|(_, line)| is_marked(line)).map(|(number, _)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, program: &str, expected: &[u64]) {
        assert_eq!(marked(text, program), expected, "{text}");
    }

    #[test]
    fn marks_are_found_in_every_language() {
        check("a\nb  # leak: list\n", "list", &[2]);
        check("x = malloc(1); /* leak: malloc */\ny; // leak: malloc", "malloc", &[1, 2]);
        check("b  # leak: list-of-lists\n", "list", &[]);
    }

    #[test]
    fn the_table_is_whole() {
        let all = read().expect("the table can be read");
        assert!(all.iter().filter(|truth| truth.leaks).count() >= 30);
        assert!(all.iter().filter(|truth| !truth.leaks).count() >= 30);
        for truth in &all {
            assert!(!truth.kind.is_empty() || !truth.resource.is_empty(), "{}", truth.name);
        }
    }
}
