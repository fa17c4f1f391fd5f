//! One search: breadth first from an object, until wrappers are met.
//!
//! Types, modules and modules' variables are not gone through: they are there anyway, and lead to everything.

use std::ffi::{c_int, c_void};

use pyo3::{Python, ffi};
use rustc_hash::{FxHashMap, FxHashSet};

use super::super::layout::{self, Entries, Known, Object};
use super::bridges::Kinds;
use super::path;

/// Most wrappers that are told for one object.
const MOST_WRAPPERS: usize = 4;
/// The collector knows instances of such a type.
const TYPE_FLAG_GC: usize = 1 << 14;

pub(super) struct Reach {
    most: usize,
    /// Modules' variables. Good for one stretch, as is the next.
    variables: FxHashSet<usize>,
    /// From here no wrapper is reached, though all was visited.
    barren: FxHashSet<usize>,
    /// Never grows: it is filled where nothing may fail.
    children: Vec<usize>,
    pub(super) visited: u64,
    /// Searches that ended for being too large.
    pub(super) cut: u64,
}

impl Reach {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            variables: FxHashSet::default(),
            barren: FxHashSet::default(),
            children: Vec::with_capacity(most),
            visited: 0,
            cut: 0,
        }
    }

    /// Forgets what may have become another object.
    pub(super) fn begin_stretch(&mut self, py: Python<'_>, kinds: &mut Kinds, _: &Known) {
        kinds.forget();
        self.barren.clear();
        self.variables.clear();
        // SAFETY: the GIL is held; a borrowed reference comes back.
        let modules = unsafe { ffi::PyImport_GetModuleDict() };
        if modules.is_null() {
            return;
        }
        // SAFETY: the interpreter keeps it alive.
        let modules = unsafe { Object::at(py, modules as usize) };
        if !modules.kind().has(layout::TYPE_FLAG_DICT) {
            return;
        }
        self.variables.insert(modules.address());
        for (_, module) in Entries::of(modules) {
            if layout::is_instance(module, &raw mut ffi::PyModule_Type) {
                // SAFETY: a module that is alive; a borrowed reference comes back.
                self.variables.insert(unsafe { ffi::PyModule_GetDict(module.pointer()) } as usize);
            }
        }
    }

    /// The wrappers that are met first, and the ways to them.
    pub(super) fn from<'py>(
        &mut self,
        root: Object<'py>,
        kinds: &mut Kinds,
        known: &Known,
    ) -> Vec<(Object<'py>, String)> {
        let mut nodes: Vec<(usize, usize)> = vec![(root.address(), 0)];
        let mut seen: FxHashMap<usize, ()> = FxHashMap::default();
        seen.insert(root.address(), ());
        let (mut wrappers, mut is_cut, mut at) = (Vec::new(), false, 0);
        while let Some((address, _)) = nodes.get(at).copied() {
            // SAFETY: it is the root, or was just referred to, and nothing runs that could free it.
            let object = unsafe { Object::at(root.py(), address) };
            if at > 0 && kinds.is_wrapper(object) {
                wrappers.push(at);
                if wrappers.len() == MOST_WRAPPERS {
                    break;
                }
            } else {
                self.skip_globals(object, known);
                is_cut |= !self.children_of(object);
                for child in self.children.drain(..) {
                    // SAFETY: as above.
                    let target = unsafe { Object::at(root.py(), child) };
                    if !is_followed(target) || self.variables.contains(&child) || self.barren.contains(&child)
                    {
                        continue;
                    }
                    if nodes.len() == self.most {
                        is_cut = true;
                        break;
                    }
                    if seen.insert(child, ()).is_none() {
                        nodes.push((child, at));
                    }
                }
            }
            at += 1;
        }
        self.visited += nodes.len() as u64;
        if wrappers.is_empty() && !is_cut {
            self.barren.extend(nodes.iter().map(|(address, _)| *address));
        }
        self.cut += u64::from(is_cut && wrappers.len() < MOST_WRAPPERS);
        let told = wrappers.into_iter().filter_map(|wrapper| {
            let (address, _) = nodes.get(wrapper).copied()?;
            // SAFETY: as above.
            let object = unsafe { Object::at(root.py(), address) };
            Some((object, path::words(root.py(), &nodes, wrapper, known)))
        });
        told.collect()
    }

    /// Of a function neither its module's variables nor the built-in ones.
    fn skip_globals(&mut self, object: Object<'_>, known: &Known) {
        if object.kind().address() != known.function {
            return;
        }
        if let Some(globals) = known.globals {
            // SAFETY: a function by its type, alive; a borrowed reference comes back.
            self.variables.insert(unsafe { globals(object.pointer()) } as usize);
        }
    }

    /// Fills in what `object` refers to; false: not all of it.
    fn children_of(&mut self, object: Object<'_>) -> bool {
        self.children.clear();
        let Some(traverse) = object.kind().traverse() else { return true };
        let into = (&raw mut self.children).cast();
        // SAFETY: the type's own function, with an object of that type and what `visit` expects; like the collector, which
        // calls it at any time, it runs no code of the host.
        unsafe { traverse(object.pointer(), visit, into) == 0 }
    }
}

/// Whether it may lead to something.
fn is_followed(object: Object<'_>) -> bool {
    let kind = object.kind();
    kind.has(TYPE_FLAG_GC)
        && !kind.has(layout::TYPE_FLAG_TYPE)
        && !object.is_dying()
        && !layout::is_instance(object, &raw mut ffi::PyModule_Type)
}

/// # Safety
///
/// `into` is the vector that `children_of` passed.
extern "C" fn visit(object: *mut ffi::PyObject, into: *mut c_void) -> c_int {
    // SAFETY: the promise of `children_of`, which uses it only when this is over.
    let children = unsafe { &mut *into.cast::<Vec<usize>>() };
    if children.len() == children.capacity() {
        return 1;
    }
    if !object.is_null() {
        children.push(object as usize);
    }
    0
}
