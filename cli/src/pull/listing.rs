//! Understands what `run-as NAME ls -ln` prints on a device: the recordings, or why there are none.
//! Takes any text, and lets no name through that a shell or a folder here could misread.

use crate::words::clean;

/// More than any app leaves: a few processes, each with the recordings that it keeps.
const MOST_FILES: usize = 256;
const LONGEST_NAME: usize = 200;

/// A recording on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) bytes: u64,
}

impl Found {
    /// Whether it is a process's latest, not one that was moved aside.
    pub(super) fn is_current(&self) -> bool {
        self.name.ends_with(ENDING)
    }
}

/// What the folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// By name.
    pub(super) files: Vec<Found>,
    /// Files that are no recordings, or more than are fetched at once.
    pub(super) left_out: u64,
}

const ENDING: &str = ".leak";

/// The files of the listing; lines that are none are passed over.
pub(super) fn parse(said: &str) -> Listing {
    let mut listing = Listing::default();
    // -rw------- 1 10123 10123 52311 2026-11-23 19:08 main.leak
    for line in said.lines().filter(|line| line.starts_with('-')) {
        let mut words = line.split_ascii_whitespace();
        let (bytes, name) = (words.nth(4).and_then(|word| word.parse().ok()), words.next_back());
        match (bytes, name) {
            (Some(bytes), Some(name)) if is_recording(name) && listing.files.len() < MOST_FILES => {
                listing.files.push(Found { name: name.to_owned(), bytes });
            }
            _ => listing.left_out += 1,
        }
    }
    listing.files.sort_by(|one, other| one.name.cmp(&other.name));
    listing
}

/// `main.leak`, or `main.leak.1` which was moved aside.
fn is_recording(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let ends = name.ends_with(ENDING) || (stem.len() < name.len() && stem.ends_with(".leak."));
    ends && name.len() <= LONGEST_NAME && !name.starts_with(['.', '-']) && name.chars().all(is_plain)
}

/// Why there is none, and what to do.
pub(super) fn why_none(said: &str, package: &str, serial: &str) -> String {
    let serial = clean(serial);
    // With exec-out, what run-as and ls complain of comes on the same stream.
    let complaint = first_line(said);
    let run_as = complaint.starts_with("run-as:");
    if run_as && complaint.contains("debuggable") {
        return format!(
            "{package} on {serial} is no debug build, so its files are closed: install one that may be debugged ({complaint})"
        );
    }
    if run_as && complaint.contains("unknown") {
        return format!(
            "{package} is not installed on {serial}: see `adb -s {serial} shell pm list packages` ({complaint})"
        );
    }
    let is_absent = complaint.starts_with("ls:") && complaint.contains("No such file");
    if is_absent || complaint.is_empty() || complaint.starts_with("total") {
        return format!(
            "{package} on {serial} has no recordings: has it been started with leakline in it? `adb -s {serial} logcat -s \
             Leakline` shows what it says"
        );
    }
    format!("the device does not let its files be read: {complaint}")
}

/// The first line with something in it, fit for a terminal and of bounded length.
pub(super) fn first_line(said: &str) -> String {
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    clean(line).chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str, files: &str, left_out: u64) {
        let listing = parse(said);
        let found: Vec<String> =
            listing.files.iter().map(|file| format!("{}={}", file.name, file.bytes)).collect();
        assert_eq!((found.join(" ").as_str(), listing.left_out), (files, left_out), "{said}");
    }

    #[test]
    fn recordings_are_told_from_all_else() {
        let line = |name: &str| format!("-rw------- 1 10123 10123 52311 2026-11-23 19:08 {name}\n");
        check(&line("main.leak"), "main.leak=52311", 0);
        check(
            &format!("total 8\n{}{}", line("service.leak"), line("main.leak.12")),
            "main.leak.12=52311 service.leak=52311",
            0,
        );
        check(&line("main.leak").replace('\n', "\r\n"), "main.leak=52311", 0);
        check("-rw------- 1 0 0 7 Nov 23 19:08 a.leak", "a.leak=7", 0);
        check("drwx------ 2 10123 10123 3452 2026-11-23 19:08 dir.leak\nrubbish\n", "", 0);
        for name in [
            "notes.txt",
            "main.leak.old",
            "main.leak.",
            ".hidden.leak",
            "a;b.leak",
            "$(id).leak",
            "../up.leak",
            "-r.leak",
        ] {
            check(&line(name), "", 1);
        }
        check("-rw------- 1 10123 10123 many 2026-11-23 19:08 main.leak", "", 1);
        check("-rw", "", 1);
        check("", "", 0);
        let many: String = (0..300).map(|number| line(&format!("main.leak.{number}"))).collect();
        assert_eq!((parse(&many).files.len(), parse(&many).left_out), (MOST_FILES, 44));
    }

    #[test]
    fn each_refusal_is_told_with_what_to_do() {
        for (said, told) in [
            ("run-as: package not debuggable: a.b", "no debug build"),
            ("run-as: Package 'a.b' is not debuggable\n", "no debug build"),
            ("run-as: unknown package: a.b", "is not installed on S"),
            ("run-as: Package 'a.b' is unknown", "is not installed on S"),
            ("ls: files/leakline: No such file or directory\n", "has no recordings"),
            ("total 0\n", "has no recordings"),
            ("", "has no recordings"),
            ("run-as: Could not set capabilities: Operation not permitted", "Could not set capabilities"),
            ("/system/bin/sh: run-as: not found", "run-as: not found"),
        ] {
            let why = why_none(said, "a.b", "S");
            assert!(why.contains(told), "{said}: {why}");
        }
    }
}
