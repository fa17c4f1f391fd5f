//! The few functions of the tool interface (JVMTI) that give methods their numbers and tell their names, as safe
//! functions on an environment of the probe's own. They wait for safepoints: only for threads of the agent's.
//!
//! Declared by hand, by their numbers in the specification, which are for good: a crate for it would bring a few hundred
//! more. Asks for two capabilities that every JVM has at any time, and that cost a host nothing.
//!
//! Never here: a stack, a suspended thread, anything that changes a class, an event that is listened to.

use std::ffi::{CStr, c_char, c_uchar, c_void};
use std::mem::transmute;
use std::ptr::{self, NonNull};

use jni::sys;

/// The oldest version that HotSpot gives.
pub(crate) const VERSION: sys::jint = 0x3001_0200;
/// Most entries of a method's line table that are kept: a method has at most 65,535 bytes of code.
const MAX_LINES: usize = 4096;
/// Longest text that is kept.
const MAX_TEXT: usize = 512;

/// Numbers of functions.
mod number {
    pub(super) const SET_EVENT_NOTIFICATION_MODE: usize = 2;
    pub(super) const DEALLOCATE: usize = 47;
    pub(super) const GET_CLASS_SIGNATURE: usize = 48;
    pub(super) const GET_SOURCE_FILE_NAME: usize = 50;
    pub(super) const GET_CLASS_METHODS: usize = 52;
    pub(super) const GET_METHOD_NAME: usize = 64;
    pub(super) const GET_METHOD_DECLARING_CLASS: usize = 65;
    pub(super) const GET_LINE_NUMBER_TABLE: usize = 70;
    pub(super) const GET_LOADED_CLASSES: usize = 78;
    pub(super) const SET_EVENT_CALLBACKS: usize = 122;
    pub(super) const ADD_CAPABILITIES: usize = 142;
}

type Env = *mut *const *const c_void;
type Error = i32;
type Text = *mut *mut c_char;

type Deallocate = unsafe extern "system" fn(Env, *mut c_uchar) -> Error;
type AddCapabilities = unsafe extern "system" fn(Env, *const Capabilities) -> Error;
type SetEventCallbacks = unsafe extern "system" fn(Env, *const Callbacks, sys::jint) -> Error;
type SetEventNotificationMode = unsafe extern "C" fn(Env, i32, i32, sys::jobject, ...) -> Error;
type GetLoadedClasses = unsafe extern "system" fn(Env, *mut sys::jint, *mut *mut sys::jclass) -> Error;
type GetClassMethods =
    unsafe extern "system" fn(Env, sys::jclass, *mut sys::jint, *mut *mut sys::jmethodID) -> Error;
type GetMethodName = unsafe extern "system" fn(Env, sys::jmethodID, Text, Text, Text) -> Error;
type GetDeclaringClass = unsafe extern "system" fn(Env, sys::jmethodID, *mut sys::jclass) -> Error;
type GetClassSignature = unsafe extern "system" fn(Env, sys::jclass, Text, Text) -> Error;
type GetSourceFileName = unsafe extern "system" fn(Env, sys::jclass, Text) -> Error;
type GetLineNumberTable =
    unsafe extern "system" fn(Env, sys::jmethodID, *mut sys::jint, *mut *mut LineNumber) -> Error;

const NO_ERROR: Error = 0;

/// Bits in the order of the specification's struct, which has 128.
#[repr(C)]
struct Capabilities([u32; 4]);

const CAN_GET_SOURCE_FILE_NAME: u32 = 1 << 11;
const CAN_GET_LINE_NUMBERS: u32 = 1 << 12;

/// An entry of a method's line table.
#[repr(C)]
#[derive(Clone, Copy)]
struct LineNumber {
    start: i64,
    line: i32,
}

// A 32-bit x86 aligns a long in a struct to 4 bytes.
const _: () = assert!(size_of::<LineNumber>() == 8 + align_of::<i64>());

const ENABLE: i32 = 1;
const CLASS_LOAD: i32 = 55;

/// Functions by event, from number 50 on: as many as are needed.
#[repr(C)]
struct Callbacks([Option<unsafe extern "system" fn()>; 6]);

/// Of any event: looks at none of its arguments.
unsafe extern "system" fn ignore() {}

/// An environment of the tool interface: usable on every thread that is in the JVM, as long as the process lives; in a JVM
/// that has ended, its functions answer with an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Jvmti(NonNull<*const *const c_void>);

// SAFETY: an environment belongs to no thread.
unsafe impl Send for Jvmti {}
// SAFETY: its functions may be called by many threads at once.
unsafe impl Sync for Jvmti {}

impl Jvmti {
    /// # Safety
    ///
    /// `env` is what the JVM gave when it was asked for [`VERSION`], and nobody disposes of it.
    pub(crate) unsafe fn from_raw(env: *mut c_void) -> Option<Self> {
        NonNull::new(env.cast()).map(Self)
    }

