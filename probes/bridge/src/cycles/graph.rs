//! Java's objects as a graph, as far as it is walked: the references in an object's fields or elements, read one by one
//! while the program runs. Nothing stands still, and no object is tagged; what the program moves meanwhile may be missed.
//!
//! Not followed: what the collector itself does not follow (references that are weak, soft or phantom), classes and their
//! loaders, which lead to everything, and long arrays beyond a bound.
//!
//! Never here: a method of the host's, a static field, a class that is not initialised.

use std::collections::HashMap;
use std::ffi::{c_char, c_void};
use std::mem::transmute;
use std::ptr;

use jni::sys;
use leakline_probing::java::jvmti::Jvmti;

use crate::java::Frame;

/// Numbers of functions of the tool interface.
mod number {
    pub(super) const GET_FIELD_NAME: usize = 60;
    pub(super) const GET_FIELD_MODIFIERS: usize = 62;
    pub(super) const GET_CLASS_FIELDS: usize = 53;
    pub(super) const GET_OBJECT_HASH_CODE: usize = 58;
    pub(super) const DEALLOCATE: usize = 47;
}

/// Elements of one array that are followed.
const MOST_ELEMENTS: i32 = 10_000;
/// Classes whose fields are kept.
const MOST_CLASSES: usize = 8192;
/// Superclasses of one class.
const MOST_SUPERCLASSES: usize = 64;
const STATIC: i32 = 8;

type Env = *mut *const *const c_void;
type GetClassFields = unsafe extern "system" fn(Env, sys::jclass, *mut i32, *mut *mut sys::jfieldID) -> i32;
type GetFieldName = unsafe extern "system" fn(
    Env,
    sys::jclass,
    sys::jfieldID,
    *mut *mut c_char,
    *mut *mut c_char,
    *mut *mut c_char,
) -> i32;
type GetFieldModifiers = unsafe extern "system" fn(Env, sys::jclass, sys::jfieldID, *mut i32) -> i32;
type GetObjectHashCode = unsafe extern "system" fn(Env, sys::jobject, *mut i32) -> i32;
type Deallocate = unsafe extern "system" fn(Env, *mut c_void) -> i32;

/// A class, as far as it matters here.
pub(super) struct Class {
    raw: sys::jclass,
    /// As in Java's sources.
    pub(super) name: String,
    shape: Shape,
}

enum Shape {
    /// Leads nowhere.
    Leaf,
    Array,
    Fields(Vec<Field>),
}

struct Field {
    id: sys::jfieldID,
    name: String,
}

/// Where a reference stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Of the class of this number the field of this number.
    Field(usize, usize),
    Element,
}

/// Classes that were met, in a frame that outlives this.
pub(super) struct Graph<'f> {
    frame: &'f Frame<'f>,
    tools: Jvmti,
    classes: Vec<Class>,
    by_hash: HashMap<i32, Vec<usize>>,
}

impl<'f> Graph<'f> {
    pub(super) fn new(frame: &'f Frame<'f>, tools: Jvmti) -> Self {
        Self { frame, tools, classes: Vec::new(), by_hash: HashMap::new() }
    }

    pub(super) fn class(&self, index: usize) -> Option<&Class> {
        self.classes.get(index)
    }

    /// What a step is called: `.name`, or nothing for an element.
    pub(super) fn words(&self, step: Step) -> String {
        let Step::Field(class, field) = step else { return String::new() };
        match self.classes.get(class).map(|class| &class.shape) {
            Some(Shape::Fields(fields)) => {
                fields.get(field).map(|field| format!(".{}", field.name)).unwrap_or_default()
            }
            _ => String::new(),
        }
    }

