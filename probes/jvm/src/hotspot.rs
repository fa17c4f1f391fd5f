//! What HotSpot exports for debuggers, and what a thread of ours sees in its own `JavaThread`: where Java's machine code
//! is, and whether a thread that runs native code may ask the JVM something now without waiting.
//!
//! Every offset is either in the exported table or found by an experiment on our own thread, and then checked on it. What
//! is not found, or found twice, makes the whole absent.
//!
//! Never here: another thread's memory, a write.

use std::ffi::{CStr, c_char, c_int, c_void};

use jni::sys;
use leakline_probing::loader::LoadedObject;

use crate::env::Frame;

/// More entries than any table has: they are some thousands.
const MAX_ENTRIES: usize = 20_000;
/// More than a `JavaThread` has: they are about 2,000 bytes.
const MAX_THREAD: usize = 16 << 10;
/// More machine code than HotSpot can be told to make room for.
const MAX_CODE: usize = 2 << 30;
/// `_thread_in_native` of the enum JavaThreadState: native code that was called by the rules, by JNI or otherwise.
const IN_NATIVE: i32 = 4;
/// What a thread's polling word is when nobody wants it to stop.
const NOT_ASKED: usize = !1;
/// A page, as far as polling goes.
const PAGE: usize = 4096;

/// Where things are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Java's machine code: first address, and the one after the last.
    pub(crate) code: (usize, usize),
    /// The JVM's own library.
    library: (usize, usize),
    /// Offsets in a `JavaThread`: its `JNIEnv`, its state, its polling word.
    env: usize,
    state: usize,
    poll: usize,
    /// The count of critical regions that the thread is in; `None` where the collector does not wait for them.
    critical: Option<usize>,
}

/// The calling thread's `JavaThread`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JavaThread<'a> {
    layout: &'a Layout,
    address: usize,
}

impl Layout {
    /// `frame` is of the calling thread, which runs native code now; `libjvm` is that JVM's library. `None` also when the
    /// thread is wanted to stop just now: asking again may help.
    pub(crate) fn find(libjvm: &LoadedObject, frame: &Frame<'_>) -> Option<Self> {
        let structs = Table::find(libjvm)?;
        let bound = |name| {
            let place = structs.static_field(c"CodeCache", name)?;
            // SAFETY: the table says that an address is kept there, for good, and it does not change once the JVM runs.
            Some(unsafe { place.cast::<usize>().read_volatile() })
        };
        let code = (bound(c"_low_bound")?, bound(c"_high_bound")?);
        if code.0 == 0 || code.1 <= code.0 || code.1 - code.0 > MAX_CODE {
            return None;
        }
        let size = structs.java_thread_size.filter(|size| (256..=MAX_THREAD).contains(size))?;
        let state = structs.offset(c"JavaThread", c"_thread_state").filter(|offset| offset + 4 <= size)?;
        let address = usize::try_from(own_thread(frame)?).ok().filter(|address| *address != 0)?;
        let env = (frame.raw() as usize).checked_sub(address).filter(|offset| offset + 8 <= size)?;
        let own = Own { address, size, base: structs.thread_size.filter(|base| *base < size)? };
        if own.int(state) != IN_NATIVE {
            return None;
        }
        let library = range_of(structs.address)?;
        Some(Self { code, library, env, state, poll: own.poll()?, critical: own.critical(frame)? })
    }

    /// Whether an address is in the JVM's own library.
    pub(crate) fn is_jvm(&self, address: usize) -> bool {
        (self.library.0..self.library.1).contains(&address)
    }

    /// The thread to which `env` belongs.
    ///
    /// # Safety
    ///
    /// `env` is the calling thread's, of the JVM that this layout is of.
    pub(crate) unsafe fn thread(&self, env: *mut sys::JNIEnv) -> JavaThread<'_> {
        JavaThread { layout: self, address: (env as usize).wrapping_sub(self.env) }
    }
}

