//! Who holds the instances of some classes: the walk's shapes as words, the same words merged.
//! Decides nothing about which classes are worth asking for.

use std::io::{Read, Seek};

use rustc_hash::FxHashMap;

use crate::cursor::Kind;
use crate::dump::{ClassUse, Dump};
use crate::error::HprofError;
use crate::merge::Merged;
use crate::walk::{Walk, Wanted};

/// Shapes of one class that are put into words.
const MAX_TOLD: usize = 4096;

/// What is known of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The class, its instances and their bytes.
    pub class: ClassUse,
    /// Who holds how many, who holds most first.
    pub paths: Vec<HeldBy>,
    /// Paths beyond those that are told, and the instances that they lead to.
    pub other_paths: u64,
    /// See `other_paths`.
    pub by_other_paths: u64,
    /// Instances that no path leads to: garbage, or held weakly only.
    pub unheld: u64,
}

/// Instances that are held in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBy {
    /// From the root on.
    pub path: Path,
    /// How many of the class.
    pub instances: u64,
    /// What they take.
    pub shallow_bytes: u64,
}

/// A path from a root, merged with those that lead through the same fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// What kind of root: `static`, `thread local`, `JNI global`, and so on.
    pub root: &'static str,
    /// Which: a field, a thread's name, a method. Empty where there is nothing to name. Threads whose names differ in
    /// their digits alone are one: `"pool-#-thread-#" (16 threads)`.
    pub name: String,
    /// The fields and arrays that it leads through. One that ends in `…` is gone through more than once.
    pub steps: Vec<String>,
}

impl<R: Read + Seek> Dump<R> {
    /// Who holds the instances of the classes with these names, as `classes` names them; those that the dump lacks are
    /// left out. With `soft`, soft references are followed, too, when nothing else holds an object.
    ///
    /// # Errors
    /// When an object is not what its class says, or the file cannot be read any more.
    pub fn holders(&mut self, names: &[String], soft: bool) -> Result<Vec<Held>, HprofError> {
        let mut places: FxHashMap<&str, usize> = FxHashMap::default();
        for (place, name) in names.iter().enumerate() {
            places.entry(name).or_insert(place);
        }
        let mut wanted = Wanted::default();
        for class in self.scan.instances.keys().copied().collect::<Vec<_>>() {
            if let Some(place) = places.get(&*self.class_name(class)?) {
                wanted.classes.insert(class, *place);
            }
        }
        for (wanted, kind) in wanted.primitives.iter_mut().zip(Kind::PRIMITIVES) {
            *wanted = places.get(kind.array_name()).copied();
        }
        let mut walk = Walk::new(self, &wanted, names.len(), soft);
        walk.run()?;
        let (shapes, found) = (std::mem::take(&mut walk.shapes), std::mem::take(&mut walk.found));

        let mut classes: FxHashMap<String, ClassUse> =
            self.classes()?.into_iter().map(|class| (class.name.clone(), class)).collect();
        let mut all = Vec::new();
        for (name, found) in names.iter().zip(found) {
            // A name that was given twice is told where it came first.
            let Some(class) = classes.remove(name) else { continue };
            let mut merged = Merged::default();
            let mut found: Vec<_> = found.into_iter().collect();
            found.sort_by_key(|(shape, tally)| (std::cmp::Reverse(tally.instances), *shape));
            let reached: u64 = found.iter().map(|(_, tally)| tally.instances).sum();
            let others = found.split_off(found.len().min(MAX_TOLD));
            for (shape, tally) in found {
                let path = self.path(&shapes.steps(shape))?;
                merged.add(path, tally);
            }
            let paths = merged.paths();
            let unheld = class.instances.saturating_sub(reached);
            let by_other_paths = others.iter().map(|(_, tally)| tally.instances).sum();
            all.push(Held { class, paths, other_paths: others.len() as u64, by_other_paths, unheld });
        }
        Ok(all)
    }
}
