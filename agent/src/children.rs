//! What a child of a watched program gets for its environment: the program's, without leakline.
//!
//! A child that is not to be watched would otherwise load the library only to take it out of its environment, which costs
//! each child more than its own start. What the environment is like in the end is the same as when the child does it itself
//! (`preload::hide`), so whatever does not fit here is passed on as it is.
//!
//! Called between `vfork` and `exec`, where the parent's memory is shared and other threads' locks stay held: never
//! allocates, locks, or writes to anything but its caller's stack.

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Release};

use crate::preload::own_file_name;

/// More variables are passed on as they are.
const MOST: usize = 512;

/// A longer list of preloaded libraries is passed on as it is.
const LONGEST: usize = 1024;

/// The process whose children are not watched; 0: leave environments alone.
static PARENT: AtomicU32 = AtomicU32::new(0);

/// From now on children of this process get no leakline.
pub(crate) fn are_not_watched() {
    PARENT.store(std::process::id(), Release);
}

/// Who gets an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Getter {
    /// Always another process (`posix_spawn`).
    Child,
    /// Whatever process this is: the parent that replaces its program, and stays watched, or a child after `fork`.
    Caller,
}

/// Room for an environment, on the stack of who makes a child.
#[derive(Debug)]
pub struct Room {
    variables: [*const c_char; MOST + 1],
    preload: [u8; LONGEST],
}

impl Room {
    /// Nothing in it yet.
    pub const fn new() -> Self {
        Self { variables: [std::ptr::null(); MOST + 1], preload: [0; LONGEST] }
    }

    /// `environment`, or what of it `getter` is to have.
    ///
    /// # Safety
    /// `environment` is null or a list of texts that ends with null, and outlives the use of what is given.
    pub unsafe fn for_getter(
        &mut self,
        getter: Getter,
        environment: *const *const c_char,
    ) -> *const *const c_char {
        let parent = PARENT.load(Acquire);
        if parent == 0 || environment.is_null() || (getter == Getter::Caller && parent == std::process::id())
        {
            return environment;
        }
        // SAFETY: the caller's promise.
        match unsafe { self.fill(environment) } {
            Some(()) => self.variables.as_ptr(),
            None => environment,
        }
    }

    /// `None`: there is no room.
    ///
    /// # Safety
    /// As [`Room::for_getter`], and not null.
    unsafe fn fill(&mut self, environment: *const *const c_char) -> Option<()> {
        let mut kept = self.variables.iter_mut();
        for index in 0.. {
            // SAFETY: the list goes on up to its null.
            let variable = unsafe { environment.wrapping_add(index).read() };
            if variable.is_null() {
                break;
            }
            // SAFETY: each is a text.
            let text = unsafe { CStr::from_ptr(variable) }.to_bytes();
            let kept_as = match text.strip_prefix(b"LD_PRELOAD=") {
                _ if text.starts_with(b"LEAKLINE_") => continue,
                Some(list) => match without_us(text, list, &mut self.preload)? {
                    true => self.preload.as_ptr().cast(),
                    false => continue,
                },
                None => variable,
            };
            *kept.next()? = kept_as;
        }
        *kept.next()? = std::ptr::null();
        Some(())
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes the variable `text` to `into` without our library in its `list`; `false` when nothing is left of the list.
/// `None`: it is too long.
fn without_us(text: &[u8], list: &[u8], into: &mut [u8; LONGEST]) -> Option<bool> {
    let name = text.len() - list.len();
    into.get_mut(..name)?.copy_from_slice(text.get(..name)?);
    let mut end = name;
    let entries = list.split(|byte| [b':', b' '].contains(byte));
    for entry in entries.filter(|entry| !entry.is_empty() && !entry.ends_with(own_file_name().as_bytes())) {
        if end > name {
            *into.get_mut(end)? = b':';
            end += 1;
        }
        into.get_mut(end..end + entry.len())?.copy_from_slice(entry);
        end += entry.len();
    }
    *into.get_mut(end)? = 0;
    Some(end > name)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    /// Both are words with blanks between; `,` stands for a blank within one.
    fn check(environment: &str, expected: &str) {
        let texts: Vec<CString> = environment
            .split_whitespace()
            .map(|word| CString::new(word.replace(',', " ")).unwrap())
            .collect();
        let mut list: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        list.push(std::ptr::null());
        let mut room = Room::new();
        // SAFETY: the list is one, ends with null, and lives to the end of this function.
        let filled = unsafe { room.fill(list.as_ptr()) };
        assert_eq!(filled, Some(()), "{environment}");
        let got: Vec<String> = room
            .variables
            .iter()
            .take_while(|variable| !variable.is_null())
            // SAFETY: each is a text.
            .map(|variable| unsafe { CStr::from_ptr(*variable) }.to_string_lossy().replace(' ', ","))
            .collect();
        assert_eq!(got.join(" "), expected, "{environment}");
    }

    #[test]
    fn a_child_has_the_programs_variables_and_its_own_preloads_only() {
        check("", "");
        check("A=1 B=2", "A=1 B=2");
        check("A=1 LD_PRELOAD=/x/libleakline_agent.so LEAKLINE_PID=7 B=2", "A=1 B=2");
        check("LD_PRELOAD=/x/libleakline_agent.so:/y/own.so A=1", "LD_PRELOAD=/y/own.so A=1");
        check("LD_PRELOAD=/y/one.so,/x/libleakline_agent.so,/y/two.so", "LD_PRELOAD=/y/one.so:/y/two.so");
        check("LD_PRELOAD=libm.so.6", "LD_PRELOAD=libm.so.6");
        check(
            "NOT_LEAKLINE_PID=1 LD_PRELOADS=libleakline_agent.so",
            "NOT_LEAKLINE_PID=1 LD_PRELOADS=libleakline_agent.so",
        );
    }

    #[test]
    fn what_does_not_fit_is_passed_on_as_it_is() {
        let long =
            CString::new(format!("LD_PRELOAD=/x/libleakline_agent.so:/{}.so", "y".repeat(2000))).unwrap();
        let list = [long.as_ptr(), std::ptr::null()];
        // SAFETY: as above.
        assert_eq!(unsafe { Room::new().fill(list.as_ptr()) }, None);
        let one = c"A=1".as_ptr();
        let mut many = vec![one; 600];
        many.push(std::ptr::null());
        // SAFETY: as above.
        assert_eq!(unsafe { Room::new().fill(many.as_ptr()) }, None);
    }
}
