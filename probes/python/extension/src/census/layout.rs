//! What CPython's objects look like in memory, as far as a census reads it: types, sizes, where attributes lie.
//!
//! Read directly because what the C API offers instead (`__sizeof__`, `__class__`, `__dict__`) runs code of the host or
//! changes its objects. The offsets are those of [`leakline_python::layouts`]; [`check`] compares them with what the
//! interpreter says of itself before anything else is read. Never writes.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

use leakline_python::layouts::{self, Attributes, NEWEST, same};
use pyo3::prelude::*;
use pyo3::{ffi, types::PyList};

use crate::frames;
use crate::host;

const WORD: isize = 8;
/// Bytes of the collector's header, which lies before the object.
pub(super) const GC_HEADER: usize = 16;

const TYPE_FLAG_INLINE_VALUES: usize = 1 << 2;
const TYPE_FLAG_MANAGED_WEAKREF: usize = 1 << 3;
const TYPE_FLAG_MANAGED_DICT: usize = 1 << 4;
pub(super) const TYPE_FLAG_HEAP: usize = 1 << 9;
pub(super) const TYPE_FLAG_INT: usize = 1 << 24;
pub(super) const TYPE_FLAG_LIST: usize = 1 << 25;
pub(super) const TYPE_FLAG_TUPLE: usize = 1 << 26;
pub(super) const TYPE_FLAG_DICT: usize = 1 << 29;
pub(super) const TYPE_FLAG_TYPE: usize = 1 << 31;

/// Where the items of a tuple begin, as [`check`] found: it is done before anything else is read.
static TUPLE_ITEMS: AtomicIsize = AtomicIsize::new(3 * WORD);

/// Most names that instances of one class share.
const MAX_SHARED_KEYS: usize = 30;
/// How keys that many instances share are marked.
const KEYS_ARE_SPLIT: u8 = 2;

/// An object that is alive: the GIL is held, and nothing has run since it was seen alive that could have freed it.
#[derive(Clone, Copy)]
pub(super) struct Object<'py> {
    py: Python<'py>,
    address: usize,
}

impl<'py> Object<'py> {
    /// # Safety
    ///
    /// `address` must be that of an object that stays alive as long as this value is used, which must not outlast the
    /// present hold of the GIL.
    pub(super) unsafe fn at(py: Python<'py>, address: usize) -> Self {
        Self { py, address }
    }

    pub(super) fn py(self) -> Python<'py> {
        self.py
    }

    pub(super) fn address(self) -> usize {
        self.address
    }

    pub(super) fn pointer(self) -> *mut ffi::PyObject {
        self.address as *mut ffi::PyObject
    }

    /// A reference of our own, for the short calls that need one.
    pub(super) fn own(self) -> Bound<'py, PyAny> {
        // SAFETY: the object is alive, by the promise of `at`.
        unsafe { Bound::from_borrowed_ptr(self.py, self.pointer()) }
    }

    /// The object at an address that one of this one's fields holds; `None` for null.
    fn other(self, address: usize) -> Option<Self> {
        (address != 0).then_some(Self { py: self.py, address })
    }

    /// A word of the object's C structure. The offset is one of the checked ones.
    fn word(self, offset: isize) -> usize {
        let place = self.address.wrapping_add_signed(offset) as *const usize;
        // SAFETY: the object is alive, and the callers in this file name only words that belong to objects of its type.
        unsafe { place.read() }
    }

    /// As [`Object::word`].
    fn byte(self, offset: isize) -> u8 {
        let place = self.address.wrapping_add_signed(offset) as *const u8;
        // SAFETY: as in `word`.
        unsafe { place.read() }
    }

    pub(super) fn kind(self) -> Kind<'py> {
        Kind(Self { py: self.py, address: self.word(WORD) })
    }

    /// Whether one reference is all there is.
    pub(super) fn is_last_reference(self) -> bool {
        // Immortal objects have a large number in the lower half, too.
        self.word(0) as u32 <= 1
    }

    /// Whether it is being taken down: then not even a short reference may be made.
    pub(super) fn is_dying(self) -> bool {
        self.word(0) as u32 == 0
    }

    /// The size field of an object of variable size.
    fn length(self) -> usize {
        (self.word(2 * WORD) as isize).unsigned_abs()
    }

    /// The `str` in it as text; `None` when it is anything else.
    pub(super) fn text(self) -> Option<String> {
        let object = self.own();
        object.cast::<pyo3::types::PyString>().ok().map(|text| text.to_string_lossy().into_owned())
    }
}

/// A type object.
#[derive(Clone, Copy)]
pub(super) struct Kind<'py>(pub(super) Object<'py>);

impl<'py> Kind<'py> {
    pub(super) fn address(self) -> usize {
        self.0.address
    }

