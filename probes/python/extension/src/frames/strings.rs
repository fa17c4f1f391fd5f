//! Python's strings and bytes, copied straight out of memory.
//! Where they keep their characters is worked out from sizes that the interpreter tells, and tried on known strings.

use leakline_python::lines::Text;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::read;

/// `ob_refcnt`, `ob_type`.
const LENGTH: u32 = 16;
/// After the length and the hash.
const STATE: u32 = 32;
/// Line tables are about a tenth of the code they are for; more than this is damaged.
const MAX_BYTES: usize = 1 << 20;
const KNOWN: [&str; 5] = ["leakline", "", "l\u{e9}akline", "leakl\u{131}ne", "leakline \u{1f40d}"];

/// Where strings and bytes keep what they hold.
#[derive(Clone, Copy)]
pub(super) struct Strings {
    /// Of the characters, in strings that are ASCII only and in others.
    ascii: u32,
    wide: u32,
    /// How far the bits that tell the kind of a string are to be shifted.
    kind_shift: u32,
    bytes: u32,
}

impl Strings {
    pub(super) fn find(py: Python<'_>) -> Result<Self, String> {
        let found = Self::sizes(py).map_err(|error| error.value(py).to_string())?;
        // What precedes the kind is how a string is interned: two bits, or sixteen.
        let fits = |shift: &u32| Self { kind_shift: *shift, ..found }.fits(py);
        match [2, 16].iter().find(|shift| fits(shift)) {
            Some(shift) => Ok(Self { kind_shift: *shift, ..found }),
            None => Err("this CPython keeps strings in a way that leakline does not know".to_owned()),
        }
    }

    fn sizes(py: Python<'_>) -> PyResult<Self> {
        let size = |object: &Bound<'_, PyAny>| object.call_method0("__sizeof__")?.extract::<u32>();
        let wide = "\u{1f40d}\u{1f40d}\u{1f40d}";
        Ok(Self {
            ascii: size(PyString::new(py, "xyz").as_any())?.saturating_sub(4),
            wide: size(PyString::new(py, wide).as_any())?.saturating_sub(16),
            kind_shift: 2,
            bytes: size(PyBytes::new(py, b"xyz").as_any())?.saturating_sub(4),
        })
    }

    fn fits(self, py: Python<'_>) -> bool {
        KNOWN.iter().all(|known| {
            let string = PyString::new(py, known);
            // SAFETY: `string` is alive and the GIL is held; if the layout is wrong, at most 64 bytes are read of it.
            let found = unsafe { self.string(string.as_ptr() as usize, 16) };
            found.as_deref() == Some(known)
        }) && {
            let bytes = PyBytes::new(py, b"leakline");
            // SAFETY: `bytes` is alive and the GIL is held.
            (unsafe { self.bytes(bytes.as_ptr() as usize) }).as_deref() == Some(&b"leakline"[..])
        }
    }

    /// The text of the string at `object`; `None` where that is no string as CPython makes them for names and files, or
    /// one of more than `most` characters (it is cut instead when `most` is larger than all that is copied anyway).
    ///
    /// # Safety
    ///
    /// A string must be alive there, with the GIL held.
    pub(super) unsafe fn string(self, object: usize, most: usize) -> Option<Box<str>> {
        // SAFETY: the caller's promise: every string has these two fields.
        let length: usize = unsafe { read(object, LENGTH) };
        // SAFETY: as above.
        let state: u32 = unsafe { read(object, STATE) };
        let state = state >> self.kind_shift;
        let (kind, compact, ascii) = (state & 7, state & 8 != 0, state & 16 != 0);
        if !compact
            || length > isize::MAX as usize / 4
            || (length > most && most < leakline_python::lines::MAX_CHARACTERS)
        {
            return None;
        }
        let length = length.min(leakline_python::lines::MAX_CHARACTERS);
        let start = object + if ascii { self.ascii } else { self.wide } as usize;
        let text = match kind {
            // SAFETY: a compact string is followed by its characters, `kind` bytes each, and is never changed.
            1 => Text::One(unsafe { std::slice::from_raw_parts(start as *const u8, length) }),
            // SAFETY: as above; characters are aligned as their kind wants it.
            2 => Text::Two(unsafe { std::slice::from_raw_parts(start as *const u16, length) }),
            // SAFETY: as above.
            4 => Text::Four(unsafe { std::slice::from_raw_parts(start as *const u32, length) }),
            _ => return None,
        };
        Some(text.decode())
    }

    /// Something that differs between strings that end differently, read without a loop; for those that are short or not
    /// ASCII only, their address.
    ///
    /// # Safety
    ///
    /// A string must be alive at `object`, with the GIL held.
    #[inline(always)]
    pub(super) unsafe fn end(&self, object: usize) -> u64 {
        // SAFETY: the caller's promise: every string has these two fields.
        let length: usize = unsafe { read(object, LENGTH) };
        // SAFETY: as above.
        let state: u32 = unsafe { read(object, STATE) };
        // Compact, and ASCII only.
        if (state >> self.kind_shift) & 24 != 24 || length < 8 {
            return object as u64;
        }
        let last = object.wrapping_add(length).wrapping_sub(8);
        // SAFETY: such a string is followed by as many characters of a byte each, and is never changed.
        let end: u64 = unsafe { read(last, self.ascii) };
        end ^ (length as u64).rotate_left(32)
    }

    /// What the bytes object at `object` holds; `None` where that is too much.
    ///
    /// # Safety
    ///
    /// A bytes object must be alive there, with the GIL held.
    pub(super) unsafe fn bytes(self, object: usize) -> Option<Box<[u8]>> {
        // SAFETY: the caller's promise: every object of variable size has its size here.
        let length: usize = unsafe { read(object, LENGTH) };
        if length > MAX_BYTES {
            return None;
        }
        let start = (object + self.bytes as usize) as *const u8;
        // SAFETY: the object holds `length` bytes from there on, and is never changed.
        Some(unsafe { std::slice::from_raw_parts(start, length) }.into())
    }
}
