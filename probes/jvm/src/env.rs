//! The few JNI calls that the probe makes, as safe functions.
//!
//! Receivers are checked against the class that a method belongs to, exceptions are cleared and become errors, local
//! references end with their frame, and global ones are let go of together, by hand.
//!
//! Never here: `FindClass`, which may run a class loader of the host's own on our thread, or a destructor that calls
//! into the JVM other than a frame's end. That is why this stands on the crate jni's `sys` and not on its `Env`: a
//! `Global` there attaches its thread again when it is dropped, even to a JVM that has ended.

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr;

use jni::sys::{self, jobject};

use crate::error::JvmError;
use crate::vm::Attached;

/// References to objects that outlive frames.
#[derive(Debug, Default)]
pub(crate) struct Globals(Vec<Global>);

impl Globals {
    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

/// An object that outlives frames: usable as long as its [`Globals`] were not released.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Global(jobject);

// SAFETY: global references belong to no thread.
unsafe impl Send for Global {}

/// An object that lives as long as its frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local<'f>(jobject, PhantomData<&'f ()>);

/// Anything that stands for an object.
pub(crate) trait Object: Copy {
    fn raw(self) -> jobject;
}

impl Object for Global {
    fn raw(self) -> jobject {
        self.0
    }
}

impl Object for Local<'_> {
    fn raw(self) -> jobject {
        self.0
    }
}

/// A method without arguments, and the class whose objects have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    id: sys::jmethodID,
    class: Global,
    answer: Answer,
    name: &'static str,
}

// SAFETY: method ids belong to no thread; they live as long as their class, to which there is a global reference.
unsafe impl Send for Method {}

/// What a method answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Long,
    Int,
    Object,
}

impl Answer {
    /// `None` for what these functions do not know, arguments among it.
    fn of(signature: &str) -> Option<Self> {
        match signature.strip_prefix("()")? {
            "J" => Some(Self::Long),
            "I" => Some(Self::Int),
            object if object.starts_with('L') => Some(Self::Object),
            _ => None,
        }
    }
}

/// A method that takes a text and answers with one, and the class whose objects have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextMethod {
    id: sys::jmethodID,
    class: Global,
    name: &'static str,
}

// SAFETY: method ids belong to no thread; they live as long as their class, to which there is a global reference.
unsafe impl Send for TextMethod {}

/// A frame of local references on an attached thread.
pub(crate) struct Frame<'a> {
    env: *mut sys::JNIEnv,
    _attached: PhantomData<&'a Attached<'a>>,
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        self.clear();
        // SAFETY: `new` pushed this frame on this thread, and no local of it can be used any more.
        unsafe { (self.table().PopLocalFrame)(self.env, ptr::null_mut()) };
    }
}

impl<'a> Frame<'a> {
    /// A frame for about `locals` objects.
    pub(crate) fn new(attached: &'a Attached<'_>, locals: i32) -> Result<Self, JvmError> {
        Self::push(attached.env(), locals)
    }

