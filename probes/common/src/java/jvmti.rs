//! The few functions of the tool interface (JVMTI) that give methods their numbers, tell their names and sample
//! allocations, as safe functions on an environment of the probe's own. Those that wait for safepoints are only for threads
//! of the agent's; a thread of the host's asks for its own stack, in a callback.
//!
//! Declared by hand, by their numbers in the specification, which are for good: a crate for it would bring a few hundred
//! more.
//!
//! Never here: another thread's stack, a suspended thread, anything that changes a class.

use std::ffi::{CStr, c_char, c_uchar, c_void};
use std::mem::transmute;
use std::ptr::{self, NonNull};

use jni::sys;

/// The oldest version that HotSpot gives.
pub const VERSION: sys::jint = 0x3001_0200;
/// The first that samples allocations.
pub const VERSION_11: sys::jint = 0x300B_0000;
/// In a class's status: its static initialiser has run, and nothing more runs when it is used.
pub const CLASS_INITIALIZED: sys::jint = 4;
/// Most entries of a method's line table that are kept: a method has at most 65,535 bytes of code.
const MAX_LINES: usize = 4096;
/// Longest text that is kept.
const MAX_TEXT: usize = 512;

/// Numbers of functions.
mod number {
    pub(super) const SET_EVENT_NOTIFICATION_MODE: usize = 2;
    pub(super) const DEALLOCATE: usize = 47;
    pub(super) const GET_CLASS_SIGNATURE: usize = 48;
    pub(super) const GET_CLASS_STATUS: usize = 49;
    pub(super) const GET_SOURCE_FILE_NAME: usize = 50;
    pub(super) const GET_CLASS_METHODS: usize = 52;
    pub(super) const GET_METHOD_NAME: usize = 64;
    pub(super) const GET_METHOD_DECLARING_CLASS: usize = 65;
    pub(super) const GET_LINE_NUMBER_TABLE: usize = 70;
    pub(super) const GET_LOADED_CLASSES: usize = 78;
    pub(super) const GET_STACK_TRACE: usize = 104;
    pub(super) const SET_EVENT_CALLBACKS: usize = 122;
    pub(super) const DISPOSE_ENVIRONMENT: usize = 127;
    pub(super) const ADD_CAPABILITIES: usize = 142;
    pub(super) const RELINQUISH_CAPABILITIES: usize = 143;
    pub(super) const SET_HEAP_SAMPLING_INTERVAL: usize = 156;
}

type Env = *mut *const *const c_void;
type Error = i32;
type Text = *mut *mut c_char;

type DisposeEnvironment = unsafe extern "system" fn(Env) -> Error;
type GetStackTrace = unsafe extern "system" fn(
    Env,
    sys::jobject,
    sys::jint,
    sys::jint,
    *mut StackFrame,
    *mut sys::jint,
) -> Error;
type SetHeapSamplingInterval = unsafe extern "system" fn(Env, sys::jint) -> Error;
type Deallocate = unsafe extern "system" fn(Env, *mut c_uchar) -> Error;
type ChangeCapabilities = unsafe extern "system" fn(Env, *const Capabilities) -> Error;
type SetEventCallbacks = unsafe extern "system" fn(Env, *const Callbacks, sys::jint) -> Error;
type SetEventNotificationMode = unsafe extern "C" fn(Env, i32, i32, sys::jobject, ...) -> Error;
type GetLoadedClasses = unsafe extern "system" fn(Env, *mut sys::jint, *mut *mut sys::jclass) -> Error;
type GetClassMethods =
    unsafe extern "system" fn(Env, sys::jclass, *mut sys::jint, *mut *mut sys::jmethodID) -> Error;
type GetMethodName = unsafe extern "system" fn(Env, sys::jmethodID, Text, Text, Text) -> Error;
type GetDeclaringClass = unsafe extern "system" fn(Env, sys::jmethodID, *mut sys::jclass) -> Error;
type GetClassSignature = unsafe extern "system" fn(Env, sys::jclass, Text, Text) -> Error;
type GetClassStatus = unsafe extern "system" fn(Env, sys::jclass, *mut sys::jint) -> Error;
type GetSourceFileName = unsafe extern "system" fn(Env, sys::jclass, Text) -> Error;
type GetLineNumberTable =
    unsafe extern "system" fn(Env, sys::jmethodID, *mut sys::jint, *mut *mut LineNumber) -> Error;

