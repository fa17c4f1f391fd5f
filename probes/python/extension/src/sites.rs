//! What the hook knows, as sites: sums per call path, copied under the recorder's lock, and lines told afterwards.
//! Never asks Python, never needs the GIL.

use std::sync::Arc;
use std::time::Instant;

use leakline_probing::sampler::estimate::Sums;
use leakline_python::wire::{SiteNumbers, SitesAnswer, SitesRequest, Source, WindowClosed, WindowState};

use crate::frames::CodeInfo;
use crate::hook::{self, TABLES};
use crate::intern::Interner;
use crate::paths::{Codes, Path};

/// When there are more paths, those that hold nothing are forgotten at the next reading, so that there is room for new
/// ones. In the recorder's own bound.
const COMPACT_AT: f64 = 0.5;

/// The name that stands where there is no Python frame: the allocation was made by a thread without the GIL, or before
/// there was any Python code. tracemalloc calls it the same.
const UNKNOWN: &str = "<unknown>";
/// And for paths that there was no room for.
const TOO_MANY: &str = "<more call paths than leakline keeps>";

/// What was read of a recorder so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    epoch: u64,
    interner_epoch: u64,
    codes: Vec<Arc<CodeInfo>>,
    /// Texts of the code objects' functions and files, once they were needed.
    texts: Vec<Option<(u32, u32)>>,
    /// The site of each path, by the path's index.
    sites: Vec<SiteOf>,
    sums: Vec<Sums>,
    /// Per site: where its numbers stand in the answer, plus one.
    places: Vec<u32>,
    /// Sums of the sites, while they are added up.
    found: Vec<(u32, Sums)>,
    path: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
enum SiteOf {
    Site(u32),
    LeftOut,
}

/// Reads the sites of one source.
pub(crate) fn read(reader: &mut Reader, interner: &mut Interner, request: &SitesRequest) -> SitesAnswer {
    let window = if request.source == Source::Exact { hook::window().map(window_state) } else { None };
    interner.prepare(&request.filters, request.max_sites as usize);
    let mut answer = SitesAnswer { window, ..SitesAnswer::default() };
    let new_paths = reader.copy(request, interner.epoch(), &mut answer);
    for path in &new_paths {
        let site = reader.site(path, interner);
        reader.sites.push(site);
    }
    reader.add_up(&mut answer);
    answer.additions = interner.additions(request.known);
    answer
}

impl Reader {
    /// Copies what changed, and gives the paths that are new.
    fn copy(&mut self, request: &SitesRequest, interner_epoch: u64, answer: &mut SitesAnswer) -> Vec<Path> {
        let begun = Instant::now();
        let new = TABLES.with(|tables| {
            let state = match request.source {
                Source::Sampled => &mut tables.sampled,
                Source::Exact => &mut tables.exact,
            };
            let most = (state.bounds().max_stacks as f64 * COMPACT_AT) as usize;
            let mut after = Codes::new();
            let before = std::mem::take(&mut state.extra);
            let compacted = state.compact(most, &mut |path, _| path.go_over(&before, &mut after));
            state.extra = if compacted { after } else { before };
            if compacted || self.epoch != state.epoch || self.interner_epoch != interner_epoch {
                let sums = std::mem::take(&mut self.sums);
                *self = Self { epoch: state.epoch, interner_epoch, sums, ..Self::default() };
            }
            answer.epoch = state.epoch;
            answer.mean = state.mean();
            answer.samples = state.samples() as u64;
            answer.large_bytes = state.large.live.bytes;
            answer.missed_frees = state.missed_frees;
            answer.fault = if request.check_all { state.check_all() } else { state.check() };
            self.sums.clear();
            self.sums.extend(state.stacks.all().iter().map(|stack| stack.sums));
            self.codes.extend(state.extra.since(self.codes.len()).cloned());
            state.stacks.all().iter().skip(self.sites.len()).map(|stack| stack.path.clone()).collect()
        });
        answer.held_nanos = begun.elapsed().as_nanos() as u64;
        new
    }

    /// The site of a path.
    fn site(&mut self, path: &Path, interner: &mut Interner) -> SiteOf {
        self.path.clear();
        self.path.push(u32::from(path.truncated));
        self.texts.resize(self.codes.len(), None);
        for (index, (code, instruction)) in path.frames.iter().enumerate() {
            let Some(info) = self.codes.get(*code as usize) else { continue };
            let texts = self.texts.get_mut(*code as usize);
            let (function, file) = match texts {
                Some(Some(texts)) => *texts,
                Some(unknown) => *unknown.insert((interner.text(&info.function), interner.text(&info.file))),
                None => continue,
            };
            if index == 0 && interner.leaves_out(file) {
                return SiteOf::LeftOut;
            }
            self.path.push(interner.frame(function, file, info.line(*instruction)));
        }
        if path.frames.is_empty() {
            let (nothing, name) = (interner.text(""), if path.is_shared { TOO_MANY } else { UNKNOWN });
            let file = interner.text(name);
            if interner.leaves_out(file) {
                return SiteOf::LeftOut;
            }
            self.path.push(interner.frame(nothing, file, 0));
        }
        SiteOf::Site(interner.path(&self.path))
    }

    /// Paths may have the same lines: then they are one site.
    fn add_up(&mut self, answer: &mut SitesAnswer) {
        let found = &mut self.found;
        found.clear();
        self.places.fill(0);
        for (sums, site) in self.sums.iter().zip(&self.sites) {
            answer.live_bytes += sums.live.bytes;
            if sums.samples == 0 {
                continue;
            }
            match *site {
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
