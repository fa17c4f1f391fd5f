//! The probe `process`: what the operating system counts of the host.
//! Never holds up the host on purpose: what may be slow is in `details`, timed, and asked less often when it is.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Seek};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leakline_core::{
    Attachment, Clock, Details, Gauge, GaugeReading, Layer, Probe, ProbeError, RuntimeInfo, Tick, names, own_descriptors,
};

use crate::error::NativeError;
use crate::map::{Map, Size};
use crate::pace::Pace;
use crate::parse::{self, Proportional, SmapsSum};
use crate::procfs::{ProcFile, each_entry};
use crate::resources::Resources;
use crate::room;
use crate::target::{Other as OtherProcess, Target};

/// Name of the gauge for swapped memory with shared pages divided by their users, in bytes.
pub const SWAPPED_PROPORTIONAL: &str = "process.swapped_proportional_bytes";

/// What the probe `process` may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessOptions {
    /// A detail that took longer than `quick` rests this many times as long before it is asked again. 1,000: at most
    /// 0.1 % of the time, so that an answer of 300 ms (a phone under load) still comes with every 5 minutes' tick.
    pub rest_factor: u32,
    /// What takes no longer is asked at every tick, however short the interval. 1 ms.
    pub quick: Duration,
    /// Where `smaps_rollup` is missing and `smaps` is summed instead, it is given up after this long. 200 ms: some
    /// 40,000 mappings.
    pub smaps_budget: Duration,
    /// Descriptors are counted one by one, on kernels that do not count them, up to this many. 20,000: some 10 ms.
    pub max_descriptors: u32,
    /// The memory map is read in pieces of at most this much work, one a tick. 15 ms: some 20,000 mappings, or 1.5 GB of
    /// pages.
    pub map_budget: Duration,
    /// Below so many free bytes the system begins to end programs. 0: it does so when there are none.
    pub kept_free_bytes: u64,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self {
            rest_factor: 1000,
            quick: Duration::from_millis(1),
            smaps_budget: Duration::from_millis(200),
            max_descriptors: 20_000,
            map_budget: Duration::from_millis(15),
            kept_free_bytes: 0,
        }
    }
}

/// Reads what the operating system counts of the host.
///
/// The resident size is `statm`'s. Its parts are read microseconds later, from `status`; both are exact to some pages
/// per thread (before Linux 6.2) or per processor (up to 6.15), so parts and whole may differ by that.
pub struct ProcessProbe {
    target: Target,
    clock: Arc<dyn Clock>,
    options: ProcessOptions,
    page_bytes: u64,
    statm: ProcFile,
    status: ProcFile,
    proportional: ProportionalSource,
    proportional_pace: Pace,
    descriptors_pace: Pace,
    map: Map,
    /// As `gauges` saw it last.
    size: Size,
    resources: Resources,
}

/// Where the proportional size comes from.
enum ProportionalSource {
    Rollup(ProcFile),
    Smaps(ProcFile),
}

impl ProcessProbe {
    /// A probe of the process that this code runs in, which has read nothing yet.
    pub fn new(clock: Arc<dyn Clock>, options: ProcessOptions) -> Self {
        Self::reading(Target::Own, clock, options)
    }

    /// A probe of the process `pid`, such as a watcher has.
    ///
    /// # Errors
    ///
    /// As [`OtherProcess::open`].
    pub fn of(clock: Arc<dyn Clock>, options: ProcessOptions, pid: u32) -> io::Result<Self> {
        Ok(Self::watching(clock, options, OtherProcess::open(pid)?))
    }

    /// A probe of a process that was opened already.
    pub fn watching(clock: Arc<dyn Clock>, options: ProcessOptions, process: Arc<OtherProcess>) -> Self {
        Self::reading(Target::Other(process), clock, options)
    }

    fn reading(target: Target, clock: Arc<dyn Clock>, options: ProcessOptions) -> Self {
        Self {
            clock,
            page_bytes: page_bytes(),
            statm: ProcFile::of(&target, "statm"),
            status: ProcFile::of(&target, "status"),
            proportional: ProportionalSource::Rollup(ProcFile::of(&target, "smaps_rollup")),
            proportional_pace: Pace::new(options.quick, options.rest_factor),
            descriptors_pace: Pace::new(options.quick, options.rest_factor),
            map: Map::new(&target, options.quick, options.rest_factor, options.map_budget),
            size: Size::default(),
            resources: Resources::new(target.clone(), &options),
            options,
            target,
        }
    }

    /// Fails for another process that has ended. Where only its first thread has, another one's files are read from now on.
    fn look_for_it(&self) -> Result<(), NativeError> {
        let Target::Other(other) = &self.target else { return Ok(()) };
        other.find_living_thread().map_err(|source| NativeError::Read { source, path: self.target.path("stat") })
    }

