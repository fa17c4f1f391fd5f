//! What the collectors' beans tell: how often and for how long they ran, what the last collection left in each of the
//! heap's pools, and what the old generation keeps. With that a saw's teeth are told from a leak.
//!
//! Never registers a listener, and never asks for a collection.

use leakline_core::{Gauge, names};

use crate::env::{Frame, Get, Global, Globals, Local, Method};
use crate::error::JvmError;
use crate::management::{LIST, Number, USAGE, Usage, number, unsigned};

const COLLECTOR: &str = "java.lang.management.GarbageCollectorMXBean";
const POOL: &str = "java.lang.management.MemoryPoolMXBean";

/// Beans of the JVM's collectors.
#[derive(Debug)]
pub(crate) struct Collectors(Vec<Collector>);

#[derive(Debug)]
struct Collector {
    bean: Global,
    count: Method,
    millis: Method,
    is_old: bool,
}

/// Whether the collector of this name looks at the old generation, or at all of the heap.
fn is_old(name: &str) -> bool {
    matches!(
        name,
        "MarkSweepCompact"
            | "PS MarkSweep"
            | "ConcurrentMarkSweep"
            | "G1 Old Generation"
            | "G1 Concurrent GC"
            | "ZGC Major Cycles"
            | "ZGC Cycles"
            | "Shenandoah Cycles"
    )
}

/// Whether the pool of this name is the old generation, or all that there is.
fn is_old_pool(name: &str) -> bool {
    name == "Tenured Gen"
        || name.ends_with("Old Gen")
        || name.ends_with("Old Generation")
        || name == "ZHeap"
        || name == "Shenandoah"
}

/// A pool's name as a part of a gauge's: `G1 Old Gen` is `g1_old_gen`.
fn slug(name: &str) -> String {
    let word = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' };
    name.chars().take(64).map(word).collect()
}

impl Collectors {
    pub(crate) fn find(
        frame: &Frame<'_>,
        factory: Local<'_>,
        globals: &mut Globals,
    ) -> Result<Self, JvmError> {
        let class = frame.class(COLLECTOR)?;
        let name = frame.method(class, "getName", "()Ljava/lang/String;", globals)?;
        let mut collectors = Vec::new();
        for bean in frame.list(frame.static_object(factory, "getGarbageCollectorMXBeans", LIST)?)? {
            collectors.push(Collector {
                is_old: is_old(&frame.text(frame.some_object(bean, &name)?)?),
                bean: frame.keep(bean, globals)?,
                count: frame.method(class, "getCollectionCount", "()J", globals)?,
                millis: frame.method(class, "getCollectionTime", "()J", globals)?,
            });
        }
        Ok(Self(collectors))
    }

    /// All collectors' counts and milliseconds. Collectors that count cycles and pauses apart count both.
    pub(crate) fn sum(&self, frame: &Frame<'_>) -> Result<(u64, u64), JvmError> {
        sum(frame, self.0.iter())
    }

    pub(crate) fn gauges(&self, frame: &Frame<'_>, gauges: &mut Vec<Gauge>) -> Result<(), JvmError> {
        let mut add = |count_name, time_name, (count, millis): (u64, u64)| {
            gauges.push(Gauge::total(count_name, count));
            gauges.push(Gauge::total_nanos(time_name, millis.saturating_mul(1_000_000)));
        };
        add(names::JVM_GC_COUNT, names::JVM_GC_TIME, self.sum(frame)?);
        if self.have_old() {
            add(names::JVM_OLD_GC_COUNT, names::JVM_OLD_GC_TIME, sum(frame, self.of_old())?);
        }
        Ok(())
    }

    /// How often the old generation was looked at; `None` where none of them is known to look at it.
    pub(crate) fn old(&self, frame: &Frame<'_>) -> Result<Option<u64>, JvmError> {
        self.have_old().then(|| Ok(sum(frame, self.of_old())?.0)).transpose()
    }

    fn have_old(&self) -> bool {
        self.of_old().next().is_some()
    }

    fn of_old(&self) -> impl Iterator<Item = &Collector> {
        self.0.iter().filter(|collector| collector.is_old)
    }
}

fn sum<'a>(
    frame: &Frame<'_>,
    collectors: impl Iterator<Item = &'a Collector>,
) -> Result<(u64, u64), JvmError> {
    let (mut count, mut millis) = (0_u64, 0_u64);
    for collector in collectors {
        count = count.saturating_add(unsigned(frame.number(collector.bean, &collector.count)?));
        millis = millis.saturating_add(unsigned(frame.number(collector.bean, &collector.millis)?));
    }
    Ok((count, millis))
}

