//! Comes in front of malloc: by name when preloaded, by writing relocations otherwise. Never changes code.
//!
//! A relocation is written only where it holds the very function that is to be hooked, or the object's own stub that will
//! look that function up. So an object that the loader is still at work on is left alone until later, and a pointer that
//! the host has set to something else stays as it is.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, PoisonError};

use leakline_probing::heap::OwnHeap;
use leakline_probing::loader;

use super::{next, shims};
use crate::allocator::Kind;

/// How the hook came in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patched {
    /// The process calls ours by name.
    Preloaded,
    /// So many relocations were written.
    Relocations(usize),
}

/// Comes in front, or does again what is new since the last time. The error is why it cannot be.
pub(crate) fn come_in_front() -> Result<Patched, String> {
    if let Some(sanitizer) = crate::allocator::sanitizer() {
        return Err(format!("{sanitizer} is in the process, whose malloc finds errors"));
    }
    if next::is_preloaded() {
        return Ok(Patched::Preloaded);
    }
    // SAFETY: takes a number, touches no memory of ours.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return Err("this program runs with more rights than its user has".to_owned());
    }
    if !cfg!(target_pointer_width = "64") {
        return Err("malloc is hooked in 64-bit processes only".to_owned());
    }
    let malloc = crate::mallinfo::host_malloc().ok_or("the process has no malloc that can be found")?;
    let object = loader::object_at(malloc.as_ptr() as usize).unwrap_or_default();
    if std::env::current_exe().is_ok_and(|program| program == object) {
        return Err("the program brings a malloc of its own, whose calls cannot be seen".to_owned());
    }
    next::find_for_patching(find);
    pin_own_library();
    Ok(Patched::Relocations(look_again()))
}

/// Whether something was left for the next look.
static IS_UNFINISHED: AtomicBool = AtomicBool::new(false);

/// Whether it has to be looked again though nothing was loaded since.
pub(crate) fn is_unfinished() -> bool {
    IS_UNFINISHED.load(Relaxed)
}

/// Whether it has to be looked again and again: not where the process calls ours by name, and the loader tells what is
/// loaded when it is asked in the hook.
pub(crate) fn needs_looks() -> bool {
    !next::is_preloaded() || !crate::unwind::objects::are_current()
}

/// Writes what is to be written in all objects that are loaded now; gives the number of relocations that are ours.
pub(super) fn look_again() -> usize {
    static PATCHING: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    // Not while another thread is at it: pages are made writable and read-only again.
    let mut seen = PATCHING.lock().unwrap_or_else(PoisonError::into_inner);
    IS_UNFINISHED.store(false, Relaxed);
    let mut patching = Patching { functions: functions(), seen: &seen, now: Vec::new(), ours: 0 };
    // SAFETY: `each_object` matches the signature, and `patching` outlives the walk.
    unsafe { libc::dl_iterate_phdr(Some(each_object), (&raw mut patching).cast()) };
    let Patching { now, ours, .. } = patching;
    *seen = now;
    ours
}

fn find(name: &CStr) -> Option<NonNull<c_void>> {
    if name == c"malloc" { crate::mallinfo::host_malloc() } else { loader::symbol(name) }
}

/// The hook is in the process for good: other code jumps to it.
fn pin_own_library() {
    let Some(path) = loader::object_at(pin_own_library as *const () as usize) else { return };
    let Ok(name) = std::ffi::CString::new(path.into_os_string().into_encoded_bytes()) else { return };
    // SAFETY: `name` ends with a NUL, and nothing is loaded that is not there.
    unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
}

/// A function: its name, where it is, and what is to be called instead.
struct Function {
    name: &'static CStr,
    real: usize,
    ours: usize,
}

