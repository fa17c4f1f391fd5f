//! Runs adb: its output in pieces, its silence bounded in time, what it complains of kept.
//! Never waits for ever, and never leaves an adb of its own running (adb's server, which outlives it, is adb's own).

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::listing::first_line;

const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait to be written.
const QUEUED: usize = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A server that adb has just started may keep adb's pipes open for a moment.
const AFTER_ITS_END: Duration = Duration::from_secs(1);
/// Of complaints, the beginning is enough.
const MOST_COMPLAINT: u64 = 8 << 10;

type Bytes = Receiver<Vec<u8>>;

/// adb, with the device that it is to speak to.
#[derive(Debug)]
pub(super) struct Adb {
    program: PathBuf,
    serial: Option<String>,
}

impl Adb {
    pub(super) fn of(program: PathBuf, serial: Option<String>) -> Self {
        Self { program, serial }
    }

    /// What it prints, which is to be short.
    pub(super) fn text(&self, words: &[&str], quiet: Duration, most: u64) -> Result<String> {
        let mut text = Vec::new();
        self.stream(words, quiet, |piece| {
            if (text.len() + piece.len()) as u64 > most {
                bail!("adb's answer has no end");
            }
            text.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Gives what it prints to `take`, piece by piece. An error where it fails, or is silent for `quiet`.
    pub(super) fn stream(
        &self,
        words: &[&str],
        quiet: Duration,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut command = Command::new(&self.program);
        if let Some(serial) = &self.serial {
            command.args(["-s", serial]);
        }
        // exec-out would send our standard input to the device.
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("cannot run adb: {}", self.program.display()))?;
        let mut running = Running(child);
        let (pieces, complaint) = running.read()?;
        let mut heard = Instant::now();
        let mut printed = 0_u64;
        loop {
            match pieces.recv_timeout(LOOK_AGAIN) {
                Ok(piece) => {
                    take(&piece)?;
                    printed += piece.len() as u64;
                    heard = Instant::now();
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if heard.elapsed() > quiet => {
                    bail!("adb is silent for {} s: {}", quiet.as_secs(), words.join(" "))
                }
                Err(RecvTimeoutError::Timeout) => {
                    if running.0.try_wait()?.is_some() && heard.elapsed() > AFTER_ITS_END {
                        break;
                    }
                }
            }
        }
        let status = loop {
            match running.0.try_wait()? {
                Some(status) => break status,
                None if heard.elapsed() > quiet => bail!("adb does not end: {}", words.join(" ")),
                None => std::thread::sleep(LOOK_AGAIN),
            }
        };
        if status.success() {
            return Ok(());
        }
        let complaint = complaint.recv_timeout(AFTER_ITS_END).unwrap_or_default();
        let complaint = String::from_utf8_lossy(&complaint);
        // Its own failures have its name in front, after what it tells of its server. What fails on the device is told in
        // the stream itself by most versions of adb, with status 0; by others here. The stream's reader knows those words.
        let of_adb = complaint.lines().find(|line| line.starts_with("adb:") || line.starts_with("error:"));
        match (of_adb, first_line(&complaint)) {
            (Some(line), _) => bail!("adb failed: {}", first_line(line)),
            (None, said) if said.is_empty() && printed == 0 => {
                bail!("adb failed ({status}): {}", words.join(" "))
            }
            (None, said) if printed == 0 => take(said.as_bytes())?,
            (None, _) => {}
        }
        Ok(())
    }
}

/// An adb that does not outlive the value.
struct Running(Child);

impl Running {
    /// Its output in pieces, and what it complained of, once it ends.
    fn read(&mut self) -> Result<(Bytes, Bytes)> {
        let mut out = self.0.stdout.take().context("adb has no output")?;
        let mut error = self.0.stderr.take().context("adb has no output")?;
        let (pieces, receiver) = sync_channel(QUEUED);
        let reader = std::thread::Builder::new().name("leakline-adb".into());
        reader.spawn(move || forward(&mut out, &pieces)).context("cannot start")?;
        let (complaint, complaints) = sync_channel(1);
        let reader = std::thread::Builder::new().name("leakline-adb-err".into());
        reader
            .spawn(move || {
                let mut said = Vec::new();
                let _ = (&mut error).take(MOST_COMPLAINT).read_to_end(&mut said);
                drop(complaint.send(said));
                // The rest is read so that adb does not wait for us.
                let _ = std::io::copy(&mut error, &mut std::io::sink());
            })
            .context("cannot start")?;
        Ok((receiver, complaints))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn forward(from: &mut impl Read, to: &SyncSender<Vec<u8>>) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => {
                if to.send(piece.get(..count).unwrap_or_default().to_vec()).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
}