/// How much of the heap was in use right after the last collection.
///
/// It is the sum over the heap's pools in the collector's own record of its last collection. Not
/// `MemoryPoolMXBean.getCollectionUsage`: that is of the last collection that was about this very pool, so after young
/// collections it lacks what was promoted. With 40 MB kept and only young collections it says 0 under Serial and G1. Of the
/// old generation alone it is just what is wanted: what the last collection of it left.
#[derive(Debug)]
pub(crate) struct AfterGc {
    last_info: Method,
    end: Method,
    usage_before: Method,
    usage_after: Method,
    collection_usage: Method,
    map_get: Get,
    pools: Vec<Pool>,
    used: Method,
    uptime: Number,
    /// The number of collections that `last` belongs to. As long as it is the same, the last collection still is the last
    /// one, and there is no need to ask.
    collections: Option<u64>,
    last: Option<Last>,
    floor: Option<u64>,
}

/// A pool of the heap.
#[derive(Debug)]
struct Pool {
    bean: Global,
    /// Its name, as the key that the records have it under.
    key: Global,
    gauge: String,
    is_old: bool,
}

/// What a collection left.
#[derive(Debug)]
struct Last {
    /// When it ended, milliseconds since the JVM's start.
    end: i64,
    /// The pools together.
    used: u64,
    /// Each pool, as they are in `AfterGc::pools`; `None` for one that the record does not have.
    pools: Vec<Option<u64>>,
    /// What the old generation had more than before.
    promoted: Option<u64>,
}

impl AfterGc {
    pub(crate) fn find(
        frame: &Frame<'_>,
        factory: Local<'_>,
        usage: Usage,
        globals: &mut Globals,
    ) -> Result<Self, JvmError> {
        let collector = frame.class("com.sun.management.GarbageCollectorMXBean")?;
        let info = frame.class("com.sun.management.GcInfo")?;
        let runtime =
            frame.static_object(factory, "getRuntimeMXBean", "Ljava/lang/management/RuntimeMXBean;")?;
        let mut map = |name| frame.method(info, name, "()Ljava/util/Map;", globals);
        let (usage_before, usage_after) = (map("getMemoryUsageBeforeGc")?, map("getMemoryUsageAfterGc")?);
        Ok(Self {
            last_info: frame.method(collector, "getLastGcInfo", "()Lcom/sun/management/GcInfo;", globals)?,
            end: frame.method(info, "getEndTime", "()J", globals)?,
            usage_before,
            usage_after,
            collection_usage: frame.method(frame.class(POOL)?, "getCollectionUsage", USAGE, globals)?,
            map_get: frame.map_get(globals)?,
            pools: heap_pools(frame, factory, globals)?,
            used: usage.used,
            uptime: number(
                frame,
                runtime,
                "java.lang.management.RuntimeMXBean",
                "getUptime",
                "()J",
                globals,
            )?,
            collections: None,
            last: None,
            floor: None,
        })
    }

    pub(crate) fn gauges(
        &mut self,
        frame: &Frame<'_>,
        collectors: &Collectors,
    ) -> Result<Vec<Gauge>, JvmError> {
        let (collections, _) = collectors.sum(frame)?;
        if self.collections != Some(collections) {
            self.last = self.read(frame, collectors)?;
            self.floor = self.old_floor(frame)?;
            self.collections = Some(collections);
        }
        let mut gauges = Vec::new();
        gauges.extend(self.floor.map(|bytes| Gauge::bytes(names::JVM_OLD_FLOOR, bytes)));
        let Some(last) = &self.last else { return Ok(gauges) };
        gauges.push(Gauge::bytes(names::JVM_HEAP_AFTER_GC, last.used));
        for (pool, used) in self.pools.iter().zip(&last.pools) {
            gauges.extend(used.map(|used| Gauge::bytes(pool.gauge.clone(), used)));
        }
        gauges.extend(last.promoted.map(|bytes| Gauge::bytes(names::JVM_LAST_PROMOTED, bytes)));
        let age = unsigned(self.uptime.read(frame)?.saturating_sub(last.end));
        gauges.push(Gauge::nanos(names::JVM_GC_AGE, age.saturating_mul(1_000_000)));
        Ok(gauges)
    }

