//! Who holds the objects that a growing type gained: from a sample of them upwards, one walk through all objects for
//! each step, until a name is reached (a module's global, an attribute, a closure's variable, a default argument).
//!
//! Objects are remembered by their addresses only, never by a reference: one that is freed meanwhile is found no more,
//! or, if another comes to lie where it was, stands for that. So what is found is approximate while the host allocates,
//! and nothing of the host's ever ends on our thread.

use std::ffi::{c_int, c_void};

use leakline_python::wire::Holder;
use pyo3::ffi;
use rustc_hash::FxHashMap;

use super::layout::{Entries, Known, Object};
use super::lists::Flow;
use super::place::{self, Place, Referrer};
use super::seen::Seen;

/// Most instances of a type in its sample.
pub(super) const MAX_SAMPLES: usize = 256;
/// Steps upwards.
const MAX_LEVELS: u32 = 6;
/// Containers whose holders are looked for in one step.
const MAX_NODES: usize = 2048;
/// Names under which one namespace may hold what is looked for.
const MAX_KEYS: usize = 64;
/// References of one object that are followed in one go; a list or a dict is then gone on with at any position, anything
/// else from its beginning, over what has been seen.
const SLICE: u64 = 16_384;
const LONG_SLICE: u64 = 131_072;
/// References of one object that are followed at all, if it is neither a list nor a dict.
const MAX_EDGES_OF_ONE: u64 = 8 * LONG_SLICE;
/// References between two looks at the clock.
const STEPS: u64 = 4096;
/// As many as one that has to be named takes.
const STEPS_OF_A_HIT: u64 = 256;

/// Which of a sample's objects are meant.
type Bits = [u64; MAX_SAMPLES / 64];

/// A growing type, and the sample of what it gained.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) grown: u64,
    /// Those that the walk meets last: the collector's lists are roughly in the order of age.
    late: Sample,
    /// Those that were not there at the census before. Preferred: a full collection changes the lists' order.
    new: Sample,
    met: u64,
}

/// A sample, each object in it as likely as any other that was offered.
#[derive(Default)]
struct Sample {
    offered: u64,
    objects: Vec<usize>,
}

impl Sample {
    fn offer(&mut self, object: usize, max: usize, random: &mut u64) {
        self.offered += 1;
        if self.objects.len() < max {
            self.objects.push(object);
            return;
        }
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let index = *random % self.offered;
        if let Some(place) = self.objects.get_mut(index as usize) {
            *place = object;
        }
    }
}

impl Target {
    pub(super) fn new(name: String, count: u64, grown: u64) -> Self {
        Self { name, count, grown: grown.min(count), late: Sample::default(), new: Sample::default(), met: 0 }
    }

    fn sample(&self) -> &[usize] {
        if self.new.objects.is_empty() { &self.late.objects } else { &self.new.objects }
    }
}

/// An object whose holders are looked for: one of a sample, or a container above it.
struct Node {
    target: u32,
    address: usize,
    bits: Bits,
    /// Containers from the sample up to this one, such as `list in dict`; empty for the sample itself.
    chain: String,
    /// What it holds under which name.
    keys: Vec<Key>,
    is_held: bool,
    /// Of a frame: what it holds, which counts as held only if the frame belongs to a generator.
    in_frame: Vec<u32>,
}

struct Key {
    name: String,
    chain: String,
    bits: Bits,
}

pub(super) struct Search {
    pub(super) targets: Vec<Target>,
    by_type: FxHashMap<usize, u32>,
    max_samples: usize,
    random: u64,
    nodes: Vec<Node>,
    known_nodes: FxHashMap<(u32, usize), u32>,
    watched: FxHashMap<usize, Vec<u32>>,
    filter: [u64; 64],
    first_new: usize,
    level: u32,
    hits: Vec<usize>,
    /// An object that is not done, and how far it was followed.
    unfinished: Option<(usize, u64)>,
    found: FxHashMap<(u32, String), Bits>,
    steps: u64,
    pub(super) edges: u64,
}

