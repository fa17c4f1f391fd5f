//! Finds the processes that a step started and that outlive it, by a variable in their environment; ends them.
//! Never ends a process that the step did not start.

use std::path::PathBuf;
use std::process::Command;

/// The environment variable that marks what one step started. Not `LEAKLINE_…`: those are settings of watched programs.
pub(crate) const MARKER: &str = "XTASK_STEP";

/// A value for [`MARKER`] that no other run has; it begins with the one that this process carries.
pub(crate) fn marker() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}/{}-{}", std::env::var(MARKER).unwrap_or_default(), std::process::id(), now.as_nanos())
}

/// The processes whose marker begins with `marker`, each as its pid and what it runs.
pub(crate) fn processes(marker: &str) -> Vec<(u32, String)> {
    let wanted = format!("{MARKER}={marker}");
    let Ok(folders) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for folder in folders.flatten() {
        let Some(pid) = folder.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let environment = std::fs::read(folder.path().join("environ")).unwrap_or_default();
        if pid != std::process::id()
            && environment.split(|byte| *byte == 0).any(|one| one.starts_with(wanted.as_bytes()))
        {
            found.push((pid, what_runs(folder.path())));
        }
    }
    found
}

/// Its name, its state as the kernel writes it, and its arguments.
fn what_runs(process: PathBuf) -> String {
    let read = |name| std::fs::read(process.join(name)).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
    let status = String::from_utf8_lossy(&read("status")).into_owned();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        value.trim().to_owned()
    };
    let waits_in = String::from_utf8_lossy(&read("wchan")).into_owned();
    format!("{}, {}, waits in {waits_in}: {arguments}", field("Name:"), field("State:"))
}

/// Ends those that carry `marker`, and gives what they were.
pub(crate) fn end(marker: &str) -> Vec<String> {
    let found = processes(marker);
    for (pid, _) in &found {
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
    found.into_iter().map(|(pid, what)| format!("{pid} {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_the_marker_is_found_and_ended() {
        let marker = marker();
        let mut child = Command::new("sleep").arg("600").env(MARKER, &marker).spawn().expect("sleep runs");
        let found = loop {
            // Between fork and exec it still has this process's environment.
            let found = processes(&marker);
            if !found.is_empty() {
                break found;
            }
        };
        assert_eq!(found.len(), 1);
        assert!(found[0].1.contains("sleep 600"), "{found:?}");
        assert_eq!(end(&marker).len(), 1);
        assert!(!child.wait().expect("it ended").success());
        assert!(processes(&marker).is_empty());
    }
}