    fn read_statm(&mut self) -> Result<parse::Statm, NativeError> {
        parse::statm(self.statm.read()?).ok_or_else(|| self.statm.malformed())
    }

    fn proportional(&mut self, details: &mut Details) {
        let started = Instants::now(&*self.clock);
        if let Err(took) = self.proportional_pace.due(started.boot_nanos) {
            details
                .notes
                .push(format!("proportional size not asked this tick: the last answer took {took:.1?}"));
            return;
        }
        let outcome = self.proportional.read(&self.target, &*self.clock, self.options.smaps_budget);
        let (ended, cost) = started.cost(&*self.clock);
        self.proportional_pace.took(ended.boot_nanos, cost);
        if holds_the_map_lock() {
            details.longest_stall = details.longest_stall.max(started.wall(&ended));
        }
        match outcome {
            Ok(Some(Proportional { resident, swapped })) => {
                details.gauges.extend(resident.map(|bytes| Gauge::bytes(names::PROPORTIONAL, bytes)));
                details.gauges.extend(swapped.map(|bytes| Gauge::bytes(SWAPPED_PROPORTIONAL, bytes)));
            }
            Ok(None) => details.notes.push(format!(
                "no proportional size: this kernel has no smaps_rollup, and smaps took longer than {:?}",
                self.options.smaps_budget
            )),
            Err(error) => details.notes.push(format!("no proportional size: {error}")),
        }
    }

    fn descriptors(&mut self, details: &mut Details) {
        let started = Instants::now(&*self.clock);
        if let Err(took) = self.descriptors_pace.due(started.boot_nanos) {
            details.notes.push(format!("descriptors not counted this tick: the last count took {took:.1?}"));
            return;
        }
        let outcome = descriptors(&self.target, self.options.max_descriptors);
        let (ended, cost) = started.cost(&*self.clock);
        self.descriptors_pace.took(ended.boot_nanos, cost);
        match outcome {
            Ok(Some(count)) => details.gauges.push(Gauge::count(names::DESCRIPTORS, count)),
            Ok(None) => details
                .notes
                .push(format!("descriptors not counted: more than {}", self.options.max_descriptors)),
            Err(error) => details.notes.push(format!("descriptors not counted: {error}")),
        }
    }
}

#[async_trait]
impl Probe for ProcessProbe {
    fn name(&self) -> Cow<'static, str> {
        "process".into()
    }

    fn layer(&self) -> Layer {
        Layer::Process
    }

    async fn attach(&mut self) -> Result<Attachment, ProbeError> {
        Ok(match self.look_for_it().and_then(|()| self.read_statm()) {
            Ok(_) => Attachment::Attached(RuntimeInfo { name: kernel_name(), source_roots: Vec::new() }),
            Err(error) => Attachment::Absent { reason: error.to_string().into() },
        })
    }

    async fn gauges(&mut self, _: &Tick) -> Result<GaugeReading, ProbeError> {
        self.look_for_it()?;
        let taken = self.clock.now();
        let statm = self.read_statm()?;
        let status = parse::status(self.status.read()?);
        let bytes = |pages: u64| pages.saturating_mul(self.page_bytes);
        // Before Linux 4.5 only the sum of file-backed and shared is known, and with it the rest.
        let anonymous =
            status.anonymous.unwrap_or_else(|| bytes(statm.resident.saturating_sub(statm.shared)));

        let unbacked = anonymous.saturating_add(status.shared.unwrap_or(0));
        self.size = Size { resident: bytes(statm.resident), unbacked };

        let mut gauges = Vec::with_capacity(8);
        gauges.push(Gauge::bytes(names::RESIDENT, bytes(statm.resident)));
        gauges.push(Gauge::bytes(names::ANONYMOUS, anonymous));
        let fields = [
            (names::FILE_BACKED, status.file_backed),
            (names::SHARED, status.shared),
            (names::SWAPPED, status.swapped),
            (names::RESIDENT_PEAK, status.resident_peak),
        ];
        gauges.extend(fields.into_iter().filter_map(|(name, value)| Some(Gauge::bytes(name, value?))));
        gauges.extend(status.threads.map(|threads| Gauge::count(names::THREADS, threads)));
        Ok(GaugeReading { taken, gauges, stall: Duration::ZERO })
    }

    async fn details(&mut self, _: &Tick) -> Result<Details, ProbeError> {
        let mut details = Details::default();
        let seen = self.map.tick(&*self.clock, self.size);
        details.gauges.extend(seen.gauges);
        details.notes.extend(seen.note);
        self.proportional(&mut details);
        self.descriptors(&mut details);
        let left = room::left(self.options.kept_free_bytes);
        details.gauges.extend(left.map(|bytes| Gauge::bytes(names::MACHINE_LEFT, bytes)));
        self.resources.read(&*self.clock, &mut details);
        Ok(details)
    }
}