/// Whether mappings can be recorded. An allocator asks for them with its locks held, where it must not be called: so only
/// from a heap of leakline's own, or beside glibc's malloc, which asks the kernel without a call that could be hooked.
pub(crate) fn sees_mappings() -> bool {
    static SEES: LazyLock<bool> =
        LazyLock::new(|| OwnHeap::held_bytes() > 0 || Kind::of_host() == Kind::Glibc);
    *SEES
}

fn functions() -> Vec<Function> {
    let sees_mappings = sees_mappings();
    let ours = |name: &CStr| match name.to_bytes() {
        b"malloc" => shims::malloc as *const () as usize,
        b"calloc" => shims::calloc as *const () as usize,
        b"realloc" => shims::realloc as *const () as usize,
        b"reallocarray" => shims::reallocarray as *const () as usize,
        b"free" => shims::free as *const () as usize,
        b"posix_memalign" => shims::posix_memalign as *const () as usize,
        b"aligned_alloc" => shims::aligned_alloc as *const () as usize,
        b"memalign" => shims::memalign as *const () as usize,
        b"valloc" => shims::valloc as *const () as usize,
        b"pvalloc" => shims::pvalloc as *const () as usize,
        b"mmap" | b"mmap64" | b"munmap" | b"mremap" if !sees_mappings => 0,
        b"mmap" | b"mmap64" => shims::mmap as *const () as usize,
        b"munmap" => shims::munmap as *const () as usize,
        b"mremap" => shims::mremap as *const () as usize,
        _ => 0,
    };
    next::names().map(|(name, real)| Function { name, real, ours: ours(name) }).collect()
}

struct Patching<'a> {
    functions: Vec<Function>,
    /// The objects of the last time, by where they begin.
    seen: &'a [usize],
    now: Vec<usize>,
    ours: usize,
}

unsafe extern "C" fn each_object(info: *mut libc::dl_phdr_info, _: usize, patching: *mut c_void) -> c_int {
    // SAFETY: `patching` is what `look_again` passes, valid during the walk.
    let patching = unsafe { &mut *patching.cast::<Patching<'_>>() };
    // SAFETY: the loader hands in a valid entry for the time of this call.
    let info = unsafe { &*info };
    // A panic must not unwind into the loader.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        if let Some(object) = Object::of(info) {
            patching.now.push(object.base);
            object.patch(patching);
        }
    }));
    0
}

/// What is needed of a loaded object.
struct Object {
    base: usize,
    /// First address, and the one after the last.
    range: (usize, usize),
    read_only_after: (usize, usize),
    symbols: usize,
    strings: usize,
    /// Tables of relocations: address and length in bytes.
    tables: [(usize, usize); 2],
}

/// `Elf64_Rela`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Relocation {
    offset: u64,
    info: u64,
    addend: i64,
}

#[cfg(target_arch = "aarch64")]
mod kind {
    pub(super) const ABSOLUTE: u32 = 257;
    pub(super) const GLOBAL: u32 = 1025;
    pub(super) const JUMP: u32 = 1026;
}

#[cfg(not(target_arch = "aarch64"))]
mod kind {
    pub(super) const ABSOLUTE: u32 = 1;
    pub(super) const GLOBAL: u32 = 6;
    pub(super) const JUMP: u32 = 7;
}

#[cfg(target_pointer_width = "64")]
type Header = libc::Elf64_Phdr;
#[cfg(target_pointer_width = "32")]
type Header = libc::Elf32_Phdr;

/// An entry of a table of symbols, as elf.h has it. The crate libc does not, for Android.
#[cfg(target_pointer_width = "64")]
#[repr(C)]
struct Symbol {
    name: u32,
    _info: [u8; 2],
    section: u16,
    _value_and_size: [u64; 2],
}
#[cfg(target_pointer_width = "32")]
#[repr(C)]
struct Symbol {
    name: u32,
    _value_and_size: [u32; 2],
    _info: [u8; 2],
    section: u16,
}

