//! What an object is to those that it refers to: a namespace's owner, which ends the search with a name, or a container,
//! whose own holder is to be found. Asks no object of the host's anything: reads CPython's structures, and attributes of
//! types that are CPython's own.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::count::type_name;
use super::layout::{self, Entries, Known, Object};

/// A dict with more entries is a container, never a namespace.
pub(super) const MAX_NAMESPACE: isize = 20_000;

/// What a referrer is.
pub(super) enum Referrer {
    /// Of a function that runs, which says nothing about who holds what; or, up to 3.10, of a suspended generator.
    Frame,
    Dict,
    Tuple,
    /// Stands for what is in it.
    Cell,
    Module,
    Class,
    Function,
    LruCache,
    Generator,
    /// Any other object, by its type's name.
    Object(String),
}

/// Where a namespace's owner keeps a child.
pub(super) enum Place {
    /// Nowhere that tells anything.
    None,
    /// In a place of its own, in words.
    Here(String),
    /// The child is its namespace: the names in it are the places, put between these two.
    Names(String, String),
    /// As `Names`, of a tuple whose items have these names.
    Items(String, String, Vec<String>),
    /// It is one of its items.
    Item,
}

pub(super) fn referrer(object: Object<'_>, known: &Known) -> Referrer {
    let kind = object.kind();
    let is = |address: usize| kind.address() == address;
    if is(known.frame) {
        return Referrer::Frame;
    }
    if is(&raw mut ffi::PyDict_Type as usize) {
        return Referrer::Dict;
    }
    if is(&raw mut ffi::PyTuple_Type as usize) {
        return Referrer::Tuple;
    }
    if is(known.cell) {
        return Referrer::Cell;
    }
    if is(known.function) {
        return Referrer::Function;
    }
    if kind.has(layout::TYPE_FLAG_TYPE) {
        return Referrer::Class;
    }
    if layout::is_instance(object, &raw mut ffi::PyModule_Type) {
        return Referrer::Module;
    }
    let name = type_name(kind);
    match name.as_str() {
        "functools._lru_cache_wrapper" => Referrer::LruCache,
        "generator" | "coroutine" | "async_generator" => Referrer::Generator,
        _ => Referrer::Object(name),
    }
}

/// How a container is called in a chain.
pub(super) fn container_name(referrer: &Referrer) -> &str {
    match referrer {
        Referrer::Dict => "dict",
        Referrer::Tuple => "tuple",
        Referrer::Object(name) => name.strip_prefix("collections.").unwrap_or(name),
        _ => "",
    }
}

/// Where `owner` keeps `child`.
pub(super) fn place(owner: Object<'_>, referrer: &Referrer, child: usize, known: &Known) -> Place {
    match referrer {
        Referrer::Dict | Referrer::Tuple | Referrer::Cell | Referrer::Frame => Place::Item,
        Referrer::Module => in_module(owner, child),
        Referrer::Class => in_class(owner, child),
        Referrer::Function => in_function(owner, child, known),
        Referrer::LruCache => {
            let wrapped = attribute(owner, "__wrapped__");
            let name = wrapped.map_or_else(|| "?".to_owned(), |wrapped| function_name(&wrapped, known));
            Place::Here(format!("lru_cache of {name}"))
        }
        Referrer::Generator => {
            let name = attribute(owner, "__qualname__").and_then(|name| text(&name));
            Place::Here(format!("suspended generator {}", name.unwrap_or_default()))
        }
        Referrer::Object(name) => {
            if let Some(attribute) = known.attribute(owner, child) {
                return Place::Here(format!("attribute .{attribute} of {name}"));
            }
            if known.is_attributes_of(child, owner) {
                return Place::Names("attribute .".to_owned(), format!(" of {name}"));
            }
            Place::Item
        }
    }
}

fn in_module(module: Object<'_>, child: usize) -> Place {
    // SAFETY: a module that is alive; a borrowed reference comes back.
    let dict = unsafe { ffi::PyModule_GetDict(module.pointer()) };
    if dict.is_null() {
        return Place::None;
    }
    // SAFETY: the module keeps it alive.
    let dict = unsafe { Object::at(module.py(), dict as usize) };
    let name = layout::entry(dict, c"__name__").and_then(Object::text);
    let name = name.unwrap_or_else(|| "(a module without a name)".to_owned());
    if dict.address() == child {
        Place::Names(format!("{name}."), String::new())
    } else {
        Place::Here(format!("native state of module {name}"))
    }
}

fn in_class(class: Object<'_>, child: usize) -> Place {
    let class = layout::Kind(class);
    match class.attributes() {
        Some(attributes) if attributes.address() == child => {
            Place::Names(format!("{}.", type_name(class)), String::new())
        }
        _ => Place::None,
    }
}

