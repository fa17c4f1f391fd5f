//! Collectors that do everything wrong: each listens on a port of its own for as long as it lives.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use super::plan::Collector;

/// Stops when it is dropped.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes it.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(100));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(super) fn listen(kind: Collector) -> anyhow::Result<Listening> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    let address = listener.local_addr().context("a socket without an address")?;
    let stop = Arc::new(AtomicBool::new(false));
    if kind == Collector::Absent {
        return Ok(Listening { address, stop, thread: None });
    }
    let stopped = Arc::clone(&stop);
    let name = std::thread::Builder::new().name("xtask-collector".to_owned());
    let thread = name.spawn(move || serve(kind, &listener, &stopped)).context("cannot start a thread")?;
    Ok(Listening { address, stop, thread: Some(thread) })
}

fn serve(kind: Collector, listener: &TcpListener, stop: &AtomicBool) {
    let mut held = Vec::new();
    while let Ok((mut stream, _)) = listener.accept() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
        match kind {
            Collector::Nonsense => {
                let nonsense: Vec<u8> =
                    (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
                let _ = stream.write_all(&nonsense);
            }
            Collector::StallsAndDies => {
                let mut some = [0; 64];
                let _ = stream.read(&mut some);
                return;
            }
            Collector::Closes => continue,
            Collector::Silent | Collector::Absent => {}
        }
        held.push(stream);
        // Bounded: whoever connects again and again gets the place of the oldest.
        if held.len() > 16 {
            held.remove(0);
        }
    }
}
