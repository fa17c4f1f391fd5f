//! The management beans of a JVM with the module `java.management`: HotSpot, and OpenJ9.
//! Never registers a listener, changes a threshold, or asks for a collection.

use leakline_core::{Details, Gauge, names};

use crate::env::{Frame, Get, Global, Globals, Local, Method};
use crate::error::JvmError;
use crate::pools::NonHeapPools;

/// What is asked at each reading, looked up once.
#[derive(Debug)]
pub(crate) struct Management {
    memory: Memory,
    classes: Number,
    threads: Number,
    collectors: Vec<Collector>,
    direct: Option<Pool>,
    mapped: Option<Pool>,
    after_gc: Result<AfterGc, String>,
    pools: Result<NonHeapPools, String>,
}

/// One number of one bean.
#[derive(Debug)]
struct Number {
    bean: Global,
    method: Method,
}

#[derive(Debug)]
struct Memory {
    bean: Global,
    heap: Method,
    non_heap: Method,
    usage: Usage,
}

/// The getters of `java.lang.management.MemoryUsage`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) used: Method,
    pub(crate) committed: Method,
    max: Method,
}

#[derive(Debug)]
struct Pool {
    bytes: Number,
    count: Number,
}

#[derive(Debug)]
struct Collector {
    bean: Global,
    count: Method,
    millis: Method,
}

/// How much of the heap was in use right after the last collection.
///
/// It is the sum over the heap's pools in the collector's own record of its last collection. Not
/// `MemoryPoolMXBean.getCollectionUsage`: that is of the last collection that was about this very pool, so after young
/// collections it lacks what was promoted. With 40 MB kept and only young collections it says 0 under Serial and G1.
#[derive(Debug)]
struct AfterGc {
    last_info: Method,
    end: Method,
    usage_after: Method,
    map_get: Get,
    heap_pools: Vec<Global>,
    used: Method,
    /// The number of collections that `value` belongs to. As long as it is the same, the last collection still is the
    /// last one, and there is no need to ask.
    collections: u64,
    value: Option<u64>,
}

pub(crate) const USAGE: &str = "()Ljava/lang/management/MemoryUsage;";
pub(crate) const LIST: &str = "Ljava/util/List;";

impl Management {
    /// Loads the beans, which takes tens of milliseconds the first time in a JVM.
    pub(crate) fn find(frame: &Frame<'_>, globals: &mut Globals) -> Result<Self, JvmError> {
        let factory = frame.class("java.lang.management.ManagementFactory")?;
        let bean = |getter: &str, class: &str| {
            frame.static_object(factory, getter, &format!("Ljava/lang/management/{class};"))
        };

        let memory_bean = bean("getMemoryMXBean", "MemoryMXBean")?;
        let memory_class = frame.class("java.lang.management.MemoryMXBean")?;
        let usage_class = frame.class("java.lang.management.MemoryUsage")?;
        let usage = Usage {
            used: frame.method(usage_class, "getUsed", "()J", globals)?,
            committed: frame.method(usage_class, "getCommitted", "()J", globals)?,
            max: frame.method(usage_class, "getMax", "()J", globals)?,
        };
        let memory = Memory {
            bean: frame.keep(memory_bean, globals)?,
            heap: frame.method(memory_class, "getHeapMemoryUsage", USAGE, globals)?,
            non_heap: frame.method(memory_class, "getNonHeapMemoryUsage", USAGE, globals)?,
            usage,
        };

        let classes = number(
            frame,
            bean("getClassLoadingMXBean", "ClassLoadingMXBean")?,
            "java.lang.management.ClassLoadingMXBean",
            "getLoadedClassCount",
            "()I",
            globals,
        )?;
        let threads = number(
            frame,
            bean("getThreadMXBean", "ThreadMXBean")?,
            "java.lang.management.ThreadMXBean",
            "getThreadCount",
            "()I",
            globals,
        )?;

        let collector_class = frame.class("java.lang.management.GarbageCollectorMXBean")?;
        let beans = frame.list(frame.static_object(factory, "getGarbageCollectorMXBeans", LIST)?)?;
        let mut collectors = Vec::with_capacity(beans.len());
        for bean in beans {
            collectors.push(Collector {
                bean: frame.keep(bean, globals)?,
                count: frame.method(collector_class, "getCollectionCount", "()J", globals)?,
                millis: frame.method(collector_class, "getCollectionTime", "()J", globals)?,
            });
        }

        let (direct, mapped) = buffer_pools(frame, factory, globals)?;
        let after_gc = AfterGc::find(frame, factory, usage.used, globals).map_err(|error| error.to_string());
        let pools = NonHeapPools::find(frame, factory, usage, globals).map_err(|error| error.to_string());
        let mut management = Self { memory, classes, threads, collectors, direct, mapped, after_gc, pools };
        // The first calls load classes; they belong to the time of attaching.
        management.gauges(frame)?;
        management.details(frame)?;
        Ok(management)
    }