const NO_ERROR: Error = 0;

/// Bits in the order of the specification's struct, which has 128.
#[repr(C)]
struct Capabilities([u32; 4]);

const CAN_TAG_OBJECTS: u32 = 1;
const CAN_GET_SOURCE_FILE_NAME: u32 = 1 << 11;
const CAN_GET_LINE_NUMBERS: u32 = 1 << 12;
/// In the second word.
const CAN_GENERATE_SAMPLED_OBJECT_ALLOC_EVENTS: u32 = 1 << 11;

/// An entry of a method's line table.
#[repr(C)]
#[derive(Clone, Copy)]
struct LineNumber {
    start: i64,
    line: i32,
}

// A 32-bit x86 aligns a long in a struct to 4 bytes.
const _: () = assert!(size_of::<LineNumber>() == 8 + align_of::<i64>());

/// A frame of a stack.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct StackFrame {
    /// Which method.
    pub method: sys::jmethodID,
    /// Negative in a native method.
    pub place: i64,
}

impl StackFrame {
    /// No frame.
    pub const NONE: Self = Self { method: ptr::null_mut(), place: 0 };
}

const ENABLE: i32 = 1;
const DISABLE: i32 = 0;
/// The first event's number.
const FIRST_EVENT: i32 = 50;
const VM_DEATH: i32 = 51;
const CLASS_LOAD: i32 = 55;
const SAMPLED_OBJECT_ALLOC: i32 = 86;
const EVENTS: usize = (SAMPLED_OBJECT_ALLOC - FIRST_EVENT + 1) as usize;

/// Called for an event of which nothing but that it came is of interest.
pub type OnEvent = unsafe extern "system" fn();

/// Called for an allocation that the JVM has sampled, on the thread that made it.
pub type OnSample = unsafe extern "system" fn(
    env: *mut c_void,
    jni: *mut sys::JNIEnv,
    thread: sys::jobject,
    object: sys::jobject,
    class: sys::jclass,
    size: i64,
);

/// Functions by event: as many as are needed.
#[repr(C)]
struct Callbacks([Option<OnEvent>; EVENTS]);

/// Of any event: looks at none of its arguments.
unsafe extern "system" fn ignore() {}

/// An environment of the tool interface: usable on every thread that is in the JVM, as long as the process lives; in a JVM
/// that has ended, its functions answer with an error.
#[derive(Debug, Clone, Copy)]
pub struct Jvmti(NonNull<*const *const c_void>);

// SAFETY: an environment belongs to no thread.
unsafe impl Send for Jvmti {}
// SAFETY: its functions may be called by many threads at once.
unsafe impl Sync for Jvmti {}

impl Jvmti {
    /// # Safety
    ///
    /// `env` is what the JVM gave when it was asked for [`VERSION`], and nobody disposes of it.
    pub unsafe fn from_raw(env: *mut c_void) -> Option<Self> {
        NonNull::new(env.cast()).map(Self)
    }

    /// Has it tell source files and lines.
    pub fn add_capabilities(self) -> bool {
        self.add(Capabilities([CAN_GET_SOURCE_FILE_NAME | CAN_GET_LINE_NUMBERS, 0, 0, 0]))
    }

    fn add(self, wanted: Capabilities) -> bool {
        self.change(number::ADD_CAPABILITIES, &wanted)
    }

    fn change(self, function: usize, which: &Capabilities) -> bool {
        // SAFETY: the functions of both numbers have this type, by the specification.
        let change = unsafe { transmute::<*const c_void, ChangeCapabilities>(self.function(function)) };
        // SAFETY: the JVM reads our struct of the specified size, and these may be asked for while it lives.
        unsafe { change(self.0.as_ptr(), which) == NO_ERROR }
    }