impl Object {
    fn of(info: &libc::dl_phdr_info) -> Option<Self> {
        const PT_LOAD: u32 = 1;
        const PT_DYNAMIC: u32 = 2;
        const PT_GNU_RELRO: u32 = 0x6474_e552;
        const DT_PLTRELSZ: i64 = 2;
        const DT_STRTAB: i64 = 5;
        const DT_SYMTAB: i64 = 6;
        const DT_RELA: i64 = 7;
        const DT_RELASZ: i64 = 8;
        const DT_PLTREL: i64 = 20;
        const DT_JMPREL: i64 = 23;

        let base = info.dlpi_addr as usize;
        // SAFETY: the loader gives the object's own headers and their number.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let mut object = Self {
            base,
            range: (usize::MAX, 0),
            read_only_after: (0, 0),
            symbols: 0,
            strings: 0,
            tables: [(0, 0); 2],
        };
        let mut dynamic = None;
        for header in headers {
            let start = base.wrapping_add(header.p_vaddr as usize);
            let end = start.wrapping_add(header.p_memsz as usize);
            match header.p_type {
                PT_LOAD => object.range = (object.range.0.min(start), object.range.1.max(end)),
                PT_DYNAMIC => dynamic = Some(start),
                PT_GNU_RELRO => object.read_only_after = (start, end),
                _ => {}
            }
        }
        let own = Self::of as *const () as usize;
        let is_own = (object.range.0..object.range.1).contains(&own);
        // The vdso has no address of its own to speak of, and our own library calls what is behind the hook.
        if is_own && !is_program(base, headers) {
            return None;
        }
        let mut at = dynamic? as *const [i64; 2];
        // glibc adds the base to these addresses in place, others do not.
        let address = |value: i64| match value as usize {
            value if value < object.range.0 => base.wrapping_add(value),
            value => value,
        };
        let mut is_rela = true;
        loop {
            // SAFETY: the object's own dynamic section, which ends with a zero.
            let [tag, value] = unsafe { at.read() };
            match tag {
                0 => break,
                DT_PLTRELSZ => object.tables[0].1 = value as usize,
                DT_JMPREL => object.tables[0].0 = address(value),
                DT_RELASZ => object.tables[1].1 = value as usize,
                DT_RELA => object.tables[1].0 = address(value),
                DT_STRTAB => object.strings = address(value),
                DT_SYMTAB => object.symbols = address(value),
                DT_PLTREL => is_rela = value == DT_RELA,
                _ => {}
            }
            // SAFETY: as above; the end was not reached.
            at = unsafe { at.add(1) };
        }
        (is_rela && object.symbols != 0 && object.strings != 0).then_some(object)
    }

    fn patch(&self, patching: &mut Patching<'_>) {
        for (address, length) in self.tables {
            if address == 0 || !self.holds(address, length) {
                continue;
            }
            let count = length / size_of::<Relocation>();
            // SAFETY: the object's own table, inside of what is mapped of it.
            let relocations = unsafe { std::slice::from_raw_parts(address as *const Relocation, count) };
            for relocation in relocations {
                self.patch_one(*relocation, patching);
            }
        }
    }

    fn holds(&self, address: usize, length: usize) -> bool {
        address >= self.range.0 && address.checked_add(length).is_some_and(|end| end <= self.range.1)
    }

    fn patch_one(&self, relocation: Relocation, patching: &mut Patching<'_>) {
        let kind = relocation.info as u32;
        if !matches!(kind, kind::ABSOLUTE | kind::GLOBAL | kind::JUMP)
            || kind == kind::ABSOLUTE && relocation.addend != 0
        {
            return;
        }
        let name = self.name((relocation.info >> 32) as usize);
        let (Some(name), defined) = name else { return };
        let Some(function) = patching.functions.iter().find(|function| function.name == name) else { return };
        let slot = self.base.wrapping_add(relocation.offset as usize);
        if !self.holds(slot, size_of::<usize>())
            || !slot.is_multiple_of(align_of::<usize>())
            || function.ours == 0
        {
            return;
        }
        // SAFETY: a slot of the object's, aligned, in what is mapped of it; others read and write it as a whole.
        let slot = unsafe { AtomicUsize::from_ptr(slot as *mut usize) };
        let found = slot.load(Relaxed);
        // In an object that has such a function itself, this may be that one.
        let will_be_looked_up =
            kind == kind::JUMP && !defined && (self.range.0..self.range.1).contains(&found);
        let is_real = found == function.real;
        let mut is_ours = found == function.ours;
        if is_real || will_be_looked_up {
            is_ours = self.write(slot, function.ours, patching.seen.contains(&self.base));
        }
        patching.ours += usize::from(is_ours);
    }

    /// The symbol's name, and whether the object defines it.
    fn name(&self, symbol: usize) -> (Option<&CStr>, bool) {
        let symbol = (self.symbols as *const Symbol).wrapping_add(symbol);
        if !self.holds(symbol as usize, size_of::<Symbol>()) {
            return (None, true);
        }
        // SAFETY: an entry of the object's own table, in what is mapped of it.
        let symbol = unsafe { symbol.read() };
        let name = self.strings.wrapping_add(symbol.name as usize);
        // SAFETY: the object's own strings end with NULs.
        let name = self.holds(name, 1).then(|| unsafe { CStr::from_ptr(name as *const _) });
        (name, symbol.section != 0)
    }

    /// Writes to a slot that may be read-only by now. One that is not yet is still the loader's to protect: making its
    /// page read-only would have the loader itself fault.
    fn write(&self, slot: &AtomicUsize, value: usize, was_there_before: bool) -> bool {
        let address = slot.as_ptr() as usize;
        let (start, end) = self.read_only_after;
        let page = crate::process::page_bytes() as usize;
        let is_protected = match (start..end & !(page - 1)).contains(&address).then(|| is_writable(slot)) {
            None | Some(Some(true)) => false,
            Some(Some(false)) => true,
            Some(None) if was_there_before => true,
            // Not known, and it may be in the making: the next time.
            Some(None) => {
                IS_UNFINISHED.store(true, Relaxed);
                return false;
            }
        };
        if !is_protected {
            slot.store(value, Relaxed);
            return true;
        }
        let page_of_it = (address & !(page - 1)) as *mut c_void;
        // SAFETY: a page of an object that is loaded; reading goes on as before.
        if unsafe { libc::mprotect(page_of_it, page, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return false;
        }
        slot.store(value, Relaxed);
        // SAFETY: as it was.
        unsafe { libc::mprotect(page_of_it, page, libc::PROT_READ) };
        true
    }
}

/// Whether a slot's page can be written to, found out by having the kernel write what is there already. `None`: it does
/// not say.
fn is_writable(slot: &AtomicUsize) -> Option<bool> {
    let mut value = slot.load(Relaxed);
    let from = libc::iovec { iov_base: (&raw mut value).cast(), iov_len: size_of::<usize>() };
    let to = libc::iovec { iov_base: slot.as_ptr().cast(), iov_len: size_of::<usize>() };
    // SAFETY: takes no arguments.
    let own = unsafe { libc::getpid() };
    // SAFETY: both describe one word of this process; the kernel checks what it writes to.
    let written = unsafe { libc::process_vm_writev(own, &raw const from, 1, &raw const to, 1, 0) };
    match written {
        8 | 4 => Some(true),
        _ => match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EFAULT) => Some(false),
            _ => None,
        },
    }
}

fn is_program(base: usize, headers: &[Header]) -> bool {
    const PT_PHDR: u32 = 6;
    // SAFETY: takes a number.
    let program = unsafe { libc::getauxval(libc::AT_PHDR) } as usize;
    headers
        .iter()
        .any(|header| header.p_type == PT_PHDR && base.wrapping_add(header.p_vaddr as usize) == program)
}