fn in_function(function: Object<'_>, child: usize, known: &Known) -> Place {
    let is = |getter: Option<unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject>| {
        // SAFETY: a function by its type, alive; a borrowed reference comes back.
        getter.is_some_and(|getter| unsafe { getter(function.pointer()) } as usize == child)
    };
    let name = || function_name(&function.own(), known);
    if is(known.globals) {
        return Place::None;
    }
    if is(known.closure) {
        let code = attribute(function, "__code__");
        let names = code.map(|code| names(&code, "co_freevars")).unwrap_or_default();
        return Place::Items("closure variable ".to_owned(), format!(" of {}", name()), names);
    }
    if is(known.defaults) {
        let names = default_names(function, child).unwrap_or_default();
        return Place::Items("default argument ".to_owned(), format!(" of {}", name()), names);
    }
    if is(known.keyword_defaults) {
        return Place::Names("default argument ".to_owned(), format!(" of {}", name()));
    }
    // SAFETY: the function was just seen to refer to it.
    let child = unsafe { Object::at(function.py(), child) };
    let is_dict = child.kind().has(layout::TYPE_FLAG_DICT);
    // What is left are the function's own attributes, and the built-in names.
    if is_dict && layout::entry(child, c"__name__").is_none() {
        return Place::Names("attribute .".to_owned(), format!(" of {}", name()));
    }
    Place::None
}

/// The names of the arguments that have the defaults in the tuple at `defaults`.
fn default_names(function: Object<'_>, defaults: usize) -> Option<Vec<String>> {
    let code = attribute(function, "__code__")?;
    // SAFETY: the function was just seen to refer to it.
    let defaults = unsafe { Object::at(function.py(), defaults) }.own();
    let with_default = defaults.cast::<PyTuple>().ok()?.len();
    let arguments: usize = code.getattr("co_argcount").ok()?.extract().ok()?;
    let mut names = names(&code, "co_varnames");
    names.truncate(arguments);
    Some(names.split_off(arguments.checked_sub(with_default)?.min(names.len())))
}

fn names(code: &Bound<'_, PyAny>, attribute: &str) -> Vec<String> {
    let names = code.getattr(attribute).ok().and_then(|names| names.cast_into::<PyTuple>().ok());
    names.map_or_else(Vec::new, |names| names.iter().map(|name| text(&name).unwrap_or_default()).collect())
}

/// `module.qualname` of a function that is written in Python; otherwise its type's name.
pub(super) fn function_name(function: &Bound<'_, PyAny>, known: &Known) -> String {
    // SAFETY: `function` holds a reference.
    let object = unsafe { Object::at(function.py(), function.as_ptr() as usize) };
    if object.kind().address() != known.function {
        return type_name(object.kind());
    }
    let name = attribute(object, "__qualname__").and_then(|name| text(&name)).unwrap_or_default();
    match attribute(object, "__module__").and_then(|module| text(&module)) {
        Some(module) => format!("{module}.{name}"),
        None => name,
    }
}

/// An attribute of an object of one of CPython's own types, which look attributes up in C.
fn attribute<'py>(object: Object<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
    object.own().getattr(name).ok()
}

fn text(object: &Bound<'_, PyAny>) -> Option<String> {
    // SAFETY: `object` holds a reference.
    unsafe { Object::at(object.py(), object.as_ptr() as usize) }.text()
}

/// The name under which a dict holds each of `children`, which are sorted; nothing for those without one, and of dicts that are too large.
pub(super) fn keys(dict: Object<'_>, children: &[usize]) -> Vec<(usize, String)> {
    // SAFETY: a dict by its type, alive.
    if unsafe { ffi::PyDict_Size(dict.pointer()) } > MAX_NAMESPACE {
        return Vec::new();
    }
    let held = Entries::of(dict).filter(|(_, value)| children.binary_search(&value.address()).is_ok());
    held.filter_map(|(key, value)| Some((value.address(), key.text()?))).collect()
}

/// The position at which a tuple holds each of `children`, which are sorted.
pub(super) fn positions(tuple: Object<'_>, children: &[usize]) -> Vec<(usize, String)> {
    let tuple = tuple.own();
    let Ok(tuple) = tuple.cast::<PyTuple>() else { return Vec::new() };
    let items = tuple.iter().take(256).enumerate().map(|(index, item)| (item.as_ptr() as usize, index));
    items
        .filter(|(item, _)| children.binary_search(item).is_ok())
        .map(|(item, index)| (item, index.to_string()))
        .collect()
}
