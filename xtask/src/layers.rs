//! Checks the arrows between the crates: who may use whom. What is not in the table must not exist.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::process::{cargo, root, stdout_of};

/// A folder, the folders that it may use, and the law behind it, for whoever meets the error.
/// Development dependencies follow the same table.
const ARROWS: &[(&str, &[&str], &str)] = &[
    ("core", &[], "core uses nothing of ours"),
    ("proto", &["core"], "proto knows the core's types and nobody else"),
    ("probes/common", &[], "what probes share stands below all of them"),
    ("probes/python", PROBE, PROBE_LAW),
    ("probes/native", PROBE, PROBE_LAW),
    ("probes/jvm", PROBE, PROBE_LAW),
    ("probes/bridge", PROBE, PROBE_LAW),
    (
        "probes/python/extension",
        &["core", "probes/common", "probes/python"],
        "the Python part belongs to its probe",
    ),
    ("sinks/logcat", &["core"], SINK_LAW),
    ("sinks/file", &["core", "proto"], SINK_LAW),
    ("sinks/grpc", &["core", "proto"], SINK_LAW),
    (
        "agent",
        &[
            "core",
            "probes/common",
            "probes/python",
            "probes/native",
            "probes/jvm",
            "probes/bridge",
            "sinks/logcat",
            "sinks/file",
            "sinks/grpc",
        ],
        "the agent composes probes and sinks; it knows neither the wire nor the collector",
    ),
    ("agent/c", &["agent"], "the C names are names, and nothing else"),
    ("agent/preload", &["agent", "agent/c", "probes/common"], "the preloaded library is entry points only"),
    ("android-bridge", &["agent", "core"], "the bridge talks to hosts through the agent only"),
    (
        "android-bridge/cdylib",
        &["android-bridge", "agent/c", "probes/common"],
        "the library that a JVM loads is one entry, a heap and the C names",
    ),
    ("junit/native", &["probes/common"], "what a JUnit test loads knows no probe and no agent"),
    ("hprof", &[], "heap dumps are read by whoever has one; the reader knows nothing of ours"),
    ("collector", &["core", "proto"], "the collector runs on a workstation: no probe, no sink, no agent"),
    (
        "cli",
        &["core", "proto", "agent", "hprof", "collector"],
        "the program talks to hosts through the agent's library only",
    ),
    ("xtask", &[], "tasks start the programs, they do not link them"),
];

const PROBE: &[&str] = &["core", "probes/common"];
const PROBE_LAW: &str = "a probe uses core and probes/common; never another probe, never a sink";
const SINK_LAW: &str =
    "a sink uses core, and proto where it writes entries; never another sink, never a probe";

/// May use everything; nobody may use it (nor xtask).
const TESTS: &str = "tests";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    path: Option<String>,
    kind: Option<String>,
}

/// One crate uses another; both are told by their folders.
#[derive(Debug)]
struct Edge {
    user: String,
    used: String,
    kind: String,
}

/// Fails with all arrows that must not exist.
pub(crate) fn check() -> anyhow::Result<()> {
    let text = stdout_of(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cannot read what cargo metadata wrote")?;
    let (folders, edges) = graph(&metadata, &root())?;
    let wrong: Vec<String> =
        unlisted(&folders).into_iter().chain(edges.iter().filter_map(forbidden)).collect();
    if !wrong.is_empty() {
        bail!("the layers do not hold:\n  {}", wrong.join("\n  "));
    }
    println!("{} crates, {} arrows between them, all allowed", folders.len(), edges.len());
    Ok(())
}

fn graph(metadata: &Metadata, root: &Path) -> anyhow::Result<(Vec<String>, Vec<Edge>)> {
    let folder_of = |path: &Path| {
        let inside =
            path.strip_prefix(root).with_context(|| format!("not in the workspace: {}", path.display()))?;
        Ok::<_, anyhow::Error>(inside.to_string_lossy().into_owned())
    };
    let (mut folders, mut edges) = (Vec::new(), Vec::new());
    for package in &metadata.packages {
        let user = folder_of(Path::new(&package.manifest_path).parent().unwrap_or(root))?;
        for dependency in &package.dependencies {
            let Some(path) = &dependency.path else { continue };
            let kind = dependency.kind.clone().unwrap_or_default();
            edges.push(Edge { user: user.clone(), used: folder_of(Path::new(path))?, kind });
        }
        folders.push(user);
    }
    Ok((folders, edges))
}

/// What is wrong with an arrow, if anything.
fn forbidden(edge: &Edge) -> Option<String> {
    let Edge { user, used, kind } = edge;
    let kind = if kind.is_empty() { String::new() } else { format!(" ({kind} dependency)") };
    if used == TESTS || used == "xtask" {
        return Some(format!("{user} → {used}{kind}: nobody uses tests or xtask"));
    }
    if user == TESTS {
        return None;
    }
    let (_, allowed, law) = ARROWS.iter().find(|(folder, ..)| folder == user)?;
    (!allowed.contains(&used.as_str())).then(|| format!("{user} → {used}{kind}: {law}"))
}

/// Crates that the table does not know.
fn unlisted(folders: &[String]) -> Vec<String> {
    let known = |folder: &&String| *folder == TESTS || ARROWS.iter().any(|(listed, ..)| listed == folder);
    folders
        .iter()
        .filter(|folder| !known(folder))
        .map(|folder| {
            format!("{folder}: a crate that xtask/src/layers.rs does not list; say there whom it may use")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `arrow` is "user used" or "user used kind".
    fn check(arrow: &str, expected: Option<&str>) {
        let mut words = arrow.split(' ').map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        let edge = Edge { user: next(), used: next(), kind: next() };
        assert_eq!(forbidden(&edge).as_deref(), expected, "{arrow}");
    }

    #[test]
    fn an_arrow_that_is_not_listed_is_named_with_its_law() {
        check("probes/jvm core", None);
        check("probes/jvm probes/native", Some(&format!("probes/jvm → probes/native: {PROBE_LAW}")));
        check(
            "sinks/grpc sinks/file dev",
            Some(&format!("sinks/grpc → sinks/file (dev dependency): {SINK_LAW}")),
        );
        check("core proto", Some("core → proto: core uses nothing of ours"));
        check("agent tests dev", Some("agent → tests (dev dependency): nobody uses tests or xtask"));
        check("tests xtask", Some("tests → xtask: nobody uses tests or xtask"));
        check("tests collector", None);
    }

    #[test]
    fn a_crate_that_is_not_listed_is_named() {
        assert_eq!(unlisted(&["core".into(), "tests".into(), "probes/ruby".into()]).len(), 1);
    }

    #[test]
    fn every_folder_in_the_table_is_a_crate() {
        for (folder, used, _) in ARROWS {
            for folder in used.iter().chain([folder]) {
                assert!(root().join(folder).join("Cargo.toml").is_file(), "{folder}");
            }
        }
    }
}
