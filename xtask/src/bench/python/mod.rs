//! What watching Python costs: the processor time of three programs under leakline, the standard library's tracemalloc and
//! memray, beside the same without any; how long a profile takes; and how much memory the tables hold.
//! Nothing of leakline's runs in what is measured without it.

pub(super) mod interpreters;
mod programs;
mod tables;
mod variants;

use anyhow::ensure;

use super::{Scope, python_profile};

/// The whole run takes about half an hour.
pub(super) fn run(scope: &Scope) -> anyhow::Result<()> {
    let wanted = |name: &str| scope.only.as_deref().is_none_or(|only| only == name);
    let programs: Vec<_> = programs::PROGRAMS.iter().filter(|(name, _)| wanted(name)).collect();
    let tables = wanted("tables");
    ensure!(!programs.is_empty() || tables, "--only is one of: alloc, mixed, real, tables");
    let pythons = match (&scope.python, scope.smoke) {
        (None, true) => vec![interpreters::own()?],
        (python, _) => interpreters::chosen(python.as_deref())?,
    };
    for python in &pythons {
        for (program, first) in &programs {
            programs::run(python, program, *first, scope.smoke)?;
        }
    }
    if tables {
        let built = python_profile::driver()?;
        for python in &pythons {
            tables::run(python, &built, scope.smoke)?;
        }
    }
    Ok(())
}
