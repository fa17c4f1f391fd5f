//! Reads Debian's lists of packages, and finds which libraries a package needs.
//! Pure: opens no files.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

/// The text of a `Packages` file, and where each package stands in it.
pub(super) struct Packages {
    text: String,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package<'a> {
    pub(super) version: &'a str,
    pub(super) path: &'a str,
    pub(super) sha256: &'a str,
    entry: &'a str,
}

impl Packages {
    pub(super) fn new(text: String) -> Self {
        Self { text }
    }

    /// The package `name`. It reads the whole text; [`Packages::with_dependencies`] does that once for all.
    pub(super) fn get(&self, name: &str) -> Option<Package<'_>> {
        self.text.split("\n\n").find(|entry| field(entry, "Package") == Some(name)).and_then(read)
    }

    /// The packages `names` and every library that they need, each once.
    pub(super) fn with_dependencies<'a>(
        &'a self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Vec<Package<'a>>> {
        let (mut by_name, mut provided) = (BTreeMap::new(), BTreeMap::new());
        for entry in self.text.split("\n\n") {
            let Some(name) = field(entry, "Package") else { continue };
            by_name.insert(name, entry);
            for other in field(entry, "Provides").into_iter().flat_map(|names| names.split(',')) {
                provided.entry(first_word(other)).or_insert(entry);
            }
        }
        let mut left: Vec<&str> = names.into_iter().collect();
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        while let Some(name) = left.pop() {
            let entry = by_name.get(name).or_else(|| provided.get(name));
            let entry = entry.with_context(|| format!("the list has no package {name}"))?;
            if !seen.insert(field(entry, "Package")) {
                continue;
            }
            let package = read(entry).with_context(|| format!("the list's entry of {name} is not whole"))?;
            left.extend(["Depends", "Pre-Depends"].iter().flat_map(|kind| needed(package.entry, kind)));
            found.push(package);
        }
        Ok(found)
    }
}

fn read(entry: &str) -> Option<Package<'_>> {
    let of = |name| field(entry, name);
    Some(Package { version: of("Version")?, path: of("Filename")?, sha256: of("SHA256")?, entry })
}

fn field<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    entry.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The libraries and parts that `entry` needs: a program beside its own libc takes all else from the machine.
fn needed<'a>(entry: &'a str, kind: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let names = field(entry, kind).into_iter().flat_map(|names| names.split(',')).map(first_word);
    names.filter(|name| ["lib", "zlib1g", "python3", "openjdk-"].iter().any(|start| name.starts_with(start)))
}

/// The name alone, of the first of several that would do.
fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    text.split([' ', '|', ':', '(']).next().unwrap_or(text)
}

/// The SHA256 of the file `name`, as a Release file has it.
pub(super) fn sum_of<'a>(release: &'a str, name: &str) -> Option<&'a str> {
    let sums = release.split_once("\nSHA256:")?.1.lines().skip(1).take_while(|line| line.starts_with(' '));
    sums.map(str::split_whitespace).find_map(|mut words| {
        let sum = words.next()?;
        (words.nth(1)? == name).then_some(sum)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: python3.15\nVersion: 3\nDepends: libpython3.15 (= 3), media-types | mime, tzdata\nFilename: p\nSHA256: 1\n\n\
        Package: libpython3.15\nVersion: 3\nPre-Depends: libc6 (>= 2)\nDepends: libdb5.3t64:any | libdb, libpython3.15 (= 3)\nFilename: l\nSHA256: 2\n\n\
        Package: libc6\nVersion: 2\nFilename: c\nSHA256: 3\n\n\
        Package: libdb6\nVersion: 2\nProvides: libother, libdb5.3t64 (= 5)\nFilename: d\nSHA256: 4\n";

    fn check(names: &[&'static str], expected: &[&str]) {
        let packages = Packages::new(TEXT.to_owned());
        let found = packages.with_dependencies(names.iter().copied()).unwrap();
        let mut found: Vec<&str> = found.iter().map(|package| package.path).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_libraries_are_followed() {
        check(&["python3.15"], &["c", "d", "l", "p"]);
    }

    #[test]
    fn each_is_taken_once() {
        check(&["libc6", "libpython3.15", "libc6"], &["c", "d", "l"]);
    }

    #[test]
    fn a_missing_package_is_an_error() {
        let error = Packages::new(TEXT.to_owned()).with_dependencies(["libnot"]).unwrap_err();
        assert_eq!(error.to_string(), "the list has no package libnot");
    }

    #[test]
    fn the_sum_is_of_the_right_kind() {
        let release = "MD5Sum:\n a 1 x/P.xz\nSHA256:\n b 1 y/P.xz\n c 1 x/P.xz\nSHA512:\n d 1 x/P.xz\n";
        assert_eq!(sum_of(release, "x/P.xz"), Some("c"));
        assert_eq!(sum_of(release, "z/P.xz"), None);
    }
}