    /// Heap first: its instant is the reading's.
    pub(crate) fn gauges(&self, frame: &Frame<'_>) -> Result<Vec<Gauge>, JvmError> {
        let mut gauges = Vec::with_capacity(14);
        let Memory { bean, heap, non_heap, usage } = &self.memory;
        let heap = frame.some_object(*bean, heap)?;
        bytes(&mut gauges, names::JVM_HEAP_USED, frame.number(heap, &usage.used)?);
        bytes(&mut gauges, names::JVM_HEAP_COMMITTED, frame.number(heap, &usage.committed)?);
        bytes(&mut gauges, names::JVM_HEAP_MAX, frame.number(heap, &usage.max)?);
        let non_heap = frame.some_object(*bean, non_heap)?;
        bytes(&mut gauges, names::JVM_NON_HEAP_USED, frame.number(non_heap, &usage.used)?);
        bytes(&mut gauges, names::JVM_NON_HEAP_COMMITTED, frame.number(non_heap, &usage.committed)?);
        if let Some(direct) = &self.direct {
            bytes(&mut gauges, names::JVM_DIRECT, direct.bytes.read(frame)?);
            gauges.push(Gauge::count(names::JVM_DIRECT_COUNT, unsigned(direct.count.read(frame)?)));
        }
        if let Some(mapped) = &self.mapped {
            bytes(&mut gauges, names::JVM_MAPPED, mapped.bytes.read(frame)?);
        }
        let (count, millis) = self.collections(frame)?;
        gauges.push(Gauge::total(names::JVM_GC_COUNT, count));
        gauges.push(Gauge::total_nanos(names::JVM_GC_TIME, millis.saturating_mul(1_000_000)));
        gauges.push(Gauge::count(names::JVM_CLASSES, unsigned(self.classes.read(frame)?)));
        // Without the thread that is asking.
        let threads = unsigned(self.threads.read(frame)?).saturating_sub(1);
        gauges.push(Gauge::count(names::JVM_THREADS, threads));
        Ok(gauges)
    }

    /// What the last collection left.
    pub(crate) fn details(&mut self, frame: &Frame<'_>) -> Result<Details, JvmError> {
        let mut details = Details::default();
        let (collections, _) = self.collections(frame)?;
        match &mut self.after_gc {
            Ok(after_gc) => {
                if after_gc.collections != collections {
                    after_gc.value = after_gc.read(frame, &self.collectors)?;
                    after_gc.collections = collections;
                }
                details
                    .gauges
                    .extend(after_gc.value.map(|used| Gauge::bytes(names::JVM_HEAP_AFTER_GC, used)));
            }
            Err(error) => details.notes.push(format!("no heap size after collections: {error}")),
        }
        match &self.pools {
            Ok(pools) => details.gauges.extend(pools.gauges(frame)?),
            Err(error) => details.notes.push(format!("no sizes of metaspace and code: {error}")),
        }
        Ok(details)
    }

    /// All collectors' counts and milliseconds. Collectors that count cycles and pauses apart count both.
    pub(crate) fn collections(&self, frame: &Frame<'_>) -> Result<(u64, u64), JvmError> {
        let (mut count, mut millis) = (0_u64, 0_u64);
        for collector in &self.collectors {
            count = count.saturating_add(unsigned(frame.number(collector.bean, &collector.count)?));
            millis = millis.saturating_add(unsigned(frame.number(collector.bean, &collector.millis)?));
        }
        Ok((count, millis))
    }
}

impl Number {
    fn read(&self, frame: &Frame<'_>) -> Result<i64, JvmError> {
        frame.number(self.bean, &self.method)
    }
}

