//! The sink: keeps what was said before, and hands lines to the output.

use std::borrow::Cow;

use async_trait::async_trait;
use leakline_core::{Record, Session, Sink, SinkError, SinkStats};

use crate::lines::{self, Line, Lines};
use crate::output::{LogcatTarget, Output};

/// How the log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogcatOptions {
    /// Where lines go.
    pub target: LogcatTarget,
    /// Growing sites after each snapshot. Default 10.
    pub top_sites: usize,
}

impl Default for LogcatOptions {
    fn default() -> Self {
        Self { target: LogcatTarget::Auto, top_sites: 10 }
    }
}

/// Writes log lines.
#[derive(Debug)]
pub struct LogcatSink {
    options: LogcatOptions,
    open: Option<(Output, Session)>,
    lines: Lines,
    stats: SinkStats,
}

impl LogcatSink {
    /// A sink that opens its output with the session.
    pub fn new(options: LogcatOptions) -> Self {
        let stats = SinkStats { sink: Cow::Borrowed("logcat"), ..SinkStats::default() };
        Self { options, open: None, lines: Lines::default(), stats }
    }

    fn write(&mut self, lines: &[Line]) {
        let Some((output, _)) = &self.open else { return };
        for (priority, text) in lines {
            output.line(*priority, text);
            self.stats.delivered_bytes += text.len() as u64 + 1;
        }
    }
}

#[async_trait]
impl Sink for LogcatSink {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("logcat")
    }

    async fn open(&mut self, session: &Session) -> Result<(), SinkError> {
        match Output::open(self.options.target) {
            Ok(output) => {
                self.stats.last_error.clear();
                self.open = Some((output, session.clone()));
                self.write(&[lines::session(session)]);
                Ok(())
            }
            Err(reason) => {
                self.stats.last_error.clone_from(&reason);
                Err(SinkError::Misconfigured { what: Cow::Borrowed("cannot log through liblog"), reason })
            }
        }
    }

    async fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        if self.open.is_none() {
            let reason = "the sink is not open".to_owned();
            return Err(SinkError::Unavailable { what: Cow::Borrowed("cannot log"), reason });
        }
        match record {
            Record::Snapshot { snapshot, verdicts } => {
                let lines = self.lines.snapshot(snapshot, verdicts, self.options.top_sites);
                self.write(&lines);
                self.stats.delivered_snapshots += 1;
            }
            Record::Mark(mark) => self.write(&[lines::mark(mark)]),
            Record::Lost(loss) => self.write(&[lines::lost(*loss)]),
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        if let Some((_, session)) = &self.open {
            let line = lines::end(session);
            self.write(&[line]);
            self.open = None;
        }
        Ok(())
    }

    fn stats(&self) -> SinkStats {
        self.stats.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use leakline_core::Loss;
    use leakline_core::conformance::{self, Seen};

    use super::*;

    type Kept = Arc<Mutex<Vec<String>>>;

    /// The sink with lines that are kept instead of written; everything else is the real one's.
    struct KeptSink(LogcatSink, Kept);

    #[async_trait]
    impl Sink for KeptSink {
        fn name(&self) -> Cow<'static, str> {
            self.0.name()
        }

        async fn open(&mut self, session: &Session) -> Result<(), SinkError> {
            self.0.open(session).await?;
            if let Some((output, _)) = &mut self.0.open {
                *output = Output::Kept(Arc::clone(&self.1));
            }
            Ok(())
        }

        async fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
            self.0.deliver(record).await
        }

        async fn close(&mut self) -> Result<(), SinkError> {
            self.0.close().await
        }

        fn stats(&self) -> SinkStats {
            self.0.stats()
        }
    }

    fn seen(line: &str) -> Option<Seen> {
        if let Some(rest) = line.strip_prefix("Memory: ") {
            let number = rest.rsplit_once('#')?.1.parse().ok()?;
            return Some(Seen::Snapshot { number, sites: None });
        }
        if let Some(rest) = line.strip_prefix("Mark: ") {
            return Some(Seen::Mark { name: rest.rsplit_once(" tick=")?.0.replace("\\n", "\n") });
        }
        let (snapshots, rest) = line.strip_prefix("Lost: ")?.split_once(" snapshots (")?;
        let bytes = rest.strip_suffix(" bytes)")?.parse().ok()?;
        Some(Seen::Lost(Loss { snapshots: snapshots.parse().ok()?, bytes }))
    }

    #[test]
    fn it_holds_to_what_every_sink_must() {
        let kept: Mutex<Kept> = Mutex::default();
        conformance::sink(
            || {
                let lines = Kept::default();
                *kept.lock().unwrap() = Arc::clone(&lines);
                let options = LogcatOptions { target: LogcatTarget::Off, ..LogcatOptions::default() };
                Box::new(KeptSink(LogcatSink::new(options), lines))
            },
            || kept.lock().unwrap().lock().unwrap().iter().filter_map(|line| seen(line)).collect(),
        );
    }
}
