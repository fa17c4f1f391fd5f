//! The runtimes that `cargo xtask runtimes` prepared, for the tests of several crates, which include this file.

use std::path::{Path, PathBuf};

/// Which of them are taken: with `ends` the newest, with `all` all of them, otherwise none.
const CHOICE: &str = "XTASK_RUNTIMES";

/// The programs of a kind, `python` or `jdk`, as far as they are asked for and there.
pub(crate) fn prepared(kind: &str) -> Vec<PathBuf> {
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|at| at.join("Cargo.lock").is_file());
    let list = workspace.map(|at| at.join(".leakline/runtimes/list"));
    let list = list.and_then(|list| std::fs::read_to_string(list).ok()).unwrap_or_default();
    chosen(&list, kind, &std::env::var(CHOICE).unwrap_or_default())
}

/// A line of the list has a kind, from which choice on it is taken, and a path, which may have spaces.
fn chosen(list: &str, kind: &str, choice: &str) -> Vec<PathBuf> {
    let lines = list.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        Some((words.next()?, words.next()?, words.next()?))
    });
    let is_wanted = |from: &str| choice == "all" || (choice == "ends" && from == "ends");
    lines.filter(|(of, from, _)| *of == kind && is_wanted(from)).map(|(.., path)| path.into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "python all /a/python3.14\npython ends /a b/python3.15\njdk ends /a/java\n";

    fn check(kind: &str, choice: &str, expected: &[&str]) {
        assert_eq!(chosen(LIST, kind, choice), expected.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn prepared_runtimes_are_taken_when_asked_for() {
        check("python", "", &[]);
        check("python", "system", &[]);
        check("python", "ends", &["/a b/python3.15"]);
        check("python", "all", &["/a/python3.14", "/a b/python3.15"]);
        check("jdk", "ends", &["/a/java"]);
    }
}
