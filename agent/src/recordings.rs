//! The recordings of an application's children beside that of its first process: `FILE.PID` each, with five digits at least
//! (what is rotated has fewer), and so many at most.
//! Never takes one away that a process still writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The oldest of processes that have ended make room for more.
const MOST: usize = 64;

/// Where the recording of the child `process` goes, which begins now. A number is given to another process once its owner is
/// gone: then with a turn behind it.
pub(crate) fn of_child(first: &Path, process: u32) -> PathBuf {
    make_room(first);
    let name = with(first, &format!(".{process:05}"));
    let others = (2..1000).map(|turn| with(first, &format!(".{process:05}-{turn}")));
    std::iter::once(name.clone()).chain(others).find(|name| !name.exists()).unwrap_or(name)
}

/// As many children as have recordings take four times what the first process may, and as much again for rotated ones.
pub(crate) fn most_bytes_of_child(first: u64) -> u64 {
    (first / 16).max(1 << 20)
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What cannot be read or removed stays.
fn make_room(first: &Path) {
    let mut all = children(first);
    all.sort_unstable();
    let too_many = (all.len() + 1).saturating_sub(MOST);
    for (_, path) in all.into_iter().filter(|(_, path)| !leakline_file::is_written(path)).take(too_many) {
        fs::remove_file(&path).ok();
        // What it was rotated into.
        fs::remove_file(with(&path, ".1")).ok();
    }
}

/// The recordings of children, with when they were written last.
fn children(first: &Path) -> Vec<(SystemTime, PathBuf)> {
    let (Some(folder), Some(name)) = (first.parent(), first.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let is_child = |path: &Path| {
        let file = path.file_name().and_then(|file| file.to_str())?;
        let suffix = file.strip_prefix(name)?.strip_prefix('.')?;
        let (process, turn) = suffix.split_once('-').unwrap_or((suffix, "2"));
        process.parse::<u32>().ok().filter(|_| process.len() >= 5)?;
        turn.parse::<u32>().ok()
    };
    let entries = entries.flatten().map(|entry| entry.path()).filter(|path| is_child(path).is_some());
    entries.filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_and_no_name_is_taken_twice() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("app.leak");
        for name in ["app.leak", "app.leak.1", "app.leak.notes", "other.leak.4000"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let started = SystemTime::now() - std::time::Duration::from_secs(1000);
        for process in 1000..1100_u32 {
            let file = fs::File::create(of_child(&first, process)).unwrap();
            let age = std::time::Duration::from_secs(u64::from(process - 1000));
            file.set_modified(started + age).unwrap();
        }
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let children: Vec<String> = (1036..1100).map(|process| format!("app.leak.0{process}")).collect();
        let others = ["app.leak", "app.leak.1", "app.leak.notes", "other.leak.4000"].map(str::to_owned);
        let mut expected: Vec<String> = children.into_iter().chain(others).collect();
        expected.sort();
        assert_eq!(left, expected);
        assert_eq!(of_child(&first, 1099), folder.path().join("app.leak.01099-2"));
    }
}
