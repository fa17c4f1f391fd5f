//! `leakline heapdump`: has a running JVM write its own heap dump (HPROF) to a file, and sends it to a collector.
//! Goes through the JVM's attach mechanism and needs no JDK; never overwrites a file, never signals what is no JVM.

#[cfg(target_os = "linux")]
mod attach;
#[cfg(target_os = "linux")]
mod send;
#[cfg(target_os = "linux")]
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  leakline heapdump 4711 -o app.hprof
      Every object of the heap of process 4711, with those that are not collected yet.

  leakline heapdump 4711 -o app.hprof --live
      Collects first: what is in the file then is held by somebody. `leakline holders` tells by whom.

  leakline heapdump 4711 --live --to workstation:7474
      The collector there keeps the dump beside the session's recording; none is left here.

The program stands still while its JVM writes, some seconds for each GB. The JVM writes the file itself, as its own user.
The process need not run under leakline. A JVM with -XX:+DisableAttachMechanism refuses. A heap holds
secrets: the file is its owner's alone, but what goes to a collector goes unencrypted.";

/// What HotSpot says when the file is complete.
#[cfg(target_os = "linux")]
const WRITTEN: &str = "Heap dump file created";

/// Options of `leakline heapdump`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The process that the JVM is in
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pid: u32,

    /// Where to write the dump; must not be there yet
    #[arg(short, long, value_name = "FILE", required_unless_present = "to")]
    output: Option<PathBuf>,

    /// Send it to this collector; without --output it is written to the folder for temporary files and removed again
    #[arg(long, value_name = "HOST:PORT")]
    to: Option<String>,

    /// Have the JVM collect garbage first, and write only what is still reachable
    #[arg(long)]
    live: bool,

    /// Wait so long for the JVM to have written
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Asks for the dump, waits until it is written, and sends it where it shall be.
#[cfg(target_os = "linux")]
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    use anyhow::{Context, bail};

    if options.timeout.is_zero() {
        bail!("no time to wait: --timeout 5m");
    }
    let target = target::Target::find(options.pid)?;
    let output = options.output.clone().unwrap_or_else(|| send::passing(options.pid));
    let place = target.place(&output)?;
    let mut jvm = attach::connect(&target, options.timeout)?;
    let answer = jvm.ask("dumpheap", &place.for_jvm, if options.live { "-live" } else { "-all" })?;
    // The answer's code is 0 even where the file could not be written, or not to its end.
    if !answer.contains(WRITTEN) || !target::is_dump(&place.for_us) {
        bail!(
            "the JVM of process {} wrote no heap dump: {}",
            options.pid,
            crate::words::clean(answer.trim())
        );
    }
    let file = place.keep().context("the heap dump is written, but cannot be brought here")?;
    let bytes = std::fs::metadata(&file).with_context(|| file.display().to_string())?.len();
    if let Some(to) = &options.to {
        // What could not be sent stays: writing it cost the program a pause.
        let kept = || format!("the heap dump is here: {}", file.display());
        let sent = send::send(to, &file, &target).with_context(kept)?;
        anstream::println!("{sent}: {bytes} bytes");
    }
    match &options.output {
        Some(_) => anstream::println!("{}: {bytes} bytes", file.display()),
        None => std::fs::remove_file(&file).with_context(|| file.display().to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Elsewhere nobody knows how to reach a JVM.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let _ = (options.pid, &options.output, &options.to, options.live, options.timeout);
    anyhow::bail!("leakline heapdump needs Linux; elsewhere: jcmd PID GC.heap_dump FILE")
}