impl AfterGc {
    fn find(
        frame: &Frame<'_>,
        factory: Local<'_>,
        used: Method,
        globals: &mut Globals,
    ) -> Result<Self, JvmError> {
        let collector_class = frame.class("com.sun.management.GarbageCollectorMXBean")?;
        let info_class = frame.class("com.sun.management.GcInfo")?;
        Ok(Self {
            last_info: frame.method(
                collector_class,
                "getLastGcInfo",
                "()Lcom/sun/management/GcInfo;",
                globals,
            )?,
            end: frame.method(info_class, "getEndTime", "()J", globals)?,
            usage_after: frame.method(info_class, "getMemoryUsageAfterGc", "()Ljava/util/Map;", globals)?,
            map_get: frame.map_get(globals)?,
            heap_pools: heap_pools(frame, factory, globals)?,
            used,
            collections: 0,
            value: None,
        })
    }

    /// The heap in use after the collection that ended last.
    fn read(&self, frame: &Frame<'_>, collectors: &[Collector]) -> Result<Option<u64>, JvmError> {
        let mut last = None;
        for collector in collectors {
            let Some(info) = frame.object(collector.bean, &self.last_info)? else { continue };
            let end = frame.number(info, &self.end)?;
            let usage = frame.some_object(info, &self.usage_after)?;
            let mut sum = 0_u64;
            for pool in &self.heap_pools {
                if let Some(usage) = frame.map_entry(&self.map_get, usage, *pool)? {
                    sum = sum.saturating_add(unsigned(frame.number(usage, &self.used)?));
                }
            }
            // The collectors that stand for the pauses of ZGC and Shenandoah record nothing.
            if sum > 0 && last.is_none_or(|(last_end, _)| end >= last_end) {
                last = Some((end, sum));
            }
        }
        Ok(last.map(|(_, sum)| sum))
    }
}

/// The names of the pools that make up the heap.
fn heap_pools(frame: &Frame<'_>, factory: Local<'_>, globals: &mut Globals) -> Result<Vec<Global>, JvmError> {
    let class = frame.class("java.lang.management.MemoryPoolMXBean")?;
    let name = frame.method(class, "getName", "()Ljava/lang/String;", globals)?;
    let kind = frame.method(class, "getType", "()Ljava/lang/management/MemoryType;", globals)?;
    let kind_class = frame.class("java.lang.management.MemoryType")?;
    let kind_name = frame.method(kind_class, "name", "()Ljava/lang/String;", globals)?;
    let mut names = Vec::new();
    for pool in frame.list(frame.static_object(factory, "getMemoryPoolMXBeans", LIST)?)? {
        let kind = frame.some_object(pool, &kind)?;
        if frame.text(frame.some_object(kind, &kind_name)?)? == "HEAP" {
            names.push(frame.keep(frame.some_object(pool, &name)?, globals)?);
        }
    }
    Ok(names)
}

/// The pools of direct and of mapped buffers.
fn buffer_pools(
    frame: &Frame<'_>,
    factory: Local<'_>,
    globals: &mut Globals,
) -> Result<(Option<Pool>, Option<Pool>), JvmError> {
    const CLASS: &str = "java.lang.management.BufferPoolMXBean";
    let class = frame.class(CLASS)?;
    let name = frame.method(class, "getName", "()Ljava/lang/String;", globals)?;
    let (mut direct, mut mapped) = (None, None);
    for bean in frame.list(frame.static_object_of_class(factory, "getPlatformMXBeans", class, LIST)?)? {
        let slot = match frame.text(frame.some_object(bean, &name)?)?.as_str() {
            "direct" => &mut direct,
            "mapped" => &mut mapped,
            _ => continue,
        };
        *slot = Some(Pool {
            bytes: number(frame, bean, CLASS, "getMemoryUsed", "()J", globals)?,
            count: number(frame, bean, CLASS, "getCount", "()J", globals)?,
        });
    }
    Ok((direct, mapped))
}

fn number(
    frame: &Frame<'_>,
    bean: Local<'_>,
    class: &str,
    getter: &'static str,
    signature: &str,
    globals: &mut Globals,
) -> Result<Number, JvmError> {
    Ok(Number {
        bean: frame.keep(bean, globals)?,
        method: frame.method(frame.class(class)?, getter, signature, globals)?,
    })
}

/// The beans say -1 for what they do not know: then there is no gauge.
pub(crate) fn bytes(gauges: &mut Vec<Gauge>, name: &'static str, value: i64) {
    gauges.extend(u64::try_from(value).ok().map(|value| Gauge::bytes(name, value)));
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
