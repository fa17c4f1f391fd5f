//! What watching the Java heap costs: counting objects by class, beside what `jcmd` takes for the same, in the same run of
//! the same program (the pauses are the JVM's own figures, of its log of safepoints); and sampled allocations.

mod histogram;
mod sites;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::Scope;
use crate::dist;
use crate::hosts;
use crate::process::{root, run as run_program};

/// Measures and prints; shortly when asked.
type Part = fn(bool) -> anyhow::Result<()>;

const PARTS: &[(&str, Part)] = &[("histogram", histogram::run), ("sites", sites::run)];

/// The whole run takes a few minutes.
pub(super) fn run(scope: &Scope) -> anyhow::Result<()> {
    let wanted = |name: &str| scope.only.as_deref().is_none_or(|only| only == name);
    let parts: Vec<_> = PARTS.iter().filter(|(name, _)| wanted(name)).collect();
    let names = PARTS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    ensure!(!parts.is_empty(), "--only is one of: {names}");
    for (_, part) in parts {
        part(scope.smoke)?;
    }
    Ok(())
}

/// The JDK's programs, and the folder with this folder's classes, compiled.
struct Java {
    programs: PathBuf,
    classes: PathBuf,
}

impl Java {
    fn compiled(source: &str) -> anyhow::Result<Self> {
        let programs = hosts::java_home()?.join("bin");
        let classes = dist::folder().join("bench/jvm");
        fs::create_dir_all(&classes)
            .with_context(|| format!("cannot make the folder {}", classes.display()))?;
        let source = root().join(format!("xtask/src/bench/jvm/{source}.java"));
        run_program(Command::new(programs.join("javac")).arg("-d").arg(&classes).arg(source))?;
        Ok(Self { programs, classes })
    }

    fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}
