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
    known: FxHashMap<usize, bool>,
}

impl Kinds {
    /// Or why there is nothing to be found.
    pub(super) fn find(py: Python<'_>, bridge: &Bridge) -> Result<Self, String> {
        let none = Self { held_type: 0, held: Vec::new(), known: FxHashMap::default() };
        match bridge {
            Bridge::Jpype => {
                let module = imported(py, c"_jpype").ok_or("JPype is not imported")?;
                let proxy = module.getattr("_JProxy");
                let proxy = proxy.map_err(|_| "this version of JPype is not known".to_owned())?;
                Ok(Self { held_type: proxy.as_ptr() as usize, ..none })
            }
            Bridge::Jep { held, .. } => Ok(Self { held: held.clone(), ..none }),
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
        let is_wrapper = is_wrappers(kind);
        self.known.insert(kind.address(), is_wrapper);
        is_wrapper
    }

    /// Others may lie where types were.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

/// Whether instances of a type are wrappers of Java objects: JPype's have a base of its own, jep's a metaclass.
pub(in super::super) fn is_wrappers(kind: Kind<'_>) -> bool {
    let is_one_of = |kind: Kind<'_>, names: &[&str]| names.contains(&kind.short_name().as_str());
    kind.bases().any(|base| is_one_of(base, &["_jpype._JObject", "_jpype._JException"]))
        || kind.0.kind().bases().any(|meta| is_one_of(meta, &["PyJType", "jep.PyJType"]))
}

/// Whether JPype or jep is imported.
pub(in super::super) fn is_bridged(py: Python<'_>) -> bool {
    imported(py, c"_jpype").or_else(|| imported(py, c"jep")).is_some()
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

/// An array of Java's that is left in a `ThreadLocal` of this thread: of each link the wrapper's object, and the proxy
/// behind what is held.
pub(super) struct Leaving(Py<PyAny>);

impl Leaving {
    pub(super) fn begin(py: Python<'_>, links: usize) -> PyResult<Self> {
        let jpype = jpype(py)?;
        let object = jpype.getattr("JObject")?;
        let array = jpype.call_method1("JArray", (object,))?.call1((2 * links,))?;
        Ok(Self(array.unbind()))
    }

    /// Some microseconds each.
    pub(super) fn put(&self, py: Python<'_>, index: usize, link: &Link) -> PyResult<()> {
        let array = self.0.bind(py);
        array.set_item(2 * index, at(py, link.wrapper))?;
        array.set_item(2 * index + 1, at(py, link.held))
    }

    pub(super) fn end(self, py: Python<'_>) -> PyResult<()> {
        let local = jpype(py)?.call_method1("JClass", ("java.lang.ThreadLocal",))?.call0()?;
        local.call_method1("set", (self.0.into_bound(py),))?;
        Ok(())
    }
}

/// JPype, as long as it has a JVM.
fn jpype(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let gone = || pyo3::exceptions::PyRuntimeError::new_err("JPype has no JVM any more");
    let jpype = imported(py, c"jpype").ok_or_else(gone)?;
    if jpype.call_method0("isJVMStarted")?.is_truthy()? { Ok(jpype) } else { Err(gone()) }
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
