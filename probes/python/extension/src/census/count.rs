//! Counts of objects and their bytes by type, and the types' names.
//! Keys types by address, and holds a reference to each for as long.

use std::ffi::CStr;

use pyo3::prelude::*;
use rustc_hash::FxHashMap;

use super::across::is_wrappers;
use super::layout::{self, Kind, Known, Object, Shape};
use super::release::Held;

/// Types that are told apart: more than that are added up as one.
const MAX_TYPES: usize = 20_000;
const OTHER: &str = "(other types)";

/// One type.
pub(super) struct Entry {
    address: usize,
    shape: Shape,
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) name: Option<u32>,
}

/// All objects of a name.
#[derive(Debug, Clone, Default)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) bytes: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    by_type: FxHashMap<usize, u32>,
    pub(super) entries: Vec<Entry>,
    /// The type that was met last, for there are many of a kind in a row.
    last: (usize, u32),
    other: (u64, u64),
    pub(super) visited: u64,
    named: usize,
    /// Objects that stand for Java's.
    pub(super) wrappers: u64,
    names: FxHashMap<String, u32>,
    pub(super) totals: Vec<Named>,
}

impl Counts {
    pub(super) fn add(&mut self, object: Object<'_>, known: &Known, held: &mut Held) {
        self.visited += 1;
        let kind = object.kind();
        let index =
            if self.last.0 == kind.address() { Some(self.last.1) } else { self.index(kind, known, held) };
        let Some(entry) = index.and_then(|index| self.entries.get_mut(index as usize)) else {
            self.other.0 += 1;
            return;
        };
        entry.count += 1;
        entry.bytes += entry.shape.bytes(object, known);
    }

    fn index(&mut self, kind: Kind<'_>, known: &Known, held: &mut Held) -> Option<u32> {
        let address = kind.address();
        let index = match self.by_type.get(&address) {
            Some(index) => *index,
            None if self.entries.len() >= MAX_TYPES => return None,
            None => {
                held.hold(kind.0);
                let index = self.entries.len() as u32;
                let shape = kind.shape(known);
                self.entries.push(Entry { address, shape, count: 0, bytes: 0, name: None });
                self.by_type.insert(address, index);
                index
            }
        };
        self.last = (address, index);
        Some(index)
    }

    /// Begins anew; the types stay known.
    pub(super) fn reset(&mut self) {
        (self.visited, self.wrappers) = (0, 0);
        self.other = (0, 0);
        for entry in &mut self.entries {
            (entry.count, entry.bytes) = (0, 0);
        }
    }

    /// Finds out names until all types have one (true) or `is_over` says that the stretch is.
    pub(super) fn name_types(&mut self, py: Python<'_>, is_over: &dyn Fn() -> bool) -> bool {
        while let Some(entry) = self.entries.get_mut(self.named) {
            if is_over() {
                return false;
            }
            self.named += 1;
            if entry.count == 0 {
                continue;
            }
            // SAFETY: a reference to it is held since it was met.
            let kind = Kind(unsafe { Object::at(py, entry.address) });
            let name = type_name(kind);
            if is_wrappers(kind) {
                self.wrappers += entry.count;
            }
            let (count, bytes) = (entry.count, entry.bytes);
            let index = self.total(name, count, bytes);
            if let Some(entry) = self.entries.get_mut(self.named - 1) {
                entry.name = Some(index);
            }
        }
        if self.other.0 > 0 {
            let (count, bytes) = std::mem::take(&mut self.other);
            self.total(OTHER.to_owned(), count, bytes);
        }
        true
    }

    fn total(&mut self, name: String, count: u64, bytes: u64) -> u32 {
        let index = *self.names.entry(name).or_insert_with_key(|name| {
            self.totals.push(Named { name: name.clone(), ..Named::default() });
            self.totals.len() as u32 - 1
        });
        if let Some(total) = self.totals.get_mut(index as usize) {
            total.count += count;
            total.bytes += bytes;
        }
        index
    }

    /// The types of which a name has instances, with that name's index.
    pub(super) fn types(&self) -> impl Iterator<Item = (usize, u32)> {
        self.entries.iter().filter_map(|entry| Some((entry.address, entry.name?)))
    }
}

/// A type's full name, without its module for built-in ones.
pub(super) fn type_name(kind: Kind<'_>) -> String {
    if !kind.has(layout::TYPE_FLAG_HEAP) {
        return kind.short_name();
    }
    let name = getset(kind, c"__qualname__").unwrap_or_else(|| kind.short_name());
    let module = kind.attributes().and_then(|attributes| layout::entry(attributes, c"__module__"));
    match module.and_then(Object::text) {
        // JPype's classes have it in their names already.
        Some(module) if name.strip_prefix(&module).is_some_and(|rest| rest.starts_with('.')) => name,
        Some(module) if module != "builtins" => format!("{module}.{name}"),
        _ => name,
    }
}

/// What `type`'s own descriptor says of a class: an attribute of that name in the class, or a metaclass's, is not asked.
fn getset(kind: Kind<'_>, name: &CStr) -> Option<String> {
    let py = kind.0.py();
    let class = kind.0.own();
    let type_type = py.get_type::<pyo3::types::PyType>();
    let name = pyo3::types::PyString::new(py, name.to_str().ok()?);
    // `type.__dict__` is a proxy of a dict whose keys are all str.
    let descriptor = type_type.getattr("__dict__").ok()?.get_item(name).ok()?;
    let text = descriptor.call_method1("__get__", (class,)).ok()?;
    // SAFETY: `text` lives until the end of this function.
    unsafe { Object::at(py, text.as_ptr() as usize) }.text()
}
