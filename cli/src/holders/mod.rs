//! `leakline holders`: reads a JVM's heap dump and prints who holds the instances of some classes.
//! Asks no process for anything: the dump is a file that is there already.

mod choose;
mod json;
mod text;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use leakline_hprof::Dump;

use crate::{folder, style};

const EXAMPLES: &str = "\
Examples:
  leakline heapdump 4711 -o app.hprof --live
  leakline holders app.hprof
      Who holds the classes that take most bytes.

  leakline holders app.hprof --recording app.leak
      Who holds the classes that grew, as the recording says.

  leakline holders app.hprof --class relay.Session --class 'byte[]'
      Of these classes. The package may be left out where no other class has the name.

A path is a shortest one from a root to an instance; paths that lead through the same fields of the same classes are one.
What lasts is told before what stands on a stack: a list in a static field is the field's, even while a method works on it.
Weak and phantom references hold nothing; soft ones do with --soft, where nothing else does. Dumps of HotSpot and of ART
(Android) can be read, and need not fit into memory: about 25 bytes for each object are needed.";

/// Options of `leakline holders`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The heap dump (HPROF), not compressed
    #[arg(value_name = "FILE")]
    dump: PathBuf,

    /// A class, as in source code; may be given several times
    #[arg(long = "class", value_name = "NAME")]
    classes: Vec<String>,

    /// Take the classes that grew in this recording, or session of the collector
    #[arg(long, value_name = "FILE-or-SESSION", conflicts_with = "classes")]
    recording: Option<PathBuf>,

    /// Where the collector's sessions are [default: leakline/sessions in the user's data folder]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Classes shown where none are named, and paths shown of each
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,

    /// Follow soft references, too, where nothing else holds an object
    #[arg(long)]
    soft: bool,

    /// Print one JSON object, as docs/holders-json.md describes it
    #[arg(long)]
    json: bool,
}

/// Reads the dump and prints who holds what.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let path = options.dump.display();
    let grown = match &options.recording {
        Some(recording) => {
            let folder = options.folder.clone().unwrap_or_else(folder::default);
            Some(choose::grown(&folder, recording)?)
        }
        None => None,
    };
    let file = File::open(&options.dump).with_context(|| format!("cannot open the heap dump: {path}"))?;
    let mut dump = Dump::open(file).with_context(|| format!("cannot read the heap dump: {path}"))?;
    let top = usize::from(options.top);
    let known = dump.classes().with_context(|| path.to_string())?;
    let chosen = choose::classes(&known, &options.classes, grown.as_deref(), top)?;
    for missing in &chosen.missing {
        style::warn(&format!("the dump has no instance of {}", crate::words::clean(missing)));
    }
    let about = About { objects: dump.objects(), soft: options.soft };
    let held = dump.holders(&chosen.names, options.soft).with_context(|| path.to_string())?;
    let out = if options.json { json::object(&about, &held, top) } else { text::show(&held, top) };
    anstream::stdout().lock().write_all(out.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What is said of the dump as a whole.
struct About {
    objects: u64,
    soft: bool,
}
