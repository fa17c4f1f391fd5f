//! A heap dump that was passed over once: its classes, their populations, names and texts.
//! Reads what it is asked for and keeps none of it.

use std::io::{Read, Seek};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::cursor::{Cursor, Kind};
use crate::error::HprofError;
use crate::layout::{COUNT, LAYOUTS, Layout, OF_32_BITS};
use crate::names::{Known, pretty};
use crate::pages::Pages;
use crate::plan::Plan;
use crate::record::{Header, HeapRecord};
use crate::scan::Scan;

/// Longest name that is read.
const NAME_BYTES: u32 = 512;
/// Pairs of neighbours that the layout of objects is told from.
const NEIGHBOURS: usize = 4096;
/// References of all plans that are kept at a time; programs have a tenth of it.
const PLANNED_REFERENCES: usize = 1 << 20;
/// Longest chain of superclasses that is believed.
const SUPERCLASSES: usize = 256;

/// How many instances of a class the dump has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassUse {
    /// As in source code: `java.util.HashMap$Node[]`.
    pub name: String,
    /// How many.
    pub instances: u64,
    /// What they take without what they refer to.
    pub shallow_bytes: u64,
}

/// An open heap dump.
pub struct Dump<R> {
    pub(crate) pages: Pages<R>,
    pub(crate) header: Header,
    pub(crate) scan: Scan,
    pub(crate) known: Known,
    /// Which of `LAYOUTS`.
    layout: usize,
    plans: FxHashMap<u64, Rc<Plan>>,
    planned: usize,
    /// Of each loader that was asked about, its class if it need not last.
    pub(crate) loaders: FxHashMap<u64, Option<u64>>,
}

impl<R: Read + Seek> Dump<R> {
    /// Reads the file once from end to end; contents of arrays are passed over.
    ///
    /// # Errors
    /// When it is no heap dump, or a damaged one: a heap of which a part is missing has no paths to tell.
    pub fn open(input: R) -> Result<Self, HprofError> {
        let mut pages = Pages::new(input)?;
        let bytes = pages.bytes();
        let header = Cursor::new(&mut pages, 0, bytes, 8).header()?;
        let scan = Scan::of(&mut pages, header)?;
        let (known, plans) = (Known::default(), FxHashMap::default());
        let loaders = FxHashMap::default();
        let mut dump = Self { pages, header, scan, known, layout: 0, plans, planned: 0, loaders };
        dump.known = Known::of(&mut dump)?;
        dump.layout = dump.find_layout()?;
        Ok(dump)
    }

    /// Objects in the dump, classes among them.
    pub fn objects(&self) -> u64 {
        self.scan.index.len() as u64
    }

