//! Android's runtime: `Runtime` for the heap, `android.os.Debug` for collections and the native heap.
//! Never asks for `Debug.getMemoryInfo`, which reads the whole memory map.

use leakline_core::{Details, Gauge, names};

use crate::env::{Frame, Globals, StaticLong};
use crate::error::JvmError;
use crate::management::bytes;
use crate::runtime::Runtime;

/// Name of the gauge for what Android's own count says is allocated in the native heap, in bytes. Android's word for
/// what the probe `native` reads as `native.malloc_live_bytes`.
const NATIVE_ALLOCATED: &str = "jvm.native_heap_allocated_bytes";
/// Name of the gauge for all bytes that were ever allocated in the Java heap.
const ALLOCATED_TOTAL: &str = "jvm.allocated_so_far_bytes";

/// What is asked at each reading, looked up once.
#[derive(Debug)]
pub(crate) struct Android {
    runtime: Runtime,
    native_allocated: StaticLong,
    /// Since Android 6.
    stats: bool,
}

const DEBUG: &str = "android.os.Debug";

impl Android {
    /// Whether this is Android's runtime.
    pub(crate) fn is_here(frame: &Frame<'_>) -> bool {
        frame.class(DEBUG).is_ok()
    }

    pub(crate) fn find(frame: &Frame<'_>, globals: &mut Globals) -> Result<Self, JvmError> {
        let debug = frame.class(DEBUG)?;
        let kept = frame.keep(debug, globals)?;
        Ok(Self {
            runtime: Runtime::find(frame, globals, None)?,
            native_allocated: frame.static_long_method(debug, kept, "getNativeHeapAllocatedSize")?,
            stats: frame.static_text_of(debug, "getRuntimeStat", "art.gc.gc-count").is_ok(),
        })
    }

    pub(crate) fn gauges(&self, frame: &Frame<'_>) -> Result<Vec<Gauge>, JvmError> {
        self.runtime.gauges(frame)
    }

    pub(crate) fn details(&self, frame: &Frame<'_>) -> Result<Details, JvmError> {
        let mut details = Details::default();
        bytes(&mut details.gauges, NATIVE_ALLOCATED, frame.static_long(&self.native_allocated)?);
        if !self.stats {
            details
                .notes
                .push("no collections: this Android has no Debug.getRuntimeStat (before 6)".to_owned());
            return Ok(details);
        }
        let debug = frame.class(DEBUG)?;
        let stat = |name: &str| -> Result<Option<u64>, JvmError> {
            Ok(frame.static_text_of(debug, "getRuntimeStat", name)?.and_then(|text| text.trim().parse().ok()))
        };
        let count = stat("art.gc.gc-count")?;
        details.gauges.extend(count.map(|count| Gauge::total(names::JVM_GC_COUNT, count)));
        let millis = stat("art.gc.gc-time")?;
        details.gauges.extend(
            millis.map(|millis| Gauge::total_nanos(names::JVM_GC_TIME, millis.saturating_mul(1_000_000))),
        );
        let allocated = stat("art.gc.bytes-allocated")?;
        details.gauges.extend(allocated.map(|bytes| Gauge {
            kind: leakline_core::GaugeKind::Total,
            ..Gauge::bytes(ALLOCATED_TOTAL, bytes)
        }));
        Ok(details)
    }
}
