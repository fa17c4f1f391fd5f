//! How many threads there are of each name.
//! Never tells of leakline's own, and never of more than 20 names.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};

use leakline_core::{Gauge, names};

use super::entries;
use crate::error::NativeError;
use crate::target::Target;

const MOST_NAMES: usize = 20;

/// One gauge for each of the most frequent names; `None` for more than `most` threads.
pub(super) fn by_name(target: &Target, most: u32) -> Result<Option<Vec<Gauge>>, NativeError> {
    let folder = target.threads()?;
    let mut counts = BTreeMap::<String, u64>::new();
    let whole = entries::each(&folder, most, |thread| {
        let Some(name) = comm(&folder, thread) else { return };
        if !name.starts_with("leakline") {
            *counts.entry(pattern(&name)).or_default() += 1;
        }
    });
    let whole = whole.map_err(|source| NativeError::Read { source, path: target.path("..") })?;
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(MOST_NAMES);
    let gauge = |(name, count)| Gauge::count(format!("{}.{name}", names::THREADS), count);
    Ok(whole.then(|| counts.into_iter().map(gauge).collect()))
}

/// `None` for a thread that has ended meanwhile.
fn comm(folder: &File, thread: &CStr) -> Option<String> {
    let mut path = [0_u8; 32];
    let parts = [thread.to_bytes(), b"/comm\0"].concat();
    path.get_mut(..parts.len())?.copy_from_slice(&parts);
    // SAFETY: the path ends with a NUL, and `folder` is open.
    let descriptor =
        unsafe { libc::openat(folder.as_raw_fd(), path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if descriptor < 0 {
        return None;
    }
    // SAFETY: the descriptor was opened just now and belongs to nobody else.
    let mut file = unsafe { File::from_raw_fd(descriptor) };
    let mut name = [0_u8; 64];
    let bytes = file.read(&mut name).ok()?;
    Some(String::from_utf8_lossy(name.get(..bytes)?.trim_ascii_end()).into_owned())
}

/// The name as a gauge's may be: each number as `n`, capitals small, and anything else as `_`.
fn pattern(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len() + 1);
    let mut in_number = false;
    for letter in name.chars() {
        let is_digit = letter.is_ascii_digit();
        match letter {
            _ if is_digit && in_number => {}
            _ if is_digit => pattern.push('n'),
            letter if letter.is_ascii_alphabetic() => pattern.push(letter.to_ascii_lowercase()),
            _ => pattern.push('_'),
        }
        in_number = is_digit;
    }
    // The end of a gauge's name tells its unit, and this one is a count.
    if ["_bytes", "_nanos", "_ratio"].iter().any(|unit| pattern.ends_with(unit)) || pattern.is_empty() {
        pattern.push('_');
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_do_not_tell_threads_apart() {
        for (name, expected) in [
            ("pool-3-thread-17", "pool_n_thread_n"),
            ("worker", "worker"),
            ("42", "n"),
            ("a\u{1}b", "a_b"),
            ("", "_"),
            ("Net_bytes", "net_bytes_"),
        ] {
            assert_eq!(pattern(name), expected);
        }
    }

    #[test]
    fn threads_are_counted_by_name_and_ours_are_not() {
        let (stop, wait) = std::sync::mpsc::sync_channel::<()>(1);
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        let named = |name: String| {
            let wait = wait.clone();
            let body = move || drop(wait.lock().map(|wait| wait.recv()));
            std::thread::Builder::new().name(name).spawn(body).unwrap()
        };
        let threads: Vec<_> = (0..7).map(|number| named(format!("crowd-{number}"))).collect();
        let own = named("leakline-x".to_owned());
        // A thread names itself after it was started.
        let gauges = (0..1000).find_map(|_| {
            std::thread::yield_now();
            let gauges = by_name(&Target::Own, 5_000).unwrap().unwrap();
            gauges
                .iter()
                .any(|gauge| gauge.name == "process.threads.crowd_n" && gauge.value == 7.0)
                .then_some(gauges)
        });
        assert!(gauges.unwrap().iter().all(|gauge| !gauge.name.contains("leakline")));
        drop(stop);
        threads.into_iter().chain([own]).for_each(|thread| thread.join().unwrap());
    }
}
