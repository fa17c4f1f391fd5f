//! Counts by HotSpot's own class histogram, which it has as a diagnostic command: the method behind the bean
//! `DiagnosticCommand`, without a bean server, which the host may not have, and which loads some hundred classes.
//!
//! `-all` has it count what is not reachable, too, and collect nothing.

use super::{Counted, Means, parse};
use crate::env::{Frame, Global, Globals, TextMethod};
use crate::error::JvmError;

const CLASS: &str = "com.sun.management.internal.DiagnosticCommandImpl";
const BEAN: &str = "Lcom/sun/management/DiagnosticCommandMBean;";

/// Threads that count at most: the program stands still meanwhile, so its processors are free.
const MAX_THREADS: usize = 8;

/// HotSpot 9 and later, where the module `jdk.management` is.
pub(super) struct Command {
    bean: Global,
    execute: TextMethod,
    threads: usize,
    /// With threads first; HotSpot before 16 does not know them.
    forms: Vec<String>,
}

impl Command {
    pub(super) fn find(frame: &Frame<'_>, globals: &mut Globals) -> Result<Self, JvmError> {
        let class = frame.class(CLASS)?;
        let bean = frame.static_object(class, "getDiagnosticCommandMBean", BEAN)?;
        let execute = frame.text_method(class, "executeDiagnosticCommand", globals)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let plain = "GC.class_histogram -all".to_owned();
        Ok(Self {
            bean: frame.keep(bean, globals)?,
            execute,
            threads,
            forms: vec![format!("{plain} -parallel={threads}"), plain],
        })
    }
}

impl Command {
    /// How many threads count, if the collector has as many.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }
}

impl Means for Command {
    fn name(&self) -> &'static str {
        "HotSpot's diagnostic command"
    }

    fn count(&mut self, frame: &Frame<'_>) -> Result<Vec<Counted>, JvmError> {
        loop {
            let form = self.forms.first().map(String::as_str).unwrap_or_default();
            let frame = frame.inner(16)?;
            match frame.text_of(self.bean, &self.execute, form) {
                Ok(text) => {
                    return parse::histogram(&text)
                        .map_err(|said| JvmError::Refused { what: "GC.class_histogram", said });
                }
                // Words that it does not know are an exception.
                Err(JvmError::Thrown { .. }) if self.forms.len() > 1 => _ = self.forms.remove(0),
                Err(error) => return Err(error),
            }
        }
    }
}