impl JavaThread<'_> {
    /// Whether it may ask the JVM something, and would not have to wait: it is in native code by the rules, it is not in a
    /// critical region, for whose end a collection may be waiting, and nobody wants threads to stop. The last is so from
    /// the beginning of each safepoint to its end, and from the JVM's end on for ever.
    pub(crate) fn may_ask(self) -> bool {
        let Layout { state, poll, critical, .. } = *self.layout;
        let own = Own { address: self.address, base: 0, size: usize::MAX };
        own.int(state) == IN_NATIVE
            && critical.is_none_or(|offset| own.int(offset) == 0)
            && own.word(poll) == NOT_ASKED
    }
}

/// Our own thread's `JavaThread`.
#[derive(Clone, Copy)]
struct Own {
    address: usize,
    size: usize,
    /// Of that, what its base class `Thread` has.
    base: usize,
}

impl Own {
    fn int(self, offset: usize) -> i32 {
        // SAFETY: it lies in the `JavaThread` of the calling thread, which is there as long as the thread is.
        unsafe { ((self.address + offset) as *const i32).read_volatile() }
    }

    fn word(self, offset: usize) -> usize {
        // SAFETY: as above.
        unsafe { ((self.address + offset) as *const usize).read_volatile() }
    }

    /// The offset of the polling word, by what it says while nobody wants the thread to stop, and by the page's address
    /// that stands after it.
    fn poll(self) -> Option<usize> {
        let mut found = (0..self.size.saturating_sub(16)).step_by(8).filter(|offset| {
            let page = self.word(offset + 8);
            self.word(*offset) == NOT_ASKED && page != 0 && page % PAGE == 0
        });
        found.next().filter(|_| found.next().is_none())
    }

    /// The offset of the count of critical regions, by entering one, and another in it: what goes 0, 1, 2, 1, 0 is the
    /// count. The inner `None`: there is none. Not in the base class, where G1 counts what it has pinned instead.
    #[expect(clippy::option_option, reason = "the outer one says that the experiment failed")]
    fn critical(self, frame: &Frame<'_>) -> Option<Option<usize>> {
        let array = frame.byte_array(8).ok()?;
        let look = || (0..self.size - 4).step_by(4).map(|offset| self.int(offset)).collect::<Vec<i32>>();
        let before = look();
        let (once, twice, once_again) = frame
            .in_critical_region(array, || {
                let once = look();
                let twice = frame.in_critical_region(array, look);
                (once, twice, look())
            })
            .ok()?;
        let looks = [before, once, twice.ok()?, once_again, look()];
        let counts = |index: &usize| {
            looks.iter().zip([0, 1, 2, 1, 0]).all(|(look, count)| look.get(*index) == Some(&count))
        };
        let mut found = (self.base / 4..self.size / 4).filter(counts);
        let first = found.next();
        found.next().is_none().then_some(first.map(|index| index * 4))
    }
}

/// The address of our own `JavaThread`, which `java.lang.Thread` keeps.
fn own_thread(frame: &Frame<'_>) -> Option<i64> {
    let class = frame.class("java.lang.Thread").ok()?;
    let thread = frame.static_object(class, "currentThread", "Ljava/lang/Thread;").ok()?;
    frame.long_field(class, thread, c"eetop").ok()
}

/// The exported table of fields, and two entries of that of types.
struct Table {
    address: usize,
    first: usize,
    stride: usize,
    type_name: usize,
    field_name: usize,
    is_static: usize,
    offset: usize,
    place: usize,
    java_thread_size: Option<usize>,
    thread_size: Option<usize>,
}

