//! HotSpot's attach protocol: a socket in the process's /tmp that the JVM opens when it is asked to.
//! Never signals a process that does not handle the signal, and never trusts a socket of another user.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::target::Target;

/// A JVM opens its socket within milliseconds, unless it stands still.
const OPENS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Longest answer that is read; it is a line.
const MAX_ANSWER: u64 = 64 << 10;

/// A JVM that listens to one command.
#[derive(Debug)]
pub(super) struct Jvm {
    stream: UnixStream,
    until: Instant,
    timeout: Duration,
}

/// Connects to the JVM; has it open its socket first where there is none.
pub(super) fn connect(target: &Target, timeout: Duration) -> Result<Jvm> {
    let until = Instant::now().checked_add(timeout).context("--timeout is too long")?;
    let socket = target.seen(&format!("/tmp/.java_pid{}", target.own_pid));
    if !is_there(target, &socket)? {
        open(target, &socket)?;
    }
    let stream = UnixStream::connect(&socket)
        .with_context(|| format!("the JVM of process {} cannot be reached", target.pid))?;
    Ok(Jvm { stream, until, timeout })
}

/// Whether the socket is there, and the JVM's own.
fn is_there(target: &Target, socket: &Path) -> Result<bool> {
    let found = match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        found => found.with_context(|| format!("cannot look at {}", socket.display()))?,
    };
    if !found.file_type().is_socket() || found.uid() != target.user {
        bail!("not the JVM's socket, but somebody else's: {}", socket.display());
    }
    Ok(true)
}

/// Asks the JVM to open its socket: a file of a certain name, then SIGQUIT. With -Xrs it is open from the start.
fn open(target: &Target, socket: &Path) -> Result<()> {
    let pid = target.pid;
    if !target.catches_quit {
        bail!(
            "the JVM of process {pid} cannot be asked: it handles no SIGQUIT (attaching is disabled, or it is only starting)"
        );
    }
    let wish = Wish::new(target)?;
    let number = libc::pid_t::try_from(pid).context("no such process")?;
    // SAFETY: kill takes plain numbers; the process handles this signal, as its status said.
    if unsafe { libc::kill(number, libc::SIGQUIT) } != 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("cannot signal process {pid}"));
    }
    let until = Instant::now() + OPENS_WITHIN;
    while !is_there(target, socket)? {
        if Instant::now() > until {
            bail!(
                "the JVM of process {pid} does not answer within {}s (-XX:+DisableAttachMechanism, another user's, \
                 or it stands still)",
                OPENS_WITHIN.as_secs()
            );
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    drop(wish);
    Ok(())
}

/// The file that tells the JVM why it is signalled. Goes away with the value if the value made it.
struct Wish(Option<PathBuf>);

impl Wish {
    fn new(target: &Target) -> Result<Self> {
        let path = target.seen(&format!("/tmp/.attach_pid{}", target.own_pid));
        match fs::File::create_new(&path) {
            // Another tool asks at the same time, and its file does for us, too.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self(None)),
            file => {
                file.map(|_| Self(Some(path))).with_context(|| format!("cannot ask process {}", target.pid))
            }
        }
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

impl Jvm {
    /// Sends the command and waits for what the JVM says about it.
    pub(super) fn ask(&mut self, command: &str, first: &str, second: &str) -> Result<String> {
        // Version, command, and always three arguments, each with a zero behind it.
        let request = format!("1\0{command}\0{first}\0{second}\0\0");
        self.stream.set_write_timeout(Some(self.timeout))?;
        self.stream.write_all(request.as_bytes()).context("the JVM hung up")?;
        let mut answer = Vec::new();
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("not written within {:?}; the JVM may still be writing", self.timeout);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut part = [0; 4096];
            match self.stream.read(&mut part) {
                Ok(0) => break,
                Ok(count) => answer.extend_from_slice(part.get(..count).unwrap_or_default()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the JVM hung up"),
            }
            if answer.len() as u64 > MAX_ANSWER {
                bail!("the JVM's answer has no end");
            }
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match answer.split_once('\n') {
            Some(("0", said)) => Ok(said.to_owned()),
            _ => bail!("the JVM refused: {}", crate::words::clean(answer.trim())),
        }
    }
}
