//! The pools beside the Java heap: metaspace and compiled code.
//! Never asks for more than each pool's sizes.

use leakline_core::{Gauge, names};

use crate::env::{Frame, Global, Globals, Local, Method};
use crate::error::JvmError;
use crate::management::{LIST, USAGE, Usage, unsigned};

/// The beans of the pools that are not the heap's.
#[derive(Debug)]
pub(crate) struct NonHeapPools {
    pools: Vec<(Kind, Global)>,
    get_usage: Method,
    usage: Usage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All of it: the space for compressed pointers to classes is a part of it, and a pool of its own beside it.
    Metaspace,
    ClassSpace,
    /// One of the segments that the code cache is cut into, or all of it.
    Code,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        match name {
            "Metaspace" => Some(Self::Metaspace),
            "Compressed Class Space" => Some(Self::ClassSpace),
            "CodeCache" | "Code Cache" => Some(Self::Code),
            _ => name.starts_with("CodeHeap").then_some(Self::Code),
        }
    }
}

impl NonHeapPools {
    pub(crate) fn find(
        frame: &Frame<'_>,
        factory: Local<'_>,
        usage: Usage,
        globals: &mut Globals,
    ) -> Result<Self, JvmError> {
        let class = frame.class("java.lang.management.MemoryPoolMXBean")?;
        let name = frame.method(class, "getName", "()Ljava/lang/String;", globals)?;
        let mut pools = Vec::new();
        for pool in frame.list(frame.static_object(factory, "getMemoryPoolMXBeans", LIST)?)? {
            if let Some(kind) = Kind::of(&frame.text(frame.some_object(pool, &name)?)?) {
                pools.push((kind, frame.keep(pool, globals)?));
            }
        }
        Ok(Self { pools, get_usage: frame.method(class, "getUsage", USAGE, globals)?, usage })
    }

    pub(crate) fn gauges(&self, frame: &Frame<'_>) -> Result<Vec<Gauge>, JvmError> {
        let sum = |wanted: Kind, size: &Method| {
            let mut sum = None;
            for (_, pool) in self.pools.iter().filter(|(kind, _)| *kind == wanted) {
                // A pool that is gone has no usage.
                if let Some(usage) = frame.object(*pool, &self.get_usage)? {
                    let bytes = unsigned(frame.number(usage, size)?);
                    sum = Some(bytes.saturating_add(sum.unwrap_or(0)));
                }
            }
            Ok::<_, JvmError>(sum)
        };
        let found = [
            (names::JVM_METASPACE_COMMITTED, sum(Kind::Metaspace, &self.usage.committed)?),
            (names::JVM_METASPACE_USED, sum(Kind::Metaspace, &self.usage.used)?),
            (names::JVM_CLASS_SPACE_USED, sum(Kind::ClassSpace, &self.usage.used)?),
            (names::JVM_CODE_COMMITTED, sum(Kind::Code, &self.usage.committed)?),
            (names::JVM_CODE_USED, sum(Kind::Code, &self.usage.used)?),
        ];
        Ok(found.into_iter().filter_map(|(name, bytes)| Some(Gauge::bytes(name, bytes?))).collect())
    }
}