impl Table {
    fn find(libjvm: &LoadedObject) -> Option<Self> {
        let number = |name: &CStr| {
            let place = libjvm.symbol(name)?.as_ptr().cast::<u64>();
            // SAFETY: by this name HotSpot exports a constant of 64 bits.
            usize::try_from(unsafe { place.read() }).ok()
        };
        let offset = |name: &CStr| number(name).filter(|offset| *offset < 1024);
        let address = libjvm.symbol(c"gHotSpotVMStructs")?.as_ptr() as usize;
        let types = Types {
            first: number(c"gHotSpotVMTypes")?,
            stride: offset(c"gHotSpotVMTypeEntryArrayStride")?,
            name: offset(c"gHotSpotVMTypeEntryTypeNameOffset")?,
            size: offset(c"gHotSpotVMTypeEntrySizeOffset")?,
        };
        Some(Self {
            address,
            first: number(c"gHotSpotVMStructs").filter(|first| *first != 0)?,
            stride: offset(c"gHotSpotVMStructEntryArrayStride").filter(|stride| *stride != 0)?,
            type_name: offset(c"gHotSpotVMStructEntryTypeNameOffset")?,
            field_name: offset(c"gHotSpotVMStructEntryFieldNameOffset")?,
            is_static: offset(c"gHotSpotVMStructEntryIsStaticOffset")?,
            offset: offset(c"gHotSpotVMStructEntryOffsetOffset")?,
            place: offset(c"gHotSpotVMStructEntryAddressOffset")?,
            java_thread_size: types.size_of(c"JavaThread"),
            thread_size: types.size_of(c"Thread"),
        })
    }

    fn static_field(&self, class: &CStr, field: &CStr) -> Option<*const c_void> {
        let entry = self.entry(class, field, true)?;
        Some(read::<*const c_void>(entry + self.place)).filter(|place| !place.is_null())
    }

    fn offset(&self, class: &CStr, field: &CStr) -> Option<usize> {
        usize::try_from(read::<u64>(self.entry(class, field, false)? + self.offset)).ok()
    }

    fn entry(&self, class: &CStr, field: &CStr, is_static: bool) -> Option<usize> {
        let entries = (0..MAX_ENTRIES).map(|index| self.first + index * self.stride);
        entries.take_while(|entry| text(entry + self.field_name).is_some()).find(|entry| {
            text(entry + self.field_name) == Some(field)
                && text(entry + self.type_name) == Some(class)
                && (read::<i32>(entry + self.is_static) != 0) == is_static
        })
    }
}

/// The exported table of types.
struct Types {
    first: usize,
    stride: usize,
    name: usize,
    size: usize,
}

impl Types {
    fn size_of(&self, class: &CStr) -> Option<usize> {
        let entries = (0..MAX_ENTRIES).map(|index| self.first + index * self.stride);
        let mut named = entries.take_while(|entry| self.first != 0 && text(entry + self.name).is_some());
        let entry = named.find(|entry| text(entry + self.name) == Some(class))?;
        usize::try_from(read::<u64>(entry + self.size)).ok()
    }
}

/// A field of an entry that is not past the last.
fn read<T: Copy>(address: usize) -> T {
    // SAFETY: the tables are constants of a library that is never unloaded; their strides and their fields' offsets were
    // read from the same library, and each ends with an entry without a name.
    unsafe { (address as *const T).read() }
}

fn text<'a>(address: usize) -> Option<&'a CStr> {
    let text: *const c_char = read(address);
    // SAFETY: names in the tables are constants that end with a NUL.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// The addresses of the loaded object that has `address`.
fn range_of(address: usize) -> Option<(usize, usize)> {
    struct Search {
        address: usize,
        found: Option<(usize, usize)>,
    }
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
        // SAFETY: the loader hands over a description of its own, which stays until this returns.
        let info = unsafe { &*info };
        // SAFETY: it is the search below, which nobody else has.
        let search = unsafe { &mut *search.cast::<Search>() };
        if info.dlpi_phdr.is_null() {
            return 0;
        }
        // SAFETY: the loader says where the headers are and how many.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let loads = headers.iter().filter(|header| header.p_type == libc::PT_LOAD).map(|header| {
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            (start, start.wrapping_add(header.p_memsz as usize))
        });
        let whole = loads.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
        search.found = whole.filter(|range| (range.0..range.1).contains(&search.address));
        c_int::from(search.found.is_some())
    }
    let mut search = Search { address, found: None };
    // SAFETY: `look` fits, unwinds never, and `search` lives until the call returns.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}
