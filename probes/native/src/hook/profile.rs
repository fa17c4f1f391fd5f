//! What the hook knows, as profiles: sums per call path, copied from the tables, and addresses told by object, on the
//! agent's own thread or in the watcher. Never waits for the host.

use std::collections::HashMap;
use std::sync::Arc;

use leakline_core::{Amount, Frame, NativePlace, Profile, ProfileSource, Site, SiteStat};
use leakline_probing::joined::{self, Told};
use leakline_probing::regions::{self, Region};
use leakline_probing::sampler::live::SURVIVAL_READINGS;

use super::names::Names;
use super::objects::Book;
use super::table::read::{Copied, Frames, ReadPath};
use super::table::write;
use super::table::{SHARED_PATHS, Table};
use crate::Watching;

const _: () = assert!(SURVIVAL_READINGS == leakline_core::SURVIVAL_TICKS, "core says what survival means");

/// Stands where no frame is known.
const UNKNOWN: &str = "<unknown>";
/// And for paths that there was no room for.
const TOO_MANY: &str = "<more call paths than leakline keeps>";
/// Frames whose words are kept, of addresses and of runtimes each; with more, those that no site has are forgotten. Some 200
/// bytes each.
const MOST_FRAMES: usize = 4096;
/// Numbers of a runtime's frames that are asked for at once.
const TOLD_AT_ONCE: usize = 4096;

/// What a reading has.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    /// What malloc served, and what was mapped.
    pub(crate) all: Vec<Arc<Profile>>,
    /// Estimated live bytes of what malloc served since the hook came in front, and their variance in squares of bytes.
    pub(crate) sampled_bytes: u64,
    pub(crate) sampled_variance: f64,
    /// The samples that this rests on.
    pub(crate) samples: u64,
    /// Bytes that are mapped by the process itself.
    pub(crate) mapped_bytes: u64,
    /// How many mappings these are.
    pub(crate) mappings: u64,
    /// What is missing in it, in words.
    pub(crate) notes: Vec<String>,
}

/// What was read so far.
#[derive(Default)]
pub(crate) struct Reader {
    watching: Option<Watching>,
    epoch: u64,
    /// Counts the readings of the tables that are in use.
    number: u32,
    /// The site of each path, by place.
    sites: Vec<KnownSite>,
    objects: Book,
    names: Names,
    frames: HashMap<(usize, usize), Arc<Frame>>,
    told: HashMap<(u32, u64), Arc<Frame>>,
}

