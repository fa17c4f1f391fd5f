//! What the agent says of the process that it watches: its own, or another one.
//! Reads `/proc` and `/etc/os-release` once, at start; what cannot be read is left out.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leakline_core::{Clock, Host, Session, SessionId};

use crate::clock::SystemClock;

const MAX_NAME_CHARS: usize = 120;

/// What the next session of this process is to be called.
static NEXT: Mutex<Option<SessionId>> = Mutex::new(None);

/// The next session of this process is the first of an application, whose other processes know it by `id`.
pub(crate) fn next_session_is(id: SessionId) {
    *NEXT.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
}

/// A new session of this process.
pub(crate) fn new_session(interval: Duration) -> Session {
    let mut session = session_of(std::process::id(), interval);
    if let Some(id) = NEXT.lock().unwrap_or_else(PoisonError::into_inner).take() {
        session.id = id;
    }
    session
}

/// A new session of the process `pid`. Its name is what its command line says now: ask before it may change that.
pub(crate) fn session_of(pid: u32, interval: Duration) -> Session {
    let started = SystemClock.now();
    Session {
        id: random_id(),
        started,
        interval,
        host: Host {
            name: name(pid),
            pid,
            started_boot_nanos: started_boot_nanos(pid).unwrap_or(0),
            platform: platform(),
            limit: if pid == std::process::id() {
                leakline_native::limit()
            } else {
                leakline_native::limit_of(pid)
            },
        },
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        origin: None,
    }
}

/// The process's own entry shows none once its first thread has ended; those of its threads do.
fn command_line(pid: u32) -> Option<Vec<u8>> {
    let read = |path: String| fs::read(path).ok().filter(|line| !line.is_empty());
    read(folder(pid) + "/cmdline").or_else(|| {
        let threads = fs::read_dir(folder(pid) + "/task").ok()?;
        threads.flatten().find_map(|thread| read(format!("{}/cmdline", thread.path().display())))
    })
}

/// Where /proc has the process. In a namespace whose /proc is another's, only `self` is right.
fn folder(pid: u32) -> String {
    if pid == std::process::id() { "/proc/self".to_owned() } else { format!("/proc/{pid}") }
}

/// The command line with folders left out of its first words, or the Android process name.
fn name(pid: u32) -> String {
    let line = command_line(pid).unwrap_or_default();
    let words: Vec<String> = line
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .filter(|word| !word.is_empty())
        .collect();
    short_command(&words)
}

/// `/usr/bin/python3 /srv/app.py --port 80` becomes `python3 app.py --port 80`.
fn short_command(words: &[String]) -> String {
    let shortened: Vec<&str> = words
        .iter()
        .map(|word| match word.rsplit_once('/') {
            Some((folder, file)) if !folder.contains(':') && !file.is_empty() && !word.starts_with('-') => {
                file
            }
            _ => word,
        })
        .collect();
    let mut line: String =
        shortened.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if let Some((cut, _)) = line.char_indices().nth(MAX_NAME_CHARS) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// Boot-time nanoseconds at which the process was forked; an exec keeps it.
fn started_boot_nanos(pid: u32) -> Option<u64> {
    // The program's name may be anything.
    let stat = String::from_utf8_lossy(&fs::read(folder(pid) + "/stat").ok()?).into_owned();
    // The second field is the program's name in parentheses and may hold anything, so count from its end.
    let after_name = stat.rsplit_once(')')?.1;
    let ticks: u64 = after_name.split_whitespace().nth(19)?.parse().ok()?;
    // SAFETY: takes no pointers.
    let per_second =
        u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|rate| *rate > 0)?;
    Some(ticks.saturating_mul(1_000_000_000 / per_second))
}

fn platform() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or(std::env::consts::OS, |name| name.trim_matches('"'));
    format!("{system}, {}", std::env::consts::ARCH)
}

/// 128 random bits. Without a source of them, bits of the clock and the pid: a session id needs no secrecy.
pub(crate) fn random_id() -> SessionId {
    let mut id = [0_u8; 16];
    // SAFETY: the kernel writes at most so many bytes into ours.
    let filled =
        unsafe { libc::syscall(libc::SYS_getrandom, id.as_mut_ptr(), id.len(), libc::GRND_NONBLOCK) };
    if filled != 16 {
        let now = SystemClock.now();
        let clock = now.unix_nanos ^ now.boot_nanos.rotate_left(32);
        id[..8].copy_from_slice(&clock.to_le_bytes());
        id[8..12].copy_from_slice(&std::process::id().to_le_bytes());
    }
    SessionId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_shown_without_its_folders() {
        let cases = [
            ("/usr/bin/python3 /srv/app.py --port 80", "python3 app.py --port 80"),
            ("java -jar target/app.jar", "java -jar app.jar"),
            ("java -cp /a/b.jar:/c/d.jar Main", "java -cp /a/b.jar:/c/d.jar Main"),
            ("com.example.app:reticulum", "com.example.app:reticulum"),
            ("ls /", "ls /"),
        ];
        for (line, expected) in cases {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(short_command(&words), expected);
        }
    }

    #[test]
    fn this_process_started_before_now() {
        let started = started_boot_nanos(std::process::id()).unwrap();
        assert!(started > 0 && started < SystemClock.now().boot_nanos);
    }

    #[test]
    fn another_process_has_its_own_name_and_start() {
        let mut child = std::process::Command::new("/bin/sleep").arg("100").spawn().unwrap();
        // Until it has become its program, the command line is this one's.
        let session = (0..500).find_map(|_| {
            std::thread::sleep(Duration::from_millis(2));
            let session = session_of(child.id(), Duration::from_secs(1));
            (session.host.name == "sleep 100").then_some(session)
        });
        child.kill().unwrap();
        child.wait().unwrap();
        let own = session_of(std::process::id(), Duration::from_secs(1)).host;
        let host = session.unwrap().host;
        assert_eq!((host.pid, &host.platform, &host.limit), (child.id(), &own.platform, &own.limit));
        assert!(host.started_boot_nanos >= own.started_boot_nanos);
        let gone = session_of(child.id(), Duration::from_secs(1)).host;
        assert_eq!((gone.name.as_str(), gone.started_boot_nanos), ("", 0));
    }

    #[test]
    fn sessions_differ_and_one_may_be_told_its_name() {
        let (id, interval) = (SessionId([7; 16]), Duration::from_secs(300));
        next_session_is(id);
        assert_eq!(new_session(interval).id, id);
        assert_ne!(new_session(interval).id, new_session(interval).id);
    }
}