    /// Has it tag objects.
    pub fn add_tags(self) -> bool {
        self.add(Capabilities([CAN_TAG_OBJECTS, 0, 0, 0]))
    }

    /// As the JVM knows it.
    pub fn raw(self) -> *mut *const *const c_void {
        self.0.as_ptr()
    }

    /// Has HotSpot's `AsyncGetCallTrace` answer: it does while somebody is told of classes that are loaded.
    pub fn watch_class_loads(self) -> bool {
        self.listen(CLASS_LOAD, ignore)
    }

    /// Has `callback` called when the JVM is about to end, on the thread that ends it.
    pub fn watch_death(self, callback: OnEvent) -> bool {
        self.listen(VM_DEATH, callback)
    }

    /// Has it sample allocations. False: the JVM cannot, or somebody else has it do that already.
    pub fn add_sampling(self) -> bool {
        self.add(Capabilities([0, CAN_GENERATE_SAMPLED_OBJECT_ALLOC_EVENTS, 0, 0]))
    }

    /// Has `callback` called for each sampled allocation.
    pub fn watch_samples(self, callback: OnSample) -> bool {
        // SAFETY: the JVM calls it with the arguments that the event of this number has.
        let callback = unsafe { transmute::<OnSample, OnEvent>(callback) };
        self.listen(SAMPLED_OBJECT_ALLOC, callback)
    }

    /// No more samples, of which some may still be on their way; another agent may have them.
    pub fn give_sampling_back(self) {
        self.notify(DISABLE, SAMPLED_OBJECT_ALLOC);
        self.change(
            number::RELINQUISH_CAPABILITIES,
            &Capabilities([0, CAN_GENERATE_SAMPLED_OBJECT_ALLOC_EVENTS, 0, 0]),
        );
    }

    /// Bytes between two samples on average, of all threads from their next sample on.
    pub fn set_sampling_interval(self, bytes: u64) -> bool {
        let function = self.function(number::SET_HEAP_SAMPLING_INTERVAL);
        // SAFETY: the function of this number has this type, by the specification.
        let set = unsafe { transmute::<*const c_void, SetHeapSamplingInterval>(function) };
        // SAFETY: any number is allowed.
        unsafe { set(self.0.as_ptr(), sys::jint::try_from(bytes).unwrap_or(sys::jint::MAX)) == NO_ERROR }
    }

    /// The calling thread's frames, innermost first, and how many there are.
    pub fn own_stack(self, into: &mut [StackFrame]) -> usize {
        let mut count = 0;
        // SAFETY: the function of this number has this type, by the specification.
        let get =
            unsafe { transmute::<*const c_void, GetStackTrace>(self.function(number::GET_STACK_TRACE)) };
        let most = sys::jint::try_from(into.len()).unwrap_or(0);
        // SAFETY: null is the calling thread; as many frames are written as there is room for.
        let error =
            unsafe { get(self.0.as_ptr(), ptr::null_mut(), 0, most, into.as_mut_ptr(), &raw mut count) };
        if error == NO_ERROR { usize::try_from(count).unwrap_or(0).min(into.len()) } else { 0 }
    }

    /// Gives the environment back, with what it was granted.
    ///
    /// # Safety
    ///
    /// Nobody uses it any more.
    pub unsafe fn dispose(self) {
        let function = self.function(number::DISPOSE_ENVIRONMENT);
        // SAFETY: the function of this number has this type, by the specification.
        let dispose = unsafe { transmute::<*const c_void, DisposeEnvironment>(function) };
        // SAFETY: the caller's promise.
        unsafe { dispose(self.0.as_ptr()) };
    }

    fn listen(self, event: i32, callback: OnEvent) -> bool {
        let mut callbacks = Callbacks([None; EVENTS]);
        let index = usize::try_from(event - FIRST_EVENT).unwrap_or(usize::MAX);
        if let Some(place) = callbacks.0.get_mut(index) {
            *place = Some(callback);
        }
        let function = self.function(number::SET_EVENT_CALLBACKS);
        // SAFETY: the function of this number has this type, by the specification.
        let set = unsafe { transmute::<*const c_void, SetEventCallbacks>(function) };
        // SAFETY: the JVM reads as many bytes of ours as it is told, and the function in it takes what it is given.
        let error =
            unsafe { set(self.0.as_ptr(), &raw const callbacks, size_of::<Callbacks>() as sys::jint) };
        error == NO_ERROR && self.notify(ENABLE, event)
    }