/// The site of a path; `None`: leakline's own doing.
#[derive(Debug, Clone, Default)]
struct KnownSite {
    /// Which path at this place it was.
    turn: u32,
    site: Option<Arc<Site>>,
    /// Whether every frame has its name.
    is_whole: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Reader {
    /// One that reads what another process wrote, or this one.
    pub(crate) fn new(watching: Option<Watching>) -> Self {
        Self {
            objects: Book::new(watching.as_ref().map(|watching| watching.pid)),
            watching,
            ..Self::default()
        }
    }

    /// Reads the tables. `None`: they cannot be read at this moment.
    pub(crate) fn read(&mut self) -> Option<Profiles> {
        let table = write::table()?;
        if self.epoch != table.header.epoch.load(std::sync::atomic::Ordering::Relaxed) {
            (self.number, self.epoch) = (0, 0);
            self.sites.clear();
        }
        self.number = self.number.saturating_add(1);
        let copied = table.copy(self.number)?;
        self.epoch = copied.epoch;
        if self.objects.look(table) {
            self.frames.clear();
            self.told.clear();
        }
        self.names.look_at(self.objects.loaded());
        self.names.begin();
        let untold = self.learn(table, &copied);
        let mut profiles = self.profiles(&copied);
        self.publish(table, &copied);
        profiles.notes = notes(table, &copied);
        if untold > 0 {
            profiles.notes.push(format!(
                "{untold} frames of a runtime in call paths are not named yet: the process did not answer"
            ));
        }
        Some(profiles)
    }

    fn profiles(&self, copied: &Copied) -> Profiles {
        let (mut heap, mut maps) = (Vec::new(), Vec::new());
        let (mut samples, mut variance) = (0, 0.0);
        for (place, path) in copied.paths.iter().enumerate().filter(|(_, path)| path.sums.samples > 0) {
            let mean = if path.is_mapping { 0 } else { copied.mean };
            let error = path.sums.standard_error(mean);
            if !path.is_mapping {
                samples += path.sums.samples;
                variance += (error as f64).powi(2);
            }
            let known = self.sites.get(place).filter(|known| known.turn == path.turn);
            if let Some(site) = known.and_then(|known| known.site.as_ref()) {
                if path.is_mapping { &mut maps } else { &mut heap }.push(stat(site, path, error));
            }
        }
        let profile =
            |source: ProfileSource, stats| Arc::new(Profile::new(source.in_epoch(copied.epoch), stats));
        let heap = profile(ProfileSource::sampled(ProfileSource::SAMPLED, copied.mean), heap);
        let maps = profile(ProfileSource::exact(ProfileSource::MAPPED), maps);
        Profiles {
            sampled_bytes: heap.total().bytes,
            sampled_variance: variance,
            samples,
            mapped_bytes: maps.total().bytes,
            mappings: copied.mapped.len() as u64,
            all: vec![heap, maps],
            notes: Vec::new(),
        }
    }

    /// Makes the sites of paths that are new; gives how many frames of runtimes could not be named.
    fn learn(&mut self, table: &Table, copied: &Copied) -> usize {
        self.sites.resize(copied.paths.len(), KnownSite::default());
        // A path that holds nothing is told anew if it ever does again: there may be very many.
        let all = self.sites.iter_mut().zip(&copied.paths);
        for (known, _) in all.filter(|(_, path)| path.sums.samples == 0) {
            *known = KnownSite::default();
        }
        self.forget_frames();
        let is_new = |(place, path): &(usize, &ReadPath)| {
            let known = self.sites.get(*place);
            path.sums.samples > 0 && known.is_none_or(|known| known.turn != path.turn || !known.is_whole)
        };
        let new = copied.paths.iter().enumerate().filter(is_new);
        let new: Vec<(usize, u32, Frames)> = new
            .filter_map(|(place, path)| Some((place, path.turn, table.frames(place, path.turn)?)))
            .collect();
        let untold = self.ask_runtimes(new.iter().map(|(_, _, frames)| frames));
        for (place, turn, frames) in new {
            let site = self.site(place, &frames);
            let is_told = |number: &u64| self.told.contains_key(&(frames.runtime, *number));
            // Names that could not be asked for are asked for again.
            let is_whole = untold == 0 || frames.numbers.iter().all(is_told);
            if let Some(known) = self.sites.get_mut(place) {
                *known = KnownSite { turn, site, is_whole };
            }
        }
        untold
    }

    /// Forgets the words of frames that no site has any more, where there are too many.
    fn forget_frames(&mut self) {
        if self.frames.len().max(self.told.len()) > MOST_FRAMES {
            self.frames.retain(|_, frame| Arc::strong_count(frame) > 1);
            self.told.retain(|_, frame| Arc::strong_count(frame) > 1);
            self.frames.shrink_to(MOST_FRAMES);
            self.told.shrink_to(MOST_FRAMES);
            self.names.forget();
        }
    }

    /// Tells who reads the memory map which mappings are the program's own. Those of runtimes it tells apart itself.
    fn publish(&self, table: &Table, copied: &Copied) {
        let (start, end) = table.place();
        regions::set(
            "tables of malloc's samples",
            vec![Region { start, end, kind: regions::kinds::LEAKLINE }],
        );
        let is_runtimes = |site: &Site| {
            let file = site.frames().first().map_or("", |frame| &*frame.file);
            let name = file.rsplit('/').next().unwrap_or(file);
            name.starts_with("libjvm") || name.contains("python")
        };
        let regions = copied.mapped.iter().filter_map(|mapped| {
            let site = self.sites.get(mapped.path as usize)?.site.as_ref()?;
            let region = Region { start: mapped.start, end: mapped.end, kind: regions::kinds::MAPPED };
            (!is_runtimes(site)).then_some(region)
        });
        regions::set("mapped", regions.take(regions::MOST_REGIONS).collect());
    }

    /// `None`: leakline's own doing.
    fn site(&mut self, place: usize, path: &Frames) -> Option<Arc<Site>> {
        let mut frames = Vec::with_capacity(path.native.len() + 8);
        for address in &path.native {
            if self.names.is_own(*address) {
                return None;
            }
            if self.names.is_part(*address) {
                continue;
            }
            frames.extend(self.native_frame(*address, path.objects_epoch));
        }
        if !path.numbers.is_empty() {
            // The last native frame is the runtime's own code, for which its frames stand.
            frames.pop();
            let told =
                path.numbers.iter().filter_map(|number| self.told.get(&(path.runtime, *number)).cloned());
            frames.extend(told);
        }
        if frames.is_empty() {
            let name = if place < SHARED_PATHS { TOO_MANY } else { UNKNOWN };
            frames.push(Arc::new(Frame::new("", name, 0)));
        }
        Some(Arc::new(Site::call_path(frames, path.is_truncated)))
    }

    /// `None`: code of a part of leakline's, which stands between an interpreter and malloc.
    fn native_frame(&mut self, address: usize, objects_epoch: u32) -> Option<Arc<Frame>> {
        // The call, not what comes after it, which may be another function's.
        let call = address.wrapping_sub(1);
        let found = self.objects.find(call, objects_epoch);
        if found.is_some_and(|found| found.is_part) {
            return None;
        }
        let key = (address, found.map_or(usize::MAX, |found| found.index));
        if let Some(frame) = self.frames.get(&key) {
            return Some(Arc::clone(frame));
        }
        let frame = match found {
            Some(found) => {
                let name = if found.is_loaded_here { self.names.exported(call) } else { None };
                let place = NativePlace { build_id: found.build_id.clone(), address: found.address + 1 };
                Frame::in_object(name.unwrap_or_default(), found.path.clone(), place)
            }
            None => Frame::new("", format!("<code of no object at {address:#x}>"), 0),
        };
        let frame = Arc::new(frame);
        self.frames.insert(key, Arc::clone(&frame));
        Some(frame)
    }

    /// Has runtimes tell those of the frames that are new; gives how many they did not answer for.
    fn ask_runtimes<'a>(&mut self, paths: impl Iterator<Item = &'a Frames>) -> usize {
        let mut new: Vec<(u32, u64)> = paths
            .flat_map(|path| path.numbers.iter().map(|number| (path.runtime, *number)))
            .filter(|key| !self.told.contains_key(key))
            .collect();
        new.sort_unstable();
        new.dedup();
        let mut unanswered = 0;
        for of_one in new.chunk_by(|(one, _), (other, _)| one == other) {
            for part in of_one.chunks(TOLD_AT_ONCE) {
                let runtime = part.first().map_or(0, |(runtime, _)| *runtime);
                let numbers: Vec<u64> = part.iter().map(|(_, number)| *number).collect();
                let Some(told) = self.tell(runtime, &numbers) else {
                    unanswered += part.len();
                    continue;
                };
                for (key, told) in part.iter().zip(told) {
                    let Some(told) = told else { continue };
                    self.told.insert(*key, Arc::new(Frame::new(told.function, told.file, told.line)));
                }
            }
        }
        unanswered
    }