impl ProportionalSource {
    /// `None` when it took longer than `budget`, which only the sum over `smaps` can tell.
    fn read(
        &mut self,
        target: &Target,
        clock: &dyn Clock,
        budget: Duration,
    ) -> Result<Option<Proportional>, NativeError> {
        if let Self::Rollup(file) = self {
            match file.read() {
                Ok(text) => {
                    let mut sum = SmapsSum::new();
                    sum.feed(text);
                    return Ok(Some(sum.finish()));
                }
                Err(NativeError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    *self = Self::Smaps(ProcFile::of(target, "smaps"));
                }
                Err(error) => return Err(error),
            }
        }
        let Self::Smaps(file) = self else { return Ok(None) };
        let mut sum = SmapsSum::new();
        let started = clock.now().boot_nanos;
        let whole = file.read_each(|piece| {
            sum.feed(piece);
            u128::from(clock.now().boot_nanos.saturating_sub(started)) <= budget.as_nanos()
        })?;
        Ok(whole.then(|| sum.finish()))
    }
}

/// Before and after something that is paced.
pub(crate) struct Instants {
    pub(crate) boot_nanos: u64,
    cpu: Option<Duration>,
}

impl Instants {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { boot_nanos: clock.now().boot_nanos, cpu: clock.thread_cpu() }
    }

    /// Now, and what was worked in between. CPU time where it is known: on a busy machine the wall clock also counts
    /// the time in which others ran, and that makes nothing slow.
    pub(crate) fn cost(&self, clock: &dyn Clock) -> (Self, Duration) {
        let ended = Self::now(clock);
        let cost = match (self.cpu, ended.cpu) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => self.wall(&ended),
        };
        (ended, cost)
    }

    pub(crate) fn wall(&self, ended: &Self) -> Duration {
        Duration::from_nanos(ended.boot_nanos.saturating_sub(self.boot_nanos))
    }
}

/// `None` for more than `most`. Without leakline's own.
fn descriptors(target: &Target, most: u32) -> Result<Option<u64>, NativeError> {
    let folder = target.descriptors()?;
    let counted = count_descriptors(&folder, most)
        .map_err(|source| NativeError::Read { source, path: target.path("fd") })?;
    // The open folder is one of them.
    let own = if matches!(target, Target::Own) { own_descriptors().count() as u64 + 1 } else { 0 };
    Ok(counted.map(|count| count.saturating_sub(own)))
}

fn count_descriptors(folder: &File, most: u32) -> io::Result<Option<u64>> {
    // Since Linux 6.2 the folder's size is the count.
    match folder.metadata()?.len() {
        0 => count_entries(folder, most),
        counted => Ok(Some(counted)),
    }
}

/// Entries of an open folder, `.` and `..` left out; `None` for more than `most`.
fn count_entries(mut folder: &File, most: u32) -> io::Result<Option<u64>> {
    // It may have been read before.
    folder.rewind()?;
    let mut entries = 0;
    each_entry(folder, |name| {
        entries += u64::from(!matches!(name, b"." | b".."));
        entries <= u64::from(most)
    })?;
    Ok((entries <= u64::from(most)).then_some(entries))
}

pub(crate) fn as_bytes(words: &[u64; 1024]) -> &[u8] {
    // SAFETY: the array is initialised, has no padding, and outlives the slice through the shared lifetime.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), std::mem::size_of_val(words)) }
}

pub(crate) fn page_bytes() -> u64 {
    // SAFETY: takes a number, touches no memory of ours.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

fn kernel_name() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim()).trim_end().to_owned()
}

/// Before Linux 5.10 a walk over all mappings keeps every thread waiting that wants to map or unmap memory.
fn holds_the_map_lock() -> bool {
    static OLD: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *OLD.get_or_init(|| is_before_5_10(&kernel_name()))
}

fn is_before_5_10(name: &str) -> bool {
    let mut numbers = name.trim_start_matches("Linux ").split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next().and_then(|digits| digits.parse::<u32>().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) => (major, minor) < (5, 10),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_5_10_hold_the_lock() {
        for (name, old) in [
            ("Linux 4.14.186-perf", true),
            ("Linux 5.9.0", true),
            ("Linux 5.10.0-8-amd64", false),
            ("Linux 6.1", false),
            ("Linux", false),
        ] {
            assert_eq!(is_before_5_10(name), old, "{name}");
        }
    }

    #[test]
    fn counting_one_by_one_agrees_with_the_standard_library() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..700 {
            let name = format!("a-longer-name-so-that-one-buffer-is-not-enough-{number}");
            File::create(dir.path().join(name)).unwrap();
        }
        let folder = File::open(dir.path()).unwrap();
        for (most, expected) in [(1000, Some(700)), (700, Some(700)), (699, None), (100, None)] {
            assert_eq!(count_entries(&folder, most).unwrap(), expected);
        }
    }
}