    /// The number of an object's class; `None` with more classes than are kept.
    pub(super) fn class_of(&mut self, object: sys::jobject) -> Option<usize> {
        // SAFETY: the object is alive and not null.
        let class = unsafe { (self.frame.table().GetObjectClass)(self.frame.raw(), object) };
        let hash = self.hash(class);
        let known = self.by_hash.get(&hash).into_iter().flatten().copied();
        for index in known {
            if self.classes.get(index).is_some_and(|known| self.frame.is_same(known.raw, class)) {
                self.frame.delete(class);
                return Some(index);
            }
        }
        if self.classes.len() == MOST_CLASSES {
            self.frame.delete(class);
            return None;
        }
        let index = self.classes.len();
        let (name, shape) = self.shape(class);
        self.classes.push(Class { raw: class, name, shape });
        self.by_hash.entry(hash).or_default().push(index);
        Some(index)
    }

    /// Which may be that of others, too. Kept in the object's header by the JVM, from the first time on.
    pub(super) fn hash(&self, object: sys::jobject) -> i32 {
        let mut hash = 0;
        let function = self.tools.function(number::GET_OBJECT_HASH_CODE);
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe { transmute::<*const c_void, GetObjectHashCode>(function) };
        // SAFETY: the object is alive, and the number is ours.
        unsafe { get(self.tools.raw(), object, &raw mut hash) };
        hash
    }

    /// Tells the references in an object of this class, each as a local reference that is `each`'s to delete, until it
    /// answers with false. False: not all were told.
    pub(super) fn references(
        &self,
        object: sys::jobject,
        class: usize,
        mut each: impl FnMut(Step, sys::jobject) -> bool,
    ) -> bool {
        let (env, table) = (self.frame.raw(), self.frame.table());
        match self.classes.get(class).map(|class| &class.shape) {
            Some(Shape::Fields(fields)) => {
                for (index, field) in fields.iter().enumerate() {
                    // SAFETY: a field of this object's class that holds a reference and is not static.
                    let value = unsafe { (table.GetObjectField)(env, object, field.id) };
                    if !value.is_null() && !each(Step::Field(class, index), value) {
                        return false;
                    }
                }
                true
            }
            Some(Shape::Array) => {
                // SAFETY: an array by its class, alive.
                let length = unsafe { (table.GetArrayLength)(env, object) };
                for index in 0..length.min(MOST_ELEMENTS) {
                    // SAFETY: an array of references by its class, and the index is within its length, which never changes.
                    let value = unsafe { (table.GetObjectArrayElement)(env, object, index) };
                    if !value.is_null() && !each(Step::Element, value) {
                        return false;
                    }
                }
                length <= MOST_ELEMENTS
            }
            _ => true,
        }
    }

    fn shape(&self, class: sys::jclass) -> (String, Shape) {
        // SAFETY: the reference is alive.
        let signature = unsafe { self.tools.class_signature(class) }.unwrap_or_default();
        let name = name_of(&signature);
        if signature.starts_with('[') {
            return (name, if holds_references(&signature) { Shape::Array } else { Shape::Leaf });
        }
        if signature == "Ljava/lang/Class;" || signature == "Ljava/lang/String;" {
            return (name, Shape::Leaf);
        }
        let (mut fields, mut at) = (Vec::new(), class);
        for depth in 0..MOST_SUPERCLASSES {
            // SAFETY: the reference is alive.
            let signature = unsafe { self.tools.class_signature(at) }.unwrap_or_default();
            if signature == "Ljava/lang/ClassLoader;" {
                return (name, Shape::Leaf);
            }
            // What a reference refers to is the collector's business.
            if signature != "Ljava/lang/ref/Reference;" {
                self.declared(at, &mut fields);
            }
            // SAFETY: the reference is alive, and to a class.
            let above = unsafe { (self.frame.table().GetSuperclass)(self.frame.raw(), at) };
            if depth > 0 {
                self.frame.delete(at);
            }
            if above.is_null() {
                break;
            }
            at = above;
        }
        let shape = if fields.is_empty() { Shape::Leaf } else { Shape::Fields(fields) };
        (name, shape)
    }

