//! What is peculiar to each bridge: which objects Java holds, which are wrappers of Java objects, and how wrappers are
//! handed over. JPype and jep are asked by what they offer themselves; the memory of their objects is never read.

use std::ffi::CStr;

use leakline_probing::across::{Bridge, HandOver};
use pyo3::ffi;
use pyo3::prelude::*;
use rustc_hash::FxHashMap;

use super::super::layout::{self, Kind, Object};
use super::Link;

/// Told of types, by their addresses. Types may go while the GIL is not held, so it begins anew with each stretch.
pub(super) struct Kinds {
    /// Java holds instances of this type, where it is a matter of types.
    held_type: usize,
    /// Java holds these, sorted, where it is a matter of addresses.
    held: Vec<u64>,
    /// Wrappers are instances of this type, or of types that have such a type.
    wrapper_type: usize,
    wrapper_meta: &'static [&'static str],
    known: FxHashMap<usize, bool>,
}

impl Kinds {
    /// Or why there is nothing to be found.
    pub(super) fn find(py: Python<'_>, bridge: &Bridge) -> Result<Self, String> {
        let none = Self {
            held_type: 0,
            held: Vec::new(),
            wrapper_type: 0,
            wrapper_meta: &[],
            known: FxHashMap::default(),
        };
        match bridge {
            Bridge::Jpype => {
                let module = imported(py, c"_jpype").ok_or("JPype is not imported")?;
                let kind = |name: &str| module.getattr(name).map(|kind| kind.as_ptr() as usize);
                let unknown = |_| "this version of JPype is not known".to_owned();
                Ok(Self {
                    held_type: kind("_JProxy").map_err(unknown)?,
                    wrapper_type: kind("_JObject").map_err(unknown)?,
                    ..none
                })
            }
            Bridge::Jep { held, .. } => {
                Ok(Self { held: held.clone(), wrapper_meta: &["PyJType", "jep.PyJType"], ..none })
            }
        }
    }

    /// Whether Java holds `object`.
    pub(super) fn is_held(&self, object: Object<'_>) -> bool {
        if self.held_type == 0 {
            return self.held.binary_search(&(object.address() as u64)).is_ok();
        }
        object.kind().bases().any(|base| base.address() == self.held_type)
    }

    /// Whether `object` is a wrapper of a Java object.
    pub(super) fn is_wrapper(&mut self, object: Object<'_>) -> bool {
        let kind = object.kind();
        if kind.has(layout::TYPE_FLAG_TYPE) || !kind.0.kind().has(layout::TYPE_FLAG_TYPE) {
            return false;
        }
        if let Some(known) = self.known.get(&kind.address()) {
            return *known;
        }
        let is_wrapper = self.is_wrappers(kind);
        self.known.insert(kind.address(), is_wrapper);
        is_wrapper
    }

    fn is_wrappers(&self, kind: Kind<'_>) -> bool {
        if self.wrapper_type != 0 {
            return kind.bases().any(|base| base.address() == self.wrapper_type);
        }
        // A class of the host's that derives from a wrapper has a metaclass that derives from theirs.
        kind.0.kind().bases().any(|meta| self.wrapper_meta.contains(&meta.short_name().as_str()))
    }

    /// Others may lie where types were.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

/// A module that the host has imported.
fn imported<'py>(py: Python<'py>, name: &CStr) -> Option<Bound<'py, PyAny>> {
    // SAFETY: the GIL is held, and the text ends with a NUL.
    let text = unsafe { ffi::PyUnicode_FromString(name.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    let text = unsafe { Bound::from_owned_ptr_or_opt(py, text) };
    let found = text.map(|text| {
        // SAFETY: the text is alive; the host's modules are looked through, and nothing is imported.
        let module = unsafe { ffi::PyImport_GetModule(text.as_ptr()) };
        // SAFETY: a new reference, or null with or without an exception set.
        unsafe { Bound::from_owned_ptr_or_opt(py, module) }
    });
    if PyErr::occurred(py) {
        drop(PyErr::take(py));
    }
    found.flatten()
}

/// Leaves an array of Java's in a `ThreadLocal` of this thread: each wrapper's object, and the proxy behind what is held.
pub(super) fn leave_with_jpype(py: Python<'_>, links: &[Link]) -> PyResult<()> {
    let gone = || pyo3::exceptions::PyRuntimeError::new_err("JPype has no JVM any more");
    let jpype = imported(py, c"jpype").ok_or_else(gone)?;
    if !jpype.call_method0("isJVMStarted")?.is_truthy()? {
        return Err(gone());
    }
    let object = jpype.getattr("JObject")?;
    let array = jpype.call_method1("JArray", (object,))?.call1((2 * links.len(),))?;
    for (index, link) in links.iter().enumerate() {
        let (wrapper, held) = (at(py, link.wrapper), at(py, link.held));
        array.set_item(2 * index, wrapper)?;
        array.set_item(2 * index + 1, held)?;
    }
    let local = jpype.call_method1("JClass", ("java.lang.ThreadLocal",))?.call0()?;
    local.call_method1("set", (array,))?;
    Ok(())
}

/// An object that is held by a reference of ours.
fn at(py: Python<'_>, address: usize) -> Bound<'_, PyAny> {
    // SAFETY: a reference of ours keeps it alive.
    unsafe { Object::at(py, address) }.own()
}

/// Hands a wrapper to the agent, which asks jep for its object.
pub(super) fn hand_over(py: Python<'_>, function: u64, context: u64, link: &Link) {
    // SAFETY: the agent sends the address of a function of this type.
    let function = unsafe { std::mem::transmute::<usize, HandOver>(function as usize) };
    // SAFETY: the wrapper is alive by a reference of ours, and the context is what the agent sent with the function.
    unsafe { function(context, link.wrapper as u64) };
    if PyErr::occurred(py) {
        drop(PyErr::take(py));
    }
}
