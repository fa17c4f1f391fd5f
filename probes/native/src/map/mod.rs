//! The process's memory map: which bytes are resident for what. Read in pieces of bounded time, over several ticks
//! where there are many mappings, and only when it says something new.
//! Never asks the kernel anything between ticks, and keeps no addresses once a map is counted.

mod class;
mod named;
mod places;
mod scan;
mod text;

use std::time::Duration;

use leakline_core::{Clock, Gauge, GaugeKind, Unit, names};
use leakline_probing::regions::{self, kinds};
use leakline_probing::shared::mapped;

use self::class::{Claims, Class, Files, Mapping};
use self::places::Malloc;
use self::scan::{Count, Totals};
use crate::error::NativeError;
use crate::pace::Pace;
use crate::process::Instants;
use crate::procfs::ProcFile;
use crate::target::Target;

/// More mappings than this are not counted. Twice what the kernel allows unless told otherwise; 40 bytes each.
const MOST_MAPPINGS: usize = 131_072;
/// More objects than this are not asked for their zeroed data.
const MOST_OBJECTS: usize = 8192;
/// By this much less does a map rest while memory moves: at most 1 % of the time instead of 0.1 %.
const MOVING: u32 = 10;
/// A map that is older than so many ticks is read again even where nothing moved.
const OLDEST_TICKS: u32 = 12;

/// What the process's size is now, to tell whether the last map still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Size {
    pub(crate) resident: u64,
    /// Not a file's.
    pub(crate) unbacked: u64,
}

impl Size {
    /// By more than 2 % of the resident size or 4 MiB, whichever is more.
    fn moved_since(self, then: Self) -> bool {
        self.unbacked.abs_diff(then.unbacked) > (self.resident / 50).max(4 << 20)
    }
}

/// Reads maps.
#[derive(Debug)]
pub(crate) struct Map {
    target: Target,
    maps: ProcFile,
    pagemap: ProcFile,
    smaps: ProcFile,
    has_scan: Option<bool>,
    pace: Pace,
    /// While memory moves, a map rests less.
    moving_pace: Pace,
    budget: Duration,
    state: State,
    last: Option<Picture>,
    /// What was worked on the map that is being read.
    spent: Duration,
    pieces: u32,
}

/// How far the map is.
#[derive(Debug)]
enum State {
    Idle,
    Lines {
        at: u64,
        begun: Size,
        lines: text::Lines,
        mappings: Vec<Mapping>,
        has_jvm: bool,
        objects: Vec<u64>,
    },
    Pages {
        begun: Size,
        mappings: u64,
        malloc: Malloc,
        count: Box<Count>,
    },
}

/// A map that was counted.
#[derive(Debug)]
struct Picture {
    size: Size,
    boot_nanos: u64,
    ticks: u32,
    mappings: u64,
    malloc: Malloc,
    totals: Totals,
}

/// What a tick has of the map.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) gauges: Vec<Gauge>,
    pub(crate) note: Option<String>,
}

impl Map {
    pub(crate) fn new(target: &Target, quick: Duration, rest_factor: u32, budget: Duration) -> Self {
        Self {
            target: target.clone(),
            maps: ProcFile::of(target, "maps"),
            pagemap: ProcFile::of(target, "pagemap"),
            smaps: ProcFile::of(target, "smaps"),
            has_scan: None,
            pace: Pace::new(quick, rest_factor),
            moving_pace: Pace::new(quick, rest_factor / MOVING),
            budget,
            state: State::Idle,
            last: None,
            spent: Duration::ZERO,
            pieces: 0,
        }
    }

    /// A piece of work where one is due, and what is known then.
    pub(crate) fn tick(&mut self, clock: &dyn Clock, now: Size) -> Seen {
        if let Some(last) = &mut self.last {
            last.ticks = last.ticks.saturating_add(1);
        }
        let mut seen = Seen::default();
        if self.is_due(clock, now) {
            seen.note = self.work(clock, now).or_else(|| self.is_blind());
        }
        let is_others = matches!(self.target, Target::Other(_));
        if let Some(last) = &self.last {
            seen.gauges = last.gauges(clock.now().boot_nanos);
        }
        // What another process holds of leakline's is what the map says, and never what this process holds: even none is told.
        for name in [names::MAP_LEAKLINE, names::MAP_LEAKLINE_SHARED] {
            if is_others && !seen.gauges.iter().any(|gauge| gauge.name == name) {
                seen.gauges.push(Gauge::bytes(name, 0));
            }
        }
        seen
    }

    /// Why places without a name are not looked at.
    fn is_blind(&self) -> Option<String> {
        let Target::Other(other) = &self.target else { return None };
        let why = other.memory_refused()?;
        Some(format!(
            "malloc's further heaps, its mapped blocks and libraries' zeroed data are not told apart: the program's memory may not \
             be read ({why}); allow it with kernel.yama.ptrace_scope=0, or run leakline as root"
        ))
    }

