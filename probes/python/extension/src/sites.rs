//! What the hook knows, as sites: sums per call path, copied under the recorder's lock, and lines told afterwards, of
//! paths that hold something: of the many that a program has only passed through, nothing is kept here.
//! Never asks Python, never needs the GIL.

use std::sync::Arc;
use std::time::Instant;

use leakline_probing::sampler::estimate::Sums;
use leakline_python::kept::names::{Interner, Room};
use leakline_python::kept::paths::{Path, held_bytes};
use leakline_python::wire::{SiteNumbers, SitesAnswer, SitesRequest, Source, WindowClosed, WindowState};
use rustc_hash::FxHashMap;

use crate::frames::CodeInfo;
use crate::hook::{self, TABLES};

/// When the paths take more than this part of what they may, or are more of their number, those that hold nothing are
/// forgotten at a reading: so there is room for new ones until the next, without a search for each.
const FORGET_AT: f64 = 0.5;

/// The name that stands where there is no Python frame: the allocation was made by a thread without the GIL, or before
/// there was any Python code. tracemalloc calls it the same.
const UNKNOWN: &str = "<unknown>";
/// What was read of a recorder so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    epoch: u64,
    interner_epoch: u64,
    /// By the path's index: its serial, and its site.
    sites: Vec<(u64, SiteOf)>,
    sums: Vec<Sums>,
    /// Per site: where its numbers stand in the answer, plus one.
    places: Vec<u32>,
    /// Sums of the sites, while they are added up.
    found: Vec<(u32, Sums)>,
    path: Vec<u32>,
    /// Texts of the code objects' functions and files, while paths are told of.
    texts: FxHashMap<*const CodeInfo, Option<(u32, u32)>>,
}

// SAFETY: the addresses are only compared, and none is kept from one reading to the next.
unsafe impl Send for Reader {}

/// A path that was not told of before.
struct New {
    index: usize,
    serial: u64,
    path: Path,
    codes: Vec<Arc<CodeInfo>>,
}

#[derive(Debug, Clone, Copy)]
enum SiteOf {
    Site(u32),
    LeftOut,
    /// Nobody has asked so far: it held nothing.
    NotTold,
}

/// Reads the sites of one source.
pub(crate) fn read(reader: &mut Reader, interner: &mut Interner, request: &SitesRequest) -> SitesAnswer {
    let window = if request.source == Source::Exact { hook::window().map(window_state) } else { None };
    interner.prepare(&request.filters, Room::of(request.max_sites, request.max_name_bytes));
    let mut answer = SitesAnswer { window, ..SitesAnswer::default() };
    let new_paths = reader.copy(request, interner.epoch(), &mut answer);
    for new in &new_paths {
        let site = reader.site(new, interner);
        if let Some(place) = reader.sites.get_mut(new.index) {
            *place = (new.serial, site);
        }
    }
    // They are addresses, which mean nothing once `new_paths` are gone.
    reader.texts = FxHashMap::default();
    reader.add_up(&mut answer);
    answer.merged_names = interner.merged();
    answer.additions = interner.additions(request.known);
    answer
}

impl Reader {
    /// Copies what changed, and gives the paths that are new.
    fn copy(&mut self, request: &SitesRequest, interner_epoch: u64, answer: &mut SitesAnswer) -> Vec<New> {
        let begun = Instant::now();
        let new = TABLES.with(|tables| {
            let state = match request.source {
                Source::Sampled => &mut tables.sampled,
                Source::Exact => &mut tables.exact,
            };
            if self.epoch != state.epoch || self.interner_epoch != interner_epoch {
                let sums = std::mem::take(&mut self.sums);
                *self = Self { epoch: state.epoch, interner_epoch, sums, ..Self::default() };
            }
            answer.epoch = state.epoch;
            answer.mean = state.mean();
            answer.samples = state.samples() as u64;
            answer.merged_samples = state.merged;
            answer.large_bytes = state.large.live.bytes;
            answer.missed_frees = state.missed_frees;
            answer.fault = if request.check_all { state.check_all() } else { state.check() };
            let most_paths = state.bounds().max_stacks as f64 * FORGET_AT;
            let most_bytes = state.extra.most() as f64 * FORGET_AT;
            if state.stacks.kept() as f64 > most_paths || held_bytes(state) as f64 > most_bytes {
                state.forget_all(&mut |path, codes| codes.release(&path));
            }
            let all = state.stacks.all();
            self.sums.clear();
            self.sums.extend(all.iter().map(|stack| stack.sums));
            self.sites.resize(all.len(), (0, SiteOf::NotTold));
            let told = all.iter().enumerate().zip(&self.sites);
            let new =
                told.filter(|((_, stack), (serial, _))| stack.sums.samples > 0 && stack.serial != *serial);
            let new = new.map(|((index, stack), _)| {
                let codes = stack.path.frames.iter().filter_map(|(code, _)| state.extra.get(*code).cloned());
                New { index, serial: stack.serial, path: stack.path.clone(), codes: codes.collect() }
            });
            new.collect::<Vec<New>>()
        });
        answer.held_nanos = begun.elapsed().as_nanos() as u64;
        new
    }

