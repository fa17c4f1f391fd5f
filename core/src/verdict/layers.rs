//! The series that each layer is judged by. A layer must not be blamed for what another layer explains.
//!
//! | layer | series | not this layer's fault |
//! |---|---|---|
//! | python | traced bytes; without tracemalloc, what of its arenas is used, and sampled large objects; without either, sampled bytes | |
//! | jvm | used heap after a collection (what of it is live, until one has looked at all of it: `reached`), direct buffers, and what is committed of metaspace | |
//! | native | malloc's live bytes, less Python's requests above 512 bytes (traced or sampled), tracemalloc's tables, and direct buffers | 1.5 times what tracemalloc says of its tables, a quarter of the rest that was subtracted; a quarter of Python's arenas where nobody tells of its large requests |
//! | process | anonymous and shared memory, swapped out or not, less leakline's own, Python's arenas as far as they were touched, malloc's live and free bytes, the Java heap as often as it is mapped, and the JVM's other memory | a quarter of what was subtracted, the arenas apart; where those are not counted, small objects stand for them, and three times those |
//!
//! The last column is there because nobody counts what an allocator adds: headers, rounding up to 16 bytes (a float of
//! 24 bytes takes 32), and, for tracemalloc, 48 bytes for each traced block beside the 40 to 53 that it tells of (seen
//! with CPython 3.9 to 3.13 on glibc). Where pymalloc's arenas cannot be counted, what is free inside them stands nowhere,
//! and each copy that tracemalloc makes of its traces leaves holes behind (seen: twice the small objects' own growth).
//! Where they are, nothing about them is left to allow for: a fresh arena is touched from its beginning, so its empty pools
//! count only up to the most that was ever touched, as with the Java heap. The process's series is a difference and not the
//! ledger's `unexplained`: that is cut at zero, so a Java heap that is committed but was never touched would hide a leak beside it. File-backed memory is
//! left out, because the kernel can drop it.

use crate::model::{Layer, Snapshot, names};

/// One layer's number at one snapshot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    pub(super) layer: Layer,
    /// The gauge that the series begins from.
    pub(super) gauge: &'static str,
    /// Which gauges went into it, one bit each. Numbers with different inputs cannot be compared.
    pub(super) inputs: u16,
    /// Bytes; `None`: this snapshot has nothing to add (no collection since the last one).
    pub(super) bytes: Option<f64>,
    /// Bytes by whose growth this layer may grow without being blamed.
    pub(super) allowance: f64,
    /// How much memory it breathes in, bytes: the layer's own, for `process` all that is resident.
    pub(super) size: f64,
}

/// What must be remembered from one snapshot to the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// Small requests' share of what Python has traced, when it was told last: a profile that is left out (it was too
    /// dear, or late) leaves it out too, and it moves slowly.
    small_share: Option<f64>,
    /// Collections at the last point, or the heap after it where collections are not counted.
    collected: Option<f64>,
    /// Most of the Java heap that was seen in use: so much was touched, and stays resident while it is committed.
    touched: f64,
    /// Most of Python's arenas that was seen in pools which held something; these stay resident while they are mapped.
    arenas_touched: f64,
    /// Whether pymalloc's arenas were ever counted: they are left out of some snapshots when there are many.
    has_arenas: bool,
}

/// The layers that `snapshot` tells of.
pub(super) fn levels(snapshot: &Snapshot, memory: &mut Memory) -> Vec<Level> {
    let jvm = jvm(snapshot, memory);
    let small = python_small(snapshot, memory);
    let arenas = arenas(snapshot, memory);
    let python = python(snapshot, memory);
    [python, jvm, native(snapshot, small), process(snapshot, small, arenas, memory.touched)]
        .into_iter()
        .flatten()
        .collect()
}

/// Python's requests of up to 512 bytes, told or by their last share.
fn python_small(snapshot: &Snapshot, memory: &mut Memory) -> Option<f64> {
    let traced = snapshot.gauge(names::PYTHON_TRACED).filter(|traced| *traced > 0.0);
    let small = snapshot.gauge(names::PYTHON_TRACED_SMALL);
    if let (Some(traced), Some(small)) = (traced, small) {
        memory.small_share = Some((small / traced).clamp(0.0, 1.0));
    }
    small.or_else(|| Some(memory.small_share? * traced?))
}

/// What of pymalloc's arenas was touched; `None` where they were never counted. A snapshot without them has nothing to add.
fn arenas(snapshot: &Snapshot, memory: &mut Memory) -> Option<Option<f64>> {
    if let Some(mapped) = snapshot.gauge(names::PYTHON_ARENAS).filter(|mapped| mapped.is_finite()) {
        let unused = snapshot.gauge(names::PYTHON_ARENAS_UNUSED).unwrap_or(0.0).clamp(0.0, mapped.max(0.0));
        memory.arenas_touched = memory.arenas_touched.max(mapped - unused).min(mapped);
        memory.has_arenas = true;
        return Some(Some(memory.arenas_touched));
    }
    memory.has_arenas.then_some(None)
}