    /// Has it tell source files and lines.
    pub(crate) fn add_capabilities(self) -> bool {
        let wanted = Capabilities([CAN_GET_SOURCE_FILE_NAME | CAN_GET_LINE_NUMBERS, 0, 0, 0]);
        // SAFETY: the function of this number has this type, by the specification.
        let add =
            unsafe { transmute::<*const c_void, AddCapabilities>(self.function(number::ADD_CAPABILITIES)) };
        // SAFETY: the JVM reads our struct of the specified size, and these may be asked for while it lives.
        unsafe { add(self.0.as_ptr(), &raw const wanted) == NO_ERROR }
    }

    /// Has HotSpot's `AsyncGetCallTrace` answer: it does while somebody is told of classes that are loaded.
    pub(crate) fn watch_class_loads(self) -> bool {
        let mut callbacks = Callbacks([None; 6]);
        if let Some(last) = callbacks.0.last_mut() {
            *last = Some(ignore);
        }
        let function = self.function(number::SET_EVENT_CALLBACKS);
        // SAFETY: the function of this number has this type, by the specification.
        let set = unsafe { transmute::<*const c_void, SetEventCallbacks>(function) };
        // SAFETY: the JVM reads as many bytes of ours as it is told, and the function in it takes what it is given.
        let error =
            unsafe { set(self.0.as_ptr(), &raw const callbacks, size_of::<Callbacks>() as sys::jint) };
        let function = self.function(number::SET_EVENT_NOTIFICATION_MODE);
        // SAFETY: the function of this number has this type, by the specification.
        let set = unsafe { transmute::<*const c_void, SetEventNotificationMode>(function) };
        // SAFETY: null means all threads.
        error == NO_ERROR && unsafe { set(self.0.as_ptr(), ENABLE, CLASS_LOAD, ptr::null_mut()) } == NO_ERROR
    }

    /// Local references to all classes, for the caller's frame to end.
    pub(crate) fn loaded_classes(self) -> Vec<sys::jclass> {
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
    pub(crate) unsafe fn number_methods(self, class: sys::jclass) {
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
    pub(crate) fn method_name(self, method: sys::jmethodID) -> Option<String> {
        let mut name = ptr::null_mut();
        // SAFETY: the function of this number has this type, by the specification.
        let get =
            unsafe { transmute::<*const c_void, GetMethodName>(self.function(number::GET_METHOD_NAME)) };
        // SAFETY: HotSpot checks the method; null says that signatures are not wanted.
        let error = unsafe { get(self.0.as_ptr(), method, &raw mut name, ptr::null_mut(), ptr::null_mut()) };
        self.take_text(error, name)
    }

    /// A local reference to a method's class, for the caller to delete.
    pub(crate) fn declaring_class(self, method: sys::jmethodID) -> Option<sys::jclass> {
        let mut class = ptr::null_mut();
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe {
            transmute::<*const c_void, GetDeclaringClass>(self.function(number::GET_METHOD_DECLARING_CLASS))
        };
        // SAFETY: HotSpot checks the method, and writes one reference, to ours.
        let error = unsafe { get(self.0.as_ptr(), method, &raw mut class) };
        (error == NO_ERROR && !class.is_null()).then_some(class)
    }

    /// Such as `Ljava/lang/String;`.
    ///
    /// # Safety
    ///
    /// `class` is a reference to a class, and alive.
    pub(crate) unsafe fn class_signature(self, class: sys::jclass) -> Option<String> {
        let mut signature = ptr::null_mut();
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe {
            transmute::<*const c_void, GetClassSignature>(self.function(number::GET_CLASS_SIGNATURE))
        };
        // SAFETY: the caller's promise; null says that the generic signature is not wanted.
        let error = unsafe { get(self.0.as_ptr(), class, &raw mut signature, ptr::null_mut()) };
        self.take_text(error, signature)
    }

    /// Such as `String.java`; `None` where the class does not say.
    ///
    /// # Safety
    ///
    /// As for [`Jvmti::class_signature`].
    pub(crate) unsafe fn source_file(self, class: sys::jclass) -> Option<String> {
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
    pub(crate) fn lines(self, method: sys::jmethodID) -> Box<[(u32, u32)]> {
        let (mut count, mut table) = (0, ptr::null_mut());
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe {
            transmute::<*const c_void, GetLineNumberTable>(self.function(number::GET_LINE_NUMBER_TABLE))
        };
        // SAFETY: HotSpot checks the method, and writes a number and a pointer, both to ours.
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
    fn function(self, number: usize) -> *const c_void {
        // SAFETY: an environment begins with the pointer to its table.
        let table = unsafe { self.0.read() };
        // SAFETY: the table has all functions of the version that was asked for, and stays.
        let place = unsafe { table.add(number - 1) };
        // SAFETY: as above.
        unsafe { place.read() }
    }
}
