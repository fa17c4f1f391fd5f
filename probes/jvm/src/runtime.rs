//! `java.lang.Runtime`: what every JVM has, also one that was built without the module `java.management`.
//! Never asks for more than the size of the heap.

use leakline_core::{Details, Gauge, names};

use crate::env::{Frame, Global, Globals, Method};
use crate::error::JvmError;
use crate::management::bytes;

/// The heap as `Runtime` knows it.
#[derive(Debug)]
pub(crate) struct Runtime {
    runtime: Global,
    total: Method,
    free: Method,
    max: Method,
    /// Why there is nothing better.
    reason: Option<String>,
}

impl Runtime {
    pub(crate) fn find(
        frame: &Frame<'_>,
        globals: &mut Globals,
        reason: Option<String>,
    ) -> Result<Self, JvmError> {
        let class = frame.class("java.lang.Runtime")?;
        let runtime = frame.static_object(class, "getRuntime", "Ljava/lang/Runtime;")?;
        Ok(Self {
            runtime: frame.keep(runtime, globals)?,
            total: frame.method(class, "totalMemory", "()J", globals)?,
            free: frame.method(class, "freeMemory", "()J", globals)?,
            max: frame.method(class, "maxMemory", "()J", globals)?,
            reason,
        })
    }

    pub(crate) fn gauges(&self, frame: &Frame<'_>) -> Result<Vec<Gauge>, JvmError> {
        let total = frame.number(self.runtime, &self.total)?;
        let free = frame.number(self.runtime, &self.free)?;
        let max = frame.number(self.runtime, &self.max)?;
        let mut gauges = Vec::with_capacity(3);
        // The heap may grow between the two questions.
        bytes(&mut gauges, names::JVM_HEAP_USED, total.saturating_sub(free).max(0));
        bytes(&mut gauges, names::JVM_HEAP_COMMITTED, total);
        if max != i64::MAX {
            bytes(&mut gauges, names::JVM_HEAP_MAX, max);
        }
        Ok(gauges)
    }

    pub(crate) fn details(&self) -> Details {
        let notes = self.reason.iter().map(|reason| format!("only the heap's size: {reason}")).collect();
        Details { notes, ..Details::default() }
    }
}