    fn tell(&self, runtime: u32, numbers: &[u64]) -> Option<Vec<Option<Told>>> {
        match &self.watching {
            Some(watching) => (watching.tell)(runtime, numbers),
            None => joined::all().nth(runtime as usize).map(|joined| (joined.tell)(numbers)),
        }
    }
}

fn stat(site: &Arc<Site>, path: &ReadPath, standard_error_bytes: u64) -> SiteStat {
    let sums = &path.sums;
    SiteStat {
        site: Arc::clone(site),
        live: Amount { bytes: sums.live.bytes, blocks: sums.live_blocks() },
        standard_error_bytes,
        allocated: Some(Amount { bytes: sums.allocated_bytes, blocks: sums.allocated_blocks() }),
        survived: Some(Amount { bytes: path.survived.bytes, blocks: path.survived.whole_blocks() }),
    }
}

/// What is missing in the tables, each reason with its count.
fn notes(table: &Table, copied: &Copied) -> Vec<String> {
    let counts = &table.header.counts;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    let mut notes: Vec<String> = copied
        .fault
        .iter()
        .map(|fault| format!("leakline's tables are wrong, please report this: {fault}"))
        .collect();
    let mut note = |number: u64, what: &str| {
        if number > 0 {
            notes.push(format!("{number} {what}"));
        }
    };
    // A few frees of sampled memory are always missed: in signal handlers, and by what was loaded before the hook.
    let missed = count(&counts.missed_frees);
    note(if missed * 100 > copied.samples { missed } else { 0 }, "frees of sampled memory went by unseen");
    note(count(&counts.lost_regions), "mappings more than leakline keeps");
    note(
        count(&counts.merged),
        "samples are counted under \"<more call paths than leakline keeps>\", for want of room for their own",
    );
    note(count(&counts.lost_samples), "samples of malloc were not kept: there was no room");
    note(count(&counts.interrupted), "samples were skipped in signal handlers");
    note(
        count(&counts.lost_objects),
        "times a library was not recorded for want of room: its frames have no file",
    );
    note(copied.unread_paths, "call paths were not read: the process stands in the middle of changing them");
    let thinned = count(&counts.thinned);
    if thinned > 0 {
        notes.push(format!(
            "more live samples than leakline keeps: one in {} bytes is sampled now, no longer one in {}",
            copied.mean,
            count(&table.header.first_mean)
        ));
    }
    if copied.are_mappings_unread {
        notes.push("mappings were not read: the process stands in the middle of changing them".to_owned());
    }
    notes
}
