//! The management beans of a JVM with the module `java.management`: HotSpot, and OpenJ9.
//! Never registers a listener, changes a threshold, or asks for a collection.

use leakline_core::{Details, Gauge, names};

use crate::env::{Frame, Global, Globals, Local, Method};
use crate::error::JvmError;
use crate::gc::{AfterGc, Collectors};
use crate::pools::NonHeapPools;

/// What is asked at each reading, looked up once.
#[derive(Debug)]
pub(crate) struct Management {
    memory: Memory,
    classes: Number,
    threads: Number,
    collectors: Collectors,
    direct: Option<Pool>,
    mapped: Option<Pool>,
    after_gc: Result<AfterGc, String>,
    pools: Result<NonHeapPools, String>,
}

/// One number of one bean.
#[derive(Debug)]
pub(crate) struct Number {
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

        let collectors = Collectors::find(frame, factory, globals)?;
        let (direct, mapped) = buffer_pools(frame, factory, globals)?;
        let after_gc = AfterGc::find(frame, factory, usage, globals).map_err(|error| error.to_string());
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
        self.collectors.gauges(frame, &mut gauges)?;
        gauges.push(Gauge::count(names::JVM_CLASSES, unsigned(self.classes.read(frame)?)));
        // Without the thread that is asking.
        let threads = unsigned(self.threads.read(frame)?).saturating_sub(1);
        gauges.push(Gauge::count(names::JVM_THREADS, threads));
        Ok(gauges)
    }

    /// What the last collection left.
    pub(crate) fn details(&mut self, frame: &Frame<'_>) -> Result<Details, JvmError> {
        let mut details = Details::default();
        match &mut self.after_gc {
            Ok(after_gc) => details.gauges.extend(after_gc.gauges(frame, &self.collectors)?),
            Err(error) => details.notes.push(format!("no heap size after collections: {error}")),
        }
        match &self.pools {
            Ok(pools) => details.gauges.extend(pools.gauges(frame)?),
            Err(error) => details.notes.push(format!("no sizes of metaspace and code: {error}")),
        }
        Ok(details)
    }

    /// How many collections there were so far, and how many of them looked at the old generation, where that is known.
    pub(crate) fn collections(&self, frame: &Frame<'_>) -> Result<(u64, Option<u64>), JvmError> {
        Ok((self.collectors.sum(frame)?.0, self.collectors.old(frame)?))
    }
}

impl Number {
    pub(crate) fn read(&self, frame: &Frame<'_>) -> Result<i64, JvmError> {
        frame.number(self.bean, &self.method)
    }
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

pub(crate) fn number(
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