    fn notify(self, mode: i32, event: i32) -> bool {
        let function = self.function(number::SET_EVENT_NOTIFICATION_MODE);
        // SAFETY: the function of this number has this type, by the specification.
        let set = unsafe { transmute::<*const c_void, SetEventNotificationMode>(function) };
        // SAFETY: null means all threads.
        unsafe { set(self.0.as_ptr(), mode, event, ptr::null_mut()) == NO_ERROR }
    }

    /// Local references to all classes, for the caller's frame to end.
    pub fn loaded_classes(self) -> Vec<sys::jclass> {
        let (mut count, mut classes) = (0, ptr::null_mut());
        let function = self.function(number::GET_LOADED_CLASSES);
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe { transmute::<*const c_void, GetLoadedClasses>(function) };
        // SAFETY: a number and a pointer are written, both to ours.
        let error = unsafe { get(self.0.as_ptr(), &raw mut count, &raw mut classes) };
        if error != NO_ERROR || classes.is_null() {
            return Vec::new();
        }
        // SAFETY: there are so many, and they are ours until they are deallocated.
        let found =
            unsafe { std::slice::from_raw_parts(classes, usize::try_from(count).unwrap_or(0)) }.to_vec();
        self.deallocate(classes.cast());
        found
    }

    /// Has the JVM give numbers to all methods of a class.
    ///
    /// # Safety
    ///
    /// `class` is a reference to a class, and alive.
    pub unsafe fn number_methods(self, class: sys::jclass) {
        let (mut count, mut methods) = (0, ptr::null_mut());
        let function = self.function(number::GET_CLASS_METHODS);
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe { transmute::<*const c_void, GetClassMethods>(function) };
        // SAFETY: the caller's promise; a number and a pointer are written, both to ours.
        let error = unsafe { get(self.0.as_ptr(), class, &raw mut count, &raw mut methods) };
        if error == NO_ERROR && !methods.is_null() {
            self.deallocate(methods.cast());
        }
    }

    /// A method's name; `None` for one that is no more.
    ///
    /// # Safety
    ///
    /// `method` is a method's number that this JVM gave; HotSpot checks whether the method is there still.
    pub unsafe fn method_name(self, method: sys::jmethodID) -> Option<String> {
        let mut name = ptr::null_mut();
        // SAFETY: the function of this number has this type, by the specification.
        let get =
            unsafe { transmute::<*const c_void, GetMethodName>(self.function(number::GET_METHOD_NAME)) };
        // SAFETY: the caller's promise; null says that signatures are not wanted.
        let error = unsafe { get(self.0.as_ptr(), method, &raw mut name, ptr::null_mut(), ptr::null_mut()) };
        self.take_text(error, name)
    }

    /// A local reference to a method's class, for the caller to delete.
    ///
    /// # Safety
    ///
    /// `method` is a method's number that this JVM gave; HotSpot checks whether the method is there still.
    pub unsafe fn declaring_class(self, method: sys::jmethodID) -> Option<sys::jclass> {
        let mut class = ptr::null_mut();
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe {
            transmute::<*const c_void, GetDeclaringClass>(self.function(number::GET_METHOD_DECLARING_CLASS))
        };
        // SAFETY: the caller's promise; it writes one reference, to ours.
        let error = unsafe { get(self.0.as_ptr(), method, &raw mut class) };
        (error == NO_ERROR && !class.is_null()).then_some(class)
    }

