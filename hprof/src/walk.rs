//! From the roots breadth first to every object that is held, once each: a path found so is a shortest one.
//! Needs a bit for each object and eight bytes for each that waits; never recurses.

use std::collections::VecDeque;
use std::io::{Read, Seek};

use rustc_hash::FxHashMap;

use crate::cursor::Kind;
use crate::dump::Dump;
use crate::error::HprofError;
use crate::plan::Hold;
use crate::record::{HeapRecord, RootKind};
use crate::scan::Root;
use crate::shape::{Shape, Shapes, Step};

/// Instances of a class, held in the same way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) instances: u64,
    pub(crate) bytes: u64,
}

/// What instances are looked for; the number is the place of their tallies.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) classes: FxHashMap<u64, usize>,
    pub(crate) primitives: [Option<usize>; 8],
}

/// A walk under way.
pub(crate) struct Walk<'a, R> {
    dump: &'a mut Dump<R>,
    wanted: &'a Wanted,
    visited: Vec<u64>,
    queue: VecDeque<(u32, Shape)>,
    /// What is held otherwise than strongly: looked at when all else was.
    later: Vec<(Hold, u32, Shape)>,
    soft: bool,
    pub(crate) shapes: Shapes,
    /// For each wanted class, what was found by which path.
    pub(crate) found: Vec<FxHashMap<Shape, Tally>>,
}

impl<'a, R: Read + Seek> Walk<'a, R> {
    pub(crate) fn new(dump: &'a mut Dump<R>, wanted: &'a Wanted, places: usize, soft: bool) -> Self {
        Self {
            visited: vec![0; dump.scan.index.len().div_ceil(64)],
            dump,
            wanted,
            queue: VecDeque::new(),
            later: Vec::new(),
            soft,
            shapes: Shapes::default(),
            found: vec![FxHashMap::default(); places],
        }
    }

    /// What lasts first, then what stands on stacks, then what waits for its finalizer, then softly held objects.
    /// A list that a static field holds is told as the static field's, even while a method works on it.
    pub(crate) fn run(&mut self) -> Result<(), HprofError> {
        self.threads();
        self.lasting_classes()?;
        let mut roots = std::mem::take(&mut self.dump.scan.roots);
        roots.sort_by_key(|root| root.kind);
        for stacks in [false, true] {
            for root in roots.iter().filter(|root| on_stack(root.kind) == stacks) {
                self.root(*root);
            }
            self.drain()?;
        }
        self.dump.scan.roots = roots;
        for hold in [Hold::Finalizer, Hold::Soft] {
            for (_, number, shape) in
                self.later.extract_if(.., |(held, _, _)| *held == hold).collect::<Vec<_>>()
            {
                self.reach(number, shape);
            }
            self.drain()?;
        }
        Ok(())
    }

    fn threads(&mut self) {
        let mut threads: Vec<u64> = self.dump.scan.threads.values().map(|(object, _)| *object).collect();
        threads.sort_unstable();
        for object in threads {
            self.seed(object, Step::Thread { object });
        }
    }

    fn lasting_classes(&mut self) -> Result<(), HprofError> {
        let mut classes: Vec<u64> = self.dump.scan.classes.keys().copied().collect();
        classes.sort_unstable();
        for class in classes {
            if self.dump.passing_loader(class)?.is_none() {
                self.seed(class, Step::Root { kind: RootKind::StickyClass, thread: 0, frame: 0 });
            }
        }
        Ok(())
    }

    fn root(&mut self, root: Root) {
        let Root { kind, object, thread, frame } = root;
        // Where they are is said of those only that stand on a stack.
        let (thread, frame) = if on_stack(kind) { (thread, frame) } else { (0, 0) };
        self.seed(object, Step::Root { kind, thread, frame });
    }

    fn seed(&mut self, object: u64, step: Step) {
        if let Some(number) = self.dump.scan.index.find(object).filter(|number| self.is_new(*number)) {
            let shape = self.shapes.extend(None, step);
            self.reach(number, shape);
        }
    }

    fn is_new(&self, number: u32) -> bool {
        self.visited.get(number as usize / 64).is_some_and(|bits| bits >> (number % 64) & 1 == 0)
    }

    fn reach(&mut self, number: u32, shape: Shape) {
        if self.is_new(number) {
            self.visited[number as usize / 64] |= 1 << (number % 64);
            self.queue.push_back((number, shape));
        }
    }