    /// Another inside this one.
    pub(crate) fn inner(&self, locals: i32) -> Result<Frame<'_>, JvmError> {
        Frame::push(self.env, locals)
    }

    fn push(env: *mut sys::JNIEnv, locals: i32) -> Result<Self, JvmError> {
        // SAFETY: the thread is attached as long as the frame lives, and nothing is pending on it.
        let code = unsafe { (table(env).PushLocalFrame)(env, locals) };
        if code == sys::JNI_OK {
            Ok(Self { env, _attached: PhantomData })
        } else {
            // SAFETY: as above. The frame was not made, so there is nothing to pop; what is pending goes.
            unsafe { (table(env).ExceptionClear)(env) };
            Err(JvmError::Null { call: "PushLocalFrame".to_owned() })
        }
    }

    /// The class `name` (with dots) of the JVM itself; an error where it has none.
    pub(crate) fn class(&self, name: &str) -> Result<Local<'_>, JvmError> {
        let java_name = self.string(name)?;
        // Every object leads to java.lang.Class, without a class loader.
        let class_class = self.class_of(self.class_of(java_name)?)?;
        let signature = c"(Ljava/lang/String;ZLjava/lang/ClassLoader;)Ljava/lang/Class;";
        let for_name = self.static_method_id(class_class, c"forName", signature)?;
        let arguments =
            [sys::jvalue { l: java_name.0 }, sys::jvalue { z: true }, sys::jvalue { l: ptr::null_mut() }];
        // SAFETY: the id is that of this static method of this class, and the arguments are those of its signature.
        let found = unsafe {
            (self.table().CallStaticObjectMethodA)(self.env, class_class.0, for_name, arguments.as_ptr())
        };
        self.some(found, || format!("Class.forName({name})"))
    }

    /// Keeps `object` beyond this frame.
    pub(crate) fn keep(&self, object: Local<'_>, globals: &mut Globals) -> Result<Global, JvmError> {
        // SAFETY: `object` is alive, for its frame is borrowed.
        let raw = unsafe { (self.table().NewGlobalRef)(self.env, object.0) };
        if raw.is_null() {
            self.clear();
            return Err(JvmError::Null { call: "NewGlobalRef".to_owned() });
        }
        globals.0.push(Global(raw));
        Ok(Global(raw))
    }

    /// Lets go of all of them; nothing that was kept with `globals` may be used afterwards, so it is consumed together
    /// with its user.
    pub(crate) fn release<T>(&self, globals: Globals, user: T) {
        drop(user);
        for global in globals.0 {
            // SAFETY: it was made by `keep` and is deleted once; its users are gone.
            unsafe { (self.table().DeleteGlobalRef)(self.env, global.0) };
        }
    }

    /// The method `name` of `class`, which takes nothing. `signature` as in JNI.
    pub(crate) fn method(
        &self,
        class: Local<'_>,
        name: &'static str,
        signature: &str,
        globals: &mut Globals,
    ) -> Result<Method, JvmError> {
        let call = || format!("{name}{signature}");
        let answer = Answer::of(signature).ok_or_else(|| JvmError::Null { call: call() })?;
        let (c_name, c_signature) = (c_string(name)?, c_string(signature)?);
        // SAFETY: `class` is a class that is alive, and both texts end in a NUL.
        let id =
            unsafe { (self.table().GetMethodID)(self.env, class.0, c_name.as_ptr(), c_signature.as_ptr()) };
        self.check(call)?;
        if id.is_null() {
            return Err(JvmError::Null { call: call() });
        }
        Ok(Method { id, class: self.keep(class, globals)?, answer, name })
    }

    /// The method `name` of `class`, which takes a text and answers with one.
    pub(crate) fn text_method(
        &self,
        class: Local<'_>,
        name: &'static str,
        globals: &mut Globals,
    ) -> Result<TextMethod, JvmError> {
        let signature = c"(Ljava/lang/String;)Ljava/lang/String;";
        let c_name = c_string(name)?;
        // SAFETY: `class` is a class that is alive, and both texts end in a NUL.
        let id =
            unsafe { (self.table().GetMethodID)(self.env, class.0, c_name.as_ptr(), signature.as_ptr()) };
        self.check(|| name.to_owned())?;
        if id.is_null() {
            return Err(JvmError::Null { call: name.to_owned() });
        }
        Ok(TextMethod { id, class: self.keep(class, globals)?, name })
    }

    /// Calls a method that takes a text, and gives what it answers with.
    pub(crate) fn text_of(
        &self,
        on: impl Object,
        method: &TextMethod,
        argument: &str,
    ) -> Result<String, JvmError> {
        if on.raw().is_null() || !self.is_instance(on, method.class) {
            return Err(JvmError::OtherClass { class: format!("class with {}", method.name) });
        }
        let argument = sys::jvalue { l: self.string(argument)?.0 };
        // SAFETY: the receiver was checked, the method takes a string and answers with one.
        let found =
            unsafe { (self.table().CallObjectMethodA)(self.env, on.raw(), method.id, &raw const argument) };
        self.text_of_string(self.some(found, || method.name.to_owned())?)
    }

    /// Calls a method that answers with a number.
    pub(crate) fn number(&self, on: impl Object, method: &Method) -> Result<i64, JvmError> {
        self.check_receiver(on, method)?;
        let (object, id) = (on.raw(), method.id);
        let value = match method.answer {
            Answer::Long => {
                // SAFETY: the receiver was checked, the method takes nothing and answers with a long.
                unsafe { (self.table().CallLongMethodA)(self.env, object, id, ptr::null()) }
            }
            Answer::Int => {
                // SAFETY: the receiver was checked, the method takes nothing and answers with an int.
                i64::from(unsafe { (self.table().CallIntMethodA)(self.env, object, id, ptr::null()) })
            }
            Answer::Object => return Err(JvmError::OtherClass { class: "number".to_owned() }),
        };
        self.check(|| method.name.to_owned())?;
        Ok(value)
    }

    /// Calls a method that answers with an object; `None` for null.
    pub(crate) fn object(&self, on: impl Object, method: &Method) -> Result<Option<Local<'_>>, JvmError> {
        self.check_receiver(on, method)?;
        if method.answer != Answer::Object {
            return Err(JvmError::OtherClass { class: "object".to_owned() });
        }
        // SAFETY: the receiver was checked, the method takes nothing and answers with an object.
        let found = unsafe { (self.table().CallObjectMethodA)(self.env, on.raw(), method.id, ptr::null()) };
        self.check(|| method.name.to_owned())?;
        Ok((!found.is_null()).then_some(Local(found, PhantomData)))
    }

    /// As `object`, where null is not expected.
    pub(crate) fn some_object(&self, on: impl Object, method: &Method) -> Result<Local<'_>, JvmError> {
        self.object(on, method)?.ok_or_else(|| JvmError::Null { call: method.name.to_owned() })
    }

    /// Calls the static method `name` of `class`, which takes nothing and answers with a `returns` (as in JNI).
    pub(crate) fn static_object(
        &self,
        class: Local<'_>,
        name: &str,
        returns: &str,
    ) -> Result<Local<'_>, JvmError> {
        self.static_object_with(class, name, "", returns, &[])
    }

    /// Calls the static method `name` of `class` with one class.
    pub(crate) fn static_object_of_class(
        &self,
        class: Local<'_>,
        name: &str,
        argument: Local<'_>,
        returns: &str,
    ) -> Result<Local<'_>, JvmError> {
        let arguments = [sys::jvalue { l: argument.0 }];
        self.static_object_with(class, name, "Ljava/lang/Class;", returns, &arguments)
    }

    /// Calls the static method `name` of `class` with one text; `None` for null.
    pub(crate) fn static_text_of(
        &self,
        class: Local<'_>,
        name: &str,
        argument: &str,
    ) -> Result<Option<String>, JvmError> {
        let argument = self.string(argument)?;
        let arguments = [sys::jvalue { l: argument.0 }];
        let text = "Ljava/lang/String;";
        match self.static_object_with(class, name, text, text, &arguments) {
            Ok(found) => self.text(found).map(Some),
            Err(JvmError::Null { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn static_object_with(
        &self,
        class: Local<'_>,
        name: &str,
        takes: &str,
        returns: &str,
        arguments: &[sys::jvalue],
    ) -> Result<Local<'_>, JvmError> {
        let signature = c_string(&format!("({takes}){returns}"))?;
        let id = self.static_method_id(class, &c_string(name)?, &signature)?;
        // SAFETY: the id is that of this static method of this class; the callers above pass what `takes` says.
        let found =
            unsafe { (self.table().CallStaticObjectMethodA)(self.env, class.0, id, arguments.as_ptr()) };
        self.some(found, || name.to_owned())
    }

    /// Calls a static method that answers with a number.
    pub(crate) fn static_number(&self, method: &StaticNumber) -> Result<i64, JvmError> {
        let (class, id) = (method.class.0, method.id);
        let value = if method.is_long {
            // SAFETY: the id is that of a static method of this class, which takes nothing and answers with a long.
            unsafe { (self.table().CallStaticLongMethodA)(self.env, class, id, ptr::null()) }
        } else {
            // SAFETY: the id is that of a static method of this class, which takes nothing and answers with an int.
            i64::from(unsafe { (self.table().CallStaticIntMethodA)(self.env, class, id, ptr::null()) })
        };
        self.check(|| method.name.to_owned())?;
        Ok(value)
    }

    /// The static method `name` of `class`, which takes nothing and answers with a long, or with an int.
    pub(crate) fn static_number_method(
        &self,
        class: Local<'_>,
        kept: Global,
        name: &'static str,
        is_long: bool,
    ) -> Result<StaticNumber, JvmError> {
        let signature = if is_long { c"()J" } else { c"()I" };
        let id = self.static_method_id(class, &c_string(name)?, signature)?;
        Ok(StaticNumber { id, class: kept, name, is_long })
    }

    /// `get` of `java.util.Map`.
    pub(crate) fn map_get(&self, globals: &mut Globals) -> Result<Get, JvmError> {
        self.get_method("java.util.Map", "Ljava/lang/Object;", globals)
    }

    /// What the `java.util.Map` has for `key`.
    pub(crate) fn map_entry(
        &self,
        get: &Get,
        map: impl Object,
        key: impl Object,
    ) -> Result<Option<Local<'_>>, JvmError> {
        self.get(get, map, sys::jvalue { l: key.raw() })
    }

    /// The elements of a `java.util.List`.
    pub(crate) fn list(&self, list: Local<'_>) -> Result<Vec<Local<'_>>, JvmError> {
        let mut globals = Globals::default();
        let elements = self.list_with(list, &mut globals);
        self.release(globals, ());
        elements
    }

    fn list_with(&self, list: Local<'_>, globals: &mut Globals) -> Result<Vec<Local<'_>>, JvmError> {
        let size = self.method(self.class("java.util.List")?, "size", "()I", globals)?;
        let get = self.get_method("java.util.List", "I", globals)?;
        (0..i32::try_from(self.number(list, &size)?).unwrap_or(0))
            .map(|index| {
                self.get(&get, list, sys::jvalue { i: index })?
                    .ok_or_else(|| JvmError::Null { call: "List.get".to_owned() })
            })
            .collect()
    }

    fn get_method(&self, class: &str, takes: &str, globals: &mut Globals) -> Result<Get, JvmError> {
        let class = self.class(class)?;
        let signature = c_string(&format!("({takes})Ljava/lang/Object;"))?;
        // SAFETY: `class` is a class that is alive, and both texts end in a NUL.
        let id =
            unsafe { (self.table().GetMethodID)(self.env, class.0, c"get".as_ptr(), signature.as_ptr()) };
        self.check(|| "get".to_owned())?;
        if id.is_null() {
            return Err(JvmError::Null { call: "get".to_owned() });
        }
        Ok(Get { id, class: self.keep(class, globals)? })
    }

    fn get(&self, get: &Get, on: impl Object, argument: sys::jvalue) -> Result<Option<Local<'_>>, JvmError> {
        if on.raw().is_null() || !self.is_instance(on, get.class) {
            return Err(JvmError::OtherClass { class: "collection".to_owned() });
        }
        // SAFETY: the receiver was checked, and both callers pass what the method that they looked up takes.
        let found =
            unsafe { (self.table().CallObjectMethodA)(self.env, on.raw(), get.id, &raw const argument) };
        self.check(|| "get".to_owned())?;
        Ok((!found.is_null()).then_some(Local(found, PhantomData)))
    }

    /// The field `name` of `object`, which is a long and private or not. `class` is the object's.
    pub(crate) fn long_field(
        &self,
        class: Local<'_>,
        object: Local<'_>,
        name: &CStr,
    ) -> Result<i64, JvmError> {
        if !self.is_instance(object, class) {
            return Err(JvmError::OtherClass { class: "class with the field".to_owned() });
        }
        // SAFETY: `class` is a class that is alive, and both texts end in a NUL.
        let id = unsafe { (self.table().GetFieldID)(self.env, class.0, name.as_ptr(), c"J".as_ptr()) };
        self.check(|| name.to_string_lossy().into_owned())?;
        if id.is_null() {
            return Err(JvmError::Null { call: name.to_string_lossy().into_owned() });
        }
        // SAFETY: the field belongs to the object's class, and is a long.
        Ok(unsafe { (self.table().GetLongField)(self.env, object.0, id) })
    }

    /// The interface of this frame's thread.
    pub(crate) fn raw(&self) -> *mut sys::JNIEnv {
        self.env
    }

    /// Gives a local reference up before its frame ends.
    pub(crate) fn delete(&self, object: jobject) {
        // SAFETY: a local reference of this thread's, which nobody uses any more.
        unsafe { (self.table().DeleteLocalRef)(self.env, object) };
    }

    /// A Java text.
    pub(crate) fn string(&self, text: &str) -> Result<Local<'_>, JvmError> {
        let bytes = c_string(text)?;
        // SAFETY: the text ends in a NUL, and is ASCII, where UTF-8 and the JVM's form of it are the same.
        let found = unsafe { (self.table().NewStringUTF)(self.env, bytes.as_ptr()) };
        self.some(found, || "NewStringUTF".to_owned())
    }

    /// The content of a Java text.
    pub(crate) fn text(&self, text: Local<'_>) -> Result<String, JvmError> {
        if !self.is_instance(text, self.class("java.lang.String")?) {
            return Err(JvmError::OtherClass { class: "java.lang.String".to_owned() });
        }
        self.text_of_string(text)
    }

    fn text_of_string(&self, text: Local<'_>) -> Result<String, JvmError> {
        // SAFETY: `text` is a string, as both callers made sure.
        let length = unsafe { (self.table().GetStringLength)(self.env, text.0) };
        let mut units = vec![0_u16; usize::try_from(length).unwrap_or(0)];
        // SAFETY: as above; the buffer has room for that many units.
        unsafe { (self.table().GetStringRegion)(self.env, text.0, 0, length, units.as_mut_ptr()) };
        self.check(|| "GetStringRegion".to_owned())?;
        Ok(String::from_utf16_lossy(&units))
    }

    pub(crate) fn is_instance(&self, object: impl Object, class: impl Object) -> bool {
        // SAFETY: both are alive, and `class` is a class: it came from `class` or from a `Method`.
        unsafe { (self.table().IsInstanceOf)(self.env, object.raw(), class.raw()) }
    }

    fn check_receiver(&self, on: impl Object, method: &Method) -> Result<(), JvmError> {
        // JNI calls null an instance of everything.
        if on.raw().is_null() || !self.is_instance(on, method.class) {
            return Err(JvmError::OtherClass { class: format!("class with {}", method.name) });
        }
        Ok(())
    }

    fn class_of(&self, object: Local<'_>) -> Result<Local<'_>, JvmError> {
        // SAFETY: the object is alive and not null.
        let class = unsafe { (self.table().GetObjectClass)(self.env, object.0) };
        self.some(class, || "GetObjectClass".to_owned())
    }

    fn static_method_id(
        &self,
        class: Local<'_>,
        name: &CStr,
        signature: &CStr,
    ) -> Result<sys::jmethodID, JvmError> {
        let call = || format!("{}{}", name.to_string_lossy(), signature.to_string_lossy());
        // SAFETY: `class` is a class that is alive, and both texts end in a NUL.
        let id =
            unsafe { (self.table().GetStaticMethodID)(self.env, class.0, name.as_ptr(), signature.as_ptr()) };
        self.check(call)?;
        if id.is_null() { Err(JvmError::Null { call: call() }) } else { Ok(id) }
    }

    fn some(&self, raw: jobject, call: impl Fn() -> String) -> Result<Local<'_>, JvmError> {
        self.check(&call)?;
        if raw.is_null() { Err(JvmError::Null { call: call() }) } else { Ok(Local(raw, PhantomData)) }
    }

    /// Clears what is pending, and says what it was.
    fn check(&self, call: impl Fn() -> String) -> Result<(), JvmError> {
        // SAFETY: may be called with an exception pending.
        if !unsafe { (self.table().ExceptionCheck)(self.env) } {
            return Ok(());
        }
        // SAFETY: as above.
        let thrown = unsafe { (self.table().ExceptionOccurred)(self.env) };
        self.clear();
        let exception = self.words_of(thrown).unwrap_or_else(|| "an exception".to_owned());
        Err(JvmError::Thrown { exception, call: call() })
    }

    /// `toString()` of an object; `None` where that fails too.
    fn words_of(&self, object: jobject) -> Option<String> {
        if object.is_null() {
            return None;
        }
        // SAFETY: the object is alive and not null.
        let class = unsafe { (self.table().GetObjectClass)(self.env, object) };
        let (name, signature) = (c"toString".as_ptr(), c"()Ljava/lang/String;".as_ptr());
        // SAFETY: `class` is the object's class, and every class has this method.
        let id = unsafe { (self.table().GetMethodID)(self.env, class, name, signature) };
        if id.is_null() {
            self.clear();
            return None;
        }
        // SAFETY: the method belongs to the object's class, takes nothing and answers with a string.
        let text = unsafe { (self.table().CallObjectMethodA)(self.env, object, id, ptr::null()) };
        self.clear();
        if text.is_null() { None } else { self.text_of_string(Local(text, PhantomData)).ok() }
    }

    fn clear(&self) {
        // SAFETY: may be called with or without an exception pending.
        unsafe { (self.table().ExceptionClear)(self.env) };
    }

    fn table(&self) -> &sys::JNINativeInterface__1_6 {
        table(self.env)
    }
}

/// A static method that takes nothing and answers with a long or an int.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StaticNumber {
    id: sys::jmethodID,
    class: Global,
    name: &'static str,
    is_long: bool,
}

// SAFETY: method ids belong to no thread; they live as long as their class, to which there is a global reference.
unsafe impl Send for StaticNumber {}

/// `get` of a collection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Get {
    id: sys::jmethodID,
    class: Global,
}

// SAFETY: method ids belong to no thread; they live as long as their class, to which there is a global reference.
unsafe impl Send for Get {}

/// The functions of an attached thread.
pub(crate) fn table<'a>(env: *mut sys::JNIEnv) -> &'a sys::JNINativeInterface__1_6 {
    // SAFETY: `env` comes from an attached thread, where it begins with the pointer to the functions.
    let functions = unsafe { *env };
    // SAFETY: every JVM since 1.6 has at least these functions, and they stay where they are.
    unsafe { &*functions.cast() }
}

/// For names and texts of ours, all of which are ASCII.
fn c_string(text: &str) -> Result<CString, JvmError> {
    CString::new(text).map_err(|_| JvmError::Null { call: text.to_owned() })
}