    /// Such as `Ljava/lang/String;`.
    ///
    /// # Safety
    ///
    /// `class` is a reference to a class, and alive.
    pub unsafe fn class_signature(self, class: sys::jclass) -> Option<String> {
        let mut signature = ptr::null_mut();
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe {
            transmute::<*const c_void, GetClassSignature>(self.function(number::GET_CLASS_SIGNATURE))
        };
        // SAFETY: the caller's promise; null says that the generic signature is not wanted.
        let error = unsafe { get(self.0.as_ptr(), class, &raw mut signature, ptr::null_mut()) };
        self.take_text(error, signature)
    }

    /// How far the class is on its way, as bits of the specification's.
    ///
    /// # Safety
    ///
    /// As for [`Jvmti::class_signature`].
    pub unsafe fn class_status(self, class: sys::jclass) -> Option<sys::jint> {
        let mut status = 0;
        // SAFETY: the function of this number has this type, by the specification.
        let get =
            unsafe { transmute::<*const c_void, GetClassStatus>(self.function(number::GET_CLASS_STATUS)) };
        // SAFETY: the caller's promise, and the number is ours.
        let error = unsafe { get(self.0.as_ptr(), class, &raw mut status) };
        (error == NO_ERROR).then_some(status)
    }

    /// Such as `String.java`; `None` where the class does not say.
    ///
    /// # Safety
    ///
    /// As for [`Jvmti::class_signature`].
    pub unsafe fn source_file(self, class: sys::jclass) -> Option<String> {
        let mut name = ptr::null_mut();
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe {
            transmute::<*const c_void, GetSourceFileName>(self.function(number::GET_SOURCE_FILE_NAME))
        };
        // SAFETY: the caller's promise.
        let error = unsafe { get(self.0.as_ptr(), class, &raw mut name) };
        self.take_text(error, name)
    }

    /// A method's lines, each with the place in its code where it begins. Empty for native methods, and where the class
    /// does not say.
    ///
    /// # Safety
    ///
    /// `method` is a method's number that this JVM gave; HotSpot checks whether the method is there still.
    pub unsafe fn lines(self, method: sys::jmethodID) -> Box<[(u32, u32)]> {
        let (mut count, mut table) = (0, ptr::null_mut());
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe {
            transmute::<*const c_void, GetLineNumberTable>(self.function(number::GET_LINE_NUMBER_TABLE))
        };
        // SAFETY: the caller's promise; it writes a number and a pointer, both to ours.
        let error = unsafe { get(self.0.as_ptr(), method, &raw mut count, &raw mut table) };
        if error != NO_ERROR || table.is_null() {
            return Box::default();
        }
        let count = usize::try_from(count).unwrap_or(0).min(MAX_LINES);
        // SAFETY: there are at least so many entries, which are ours until they are deallocated.
        let entries = unsafe { std::slice::from_raw_parts(table, count) };
        let number = |number: i64| u32::try_from(number).unwrap_or(0);
        let lines =
            entries.iter().map(|entry| (number(entry.start), number(i64::from(entry.line)))).collect();
        self.deallocate(table.cast());
        lines
    }

    fn take_text(self, error: Error, text: *mut c_char) -> Option<String> {
        if error != NO_ERROR || text.is_null() {
            return None;
        }
        // SAFETY: the specification says that it ends with a NUL, and it is ours until it is deallocated.
        let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
        let taken = String::from_utf8_lossy(bytes.get(..MAX_TEXT).unwrap_or(bytes)).into_owned();
        self.deallocate(text.cast());
        Some(taken)
    }

    fn deallocate(self, memory: *mut c_uchar) {
        // SAFETY: the function of this number has this type, by the specification.
        let free = unsafe { transmute::<*const c_void, Deallocate>(self.function(number::DEALLOCATE)) };
        // SAFETY: the environment gave this memory, and it is given back once.
        unsafe { free(self.0.as_ptr(), memory) };
    }

    /// The table begins with the function of number 1, which is reserved.
    pub fn function(self, number: usize) -> *const c_void {
        // SAFETY: an environment begins with the pointer to its table.
        let table = unsafe { self.0.read() };
        // SAFETY: the table has all functions of the version that was asked for, and stays.
        let place = unsafe { table.add(number - 1) };
        // SAFETY: as above.
        unsafe { place.read() }
    }
}
