//! The sink itself: writes the lines of each record and counts.

use std::borrow::Cow;

use async_trait::async_trait;
use leakline_core::{Record, Session, Sink, SinkError, SinkStats};

use crate::lines::{Line, Teller};
use crate::output::Output;

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogcatTarget {
    /// liblog where the system has it, stderr elsewhere.
    #[default]
    Auto,
    /// liblog; an error where the system has none.
    Liblog,
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
}

/// Settings of the log sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogcatOptions {
    /// Where lines go.
    pub target: LogcatTarget,
    /// How many of the sites that grew most are told at each snapshot.
    pub top_sites: usize,
}

impl Default for LogcatOptions {
    fn default() -> Self {
        Self { target: LogcatTarget::Auto, top_sites: 10 }
    }
}

/// Writes readings to the log as lines. See the crate's page for what they look like.
#[derive(Debug)]
pub struct LogcatSink {
    options: LogcatOptions,
    output: Option<Output>,
    teller: Teller,
    stats: SinkStats,
    ended: bool,
}

impl LogcatSink {
    const NAME: &'static str = "logcat";

    /// A sink that opens its target when it is opened itself.
    pub fn new(options: LogcatOptions) -> Self {
        let teller = Teller::new(options.top_sites);
        let stats = SinkStats { sink: Cow::Borrowed(Self::NAME), ..SinkStats::default() };
        Self { options, output: None, teller, stats, ended: false }
    }

    /// A sink that writes to `output`.
    #[cfg(test)]
    pub(crate) fn to(output: Output) -> Self {
        Self { output: Some(output), ..Self::new(LogcatOptions::default()) }
    }

    fn write(&mut self, lines: &[Line]) -> Result<(), SinkError> {
        let Some(output) = &self.output else {
            return Err(unavailable("the log is not open", "open it first"));
        };
        for line in lines {
            match output.write(line) {
                Ok(bytes) => self.stats.delivered_bytes += bytes as u64,
                Err(error) => {
                    let error = unavailable("cannot write to the log", error);
                    self.stats.last_error = error.to_string();
                    return Err(error);
                }
            }
        }
        self.stats.last_error.clear();
        Ok(())
    }
}

#[async_trait]
impl Sink for LogcatSink {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(Self::NAME)
    }

    async fn open(&mut self, session: &Session) -> Result<(), SinkError> {
        if self.output.is_none() {
            self.output = Some(match self.options.target {
                LogcatTarget::Auto => Output::liblog().unwrap_or_else(Output::stderr),
                LogcatTarget::Liblog => Output::liblog().ok_or_else(|| SinkError::Misconfigured {
                    what: Cow::Borrowed("this system has no liblog"),
                    reason: "install android-liblog, or let the log go to stderr".to_owned(),
                })?,
                LogcatTarget::Stderr => Output::stderr(),
                LogcatTarget::Off => Output::Nothing,
            });
        }
        if let Some(output) = &self.output {
            output.prepare_thread();
        }
        let lines = self.teller.session(session);
        self.write(&lines)
    }

    async fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        let lines = match record {
            Record::Snapshot { snapshot, verdicts } => self.teller.snapshot(snapshot, verdicts),
            Record::Mark(mark) => self.teller.mark(mark),
            Record::Lost(loss) => self.teller.lost(*loss),
        };
        self.write(&lines)?;
        if matches!(record, Record::Snapshot { .. }) {
            self.stats.delivered_snapshots += 1;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        if std::mem::replace(&mut self.ended, true) || self.output.is_none() {
            return Ok(());
        }
        let lines = self.teller.end(self.stats.delivered_snapshots);
        self.write(&lines)
    }

    fn stats(&self) -> SinkStats {
        self.stats.clone()
    }
}

fn unavailable(what: &'static str, reason: impl ToString) -> SinkError {
    SinkError::Unavailable { what: Cow::Borrowed(what), reason: reason.to_string() }
}

#[cfg(test)]
mod tests;