    /// What the collection that ended last left.
    fn read(&self, frame: &Frame<'_>, collectors: &Collectors) -> Result<Option<Last>, JvmError> {
        let mut last: Option<Last> = None;
        for collector in &collectors.0 {
            let Some(info) = frame.object(collector.bean, &self.last_info)? else { continue };
            let end = frame.number(info, &self.end)?;
            let pools = self.pools_of(frame, frame.some_object(info, &self.usage_after)?)?;
            let used = pools.iter().flatten().fold(0_u64, |sum, used| sum.saturating_add(*used));
            // The collectors that stand for the pauses of ZGC and Shenandoah record nothing.
            if used == 0 || last.as_ref().is_some_and(|last| last.end > end) {
                continue;
            }
            let before = self.pools_of(frame, frame.some_object(info, &self.usage_before)?)?;
            let promoted = if collector.is_old { None } else { self.promoted(&before, &pools) };
            last = Some(Last { end, used, pools, promoted });
        }
        Ok(last)
    }

    fn pools_of(&self, frame: &Frame<'_>, record: Local<'_>) -> Result<Vec<Option<u64>>, JvmError> {
        let mut all = Vec::with_capacity(self.pools.len());
        for pool in &self.pools {
            let usage = frame.map_entry(&self.map_get, record, pool.key)?;
            all.push(usage.map(|usage| frame.number(usage, &self.used).map(unsigned)).transpose()?);
        }
        Ok(all)
    }

    /// What the old generation had more after than before; `None` where that is not what a collection of the young one did.
    fn promoted(&self, before: &[Option<u64>], after: &[Option<u64>]) -> Option<u64> {
        let old = self.pools.iter().position(|pool| pool.is_old)?;
        let is_all = self.pools.len() == 1;
        let (before, after) = (before.get(old).copied()??, after.get(old).copied()??);
        if is_all { None } else { after.checked_sub(before) }
    }

    fn old_floor(&self, frame: &Frame<'_>) -> Result<Option<u64>, JvmError> {
        let Some(old) = self.pools.iter().find(|pool| pool.is_old) else { return Ok(None) };
        let Some(usage) = frame.object(old.bean, &self.collection_usage)? else { return Ok(None) };
        Ok(Some(unsigned(frame.number(usage, &self.used)?)).filter(|used| *used > 0))
    }
}

/// The pools that make up the heap.
fn heap_pools(frame: &Frame<'_>, factory: Local<'_>, globals: &mut Globals) -> Result<Vec<Pool>, JvmError> {
    let class = frame.class(POOL)?;
    let name = frame.method(class, "getName", "()Ljava/lang/String;", globals)?;
    let kind = frame.method(class, "getType", "()Ljava/lang/management/MemoryType;", globals)?;
    let kind_class = frame.class("java.lang.management.MemoryType")?;
    let kind_name = frame.method(kind_class, "name", "()Ljava/lang/String;", globals)?;
    let mut pools = Vec::new();
    for pool in frame.list(frame.static_object(factory, "getMemoryPoolMXBeans", LIST)?)? {
        let kind = frame.some_object(pool, &kind)?;
        if frame.text(frame.some_object(kind, &kind_name)?)? != "HEAP" {
            continue;
        }
        let key = frame.some_object(pool, &name)?;
        let text = frame.text(key)?;
        pools.push(Pool {
            bean: frame.keep(pool, globals)?,
            key: frame.keep(key, globals)?,
            gauge: format!("{}{}_bytes", names::JVM_POOL_AFTER_GC_PREFIX, slug(&text)),
            is_old: is_old_pool(&text),
        });
    }
    Ok(pools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_named_as_gauges_are() {
        for (name, expected, old) in [
            ("G1 Old Gen", "g1_old_gen", true),
            ("PS Eden Space", "ps_eden_space", false),
            ("Tenured Gen", "tenured_gen", true),
            ("ZGC Old Generation", "zgc_old_generation", true),
            ("Shenandoah", "shenandoah", true),
            ("CodeHeap 'non-nmethods'", "codeheap__non_nmethods_", false),
        ] {
            assert_eq!((slug(name).as_str(), is_old_pool(name)), (expected, old));
        }
    }

    #[test]
    fn collectors_of_the_old_generation_are_known() {
        for (name, old) in [
            ("Copy", false),
            ("MarkSweepCompact", true),
            ("PS Scavenge", false),
            ("G1 Young Generation", false),
            ("G1 Concurrent GC", true),
            ("ZGC Minor Cycles", false),
            ("ZGC Major Pauses", false),
            ("ZGC Major Cycles", true),
            ("ZGC Cycles", true),
            ("Shenandoah Pauses", false),
        ] {
            assert_eq!(is_old(name), old, "{name}");
        }
    }
}