    /// Adds the fields that a class declares: those of its instances that hold references.
    fn declared(&self, class: sys::jclass, into: &mut Vec<Field>) {
        let (mut count, mut ids) = (0, ptr::null_mut());
        let function = self.tools.function(number::GET_CLASS_FIELDS);
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe { transmute::<*const c_void, GetClassFields>(function) };
        // SAFETY: the class is alive; a number and a pointer are written, both to ours.
        let error = unsafe { get(self.tools.raw(), class, &raw mut count, &raw mut ids) };
        if error != 0 || ids.is_null() {
            return;
        }
        // SAFETY: there are so many, and they are ours until they are deallocated.
        let all = unsafe { std::slice::from_raw_parts(ids, usize::try_from(count).unwrap_or(0)) };
        for id in all {
            let mut modifiers = STATIC;
            let function = self.tools.function(number::GET_FIELD_MODIFIERS);
            // SAFETY: the function of this number has this type, by the specification.
            let get = unsafe { transmute::<*const c_void, GetFieldModifiers>(function) };
            // SAFETY: a field of this class, which is alive, and the number is ours.
            unsafe { get(self.tools.raw(), class, *id, &raw mut modifiers) };
            if modifiers & STATIC == 0
                && let Some((name, signature)) = self.field(class, *id)
                && holds_reference(&signature)
            {
                into.push(Field { id: *id, name });
            }
        }
        self.deallocate(ids.cast());
    }

    /// A field's name and its type's signature.
    fn field(&self, class: sys::jclass, id: sys::jfieldID) -> Option<(String, String)> {
        let (mut name, mut signature) = (ptr::null_mut(), ptr::null_mut());
        let function = self.tools.function(number::GET_FIELD_NAME);
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe { transmute::<*const c_void, GetFieldName>(function) };
        let env = self.tools.raw();
        // SAFETY: a field of this class, which is alive; two pointers are written to ours, and the third is not wanted.
        let error = unsafe { get(env, class, id, &raw mut name, &raw mut signature, ptr::null_mut()) };
        (error == 0).then_some(())?;
        let text = |text: *mut c_char| {
            if text.is_null() {
                return String::new();
            }
            // SAFETY: the specification says that it ends with a NUL, and it is ours until it is deallocated.
            let found = unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned();
            self.deallocate(text.cast());
            found
        };
        Some((text(name), text(signature)))
    }

    fn deallocate(&self, memory: *mut c_void) {
        // SAFETY: the function of this number has this type, by the specification.
        let free = unsafe { transmute::<*const c_void, Deallocate>(self.tools.function(number::DEALLOCATE)) };
        // SAFETY: the environment gave this memory, and it is given back once.
        unsafe { free(self.tools.raw(), memory) };
    }
}

/// Whether a field of this type holds a reference that leads on.
fn holds_reference(signature: &str) -> bool {
    match signature.as_bytes() {
        [b'L', ..] => signature != "Ljava/lang/String;",
        [b'[', ..] => holds_references(signature),
        _ => false,
    }
}

/// Whether an array of this type has references for elements.
fn holds_references(signature: &str) -> bool {
    matches!(signature.as_bytes(), [b'[', b'L' | b'[', ..])
}

/// `[Ljava/lang/String;` is `java.lang.String[]`.
fn name_of(signature: &str) -> String {
    let element = signature.trim_start_matches('[');
    let dimensions = signature.len() - element.len();
    let name = match element {
        "Z" => "boolean".to_owned(),
        "B" => "byte".to_owned(),
        "C" => "char".to_owned(),
        "S" => "short".to_owned(),
        "I" => "int".to_owned(),
        "J" => "long".to_owned(),
        "F" => "float".to_owned(),
        "D" => "double".to_owned(),
        class => class.trim_start_matches('L').trim_end_matches(';').replace('/', "."),
    };
    name + &"[]".repeat(dimensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_told_as_in_sources() {
        for (signature, name, leads_on) in [
            ("Ljava/util/List;", "java.util.List", true),
            ("[[Ljava/lang/String;", "java.lang.String[][]", true),
            ("Ljava/lang/String;", "java.lang.String", false),
            ("[[B", "byte[][]", true),
            ("[B", "byte[]", false),
            ("J", "long", false),
        ] {
            assert_eq!((name_of(signature).as_str(), holds_reference(signature)), (name, leads_on));
        }
    }
}