fn python(snapshot: &Snapshot, memory: &Memory) -> Option<Level> {
    let (_, gauge) = snapshot.python_bytes()?;
    // A snapshot that lacks the arenas of the others would be a step.
    if gauge == names::PYTHON_SAMPLED && memory.has_arenas {
        return None;
    }
    let mut sum = Sum::of(snapshot, gauge)?;
    if gauge == names::PYTHON_ARENAS_USED {
        sum.add(names::PYTHON_LARGE);
    }
    Some(sum.level(Layer::Python, gauge))
}

/// One point per collection: growth without any collection is garbage as likely as not.
fn jvm(snapshot: &Snapshot, memory: &mut Memory) -> Option<Level> {
    let used = snapshot.gauge(names::JVM_HEAP_USED)?;
    let committed = snapshot.gauge(names::JVM_HEAP_COMMITTED).unwrap_or(f64::INFINITY);
    memory.touched = memory.touched.max(used).min(committed.max(used));

    let after = Sum::of(snapshot, names::JVM_HEAP_AFTER_GC);
    let gauge = if after.is_some() { names::JVM_HEAP_AFTER_GC } else { names::JVM_HEAP_USED };
    let mut sum = after.or_else(|| Sum::of(snapshot, names::JVM_HEAP_USED))?;
    // Without a count of collections, a new figure after one shows that there was one.
    let collected = snapshot.gauge(names::JVM_GC_COUNT).or(snapshot.gauge(names::JVM_HEAP_AFTER_GC));
    let is_new = collected.is_some() && collected != memory.collected;
    // The first count is where counting begins. A figure after a collection is a point even then.
    let is_point = is_new && (memory.collected.is_some() || gauge == names::JVM_HEAP_AFTER_GC);
    memory.collected = collected.or(memory.collected);
    sum.add(names::JVM_DIRECT);
    sum.add(names::JVM_METASPACE_COMMITTED);
    sum.inputs |= u16::from(gauge == names::JVM_HEAP_AFTER_GC) << 14;
    let level = sum.level(Layer::Jvm, gauge);
    Some(Level { bytes: level.bytes.filter(|_| is_point), ..level })
}

fn native(snapshot: &Snapshot, small: Option<f64>) -> Option<Level> {
    let mut sum = Sum::of(snapshot, names::MALLOC_LIVE)?;
    // Both or neither: traced bytes alone do not tell what of them is in malloc.
    if let (Some(traced), Some(small)) = (snapshot.gauge(names::PYTHON_TRACED), small) {
        sum.explain((traced - small).max(0.0), 0.25);
    } else if let Some(large) = snapshot.gauge(names::PYTHON_LARGE).filter(|large| large.is_finite()) {
        sum.explain(large, 0.25);
    } else if snapshot.gauge(names::PYTHON_TRACED).is_none() {
        // Containers' own tables: 8 bytes in a list for each object of 56 that it holds.
        let used = snapshot.gauge(names::PYTHON_ARENAS_USED).filter(|used| used.is_finite());
        sum.allowance += 0.25 * used.unwrap_or(0.0);
    }
    sum.allow_unsplit_python(small);
    sum.subtract(names::PYTHON_TRACER, 1.5);
    sum.subtract(names::JVM_DIRECT, 0.25);
    Some(sum.level(Layer::Native, names::MALLOC_LIVE))
}

fn process(
    snapshot: &Snapshot,
    small: Option<f64>,
    arenas: Option<Option<f64>>,
    java_touched: f64,
) -> Option<Level> {
    let mut sum = match Sum::of(snapshot, names::ANONYMOUS) {
        Some(mut anonymous) => {
            anonymous.add(names::SHARED);
            anonymous
        }
        None => {
            let mut resident = Sum::of(snapshot, names::RESIDENT)?;
            resident.subtract(names::FILE_BACKED, 0.0);
            resident
        }
    };
    sum.add(names::SWAPPED);
    match arenas {
        Some(touched) => sum.subtract_value(touched, 0.0),
        None => {
            sum.allow_unsplit_python(small);
            sum.subtract_value(small, 3.0);
        }
    }
    sum.subtract(names::MALLOC_LIVE, 0.25);
    // Of what is free inside malloc, and of what the JVM says it used, not every page was touched; what is not cannot be more than
    // all that is left.
    let left = sum.bytes.max(0.0);
    sum.subtract_value(snapshot.gauge(names::MALLOC_FREE).map(|free| free.min(left)), 0.25);
    sum.subtract(names::JVM_NON_HEAP_USED, 0.25);
    // Each class loader has pieces of its own, which are never full: the layer of the JVM has them.
    let metaspace =
        snapshot.gauge(names::JVM_METASPACE_COMMITTED).zip(snapshot.gauge(names::JVM_METASPACE_USED));
    sum.subtract_value(metaspace.map(|(committed, used)| committed - used), 0.25);
    let again = mapped_again(snapshot);
    if let Some(again) = again {
        sum.explain(again, 0.25);
    } else if snapshot.gauge(names::JVM_HEAP_USED).is_some() {
        let left = sum.bytes.max(0.0);
        sum.explain(java_touched.min(left), 0.25);
    }
    // Leakline's own growth is none of the host's: the ledger has a row for it.
    sum.subtract_value(own(snapshot), 0.0);
    let is_told = arenas != Some(None) && (again.is_none() || is_fresh(snapshot));
    let level = sum.level(Layer::Process, names::RESIDENT);
    Some(Level { bytes: level.bytes.filter(|_| is_told), ..level })
}

