//! Android's runtime: `Runtime` for the heap, `android.os.Debug` for collections, the native heap, classes and binders.
//! Never asks for `Debug.getMemoryInfo` or `getPss`, which read the whole memory map.
//!
//! What one Android lacks costs that gauge alone, and the reading names it.

use leakline_core::{Details, Gauge, GaugeKind, names};

use crate::env::{Frame, Globals, StaticNumber};
use crate::error::JvmError;
use crate::runtime::Runtime;

const DEBUG: &str = "android.os.Debug";
/// Takes a name and answers with a text; since Android 6.
const STAT: &str = "getRuntimeStat";
/// Collections so far.
const COLLECTIONS: &str = "art.gc.gc-count";

/// What a number of ART's stands for.
#[derive(Debug, Clone, Copy)]
enum Means {
    /// Bytes now.
    Bytes,
    /// Things now.
    Count,
    /// Things so far.
    Total,
    /// Bytes so far.
    TotalBytes,
    /// Milliseconds so far.
    TotalMillis,
}

/// Methods of `Debug`, whether they answer with a long (or an int), and the gauges that their answers are.
///
/// The native heap's are malloc's own count (`mallinfo`): Android's words for what the probe `native` reads as well, and all
/// there is of it where that one is off. Binders are objects that other processes hold here, and those of others that this
/// one holds: a list of them that only grows is a leak that the heap's size hardly shows.
const NUMBERS: &[(&str, bool, &str, Means)] = &[
    ("getNativeHeapAllocatedSize", true, "jvm.native_heap_allocated_bytes", Means::Bytes),
    ("getNativeHeapFreeSize", true, "jvm.native_heap_free_bytes", Means::Bytes),
    ("getNativeHeapSize", true, "jvm.native_heap_size_bytes", Means::Bytes),
    ("getLoadedClassCount", false, names::JVM_CLASSES, Means::Count),
    ("getBinderLocalObjectCount", false, "jvm.binder_local_objects", Means::Count),
    ("getBinderProxyObjectCount", false, "jvm.binder_proxies", Means::Count),
];

/// Statistics by ART's names. Blocking collections are those that a thread of the app had to wait for.
const STATS: &[(&str, &str, Means)] = &[
    (COLLECTIONS, names::JVM_GC_COUNT, Means::Total),
    ("art.gc.gc-time", names::JVM_GC_TIME, Means::TotalMillis),
    ("art.gc.blocking-gc-count", "jvm.gc_blocking_collections", Means::Total),
    ("art.gc.blocking-gc-time", "jvm.gc_blocking_time_nanos", Means::TotalMillis),
    ("art.gc.bytes-allocated", "jvm.allocated_so_far_bytes", Means::TotalBytes),
    ("art.gc.bytes-freed", "jvm.freed_so_far_bytes", Means::TotalBytes),
];

/// What is asked at each reading, looked up once.
#[derive(Debug)]
pub(crate) struct Android {
    runtime: Runtime,
    numbers: Vec<(StaticNumber, &'static str, Means)>,
    has_stats: bool,
    /// Methods that this Android does not have.
    missing: Vec<&'static str>,
}

impl Android {
    /// Whether this is Android's runtime. To be asked where there are no management beans: a program on another JVM may have
    /// the class from a library for tests.
    pub(crate) fn is_here(frame: &Frame<'_>) -> bool {
        frame.class(DEBUG).is_ok()
    }

    pub(crate) fn find(frame: &Frame<'_>, globals: &mut Globals) -> Result<Self, JvmError> {
        let debug = frame.class(DEBUG)?;
        let kept = frame.keep(debug, globals)?;
        let (mut numbers, mut missing) = (Vec::new(), Vec::new());
        for (method, is_long, gauge, means) in NUMBERS {
            match frame.static_number_method(debug, kept, method, *is_long) {
                Ok(found) => numbers.push((found, *gauge, *means)),
                Err(_) => missing.push(*method),
            }
        }
        let has_stats = frame.static_text_of(debug, STAT, COLLECTIONS).is_ok();
        if !has_stats {
            missing.push("getRuntimeStat (Android 6), and with it collections");
        }
        Ok(Self { runtime: Runtime::find(frame, globals, None)?, numbers, has_stats, missing })
    }

    pub(crate) fn gauges(&self, frame: &Frame<'_>) -> Result<Vec<Gauge>, JvmError> {
        self.runtime.gauges(frame)
    }

    /// Collections so far, of whatever part of the heap; `None` where nobody tells.
    pub(crate) fn collections(&self, frame: &Frame<'_>) -> Option<u64> {
        if !self.has_stats {
            return None;
        }
        let debug = frame.class(DEBUG).ok()?;
        stat(&frame.static_text_of(debug, STAT, COLLECTIONS).ok()??)
    }

    /// Each gauge by itself: one that fails costs no other.
    pub(crate) fn details(&self, frame: &Frame<'_>) -> Result<Details, JvmError> {
        let mut details = Details::default();
        let mut failures = Vec::new();
        for (method, gauge, means) in &self.numbers {
            match frame.static_number(method) {
                Ok(value) => {
                    details.gauges.extend(u64::try_from(value).ok().map(|value| means.gauge(gauge, value)));
                }
                Err(error) => failures.push(error.to_string()),
            }
        }
        let debug = frame.class(DEBUG)?;
        for (name, gauge, means) in STATS.iter().filter(|_| self.has_stats) {
            match frame.static_text_of(debug, STAT, name) {
                // A name that this Android does not know is answered with null.
                Ok(text) => {
                    let value = text.as_deref().and_then(stat);
                    details.gauges.extend(value.map(|value| means.gauge(gauge, value)));
                }
                Err(error) => failures.push(error.to_string()),
            }
        }
        if !self.missing.is_empty() {
            details.notes.push(format!("this Android's Debug has no {}", self.missing.join(", no ")));
        }
        if !failures.is_empty() {
            details.notes.push(format!("android.os.Debug: {}", failures.join("; ")));
        }
        Ok(details)
    }
}

impl Means {
    fn gauge(self, name: &'static str, value: u64) -> Gauge {
        match self {
            Self::Bytes => Gauge::bytes(name, value),
            Self::Count => Gauge::count(name, value),
            Self::Total => Gauge::total(name, value),
            Self::TotalBytes => Gauge { kind: GaugeKind::Total, ..Gauge::bytes(name, value) },
            Self::TotalMillis => Gauge::total_nanos(name, value.saturating_mul(1_000_000)),
        }
    }
}

/// ART writes its numbers in decimal.
fn stat(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_art_says_becomes_a_number_or_nothing() {
        for (text, expected) in
            [("12", Some(12)), (" 7\n", Some(7)), ("", None), ("-1", None), ("0:3,1:4", None)]
        {
            assert_eq!(stat(text), expected, "{text:?}");
        }
    }

    #[test]
    fn milliseconds_become_nanoseconds_so_far() {
        let gauge = Means::TotalMillis.gauge("jvm.gc_time_nanos", 345);
        assert_eq!((gauge.value, gauge.kind), (345e6, GaugeKind::Total));
        let gauge = Means::TotalBytes.gauge("jvm.freed_so_far_bytes", 9);
        assert_eq!(
            (gauge.value, gauge.unit, gauge.kind),
            (9.0, leakline_core::Unit::Bytes, GaugeKind::Total)
        );
    }
}
