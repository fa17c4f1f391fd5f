//! What the hook knows, as profiles: sums per call path, copied under the tables' lock, and addresses told by object
//! afterwards, on the agent's own thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leakline_core::{Amount, Frame, NativePlace, Profile, ProfileSource, Site, SiteStat};
use leakline_probing::joined;
use leakline_probing::regions::{self, Region};
use leakline_probing::sampler::estimate::{Sums, Weight};
use leakline_probing::sampler::live::SURVIVAL_READINGS;

use super::OBJECTS_EPOCH;
use super::maps::Mapped;
use super::names::Names;
use super::record::{self, Path};
use crate::unwind::objects::Objects;

const _: () = assert!(SURVIVAL_READINGS == leakline_core::SURVIVAL_TICKS, "core says what survival means");

/// When there are more paths, those that hold nothing are forgotten at the next reading, so that there is room for new
/// ones. In the recorder's own bound.
const COMPACT_AT: f64 = 0.5;
/// Stands where no frame is known.
const UNKNOWN: &str = "<unknown>";
/// And for paths that there was no room for.
const TOO_MANY: &str = "<more call paths than leakline keeps>";

/// What a reading has.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    /// What malloc served, and what was mapped.
    pub(crate) all: Vec<Arc<Profile>>,
    /// Estimated live bytes of what malloc served since the hook came in front.
    pub(crate) sampled_bytes: u64,
    /// The samples that this rests on.
    pub(crate) samples: u64,
    /// Bytes that are mapped by the process itself.
    pub(crate) mapped_bytes: u64,
    /// How many mappings these are.
    pub(crate) mappings: u64,
    /// Mappings that there was no room for.
    pub(crate) lost_mappings: u64,
    /// Frees of samples that went by unseen.
    pub(crate) missed_frees: u64,
    /// How long threads of the host that had a sample may have waited.
    pub(crate) held: Duration,
    /// What is wrong with the tables, in words.
    pub(crate) fault: Option<String>,
}

/// What was read so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    heap: Source,
    maps: Source,
    objects: Objects,
    objects_epoch: u64,
    generation: Option<u64>,
    names: Names,
    mapped: Vec<Mapped>,
    frames: HashMap<usize, Arc<Frame>>,
    told: HashMap<(u32, u64), Arc<Frame>>,
}

/// One of the two tables.
#[derive(Debug, Default)]
struct Source {
    epoch: u64,
    /// The site of each path, by the path's index; `None`: leakline's own doing.
    sites: Vec<Option<Arc<Site>>>,
    sums: Vec<Sums>,
    survived: Vec<Weight>,
    new: Vec<Path>,
}

impl Source {
    fn begin(&mut self, epoch: u64, anew: bool) {
        if anew || self.epoch != epoch {
            *self = Self { epoch, ..Self::default() };
        }
        self.sums.clear();
        self.new.clear();
    }

    fn profile(&self, source: ProfileSource, mean: u64) -> Profile {
        let stats = self.sites.iter().zip(&self.sums).zip(&self.survived);
        let stats = stats.filter(|((_, sums), _)| sums.samples > 0).filter_map(|((site, sums), survived)| {
            Some(SiteStat {
                site: Arc::clone(site.as_ref()?),
                live: Amount { bytes: sums.live.bytes, blocks: sums.live_blocks() },
                standard_error_bytes: sums.standard_error(mean),
                allocated: Some(Amount { bytes: sums.allocated_bytes, blocks: sums.allocated_blocks() }),
                survived: Some(Amount { bytes: survived.bytes, blocks: survived.whole_blocks() }),
            })
        });
        Profile::new(source.in_epoch(self.epoch), stats.collect())
    }
}

impl Reader {
    /// Reads both tables. `check_all`: compares every sum with the samples.
    pub(crate) fn read(&mut self, check_all: bool) -> Profiles {
        self.look_at_objects();
        let mut profiles = Profiles::default();
        let mean = self.copy(check_all, &mut profiles);
        for source in [Which::Heap, Which::Maps] {
            let new = std::mem::take(&mut self.source(source).new);
            self.names.begin();
            for path in &new {
                let site = self.site(path);
                self.source(source).sites.push(site);
            }
        }
        self.publish();
        let heap = ProfileSource::sampled(ProfileSource::SAMPLED, mean);
        profiles.all.push(Arc::new(self.heap.profile(heap, mean)));
        profiles.all.push(Arc::new(self.maps.profile(ProfileSource::exact(ProfileSource::MAPPED), 0)));
        let total = |which: usize| profiles.all.get(which).map_or(0, |profile| profile.total().bytes);
        (profiles.sampled_bytes, profiles.mapped_bytes) = (total(0), total(1));
        profiles
    }

    /// Tells who reads the memory map which mappings are the program's own. Those of runtimes it tells apart itself.
    fn publish(&self) {
        let is_runtimes = |site: &Site| {
            let file = site.frames().first().map_or("", |frame| &*frame.file);
            let name = file.rsplit('/').next().unwrap_or(file);
            name.starts_with("libjvm") || name.contains("python")
        };
        let regions = self.mapped.iter().filter_map(|mapped| {
            let site = self.maps.sites.get(mapped.stack as usize)?.as_ref()?;
            let region =
                Region { start: mapped.start as u64, end: mapped.end as u64, kind: regions::kinds::MAPPED };
            (!is_runtimes(site)).then_some(region)
        });
        regions::set("mapped", regions.take(regions::MOST_REGIONS).collect());
    }

