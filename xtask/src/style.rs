//! Checks what formatter and linter do not: how long files are. Changes nothing.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::process::{root, stdout_of};

/// No file is longer; see CONTRIBUTING.md for the sizes to aim at.
const MOST_LINES: usize = 600;

const KINDS: &[&str] = &["rs", "py", "java", "kt", "c", "proto"];

/// Fails with all files that are too long. Generated code is left alone.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut long = Vec::new();
    // What git knows, or would take: nothing that is ignored, such as build output.
    let mut git = std::process::Command::new("git");
    git.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    for name in stdout_of(&mut git)?.lines().filter(|name| is_ours(name)) {
        let path = root().join(name);
        if !path.is_file() {
            continue; // deleted, not committed yet
        }
        let lines = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        let lines = lines.iter().filter(|byte| **byte == b'\n').count();
        if lines > MOST_LINES {
            long.push(format!("{name}: {lines} lines, {MOST_LINES} at most"));
        }
    }
    if !long.is_empty() {
        bail!("files that want to be several:\n  {}", long.join("\n  "));
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    let kind = Path::new(name).extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    KINDS.contains(&kind) && !name.split('/').any(|part| part == "generated")
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn generated_code_and_other_kinds_of_files_are_left_alone() {
        for (name, expected) in [
            ("core/src/lib.rs", true),
            ("tests/hosts/mixed.py", true),
            ("proto/src/generated/leakline.v1.rs", false),
            ("Cargo.lock", false),
        ] {
            assert_eq!(is_ours(name), expected, "{name}");
        }
    }
}