    pub(super) fn flags(self) -> usize {
        self.0.word(same::TYPE_FLAGS)
    }

    pub(super) fn has(self, flag: usize) -> bool {
        self.flags() & flag != 0
    }

    /// `tp_name`: with its module for types that are written in C, without for classes.
    pub(super) fn short_name(self) -> String {
        let name = self.0.word(24) as *const c_char;
        if name.is_null() {
            return "?".to_owned();
        }
        // SAFETY: a type's name ends with a NUL and lives as long as the type.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }

    fn basic_size(self) -> usize {
        self.0.word(32)
    }

    fn item_size(self) -> usize {
        self.0.word(40)
    }

    pub(super) fn traverse(self) -> Option<ffi::traverseproc> {
        let function = self.0.word(same::TYPE_TRAVERSE) as *mut c_void;
        // SAFETY: the field holds null or a function of this signature.
        NonNull::new(function).map(|function| unsafe { std::mem::transmute(function) })
    }

    /// The dict of a class's attributes; `None` where it is kept elsewhere (types that are written in C, from 3.12 on).
    pub(super) fn attributes(self) -> Option<Object<'py>> {
        self.0.other(self.0.word(same::TYPE_DICT)).filter(|dict| dict.kind().has(TYPE_FLAG_DICT))
    }

    /// The types whose attributes its instances have, itself first.
    pub(super) fn bases(self) -> impl Iterator<Item = Kind<'py>> {
        let order =
            self.0.other(self.0.word(same::TYPE_ORDER)).filter(|order| order.kind().has(TYPE_FLAG_TUPLE));
        let count = order.map_or(0, |order| order.length().min(64));
        let items = TUPLE_ITEMS.load(Relaxed);
        let base = move |index: usize| order?.other(order?.word(items + index as isize * WORD));
        (0..count).filter_map(base).filter(|base| base.kind().has(TYPE_FLAG_TYPE)).map(Kind)
    }

    /// What of an instance's memory is the same for all of the type.
    pub(super) fn shape(self, known: &Known) -> Shape {
        let managed = match known.minor {
            11 => TYPE_FLAG_MANAGED_DICT,
            12.. => TYPE_FLAG_MANAGED_DICT | TYPE_FLAG_MANAGED_WEAKREF,
            _ => 0,
        };
        let before = if self.flags() & managed != 0 { GC_HEADER + 2 * WORD as usize } else { GC_HEADER };
        let fixed = before + self.basic_size();
        if self.has(TYPE_FLAG_LIST) {
            return Shape::List { fixed };
        }
        if self.has(TYPE_FLAG_DICT) && known.dict_size.is_some() {
            return Shape::Dict { before };
        }
        if self.bases().any(|base| known.is_set(base)) {
            return Shape::Set { fixed };
        }
        if self.basic_size() >= 72 && self.bases().any(|base| base.short_name() == "collections.deque") {
            return Shape::Deque { fixed };
        }
        match self.item_size() {
            0 => Shape::Fixed(fixed),
            // From 3.12 on an int's size field holds more than that, and an instance's own digits are few anyway.
            _ if self.has(TYPE_FLAG_INT) => Shape::Fixed(fixed),
            item => Shape::Items { fixed, item },
        }
    }
}

/// How an object's own memory is reckoned.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Fixed(usize),
    Items { fixed: usize, item: usize },
    List { fixed: usize },
    Dict { before: usize },
    Set { fixed: usize },
    Deque { fixed: usize },
}

impl Shape {
    /// Bytes of `object`, which is of the type that this shape was made for.
    pub(super) fn bytes(self, object: Object<'_>, known: &Known) -> u64 {
        let bytes = match self {
            Self::Fixed(fixed) => fixed,
            Self::Items { fixed, item } => fixed + item.saturating_mul(object.length()),
            Self::List { fixed } => fixed + 8 * object.word(same::LIST_ALLOCATED),
            Self::Dict { before } => before + known.dict_size.map_or(0, |size| size.of(object)),
            Self::Set { fixed } => {
                let [mask, table, inside] = same::SET;
                let slots = object.word(mask) + 1;
                let is_inside = object.word(table) == object.address.wrapping_add_signed(inside);
                fixed + if is_inside { 0 } else { 16 * slots }
            }
            Self::Deque { fixed } => {
                // Blocks of 64 items and two pointers; the first one begins at the left index.
                fixed + 66 * 8 * ((object.word(5 * WORD) & 63) + object.length()).div_ceil(64).max(1)
            }
        };
        bytes as u64
    }
}

/// `_PyDict_SizeOf`, which only reads.
#[derive(Clone, Copy)]
pub(super) struct DictSize(SizeOf);

type SizeOf = unsafe extern "C" fn(*mut ffi::PyObject) -> isize;