    fn source(&mut self, which: Which) -> &mut Source {
        match which {
            Which::Heap => &mut self.heap,
            Which::Maps => &mut self.maps,
        }
    }

    /// Copies what changed; gives the mean.
    fn copy(&mut self, check_all: bool, profiles: &mut Profiles) -> u64 {
        let Self { heap, maps, mapped, .. } = self;
        let begun = Instant::now();
        let mean = record::with_tables(|tables| {
            let recorder = &mut tables.heap;
            let most = (recorder.bounds().max_stacks as f64 * COMPACT_AT) as usize;
            let compacted = recorder.compact(most, &mut |_, ()| {});
            heap.begin(recorder.epoch, compacted);
            heap.sums.extend(recorder.stacks.all().iter().map(|stack| stack.sums));
            heap.new
                .extend(recorder.stacks.all().iter().skip(heap.sites.len()).map(|stack| stack.path.clone()));
            recorder.grow_older(&mut heap.survived);
            profiles.samples = recorder.samples() as u64;
            profiles.missed_frees = recorder.missed_frees;
            profiles.fault = if check_all { recorder.check_all() } else { recorder.check() };

            let regions = &mut tables.maps;
            maps.begin(regions.epoch, false);
            maps.sums.extend(regions.stacks.all().iter().map(|stack| stack.sums));
            maps.new
                .extend(regions.stacks.all().iter().skip(maps.sites.len()).map(|stack| stack.path.clone()));
            regions.grow_older(SURVIVAL_READINGS, &mut maps.survived);
            mapped.clear();
            mapped.extend(regions.all());
            profiles.mappings = regions.len() as u64;
            profiles.lost_mappings = regions.lost;
            recorder.mean()
        });
        profiles.held = begun.elapsed();
        mean
    }

    /// Notes what was loaded or unloaded since the last time.
    fn look_at_objects(&mut self) {
        let generation = leakline_probing::loader::generation();
        if generation.is_some() && generation == self.generation {
            return;
        }
        self.generation = generation;
        self.objects = Objects::of_process();
        self.names.look_at(&self.objects);
        let epoch = OBJECTS_EPOCH.load(std::sync::atomic::Ordering::SeqCst);
        if epoch != self.objects_epoch {
            self.objects_epoch = epoch;
            self.frames.clear();
        }
    }

    fn site(&mut self, path: &Path) -> Option<Arc<Site>> {
        let mut frames = Vec::with_capacity(path.native.len() + 8);
        for address in &path.native {
            if self.names.is_own(*address) {
                return None;
            }
            if self.names.is_part(*address) {
                continue;
            }
            let frame = self.frames.get(address).cloned();
            frames.push(frame.unwrap_or_else(|| self.native_frame(*address)));
        }
        if let Some((runtime, numbers)) = &path.joined {
            // The last native frame is the runtime's own code, for which its frames stand.
            frames.pop();
            self.tell(*runtime, numbers);
            frames.extend(numbers.iter().filter_map(|number| self.told.get(&(*runtime, *number)).cloned()));
        }
        if frames.is_empty() {
            let name = if path.is_shared { TOO_MANY } else { UNKNOWN };
            frames.push(Arc::new(Frame::new("", name, 0)));
        }
        Some(Arc::new(Site::call_path(frames, path.truncated)))
    }

    fn native_frame(&mut self, address: usize) -> Arc<Frame> {
        // The call, not what comes after it, which may be another function's.
        let frame = match self.objects.find(address.wrapping_sub(1)) {
            Some((object, place)) => {
                let name = self.names.exported(address.wrapping_sub(1));
                let place = NativePlace { build_id: Arc::clone(&object.build_id), address: place + 1 };
                Frame::in_object(name.unwrap_or_default(), Arc::clone(&object.path), place)
            }
            None => Frame::new("", format!("<code of no object at {address:#x}>"), 0),
        };
        let frame = Arc::new(frame);
        self.frames.insert(address, Arc::clone(&frame));
        frame
    }

    /// Has a runtime tell those of the frames that are new.
    fn tell(&mut self, runtime: u32, numbers: &[u64]) {
        let mut new: Vec<u64> =
            numbers.iter().copied().filter(|number| !self.told.contains_key(&(runtime, *number))).collect();
        new.sort_unstable();
        new.dedup();
        let Some(joined) = joined::all().nth(runtime as usize).filter(|_| !new.is_empty()) else { return };
        for (number, told) in new.iter().zip((joined.tell)(&new)) {
            let Some(told) = told else { continue };
            let frame = Frame::new(told.function, told.file, told.line);
            self.told.insert((runtime, *number), Arc::new(frame));
        }
    }
}

#[derive(Clone, Copy)]
enum Which {
    Heap,
    Maps,
}