    fn is_due(&self, clock: &dyn Clock, now: Size) -> bool {
        if !matches!(self.state, State::Idle) {
            return true;
        }
        let now_nanos = clock.now().boot_nanos;
        match &self.last {
            Some(last) if now.moved_since(last.size) => self.moving_pace.due(now_nanos).is_ok(),
            Some(last) if self.pace.is_slow() && last.ticks < OLDEST_TICKS => false,
            _ => self.pace.due(now_nanos).is_ok(),
        }
    }

    fn work(&mut self, clock: &dyn Clock, now: Size) -> Option<String> {
        let started = Instants::now(clock);
        let outcome = self.step(clock, &started, now);
        let (ended, cost) = started.cost(clock);
        self.spent = self.spent.saturating_add(cost);
        self.pieces += 1;
        let note = match outcome {
            Ok(true) => None,
            Ok(false) => {
                return Some(format!(
                    "the memory map is large: {} pieces of it read so far, {:.1?} of work",
                    self.pieces, self.spent
                ));
            }
            Err(error) => Some(format!("no memory map: {error}")),
        };
        self.state = State::Idle;
        self.pace.took(ended.boot_nanos, self.spent);
        self.moving_pace.took(ended.boot_nanos, self.spent);
        (self.spent, self.pieces) = (Duration::ZERO, 0);
        note
    }

    /// Whether the map is whole.
    fn step(&mut self, clock: &dyn Clock, started: &Instants, now: Size) -> Result<bool, NativeError> {
        let budget = self.budget;
        let goes_on = || started.cost(clock).1 < budget;
        if matches!(self.state, State::Idle) {
            self.state = State::Lines {
                at: 0,
                begun: now,
                lines: text::Lines::default(),
                mappings: Vec::new(),
                has_jvm: false,
                objects: Vec::new(),
            };
        }
        if let State::Lines { at, begun, lines, mappings, has_jvm, objects } = &mut self.state {
            let whole = self.maps.read_on(at, |piece| {
                lines.feed(piece, |line| {
                    let Some(line) = text::line(line) else { return };
                    *has_jvm |= named::is_jvm(line.name);
                    if objects.len() < MOST_OBJECTS && may_be_object(&line) {
                        objects.push(line.start);
                    }
                    let mapping = Mapping::of(&line);
                    if !mappings.last_mut().is_some_and(|last| last.take_in(&mapping))
                        && mappings.len() <= MOST_MAPPINGS
                    {
                        mappings.push(mapping);
                    }
                });
                mappings.len() <= MOST_MAPPINGS && goes_on()
            })?;
            if mappings.len() > MOST_MAPPINGS {
                return Err(NativeError::TooMany { what: "mappings", most: MOST_MAPPINGS });
            }
            if !whole {
                return Ok(false);
            }
            let mut mappings = std::mem::take(mappings);
            // Between two pieces the map may have changed around where the first one ended.
            mappings.sort_unstable_by_key(|mapping| mapping.start);
            mappings.dedup_by(|later, earlier| later.start < earlier.end);
            let (begun, has_jvm) = (*begun, *has_jvm);
            let has_scan = *self.has_scan.get_or_insert_with(|| scan::has_scan(&mut self.pagemap));
            let all = mappings.iter().map(|mapping| u64::from(mapping.count)).sum();
            let objects = std::mem::take(objects);
            let (claims, malloc) = claims(&self.target, &mut mappings, &objects, has_jvm, &mut self.pagemap);
            let count = Box::new(Count::new(class::segments(&mappings, &claims), has_scan));
            self.state = State::Pages { begun, mappings: all, malloc, count };
            if !goes_on() {
                return Ok(false);
            }
        }
        let State::Pages { begun, mappings, malloc, count } = &mut self.state else { return Ok(false) };
        let Some(totals) = count.step(&mut self.pagemap, &mut self.smaps, goes_on)? else { return Ok(false) };
        self.last = Some(Picture {
            size: *begun,
            boot_nanos: clock.now().boot_nanos,
            ticks: 0,
            mappings: *mappings,
            malloc: *malloc,
            totals,
        });
        Ok(true)
    }
}

/// Whether a program or library may begin there, whose headers say more.
fn may_be_object(line: &text::Line<'_>) -> bool {
    line.offset == 0 && line.name.starts_with(b"/") && !line.access.is_none() && !line.access.is_shared()
}

/// Who has what: runtimes and libraries that say so first, then what can be seen, then who mapped it.
fn claims(
    target: &Target,
    mappings: &mut [Mapping],
    objects: &[u64],
    has_jvm: bool,
    pagemap: &mut ProcFile,
) -> (Claims, Malloc) {
    let mut claims = Claims::default();
    let (named, by_call): (Vec<_>, Vec<_>) =
        regions::all().into_iter().partition(|region| kind_of(region.kind) != Class::Other);
    // First, because no probe knows it better.
    for (start, end) in mapped::of(target.pid()) {
        claims.add(start, end, Class::Leakline);
    }
    for region in named {
        claims.add(region.start, region.end, kind_of(region.kind));
    }
    let malloc = places::find(target, mappings, objects, &mut claims, pagemap);
    if has_jvm {
        class::jvm_reservations(mappings);
    }
    for region in by_call {
        claims.add(region.start, region.end, Class::Other);
    }
    (claims, malloc)
}