impl DictSize {
    fn of(self, dict: Object<'_>) -> usize {
        // SAFETY: callers pass instances of dict or of its subclasses, alive, under the GIL.
        let size = unsafe { self.0(dict.pointer()) };
        usize::try_from(size).unwrap_or(0)
    }
}

type Getter = unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject;

/// Types and functions outside the stable ABI, looked up once. Zero or `None` where there is none.
pub(super) struct Known {
    minor: u8,
    attributes: Attributes,
    pub(super) function: usize,
    pub(super) cell: usize,
    pub(super) frame: usize,
    member: usize,
    sets: [usize; 2],
    dict_size: Option<DictSize>,
    pub(super) closure: Option<Getter>,
    pub(super) defaults: Option<Getter>,
    pub(super) keyword_defaults: Option<Getter>,
    pub(super) globals: Option<Getter>,
}

impl Known {
    pub(super) fn new(py: Python<'_>) -> Self {
        let address = |name: &CStr| host::symbol(name).map_or(0, |found| found.as_ptr() as usize);
        let getter = |name: &CStr| {
            // SAFETY: these names have had this signature in every CPython that has them.
            host::symbol(name).map(|found| unsafe { std::mem::transmute::<NonNull<c_void>, Getter>(found) })
        };
        let dict_size = host::symbol(c"_PyDict_SizeOf").map(|found| {
            // SAFETY: as above.
            DictSize(unsafe { std::mem::transmute::<NonNull<c_void>, SizeOf>(found) })
        });
        let version = frames::version(py);
        Self {
            minor: version.minor,
            // A version that is not known is refused by `check`.
            attributes: layouts::objects(version).map_or(Attributes::InDict, |objects| objects.attributes),
            function: address(c"PyFunction_Type"),
            cell: address(c"PyCell_Type"),
            frame: address(c"PyFrame_Type"),
            member: address(c"PyMemberDescr_Type"),
            sets: [address(c"PySet_Type"), address(c"PyFrozenSet_Type")],
            dict_size,
            closure: getter(c"PyFunction_GetClosure"),
            defaults: getter(c"PyFunction_GetDefaults"),
            keyword_defaults: getter(c"PyFunction_GetKwDefaults"),
            globals: getter(c"PyFunction_GetGlobals"),
        }
    }

    fn is_set(&self, kind: Kind<'_>) -> bool {
        self.sets.contains(&kind.address())
    }

    /// The name of the slot or inline attribute of `instance` that refers to `child`.
    pub(super) fn attribute(&self, instance: Object<'_>, child: usize) -> Option<String> {
        self.slot(instance, child).or_else(|| self.inline_attribute(instance, child))
    }

    /// Whether `child` is the dict of `instance`'s attributes.
    pub(super) fn is_attributes_of(&self, child: usize, instance: Object<'_>) -> bool {
        let kind = instance.kind();
        if self.minor >= 11 && kind.has(TYPE_FLAG_MANAGED_DICT) {
            return instance.word(-3 * WORD) == child;
        }
        let offset = kind.0.word(same::TYPE_DICT_OFFSET) as isize;
        offset >= 2 * WORD && offset % WORD == 0 && instance.word(offset) == child
    }

    /// Looks through the slots that the instance's classes declare.
    fn slot(&self, instance: Object<'_>, child: usize) -> Option<String> {
        let kind = instance.kind();
        let size = kind.basic_size() as isize;
        for base in kind.bases().filter(|base| base.has(TYPE_FLAG_HEAP)) {
            for (name, value) in Entries::of(base.attributes()?) {
                if value.kind().address() != self.member {
                    continue;
                }
                let Some(definition) = value.other(value.word(5 * WORD)) else { continue };
                let offset = definition.word(2 * WORD) as isize;
                let fits = offset >= 2 * WORD && offset % WORD == 0 && offset <= size - WORD;
                if fits && instance.word(offset) == child {
                    return name.text();
                }
            }
        }
        None
    }

    /// Looks through attributes that lie beside or in the instance, whose names the class keeps.
    fn inline_attribute(&self, instance: Object<'_>, child: usize) -> Option<String> {
        let kind = instance.kind();
        if !kind.has(TYPE_FLAG_HEAP) || !kind.has(TYPE_FLAG_MANAGED_DICT) {
            return None;
        }
        let (values, keys) = match self.attributes {
            Attributes::Pointer { keys } => (instance.word(-4 * WORD), keys),
            // A dict, not values, if the lowest bit is clear.
            Attributes::Tagged { keys } => match instance.word(-3 * WORD) {
                values if values & 1 == 0 => return None,
                values => (values + 1, keys),
            },
            Attributes::Inline { keys } if kind.has(TYPE_FLAG_INLINE_VALUES) => {
                (instance.address + 2 * WORD as usize + same::INLINE_VALUES as usize, keys)
            }
            Attributes::Inline { .. } | Attributes::InDict => return None,
        };
        let (values, keys) = (instance.other(values)?, instance.other(kind.0.word(keys as isize))?);
        let [index_bytes, kind_of_keys, number, indices] = same::KEYS;
        let (index_log, table_kind) = (keys.byte(index_bytes), keys.byte(kind_of_keys));
        let count = keys.word(number);
        if table_kind != KEYS_ARE_SPLIT || count > MAX_SHARED_KEYS || index_log > 8 {
            return None;
        }
        let entries = indices + (1 << index_log);
        for index in 0..count as isize {
            if values.word(index * WORD) == child {
                return keys.other(keys.word(entries + index * 2 * WORD))?.text();
            }
        }
        None
    }
}