    /// All classes that have instances, the one with most bytes first.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub fn classes(&mut self) -> Result<Vec<ClassUse>, HprofError> {
        let mut by_name: FxHashMap<String, ClassUse> = FxHashMap::default();
        let ids: Vec<u64> = self.scan.instances.keys().copied().collect();
        for class in ids {
            let (instances, shallow_bytes) = self.population(class)?;
            let name = self.class_name(class)?;
            // Two class loaders can have a class of one name each.
            let all =
                by_name.entry(name.clone()).or_insert(ClassUse { name, instances: 0, shallow_bytes: 0 });
            all.instances += instances;
            all.shallow_bytes = all.shallow_bytes.saturating_add(shallow_bytes);
        }
        for (kind, population) in Kind::PRIMITIVES.into_iter().zip(self.scan.primitives) {
            if population.count > 0 {
                let name = kind.array_name().to_owned();
                let shallow_bytes = population.array_bytes[self.layout];
                by_name.insert(name.clone(), ClassUse { name, instances: population.count, shallow_bytes });
            }
        }
        let mut all: Vec<ClassUse> = by_name.into_values().collect();
        all.sort_by(|a, b| b.shallow_bytes.cmp(&a.shallow_bytes).then_with(|| a.name.cmp(&b.name)));
        Ok(all)
    }

    fn population(&mut self, class: u64) -> Result<(u64, u64), HprofError> {
        let population = self.scan.instances.get(&class).copied().unwrap_or_default();
        let of_arrays = population.array_bytes[self.layout];
        if of_arrays > 0 {
            return Ok((population.count, of_arrays));
        }
        let each = self.plan(class)?.bytes[self.layout];
        Ok((population.count, population.count.saturating_mul(each)))
    }

    pub(crate) fn layout(&self) -> Layout {
        LAYOUTS[self.layout]
    }

    /// What an instance of `class` takes.
    pub(crate) fn instance_bytes(&self, plan: &Plan) -> u64 {
        plan.bytes[self.layout]
    }

    /// The class, and its superclasses up to the last.
    pub(crate) fn ancestry(&self, class: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(class), |class| {
            self.scan.classes.get(class).map(|class| class.superclass).filter(|above| *above != 0)
        })
        .take(SUPERCLASSES)
    }

    pub(crate) fn plan(&mut self, class: u64) -> Result<Rc<Plan>, HprofError> {
        if let Some(plan) = self.plans.get(&class) {
            return Ok(Rc::clone(plan));
        }
        let plan = Rc::new(Plan::of(self, class)?);
        self.planned += plan.references.len();
        if self.planned > PLANNED_REFERENCES {
            self.planned = plan.references.len();
            self.plans.clear();
        }
        self.plans.insert(class, Rc::clone(&plan));
        Ok(plan)
    }

    pub(crate) fn id_at(&mut self, at: u64, record: &'static str) -> Result<u64, HprofError> {
        if self.header.id_bytes == 4 {
            let mut bytes = [0; 4];
            self.pages.read(at, &mut bytes, record)?;
            return Ok(u64::from(u32::from_be_bytes(bytes)));
        }
        let mut bytes = [0; 8];
        self.pages.read(at, &mut bytes, record)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// The record of the object with this number.
    pub(crate) fn object(&mut self, number: u32) -> Result<Option<HeapRecord>, HprofError> {
        let Some((_, at)) = self.scan.index.entry(number) else { return Ok(None) };
        let end = self.pages.bytes();
        Cursor::new(&mut self.pages, at, end, self.header.id_bytes).heap_record()
    }

    /// The record of the object with this identifier, where the dump has it.
    pub(crate) fn object_of(&mut self, id: u64) -> Result<Option<HeapRecord>, HprofError> {
        self.scan.index.find(id).map_or(Ok(None), |number| self.object(number))
    }

    /// A name's text; empty where the dump lacks it.
    pub(crate) fn text(&mut self, id: u64) -> Result<String, HprofError> {
        let Some((at, bytes)) = self.scan.texts.get(&id).copied() else { return Ok(String::new()) };
        let mut text = vec![0; bytes.min(NAME_BYTES) as usize];
        self.pages.read(at, &mut text, "UTF8")?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// As in source code.
    pub(crate) fn class_name(&mut self, class: u64) -> Result<String, HprofError> {
        let name = self.scan.class_names.get(&class).copied().unwrap_or_default();
        let name = self.text(name)?;
        Ok(if name.is_empty() { format!("class {class:#x}") } else { pretty(&name) })
    }

    /// The layout that explains best where neighbours begin.
    fn find_layout(&mut self) -> Result<usize, HprofError> {
        if self.header.id_bytes == 4 {
            return Ok(OF_32_BITS);
        }
        let mut votes = [0_usize; COUNT];
        let stride = (self.scan.index.len() / NEIGHBOURS).max(1);
        for number in (0..self.scan.index.len().saturating_sub(1)).step_by(stride) {
            let number = number as u32;
            let (Some((id, _)), Some((next, _))) =
                (self.scan.index.entry(number), self.scan.index.entry(number + 1))
            else {
                break;
            };
            let bytes = match self.object(number)? {
                Some(HeapRecord::Instance { class, .. }) => self.plan(class)?.bytes,
                Some(HeapRecord::Objects { length, .. }) => LAYOUTS.map(|of| of.array(Kind::Object, length)),
                Some(HeapRecord::Primitives { kind, length, .. }) => LAYOUTS.map(|of| of.array(kind, length)),
                _ => continue,
            };
            for (votes, bytes) in votes.iter_mut().zip(bytes) {
                *votes += usize::from(id.checked_add(bytes) == Some(next));
            }
        }
        let most = votes.iter().max().copied().unwrap_or_default();
        Ok(votes.iter().position(|votes| *votes == most).unwrap_or_default())
    }
}