impl Search {
    /// `types` says which target each type's instances belong to.
    pub(super) fn new(targets: Vec<Target>, types: FxHashMap<usize, u32>, max_samples: usize) -> Self {
        Self {
            targets,
            by_type: types,
            max_samples: max_samples.clamp(1, MAX_SAMPLES),
            random: 0x9e37_79b9_7f4a_7c15,
            nodes: Vec::new(),
            known_nodes: FxHashMap::default(),
            watched: FxHashMap::default(),
            filter: [0; 64],
            first_new: 0,
            level: 0,
            // Never grows: it is filled where nothing may fail.
            hits: Vec::with_capacity(4 * MAX_SAMPLES),
            unfinished: None,
            found: FxHashMap::default(),
            steps: 0,
            edges: 0,
        }
    }

    /// Takes an object into its type's sample, if it may be one of those that the type gained.
    pub(super) fn sample(&mut self, object: Object<'_>, seen: Option<&Seen>) {
        let kind = object.kind().address();
        let Some(target) = self.by_type.get(&kind) else { return };
        let Some(target) = self.targets.get_mut(*target as usize) else { return };
        target.met += 1;
        if target.met > target.count - target.grown {
            target.late.offer(object.address(), self.max_samples, &mut self.random);
        }
        if seen.is_some_and(|seen| !seen.contains(object.address(), kind)) {
            target.new.offer(object.address(), self.max_samples, &mut self.random);
        }
    }

    /// Makes ready for the next step upwards; false when there is nothing left to look for.
    pub(super) fn next_level(&mut self) -> bool {
        if self.level == 0 {
            for (index, target) in self.targets.iter().enumerate() {
                for (number, address) in target.sample().iter().enumerate() {
                    let mut bits = Bits::default();
                    if let Some(word) = bits.get_mut(number / 64) {
                        *word |= 1 << (number % 64);
                    }
                    self.nodes.push(Node::new(index as u32, *address, bits, String::new()));
                }
            }
        }
        if self.level == MAX_LEVELS || self.first_new == self.nodes.len() {
            return false;
        }
        self.level += 1;
        self.watched.clear();
        self.filter = [0; 64];
        for (index, node) in self.nodes.iter().enumerate().skip(self.first_new) {
            self.watched.entry(node.address).or_default().push(index as u32);
            self.known_nodes.insert((node.target, node.address), index as u32);
            let (word, bit) = filter_place(node.address);
            if let Some(word) = self.filter.get_mut(word) {
                *word |= bit;
            }
        }
        self.first_new = self.nodes.len();
        self.unfinished = None;
        true
    }

    /// Looks whether `object` refers to anything that is watched.
    pub(super) fn look(&mut self, object: Object<'_>, known: &Known, is_over: &dyn Fn() -> bool) -> Flow {
        let mut from = match self.unfinished.take() {
            Some((address, done)) if address == object.address() => done,
            _ => 0,
        };
        while let Some(done) = self.slice(object, from) {
            self.meet(object, known);
            self.steps = 0;
            if is_over() {
                self.unfinished = Some((object.address(), done));
                return Flow::PauseBefore;
            }
            from = done;
        }
        self.meet(object, known);
        self.steps += 8;
        if self.steps >= STEPS {
            self.steps = 0;
            if is_over() {
                return Flow::PauseAfter;
            }
        }
        Flow::GoOn
    }

    /// Follows some of the object's references, from a position on; the next position if there are more.
    fn slice(&mut self, object: Object<'_>, from: u64) -> Option<u64> {
        let kind = object.kind();
        let mut visit = Visit {
            filter: &self.filter,
            watched: &self.watched,
            hits: &mut self.hits,
            edges: 0,
            from,
            to: from.saturating_add(LONG_SLICE),
        };
        let next = if kind.address() == &raw mut ffi::PyList_Type as usize {
            visit.list(object)
        } else if kind.address() == &raw mut ffi::PyDict_Type as usize {
            visit.dict(object)
        } else {
            let traverse = kind.traverse()?;
            // SAFETY: the type's own function, with an object of that type and what `visit_one` expects; like the
            // collector, which calls it at any time, it runs no code of the host.
            let stopped = unsafe { traverse(object.pointer(), visit_one, (&raw mut visit).cast()) };
            (stopped != 0 && visit.edges < MAX_EDGES_OF_ONE).then_some(visit.to)
        };
        self.edges += visit.edges;
        self.steps += visit.edges;
        next
    }