    /// `id` is held by the last object of `path`, in the way that `step` tells.
    fn follow(&mut self, id: u64, path: Option<Shape>, step: Step) {
        if id == 0 {
            return;
        }
        if let Some(number) = self.dump.scan.index.find(id).filter(|number| self.is_new(*number)) {
            let shape = self.shapes.extend(path, step);
            self.reach(number, shape);
        }
    }

    /// A static field is as good as a root, so what it holds comes before all that waits.
    fn static_field(&mut self, id: u64, step: Step) {
        if let Some(number) = self.dump.scan.index.find(id).filter(|number| self.is_new(*number)) {
            let shape = self.shapes.extend(None, step);
            self.visited[number as usize / 64] |= 1 << (number % 64);
            self.queue.push_front((number, shape));
        }
    }

    fn drain(&mut self) -> Result<(), HprofError> {
        while let Some((number, shape)) = self.queue.pop_front() {
            match self.dump.object(number)? {
                Some(HeapRecord::Instance { id: _, class, data, bytes }) => {
                    self.instance(class, data, bytes, shape)?;
                }
                Some(HeapRecord::Objects { class, elements, length, .. }) => {
                    let bytes = self.dump.layout().array(Kind::Object, length);
                    self.tally(self.wanted.classes.get(&class).copied(), shape, bytes);
                    for position in 0..u64::from(length) {
                        let at = elements + position * u64::from(self.dump.header.id_bytes);
                        let id = self.dump.id_at(at, "OBJECT ARRAY DUMP")?;
                        self.follow(id, Some(shape), Step::Element { class });
                    }
                }
                Some(HeapRecord::Primitives { kind, length, .. }) => {
                    let bytes = self.dump.layout().array(kind, length);
                    let place = Kind::PRIMITIVES.iter().position(|known| *known == kind);
                    self.tally(place.and_then(|place| self.wanted.primitives[place]), shape, bytes);
                }
                Some(HeapRecord::Class { id, dump }) => {
                    for (field, object) in dump.statics {
                        self.static_field(object, Step::Static { class: id, field });
                    }
                    self.follow(dump.superclass, Some(shape), Step::Superclass { class: id });
                    self.follow(dump.loader, Some(shape), Step::Loader { class: id });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn instance(&mut self, class: u64, data: u64, bytes: u32, shape: Shape) -> Result<(), HprofError> {
        let plan = self.dump.plan(class)?;
        if u64::from(bytes) < plan.data_bytes {
            return Err(HprofError::Corrupt {
                offset: data,
                record: "INSTANCE DUMP",
                what: "fewer bytes than the class has fields",
            });
        }
        let shallow = self.dump.instance_bytes(&plan);
        self.tally(self.wanted.classes.get(&class).copied(), shape, shallow);
        for reference in &plan.references {
            let id = self.dump.id_at(data + reference.offset, "INSTANCE DUMP")?;
            match reference.hold {
                Hold::Strong => self.follow(id, Some(shape), Step::Field { class, field: reference.name }),
                Hold::Soft if !self.soft => {}
                hold => self.postpone(id, hold, shape, class),
            }
        }
        if let Some(number) = plan.class.filter(|number| self.is_new(*number)) {
            let shape = self.shapes.extend(Some(shape), Step::Class { class });
            self.reach(number, shape);
        }
        Ok(())
    }

    fn postpone(&mut self, id: u64, hold: Hold, shape: Shape, class: u64) {
        let Some(number) = self.dump.scan.index.find(id).filter(|number| self.is_new(*number)) else {
            return;
        };
        let (path, step) = match hold {
            Hold::Finalizer => (None, Step::Finalizer { class }),
            _ => (Some(shape), Step::Soft { class }),
        };
        let shape = self.shapes.extend(path, step);
        self.later.push((hold, number, shape));
    }

    fn tally(&mut self, place: Option<usize>, shape: Shape, bytes: u64) {
        if let Some(place) = place {
            let tally = self.found[place].entry(shape).or_default();
            tally.instances += 1;
            tally.bytes = tally.bytes.saturating_add(bytes);
        }
    }
}

/// Gone when the methods return that run now.
fn on_stack(kind: RootKind) -> bool {
    use RootKind::{Frame, JniLocal, Monitor, NativeStack, ThreadBlock};
    matches!(kind, Frame | JniLocal | Monitor | NativeStack | ThreadBlock)
}