fn kind_of(kind: &str) -> Class {
    match kind {
        kinds::JAVA_HEAP => Class::JavaHeap,
        kinds::JAVA_CODE => Class::JavaCode,
        kinds::JAVA_OTHER => Class::JavaOther,
        kinds::PYTHON => Class::Python,
        kinds::MALLOC => Class::Malloc,
        kinds::LEAKLINE => Class::Leakline,
        _ => Class::Other,
    }
}

impl Picture {
    fn gauges(&self, boot_nanos: u64) -> Vec<Gauge> {
        let of = |totals: &[u64; Class::COUNT], class: Class| {
            totals.get(class as usize).copied().unwrap_or_default()
        };
        let anonymous = |class| of(&self.totals.anonymous, class);
        let shared = |class| of(&self.totals.shared, class);
        let files = |kind: Files| self.totals.files.get(kind as usize).copied().unwrap_or_default();
        // Where it is neither, the gauge is left out: most hosts have few of these.
        let found = [
            (names::MAP_LIBRARIES, anonymous(Class::Libraries)),
            (names::MAP_STACKS, anonymous(Class::Stacks)),
            (names::MAP_MALLOC, anonymous(Class::Malloc)),
            (names::MAP_MALLOC_MAPPED, anonymous(Class::MallocMapped)),
            (names::MAP_MALLOC_FOUND, self.malloc.blocks),
            (names::MAP_JAVA_HEAP, anonymous(Class::JavaHeap)),
            (names::MAP_JAVA_HEAP_SHARED, shared(Class::JavaHeap)),
            (names::MAP_JAVA_CODE, anonymous(Class::JavaCode)),
            (names::MAP_JAVA_OTHER, anonymous(Class::JavaOther)),
            (names::MAP_PYTHON, anonymous(Class::Python)),
            (names::MAP_JAVA_CODE_SHARED, shared(Class::JavaCode)),
            (names::MAP_JAVA_OTHER_SHARED, shared(Class::JavaOther)),
            (names::MAP_GRAPHICS, shared(Class::Graphics)),
            (names::MAP_GRAPHICS_DEVICE, shared(Class::GraphicsDevice)),
            (names::MAP_LEAKLINE, anonymous(Class::Leakline)),
            (names::MAP_LEAKLINE_SHARED, shared(Class::Leakline)),
            // A device's memory has no anonymous pages; where a driver is odd, they are not shared memory's.
            (
                names::MAP_OTHER,
                anonymous(Class::Other) + anonymous(Class::Graphics) + anonymous(Class::GraphicsDevice),
            ),
            (names::MAP_FILES_JAVA, files(Files::Java)),
            (names::MAP_FILES_PACKAGES, files(Files::Packages)),
            (names::MAP_FILES_FONTS, files(Files::Fonts)),
        ];
        let mut gauges = Vec::with_capacity(found.len() + 4);
        gauges.push(Gauge::count(names::MAPPINGS, self.mappings));
        if self.malloc.arenas > 0 {
            gauges.push(Gauge::count(names::MAP_MALLOC_ARENAS, self.malloc.arenas));
        }
        let age = boot_nanos.saturating_sub(self.boot_nanos) as f64;
        gauges.push(Gauge {
            name: names::MAP_AGE.into(),
            unit: Unit::Nanoseconds,
            kind: GaugeKind::Level,
            value: if self.ticks == 0 { 0.0 } else { age },
        });
        gauges.push(Gauge::bytes(names::MAP_ANONYMOUS, self.totals.anonymous_sum()));
        gauges.push(Gauge::bytes(names::MAP_UNNAMED, anonymous(Class::Unnamed)));
        gauges.extend(
            found.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| Gauge::bytes(name, bytes)),
        );
        let swapped = [
            (names::MAP_LIBRARIES, Class::Libraries),
            (names::MAP_STACKS, Class::Stacks),
            (names::MAP_MALLOC, Class::Malloc),
            (names::MAP_MALLOC_MAPPED, Class::MallocMapped),
            (names::MAP_JAVA_HEAP, Class::JavaHeap),
            (names::MAP_JAVA_CODE, Class::JavaCode),
            (names::MAP_JAVA_OTHER, Class::JavaOther),
            (names::MAP_PYTHON, Class::Python),
            (names::MAP_LEAKLINE, Class::Leakline),
            (names::MAP_OTHER, Class::Other),
            (names::MAP_UNNAMED, Class::Unnamed),
        ];
        gauges.extend(swapped.into_iter().filter_map(|(name, class)| {
            let bytes = of(&self.totals.swapped, class);
            let what = name.strip_prefix(names::MAP_PREFIX)?;
            (bytes > 0).then(|| Gauge::bytes(format!("{}{what}", names::MAP_SWAPPED_PREFIX), bytes))
        }));
        gauges
    }
}

#[cfg(test)]
mod android_tests;
#[cfg(test)]
mod tests;
