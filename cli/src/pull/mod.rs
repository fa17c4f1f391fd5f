//! `leakline pull`: fetches an Android app's recordings from its own files, through adb and run-as.
//! Writes on this computer only; on the device nothing is changed, and nothing is removed.

mod adb;
mod device;
mod find;
mod listing;
mod package;
mod plan;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use leakline_core::text;

use self::adb::Adb;
use self::package::Package;
use self::store::{Outcome, Waiting};
use crate::style;
use crate::words::{clean, plural};

const EXAMPLES: &str = "\
Examples:
  leakline pull --package com.example.app
      The recordings of all of the app's processes, into the folder com.example.app.

  leakline pull --package com.example.app --serial emulator-5554 --output readings
      From one of several devices, into a folder of your choice.

  leakline pull --package com.example.app --print
      Only prints the commands, to be run by hand or elsewhere.

The app must be a debug build: others' files are closed to adb. Recordings are fetched up to
where they are written at that moment, and the app runs on. A file that is here already is
replaced only by its own continuation; what differs otherwise is kept beside it, and said. adb
is looked for in $ADB, in the Android SDK ($ANDROID_HOME, $ANDROID_SDK_ROOT, or where it is
installed by default), and on PATH.";

/// Where the app's side records to, below the app's own folder.
const FOLDER: &str = "files/leakline";
/// Starting adb's server and asking a device that is busy takes seconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// Longest list of files that is read.
const MAX_LISTING: u64 = 256 << 10;

/// Options of `leakline pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The app, by its application id
    #[arg(long, value_name = "NAME")]
    package: Package,

    /// The device, as `adb devices` names it [default: $ANDROID_SERIAL, or the only one]
    #[arg(long, value_name = "SERIAL", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    serial: Option<String>,

    /// Where to write; made if need be [default: a folder here with the package's name]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Print the adb commands, and run nothing
    #[arg(long)]
    print: bool,
}

impl Options {
    fn folder(&self) -> PathBuf {
        self.output.clone().unwrap_or_else(|| PathBuf::from(self.package.as_str()))
    }

    fn by_hand(&self, adb: &str) -> String {
        plan::commands(adb, self.serial.as_deref(), &self.package, &self.folder())
    }
}

/// Fetches what there is and says where it is now.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let found = find::adb(&|name| std::env::var_os(name));
    if options.print {
        let adb = found.as_ref().map_or_else(|_| "adb".into(), |path| path.display().to_string());
        anstream::print!("{}", options.by_hand(&adb));
        return Ok(ExitCode::SUCCESS);
    }
    let program = found
        .map_err(|error| anyhow::anyhow!("{error}\n  By hand:\n{}", options.by_hand("adb").trim_end()))?;
    let wanted = options.serial.clone().or_else(|| std::env::var("ANDROID_SERIAL").ok());
    let wanted = wanted.filter(|serial| !serial.is_empty());
    let listed = Adb::of(program.clone(), None).text(&["devices"], ANSWERS_WITHIN, MAX_LISTING)?;
    let serial = device::choose(&listed, wanted.as_deref())?;
    let device = Adb::of(program, Some(serial.clone()));

    let package = options.package.as_str();
    let said =
        device.text(&["exec-out", "run-as", package, "ls", "-ln", FOLDER], ANSWERS_WITHIN, MAX_LISTING)?;
    let listing = listing::parse(&said);
    if listing.files.is_empty() {
        bail!("{}", listing::why_none(&said, package, &serial));
    }
    let folder = options.folder();
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder: {}", folder.display()))?;
    anstream::println!(
        "{package} on {}: {}",
        clean(&serial),
        plural(listing.files.len() as u64, "recording", "recordings")
    );
    if listing.left_out > 0 {
        let others = plural(listing.left_out, "other file", "other files");
        style::warn(&format!("left in {FOLDER}: {others}"));
    }
    let mut failed = 0_u64;
    let mut current = Vec::new();
    for file in &listing.files {
        match fetch(&device, package, file, &folder) {
            Ok((outcome, bytes)) => {
                let path = folder.join(&file.name);
                anstream::println!("  {}  {}, {outcome}", path.display(), text::bytes(bytes as f64));
                if !matches!(outcome, Outcome::Empty) && file.is_current() {
                    current.push(path);
                }
            }
            Err(error) => {
                failed += 1;
                style::error(&format!("{error:#}: {}", file.name));
            }
        }
    }
    for path in &current {
        anstream::println!("{}", style::paint(style::STRONG, plan::next(path)));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fetch(
    device: &Adb,
    package: &str,
    file: &listing::Found,
    folder: &std::path::Path,
) -> Result<(Outcome, u64)> {
    let mut waiting = Waiting::new(folder, &file.name)?;
    let remote = format!("{FOLDER}/{}", file.name);
    device.stream(&["exec-out", "run-as", package, "cat", &remote], ANSWERS_WITHIN, |piece| {
        waiting.take(piece)
    })?;
    waiting.finish(file.bytes)
}