    /// Takes note of what `object` was found to refer to.
    fn meet(&mut self, object: Object<'_>, known: &Known) {
        if self.hits.is_empty() {
            return;
        }
        if object.is_dying() {
            self.hits.clear();
            return;
        }
        let mut children = std::mem::take(&mut self.hits);
        children.sort_unstable();
        children.dedup();
        children.retain(|child| *child != object.address());
        let referrer = place::referrer(object, known);
        let names = match &referrer {
            Referrer::Dict => place::keys(object, &children),
            Referrer::Tuple => place::positions(object, &children),
            _ => Vec::new(),
        };
        self.steps += STEPS_OF_A_HIT * children.len() as u64;
        for child in &children {
            let place = place::place(object, &referrer, *child, known);
            let nodes = self.watched.get(child).cloned().unwrap_or_default();
            for node in nodes {
                self.note(object.address(), node, &referrer, &place, &names);
            }
        }
        children.clear();
        self.hits = children;
    }

    fn note(
        &mut self,
        owner: usize,
        node: u32,
        referrer: &Referrer,
        place: &Place,
        names: &[(usize, String)],
    ) {
        let Some(child) = self.nodes.get_mut(node as usize) else { return };
        let is_frame = matches!(referrer, Referrer::Frame);
        if !child.in_frame.is_empty() && !matches!(referrer, Referrer::Generator) {
            return;
        }
        child.is_held |= !is_frame && !matches!(place, Place::None);
        for held in std::mem::take(&mut child.in_frame) {
            self.nodes.get_mut(held as usize).into_iter().for_each(|held| held.is_held = true);
        }
        let Some(child) = self.nodes.get(node as usize) else { return };
        let (target, bits) = (child.target, child.bits);
        let mut texts = Vec::new();
        match place {
            Place::None => {}
            Place::Here(text) => texts.push((phrase(&child.chain, text), bits)),
            Place::Names(before, after) if child.keys.is_empty() => {
                let before = before.trim_end_matches(['.', ' ']);
                texts.push((phrase(&child.chain, &format!("{before}{after}")), bits));
            }
            Place::Names(before, after) => texts.extend(
                child
                    .keys
                    .iter()
                    .map(|key| (phrase(&key.chain, &format!("{before}{}{after}", key.name)), key.bits)),
            ),
            Place::Items(before, after, items) => texts.extend(child.keys.iter().map(|key| {
                let name =
                    key.name.parse().ok().and_then(|index: usize| items.get(index)).unwrap_or(&key.name);
                (phrase(&key.chain, &format!("{before}{name}{after}")), key.bits)
            })),
            Place::Item => {
                let chain = child.chain.clone();
                let own = child.address;
                let names = names.iter().filter(|(of, _)| *of == own);
                let Some(container) = self.container((target, owner), &chain, bits, referrer) else { return };
                container.hold(names.map(|(_, name)| name), &chain, bits);
                if is_frame {
                    container.in_frame.push(node);
                }
            }
        }
        for (text, bits) in texts {
            add(self.found.entry((target, text)).or_default(), bits);
        }
    }

    /// The node of a container: a new one, unless there are too many.
    fn container(
        &mut self,
        (target, address): (u32, usize),
        chain: &str,
        bits: Bits,
        referrer: &Referrer,
    ) -> Option<&mut Node> {
        let index = match self.known_nodes.get(&(target, address)) {
            Some(index) => *index as usize,
            None if self.nodes.len() - self.first_new >= MAX_NODES => return None,
            None => {
                let name = place::container_name(referrer);
                let whole = match (chain, name) {
                    (_, "") => chain.to_owned(),
                    ("", _) => name.to_owned(),
                    _ => format!("{chain} in {name}"),
                };
                self.known_nodes.insert((target, address), self.nodes.len() as u32);
                self.nodes.push(Node::new(target, address, Bits::default(), whole));
                self.nodes.len() - 1
            }
        };
        let node = self.nodes.get_mut(index)?;
        add(&mut node.bits, bits);
        Some(node)
    }

