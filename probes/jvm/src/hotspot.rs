//! What HotSpot exports for debuggers and profilers: where Java's machine code is, in what state a thread is, and
//! `AsyncGetCallTrace`, which reads a thread's own frames.
//!
//! `AsyncGetCallTrace` is made for signal handlers: it takes no lock, allocates nothing, and never waits for a safepoint.
//! The tool interface's `GetStackTrace` does wait, and a thread that waits inside malloc may hold what the JVM needs to
//! end the safepoint (its log's stream, for one).
//!
//! Every offset is in the exported table, or checked on our own thread. What is not found makes the whole absent.
//!
//! Never here: another thread's memory, a write.

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;

use jni::sys;
use leakline_probing::joined::RawFrame;
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
/// `_thread_in_vm`: the JVM's own code, as when it allocates a direct buffer or defines a class. Where the thread says what its
/// innermost Java frame is, the JVM itself walks it in this state, for exceptions and the like.
const IN_VM: i32 = 6;
/// Most frames of a walk.
const MAX_FRAMES: usize = 32;

/// See `AsyncGetCallTrace` of HotSpot's forte.cpp.
type GetCallTrace = unsafe extern "C" fn(*mut CallTrace, sys::jint, *mut c_void);

#[repr(C)]
struct CallTrace {
    env: *mut sys::JNIEnv,
    /// Frames that were filled in; negative for why there are none.
    count: sys::jint,
    frames: *mut CallFrame,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CallFrame {
    /// The place in the method's code; negative in a native method.
    place: sys::jint,
    /// Null for a method that has no number yet.
    method: sys::jmethodID,
}

/// Where things are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Java's machine code: first address, and the one after the last.
    pub(crate) code: (usize, usize),
    get_call_trace: GetCallTrace,
    /// Offsets in a `JavaThread`: its `JNIEnv`, its state, where Java's innermost frame is.
    env: usize,
    state: usize,
    last_sp: usize,
    last_pc: usize,
}

impl Layout {
    /// `frame` is of the calling thread, which runs native code now; `libjvm` is that JVM's library.
    pub(crate) fn find(libjvm: &LoadedObject, frame: &Frame<'_>) -> Option<Self> {
        let function = libjvm.symbol(c"AsyncGetCallTrace")?.as_ptr();
        // SAFETY: by this name HotSpot exports a function of this type.
        let get_call_trace = unsafe { std::mem::transmute::<*mut c_void, GetCallTrace>(function) };
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
        let size = structs.java_thread_size.filter(|size| *size <= MAX_THREAD)?;
        let inside = |offset: usize| Some(offset).filter(|offset| *offset + 8 <= size);
        let anchor = structs.offset(c"JavaThread", c"_anchor")?;
        let address = usize::try_from(own_thread(frame)?).ok().filter(|address| *address != 0)?;
        let layout = Self {
            code,
            get_call_trace,
            env: inside((frame.raw() as usize).checked_sub(address)?)?,
            state: inside(structs.offset(c"JavaThread", c"_thread_state")?)?,
            last_sp: inside(anchor + structs.offset(c"JavaFrameAnchor", c"_last_Java_sp")?)?,
            last_pc: inside(anchor + structs.offset(c"JavaFrameAnchor", c"_last_Java_pc")?)?,
        };
        (layout.state_of(address) == IN_NATIVE).then_some(layout)
    }

    /// The calling thread's frames, innermost first, and their number: a method's number, 0 where it has none, and the
    /// place in its code. None unless the thread is in native code that Java called by the rules, or in the JVM's own.
    ///
    /// # Safety
    ///
    /// `env` is the calling thread's, of the JVM that this layout is of.
    pub(crate) unsafe fn own_frames(&self, env: *mut sys::JNIEnv, into: &mut [RawFrame]) -> usize {
        let thread = (env as usize).wrapping_sub(self.env);
        let is_walkable = word(thread + self.last_sp) != 0 && word(thread + self.last_pc) != 0;
        if !matches!(self.state_of(thread), IN_NATIVE | IN_VM) || !is_walkable {
            return 0;
        }
        let mut frames = [CallFrame { place: 0, method: std::ptr::null_mut() }; MAX_FRAMES];
        let most = into.len().min(MAX_FRAMES);
        let mut trace = CallTrace { env, count: 0, frames: frames.as_mut_ptr() };
        // Not looked at in these states, where the thread itself says what its innermost Java frame is.
        let mut context = MaybeUninit::<libc::ucontext_t>::zeroed();
        // SAFETY: the trace is of this thread, and has room for that many frames.
        unsafe {
            (self.get_call_trace)(&raw mut trace, most as sys::jint, context.as_mut_ptr().cast());
        }
        let count = usize::try_from(trace.count).unwrap_or(0).min(most);
        for (found, into) in frames.iter().take(count).zip(into) {
            *into = [found.method as u64, i64::from(found.place) as u64];
        }
        count
    }

    fn state_of(&self, thread: usize) -> i32 {
        // SAFETY: it lies in the `JavaThread` of the calling thread, which is there as long as the thread is.
        unsafe { ((thread + self.state) as *const i32).read_volatile() }
    }
}

/// A word of the calling thread's own `JavaThread`.
fn word(address: usize) -> usize {
    // SAFETY: it is there as long as the thread is.
    unsafe { (address as *const usize).read_volatile() }
}

/// The address of our own `JavaThread`, which `java.lang.Thread` keeps.
fn own_thread(frame: &Frame<'_>) -> Option<i64> {
    let class = frame.class("java.lang.Thread").ok()?;
    let thread = frame.static_object(class, "currentThread", "Ljava/lang/Thread;").ok()?;
    frame.long_field(class, thread, c"eetop").ok()
}

/// The exported table of fields, and one entry of that of types.
pub(crate) struct Table {
    first: usize,
    stride: usize,
    type_name: usize,
    field_name: usize,
    is_static: usize,
    offset: usize,
    place: usize,
    java_thread_size: Option<usize>,
}

impl Table {
    /// That of this library, where it exports one.
    pub(crate) fn find(libjvm: &LoadedObject) -> Option<Self> {
        let number = |name: &CStr| {
            let place = libjvm.symbol(name)?.as_ptr().cast::<u64>();
            // SAFETY: by this name HotSpot exports a constant of 64 bits.
            usize::try_from(unsafe { place.read() }).ok()
        };
        let offset = |name: &CStr| number(name).filter(|offset| *offset < 1024);
        let types = Types {
            first: number(c"gHotSpotVMTypes")?,
            stride: offset(c"gHotSpotVMTypeEntryArrayStride")?,
            name: offset(c"gHotSpotVMTypeEntryTypeNameOffset")?,
            size: offset(c"gHotSpotVMTypeEntrySizeOffset")?,
        };
        Some(Self {
            first: number(c"gHotSpotVMStructs").filter(|first| *first != 0)?,
            stride: offset(c"gHotSpotVMStructEntryArrayStride").filter(|stride| *stride != 0)?,
            type_name: offset(c"gHotSpotVMStructEntryTypeNameOffset")?,
            field_name: offset(c"gHotSpotVMStructEntryFieldNameOffset")?,
            is_static: offset(c"gHotSpotVMStructEntryIsStaticOffset")?,
            offset: offset(c"gHotSpotVMStructEntryOffsetOffset")?,
            place: offset(c"gHotSpotVMStructEntryAddressOffset")?,
            java_thread_size: types.size_of(c"JavaThread"),
        })
    }

    /// Where the static field `field` of HotSpot's own class `class` is.
    pub(crate) fn static_field(&self, class: &CStr, field: &CStr) -> Option<*const c_void> {
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