/// What leakline holds in the process: where it mapped memory, by the map, and what it counts of a heap of its own. A watcher's
/// heap, whose process is told from outside, is none of the process's.
fn own(snapshot: &Snapshot) -> Option<f64> {
    let mapped = snapshot.gauge(names::MAP_LEAKLINE);
    let held = snapshot.own.held_bytes.map(|bytes| bytes as f64);
    match snapshot.gauge(names::MAP_LEAKLINE_SHARED) {
        Some(shared) => Some(mapped.unwrap_or(0.0) + shared),
        None => mapped.into_iter().chain(held).reduce(|one, other| one + other),
    }
}

/// A Java heap that is mapped at several places at once (ZGC's, up to Java 22): the kernel counts a page once for each of them, and
/// only the memory map tells how much that is; at times when it was not looked at, nobody does.
fn mapped_again(snapshot: &Snapshot) -> Option<f64> {
    let again = snapshot.gauge(names::MAP_JAVA_HEAP_SHARED)?;
    (again > snapshot.gauge(names::MAP_JAVA_HEAP).unwrap_or(0.0)).then_some(again)
}

/// Whether what stands there of the memory map was read for this snapshot.
pub(super) fn is_fresh(snapshot: &Snapshot) -> bool {
    snapshot.gauge(names::MAP_AGE).is_none_or(|age| age == 0.0)
}

/// Adds up gauges and remembers which were there.
struct Sum<'a> {
    snapshot: &'a Snapshot,
    bytes: f64,
    allowance: f64,
    asked: u32,
    inputs: u16,
}

impl<'a> Sum<'a> {
    /// Begins with a gauge without which there is nothing to tell.
    fn of(snapshot: &'a Snapshot, name: &str) -> Option<Self> {
        let bytes = snapshot.gauge(name).filter(|value| value.is_finite())?;
        Some(Self { snapshot, bytes, allowance: 0.0, asked: 0, inputs: 0 })
    }

    fn add(&mut self, name: &str) {
        let value = self.take(name);
        self.bytes += value;
    }

    /// Takes off what another layer explains; by `share` of its growth, this one may grow too.
    fn subtract(&mut self, name: &str, share: f64) {
        self.subtract_value(self.snapshot.gauge(name), share);
    }

    fn subtract_value(&mut self, value: Option<f64>, share: f64) {
        let value = self.note(value);
        self.bytes -= value;
        self.allowance += share * value;
    }

    /// Where Python's small requests are not told from its large ones, its growth may be in malloc or beside it: both
    /// may grow by it.
    fn allow_unsplit_python(&mut self, small: Option<f64>) {
        if small.is_none() {
            self.allowance += 1.25 * self.snapshot.gauge(names::PYTHON_TRACED).unwrap_or(0.0);
        }
    }

    /// As `subtract`, for a number that is known and not a gauge itself.
    fn explain(&mut self, value: f64, share: f64) {
        self.inputs |= 1 << 15;
        self.bytes -= value;
        self.allowance += share * value;
    }

    fn take(&mut self, name: &str) -> f64 {
        self.note(self.snapshot.gauge(name))
    }

    /// Remembers whether the value was there.
    fn note(&mut self, value: Option<f64>) -> f64 {
        let value = value.filter(|value| value.is_finite());
        self.inputs |= u16::from(value.is_some()) << self.asked;
        self.asked += 1;
        value.unwrap_or(0.0)
    }

    fn level(self, layer: Layer, gauge: &'static str) -> Level {
        let size = self.snapshot.gauge(gauge).filter(|size| size.is_finite()).unwrap_or(0.0).max(0.0);
        Level { layer, gauge, inputs: self.inputs, bytes: Some(self.bytes), allowance: self.allowance, size }
    }
}