    /// What was found, those that hold most first, at most so many for each type.
    pub(super) fn holders(mut self, max: usize, was_cut: bool) -> Vec<Holder> {
        let searched = if was_cut { 0 } else { self.first_new };
        for (index, node) in self.nodes.iter().enumerate() {
            let text = match (node.is_held, index < searched) {
                (true, _) => continue,
                (false, true) if node.chain.is_empty() => "a running function, or native code".to_owned(),
                (false, true) => format!("{}, held by a running function or native code", node.chain),
                (false, false) if node.chain.is_empty() => continue,
                (false, false) => format!("{}, held further up", node.chain),
            };
            add(self.found.entry((node.target, text)).or_default(), node.bits);
        }
        let mut holders = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            let of_it = self.found.iter().filter(|((target, _), _)| *target as usize == index);
            let mut of_it: Vec<(u32, &str)> = of_it
                .map(|((_, text), bits)| (bits.iter().map(|word| word.count_ones()).sum(), text.as_str()))
                .collect();
            of_it.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
            let of_one = target.grown as f64 / target.sample().len().max(1) as f64;
            holders.extend(of_it.into_iter().take(max).map(|(hits, text)| Holder {
                type_name: target.name.clone(),
                text: text.to_owned(),
                count: (f64::from(hits) * of_one).round() as u64,
            }));
        }
        holders
    }
}

impl Node {
    fn new(target: u32, address: usize, bits: Bits, chain: String) -> Self {
        Self { target, address, bits, chain, keys: Vec::new(), is_held: false, in_frame: Vec::new() }
    }

    /// Takes note of the names under which it holds something.
    fn hold<'a>(&mut self, names: impl Iterator<Item = &'a String>, chain: &str, bits: Bits) {
        for name in names {
            let is_full = self.keys.len() >= MAX_KEYS;
            match self.keys.iter_mut().find(|key| key.name == *name) {
                Some(key) => add(&mut key.bits, bits),
                None if is_full => {}
                None => self.keys.push(Key { name: name.clone(), chain: chain.to_owned(), bits }),
            }
        }
    }
}

/// What is kept while the references of one object are followed.
struct Visit<'a> {
    filter: &'a [u64; 64],
    watched: &'a FxHashMap<usize, Vec<u32>>,
    hits: &'a mut Vec<usize>,
    edges: u64,
    from: u64,
    to: u64,
}

impl Visit<'_> {
    fn meet(&mut self, address: usize) {
        let (word, bit) = filter_place(address);
        if self.filter.get(word).is_some_and(|word| word & bit != 0)
            && self.watched.contains_key(&address)
            && self.hits.len() < self.hits.capacity()
        {
            self.hits.push(address);
        }
    }

    fn list(&mut self, list: Object<'_>) -> Option<u64> {
        // SAFETY: a list by its type, alive.
        let length = unsafe { ffi::PyList_Size(list.pointer()) } as u64;
        let to = length.min(self.from.saturating_add(SLICE));
        for index in self.from..to {
            // SAFETY: as above, and the index is within its length; a borrowed reference comes back.
            let item = unsafe { ffi::PyList_GetItem(list.pointer(), index as ffi::Py_ssize_t) };
            self.edges += 1;
            self.meet(item as usize);
        }
        (to < length).then_some(to)
    }

    fn dict(&mut self, dict: Object<'_>) -> Option<u64> {
        let mut entries = Entries::from(dict, self.from as isize);
        for (key, value) in entries.by_ref().take(SLICE as usize) {
            self.edges += 2;
            self.meet(value.address());
            self.meet(key.address());
        }
        (self.edges >= 2 * SLICE).then_some(entries.position() as u64)
    }
}

/// Called by an object's type for each object that it refers to. Not zero ends the round.
extern "C" fn visit_one(object: *mut ffi::PyObject, argument: *mut c_void) -> c_int {
    // SAFETY: `slice` passes its own `Visit`, which nobody else uses until the round is over.
    let visit = unsafe { &mut *argument.cast::<Visit<'_>>() };
    visit.edges += 1;
    if visit.edges <= visit.from {
        return 0;
    }
    visit.meet(object as usize);
    c_int::from(visit.edges >= visit.to)
}

/// The bit for an address in a filter of 4096.
fn filter_place(address: usize) -> (usize, u64) {
    let mixed = (address as u64 >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
    ((mixed >> 6) as usize, 1 << (mixed & 63))
}

fn add(bits: &mut Bits, more: Bits) {
    bits.iter_mut().zip(more).for_each(|(bits, more)| *bits |= more);
}

/// What is held, and where.
fn phrase(chain: &str, place: &str) -> String {
    if chain.is_empty() { place.to_owned() } else { format!("{chain} {place}") }
}