    /// The site of a path; the one for all that there is no room for, where its names have no room.
    fn site(&mut self, new: &New, interner: &mut Interner) -> SiteOf {
        match self.try_site(new, interner) {
            Some(site) => site,
            None => SiteOf::Site(interner.shared()),
        }
    }

    fn try_site(&mut self, New { path, codes, .. }: &New, interner: &mut Interner) -> Option<SiteOf> {
        if path.is_shared {
            return Some(SiteOf::Site(interner.shared_path()));
        }
        self.path.clear();
        self.path.push(u32::from(path.truncated));
        for (index, ((_, instruction), info)) in path.frames.iter().zip(codes).enumerate() {
            let texts = self.texts.entry(Arc::as_ptr(info));
            let texts =
                texts.or_insert_with(|| Some((interner.text(&info.function)?, interner.text(&info.file)?)));
            let (function, file) = (*texts)?;
            if index == 0 && interner.leaves_out(file) {
                return Some(SiteOf::LeftOut);
            }
            self.path.push(interner.frame(function, file, info.line(*instruction))?);
        }
        if path.frames.is_empty() {
            let (nothing, file) = (interner.text("")?, interner.text(UNKNOWN)?);
            if interner.leaves_out(file) {
                return Some(SiteOf::LeftOut);
            }
            self.path.push(interner.frame(nothing, file, 0)?);
        }
        Some(SiteOf::Site(interner.path(&self.path)?))
    }

    /// Paths may have the same lines: then they are one site.
    fn add_up(&mut self, answer: &mut SitesAnswer) {
        let found = &mut self.found;
        found.clear();
        self.places.fill(0);
        for (sums, (_, site)) in self.sums.iter().zip(&self.sites) {
            answer.live_bytes += sums.live.bytes;
            if sums.samples == 0 {
                continue;
            }
            match *site {
                SiteOf::NotTold => {}
                SiteOf::LeftOut => {
                    answer.filtered.0 += sums.live.bytes;
                    answer.filtered.1 += sums.live_blocks();
                }
                SiteOf::Site(site) => {
                    if self.places.len() <= site as usize {
                        self.places.resize(site as usize + 1, 0);
                    }
                    let Some(place) = self.places.get_mut(site as usize) else { continue };
                    match found.get_mut((*place as usize).wrapping_sub(1)) {
                        Some((_, sum)) => sum.merge(sums),
                        None => {
                            found.push((site, *sums));
                            *place = found.len() as u32;
                        }
                    }
                }
            }
        }
        let mean = answer.mean;
        answer.sites = found
            .iter()
            .map(|(site, sums)| SiteNumbers {
                site: *site,
                bytes: sums.live.bytes,
                blocks: sums.live_blocks(),
                error: sums.standard_error(mean),
                allocated_bytes: sums.allocated_bytes,
                allocated_blocks: sums.allocated_blocks(),
            })
            .collect();
    }
}

fn window_state(state: hook::State) -> WindowState {
    WindowState {
        closed: state.closed.map(|closed| match closed {
            hook::Closed::Time => WindowClosed::Time,
            hook::Closed::Traces => WindowClosed::Traces,
            hook::Closed::Share => WindowClosed::Share,
            hook::Closed::Asked => WindowClosed::Asked,
            hook::Closed::Unhooked => WindowClosed::Unhooked,
        }),
        recorded: state.recorded,
        took_nanos: state.took.as_nanos() as u64,
        lasted_nanos: state.lasted.as_nanos() as u64,
    }
}
