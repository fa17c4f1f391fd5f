//! `leakline collect`: runs the collector, says where it listens, and prints a line for each thing that happens.
//! Stores nothing itself; when nobody reads its lines any more, it goes on collecting.

mod live;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use leakline_collector::{Bound, Collector, CollectorError, CollectorEvent, CollectorOptions};

use self::live::Live;
use crate::folder;

const EXAMPLES: &str = "\
Examples:
  leakline collect
      Receive from programs on this machine:  leakline run --collector 127.0.0.1:7474 -- …

  leakline collect --listen 0.0.0.0:7474
      Receive from other machines, too. Whoever reaches the port can send: use it in a network
      that you trust, or through a tunnel (adb reverse tcp:7474 tcp:7474, ssh -R).

  leakline collect --folder ./sessions --json
      Keep sessions here, and print one JSON object a line.

Each session is a recording in the folder. See them with `leakline report`, also while they run.
What is acknowledged to a program is on disk: kill the collector at any time and start it again,
and programs that still run send what it missed. Ctrl-C ends it in an orderly way.";

/// Options of `leakline collect`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The address to listen on; port 0 takes any that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7474")]
    listen: String,

    /// Where sessions are kept [default: leakline/sessions in the user's data folder]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Print one JSON object a line, as docs/collect-json.md describes them
    #[arg(long)]
    json: bool,
}

/// Collects until it is told to end.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("leakline-collect")
        .build()
        .context("cannot start")?;
    runtime.block_on(collect(options))?;
    Ok(ExitCode::SUCCESS)
}

async fn collect(options: &Options) -> Result<()> {
    let folder = options.folder.clone().unwrap_or_else(folder::default);
    let bound =
        Collector::bind(&options.listen, &folder, CollectorOptions::default()).await.map_err(cannot_start)?;
    let mut screen = Screen::new(options.json);
    // From here on a signal ends it in an orderly way, and not before: a bind that hangs can be interrupted.
    let end = ended_by_a_signal().context("cannot listen for signals")?;
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let line = screen.live.listening(&bound.local_addr().to_string(), &folder.display().to_string());
    screen.print([line]);
    serve(bound, end, &mut screen).await
}

async fn serve(mut bound: Bound, end: impl Future<Output = ()> + Send, screen: &mut Screen) -> Result<()> {
    let events = bound.events();
    let served = bound.serve(end);
    tokio::pin!(served);
    let Some(mut events) = events else { return Ok(served.await?) };
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => screen.show(event),
                None => return Ok(served.await?),
            },
            result = &mut served => {
                // What happened while it ended.
                while let Ok(event) = events.try_recv() {
                    screen.show(event);
                }
                return Ok(result?);
            }
        }
    }
}

/// Ready at Ctrl-C, or where there is such a thing at SIGTERM.
fn ended_by_a_signal() -> io::Result<impl Future<Output = ()> + Send> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let mut interrupt = tokio::signal::windows::ctrl_c()?;
        Ok(async move {
            interrupt.recv().await;
        })
    }
}

/// Where the lines go, until nobody reads them.
struct Screen {
    live: Live,
    is_read: bool,
}

impl Screen {
    fn new(as_json: bool) -> Self {
        Self { live: Live::new(as_json), is_read: true }
    }

    fn show(&mut self, event: CollectorEvent) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let lines = self.live.lines(&event, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        self.print(lines);
    }

    fn print(&mut self, lines: impl IntoIterator<Item = String>) {
        if !self.is_read {
            return;
        }
        let mut out = anstream::stdout().lock();
        let written =
            lines.into_iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
        self.is_read = written.is_ok();
    }
}

fn cannot_start(error: CollectorError) -> anyhow::Error {
    let remedy = match &error {
        CollectorError::Bind { source, .. } => match source.kind() {
            io::ErrorKind::AddrInUse => {
                "Another program, perhaps another collector, listens there: end it, or choose another port with --listen."
            }
            io::ErrorKind::AddrNotAvailable => {
                "This is no address of this machine: --listen 0.0.0.0:PORT takes all that it has."
            }
            io::ErrorKind::PermissionDenied => "Choose a port above 1023 with --listen.",
            _ => "Give --listen a HOST:PORT that resolves, such as 127.0.0.1:7474.",
        },
        CollectorError::Folder { .. } => "Choose a folder that you may write to with --folder.",
        _ => return error.into(),
    };
    anyhow!("{error}\n  {remedy}")
}
