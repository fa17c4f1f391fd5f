//! What somebody may ask of a running agent, whether from the host's code or from the collector, and how it gets there.
//! Never blocks who asks, and never holds more than a bounded number of requests.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::request::ProbeRequest;

/// A request to the scheduler. Requests are taken in order, between ticks; none blocks its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take a snapshot now, besides the aligned ones.
    SnapshotNow,
    /// Make the next snapshot, which is taken at once, the baseline that growth is counted from.
    ResetBaseline,
    /// Tick at multiples of this from now on. Shorter than the configured minimum is raised to it.
    SetInterval(Duration),
    /// Ask every probe, and take a snapshot right after; of a window that is opened, another when its time has passed.
    Ask(ProbeRequest),
}

impl Command {
    /// The names of all commands: what an agent says that it obeys.
    pub const NAMES: [&'static str; 7] =
        ["snapshot_now", "reset_baseline", "set_interval", "open_window", "close_window", "census", "cycles"];

    /// The command's name, one of [`NAMES`](Self::NAMES).
    pub fn name(&self) -> &'static str {
        match self {
            Self::SnapshotNow => "snapshot_now",
            Self::ResetBaseline => "reset_baseline",
            Self::SetInterval(_) => "set_interval",
            Self::Ask(ProbeRequest::OpenWindow(_)) => "open_window",
            Self::Ask(ProbeRequest::CloseWindow) => "close_window",
            Self::Ask(ProbeRequest::Census) => "census",
            Self::Ask(ProbeRequest::Cycles) => "cycles",
        }
    }
}

/// Requests that wait while a tick is read. One tick obeys all that wait, so more than a few mean a flood.
const CAPACITY: usize = 64;

/// Where requests to the scheduler are dropped. Made before the scheduler, so that a sink can own one.
pub fn command_channel() -> (CommandSender, CommandReceiver) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (CommandSender { sender }, CommandReceiver { receiver })
}

/// The end that asks. Usable from any thread, inside and outside of a runtime.
#[derive(Debug, Clone)]
pub struct CommandSender {
    sender: mpsc::Sender<Command>,
}

impl CommandSender {
    /// Hands `command` over without waiting; `false` when too many wait already or the scheduler has ended.
    pub fn send(&self, command: Command) -> bool {
        self.sender.try_send(command).is_ok()
    }
}

/// The end that obeys; goes to the scheduler.
#[derive(Debug)]
pub struct CommandReceiver {
    receiver: mpsc::Receiver<Command>,
}

impl CommandReceiver {
    /// The next request; `None` once every sender is gone.
    pub async fn next(&mut self) -> Option<Command> {
        self.receiver.recv().await
    }

    /// The next request that is here already.
    pub fn next_now(&mut self) -> Option<Command> {
        self.receiver.try_recv().ok()
    }
}
