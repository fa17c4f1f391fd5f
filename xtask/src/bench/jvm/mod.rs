//! What watching the Java heap costs: counting objects by class, beside what `jcmd` takes for the same, in the same run of
//! the same program (the pauses are the JVM's own figures, of its log of safepoints); and sampled allocations.

mod histogram;
mod sites;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::{Part, Scope, run_parts};
use crate::dist;
use crate::hosts;
use crate::process::{root, run as run_program};

const PARTS: &[Part] =
    &[("histogram", histogram::run), ("text", sites::text), ("steady", sites::steady), ("fast", sites::fast)];

/// The whole run takes about a quarter of an hour.
pub(super) fn run(scope: &Scope) -> anyhow::Result<()> {
    run_parts(scope, PARTS)
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