/// The entries of a dict. Nothing may change it meanwhile, so nothing of the host's may run.
pub(super) struct Entries<'py> {
    dict: Object<'py>,
    position: isize,
}

impl<'py> Entries<'py> {
    pub(super) fn of(dict: Object<'py>) -> Self {
        Self { dict, position: 0 }
    }

    /// From a position that [`Entries::position`] gave, however the dict has changed since.
    pub(super) fn from(dict: Object<'py>, position: isize) -> Self {
        Self { dict, position }
    }

    pub(super) fn position(&self) -> isize {
        self.position
    }
}

impl<'py> Iterator for Entries<'py> {
    type Item = (Object<'py>, Object<'py>);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: `dict` is a dict by its type and alive; CPython checks the position against its bounds.
        let found = unsafe {
            ffi::PyDict_Next(self.dict.pointer(), &raw mut self.position, &raw mut key, &raw mut value)
        };
        if found == 0 {
            return None;
        }
        Some((self.dict.other(key as usize)?, self.dict.other(value as usize)?))
    }
}

/// The value in `dict` of a key that is exactly this text. Compares without hashing, which may be the host's code.
pub(super) fn entry<'py>(dict: Object<'py>, name: &CStr) -> Option<Object<'py>> {
    Entries::of(dict).find(|(key, _)| is_text(*key, name)).map(|(_, value)| value)
}

fn is_text(object: Object<'_>, text: &CStr) -> bool {
    // SAFETY: asks for the flag of an object that is alive.
    let is_str = unsafe { ffi::PyUnicode_Check(object.pointer()) } != 0;
    // SAFETY: the object is a str, and the text ends with a NUL; this neither runs code nor raises.
    is_str && unsafe { ffi::PyUnicode_CompareWithASCIIString(object.pointer(), text.as_ptr()) == 0 }
}

/// Whether the offsets are those of this interpreter; otherwise why not.
pub(super) fn check(py: Python<'_>) -> PyResult<Result<(), String>> {
    let objects = layouts::objects(frames::version(py)).filter(|_| cfg!(target_pointer_width = "64"));
    let Some(objects) = objects else {
        let (major, minor) = NEWEST;
        return Ok(Err(format!(
            "its objects are known for CPython 3.9 to {major}.{minor}, 64-bit, and this is {}",
            Python::version_str().split_whitespace().next().unwrap_or_default()
        )));
    };
    TUPLE_ITEMS.store(objects.tuple_items as isize, Relaxed);
    let list = PyList::empty(py);
    let list_type = list.get_type();
    // SAFETY: `list` is alive until the end of this function.
    let object = unsafe { Object::at(py, list.as_ptr() as usize) };
    if object.word(WORD) != list_type.as_ptr() as usize {
        return Ok(Err("its objects begin with something else than a count and a type".to_owned()));
    }
    let kind = object.kind();
    let basic_size: usize = list_type.getattr("__basicsize__")?.extract()?;
    let item_size: usize = list_type.getattr("__itemsize__")?.extract()?;
    // SAFETY: a type that is alive.
    let flags = unsafe { ffi::PyType_GetFlags(list_type.as_ptr().cast()) };
    let order: Vec<usize> = kind.bases().map(Kind::address).collect();
    let said: Vec<Bound<'_, PyAny>> = list_type.getattr("__mro__")?.extract()?;
    let fits = kind.basic_size() == basic_size
        && kind.item_size() == item_size
        && kind.flags() == flags as usize
        && kind.short_name() == "list"
        && said.iter().map(|base| base.as_ptr() as usize).eq(order);
    Ok(if fits { Ok(()) } else { Err("its types are laid out differently".to_owned()) })
}

/// Whether `object` is an instance of `kind` or of a subtype, without asking the object.
pub(super) fn is_instance(object: Object<'_>, kind: *mut ffi::PyTypeObject) -> bool {
    // SAFETY: both are types that are alive; this walks a tuple of C pointers.
    let is_subtype: c_int = unsafe { ffi::PyType_IsSubtype(object.kind().0.pointer().cast(), kind) };
    is_subtype != 0
}
