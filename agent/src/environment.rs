//! leakline in the environment: what `leakline run` has put there is taken out before `main`, so that the program sees its
//! own variables only, and added again when the process itself becomes another program, which is to be watched then: shells
//! and the shims of version managers `exec` the program that is meant.
//!
//! A program that a watched one starts is told that it is a part of an application, where the library can be loaded into it
//! (`fitting`) and children are wanted. Any other gets an environment without leakline, also where a program has made a copy
//! before.
//!
//! [`Room`] is used between `vfork` and `exec`, where the parent's memory is shared and other threads' locks stay held: never
//! allocates, locks, or writes to anything but its caller's stack. What does not fit there is passed on as it is.

use std::ffi::{CStr, CString, c_char};
use std::sync::OnceLock;

use leakline_core::SessionId;
use leakline_probing::shared::is_first_process;

use crate::fitting::{self, Search};
use crate::preload::{APPLICATION, own_file_name};
use crate::watched::confined;
use crate::watched::family::may_watch_program;

/// More variables are passed on as they are.
const MOST: usize = 512;

/// A longer list of preloaded libraries is passed on as it is.
const LONGEST: usize = 1024;

const PRELOAD: &[u8] = b"LD_PRELOAD=";

/// These say something of one process, so those of a caller are never passed on to the next program in place of ours.
const OF_THIS_PROCESS: [&[u8]; 3] = [b"LEAKLINE_PID=", b"LEAKLINE_WATCHED_BY=", b"LEAKLINE_APPLICATION="];

/// What was taken out. Empty: nothing was.
static TAKEN: OnceLock<Taken> = OnceLock::new();

/// In memory of leakline's own: programs write their titles over what the kernel has given.
#[derive(Debug, Default)]
struct Taken {
    /// The process that had it.
    process: u32,
    /// Each with its name.
    variables: Vec<CString>,
    /// The preloaded library, as it was named; empty: it was not.
    library: Vec<u8>,
    /// For programs that are started; `None`: they are not watched.
    application: Option<CString>,
}

/// Takes leakline out of the environment, for good: neither this process nor a program that it becomes sees any of it.
/// To be called before `main`.
pub(crate) fn hide() {
    // SAFETY: before `main` nobody else reads the environment.
    let _ = unsafe { take_out(libc_environment()) };
}

/// Takes leakline out of the environment, until this process becomes another program, or starts one: those are told the
/// `application` that they are a part of; `None`: they are not watched. To be called before `main`. A program that has the
/// library for one of its own was not given anything.
pub(crate) fn put_away(application: Option<SessionId>) {
    let preloads = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    if !entries(preloads.as_encoded_bytes()).any(is_our_library) {
        return;
    }
    // SAFETY: before `main` nobody else reads the environment.
    let mut taken = unsafe { take_out(libc_environment()) };
    taken.application = application.and_then(|id| CString::new(format!("{APPLICATION}={id}")).ok());
    // Only the first of a process counts.
    let _ = TAKEN.set(Taken { process: std::process::id(), ..taken });
}

/// The variables that were taken out, with their values.
pub(crate) fn put_away_variables() -> impl Iterator<Item = (String, String)> {
    let variables = TAKEN.get().map(|taken| taken.variables.as_slice()).unwrap_or_default();
    variables.iter().filter_map(|variable| {
        let (name, value) = variable.to_str().ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    })
}

fn libc_environment() -> *mut *mut c_char {
    unsafe extern "C" {
        static environ: *mut *mut c_char;
    }
    // SAFETY: the C library's, a pointer.
    unsafe { environ }
}

/// Closes the gaps that are left; the strings stay where they are. What is left over at the end are nulls: programs look for
/// the kernel's auxiliary vector behind the first, and so see an empty one.
///
/// # Safety
/// `list` is null or a list of texts that ends with null, and nobody else uses it meanwhile.
unsafe fn take_out(list: *mut *mut c_char) -> Taken {
    let mut taken = Taken::default();
    if list.is_null() {
        return taken;
    }
    let mut kept = 0;
    for index in 0.. {
        // SAFETY: the list goes on up to its null.
        let mut variable = unsafe { list.wrapping_add(index).read() };
        if !variable.is_null() {
            // SAFETY: each is a text.
            let text = unsafe { CStr::from_ptr(variable) };
            if is_ours(text.to_bytes()) {
                taken.variables.push(text.to_owned());
                continue;
            }
            if let Some(preloads) = text.to_bytes().strip_prefix(PRELOAD)
                && let Some(library) = entries(preloads).find(|entry| is_our_library(entry))
            {
                taken.library = library.to_vec();
                let others: Vec<_> = entries(preloads).filter(|entry| !is_our_library(entry)).collect();
                if others.is_empty() {
                    continue;
                }
                let others = [PRELOAD, &others.join(&b':')].concat();
                // It was part of a text, so there is no NUL in it. The environment keeps it for good.
                variable = CString::new(others).map_or(variable, CString::into_raw);
            }
        }
        // SAFETY: no further than what was read.
        unsafe { list.wrapping_add(kept).write(variable) };
        kept += 1;
        if variable.is_null() {
            for left in kept..=index {
                // SAFETY: as above.
                unsafe { list.wrapping_add(left).write(variable) };
            }
            break;
        }
    }
    taken
}

fn is_ours(variable: &[u8]) -> bool {
    variable.starts_with(b"LEAKLINE_")
}

fn entries(preloads: &[u8]) -> impl Iterator<Item = &[u8]> {
    preloads.split(|byte| b": ".contains(byte)).filter(|entry| !entry.is_empty())
}

fn is_our_library(entry: &[u8]) -> bool {
    entry.ends_with(own_file_name().as_bytes())
}

/// The name of a variable, with its `=`.
fn name_of(variable: &[u8]) -> &[u8] {
    let end = variable.iter().position(|byte| *byte == b'=').map_or(variable.len(), |at| at + 1);
    variable.get(..end).unwrap_or(variable)
}

/// Who gets an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Getter {
    /// Always another process (`posix_spawn`).
    Child,
    /// Whatever process this is: the one that was put before `main`, and stays watched, or a child after `fork`.
    Caller,
}

/// What a program's environment is given.
#[derive(Debug, Clone, Copy)]
enum Added<'a> {
    Nothing,
    /// To go on being watched.
    ForSame(&'a Taken),
    /// To be watched as a part of this application.
    ForChild(&'a Taken, &'a CStr),
}

impl<'a> Added<'a> {
    fn taken(self) -> Option<&'a Taken> {
        match self {
            Self::Nothing => None,
            Self::ForSame(taken) | Self::ForChild(taken, _) => Some(taken),
        }
    }

    /// Whether it is told the variable that was taken out.
    fn passes(self, name: &[u8]) -> bool {
        match self {
            Self::Nothing => false,
            // What it is a part of, too, where it was told.
            Self::ForSame(_) => true,
            // Another's number says that it is a child.
            Self::ForChild(..) => !matches!(name, b"LEAKLINE_APPLICATION=" | b"LEAKLINE_WATCHED_BY="),
        }
    }
}

/// Room for an environment, on the stack of who makes a child or becomes another program.
#[derive(Debug)]
pub struct Room {
    variables: [*const c_char; MOST + 1],
    used: usize,
    preload: [u8; LONGEST],
}

impl Room {
    /// Nothing in it yet.
    pub const fn new() -> Self {
        Self { variables: [std::ptr::null(); MOST + 1], used: 0, preload: [0; LONGEST] }
    }

    /// `environment`, or what `getter` is to have in its place when it becomes the program `name`.
    ///
    /// # Safety
    /// `environment` is null or a list of texts that ends with null, and outlives the use of what is given; `name` is null or a
    /// text.
    pub unsafe fn for_getter(
        &mut self,
        getter: Getter,
        environment: *const *const c_char,
        (name, search): (*const c_char, Search),
    ) -> *const *const c_char {
        let Some(taken) = TAKEN.get() else { return environment };
        let added = if taken.library.is_empty() {
            Added::Nothing
        } else if getter == Getter::Caller && is_process(taken.process) {
            Added::ForSame(taken)
        } else {
            // SAFETY: the caller's promise; a call looks in the `PATH` of its own process.
            let fits = || unsafe { fitting::fits(name, search, libc_environment().cast_const().cast()) };
            match &taken.application {
                Some(application) if !confined::is_confined() && fits() && may_watch_program() => {
                    Added::ForChild(taken, application)
                }
                _ => Added::Nothing,
            }
        };
        // SAFETY: the caller's promise.
        match unsafe { self.fill(environment, added) } {
            Some(()) => self.variables.as_ptr(),
            None => environment,
        }
    }

    /// With what is added in it, or without any leakline. `None`: there is no room, or nothing to change.
    ///
    /// # Safety
    /// `environment` is null or a list of texts that ends with null.
    unsafe fn fill(&mut self, environment: *const *const c_char, added: Added<'_>) -> Option<()> {
        let taken = added.taken();
        let mut is_changed = taken.is_some();
        let mut preloads: &[u8] = &[];
        for index in 0.. {
            if environment.is_null() {
                break;
            }
            // SAFETY: the list goes on up to its null.
            let variable = unsafe { environment.wrapping_add(index).read() };
            if variable.is_null() {
                break;
            }
            // SAFETY: each is a text.
            let text = unsafe { CStr::from_ptr(variable) }.to_bytes();
            match text.strip_prefix(PRELOAD) {
                Some(list) if taken.is_some() || entries(list).any(is_our_library) => {
                    is_changed = true;
                    preloads = list;
                }
                _ if is_ours(text) && (taken.is_none() || OF_THIS_PROCESS.contains(&name_of(text))) => {
                    is_changed = true;
                }
                _ => self.push(variable)?,
            }
        }
        if !is_changed {
            return None;
        }
        for variable in taken.into_iter().flat_map(|taken| &taken.variables) {
            let name = name_of(variable.to_bytes());
            if !self.has(name) && added.passes(name) {
                self.push(variable.as_ptr())?;
            }
        }
        if let Added::ForChild(_, application) = added {
            self.push(application.as_ptr())?;
        }
        if write_preloads(taken.map(|taken| taken.library.as_slice()), preloads, &mut self.preload)? {
            self.push(self.preload.as_ptr().cast())?;
        }
        self.push(std::ptr::null())
    }

    fn push(&mut self, variable: *const c_char) -> Option<()> {
        *self.variables.get_mut(self.used)? = variable;
        self.used += 1;
        Some(())
    }

    /// Whether a variable of this name is in it.
    fn has(&self, name: &[u8]) -> bool {
        self.variables.iter().take(self.used).any(|variable| {
            // SAFETY: each that was pushed is a text.
            unsafe { CStr::from_ptr(*variable) }.to_bytes().starts_with(name)
        })
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether this is `process`: no child of it, and none that shares its memory. A process that may not make every system
/// call any more is not asked: at worst a child of `vfork` loads the library and hides it.
fn is_process(process: u32) -> bool {
    is_first_process() && (confined::is_confined() || std::process::id() == process)
}

/// Writes the variable with `ours` in front and what of `list` is not ours; `false` when there is nothing to write.
/// `None`: it is too long.
fn write_preloads(ours: Option<&[u8]>, list: &[u8], into: &mut [u8; LONGEST]) -> Option<bool> {
    into.get_mut(..PRELOAD.len())?.copy_from_slice(PRELOAD);
    let mut end = PRELOAD.len();
    for entry in ours.into_iter().chain(entries(list).filter(|entry| !is_our_library(entry))) {
        if end > PRELOAD.len() {
            *into.get_mut(end)? = b':';
            end += 1;
        }
        into.get_mut(end..end + entry.len())?.copy_from_slice(entry);
        end += entry.len();
    }
    *into.get_mut(end)? = 0;
    Some(end > PRELOAD.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words with blanks between; `,` stands for a blank within one.
    struct List {
        _texts: Vec<CString>,
        list: Vec<*mut c_char>,
    }

    impl List {
        fn new(words: &str) -> Self {
            let texts: Vec<CString> =
                words.split_whitespace().map(|word| CString::new(word.replace(',', " ")).unwrap()).collect();
            let list = texts.iter().map(|text| text.as_ptr().cast_mut());
            Self { list: list.chain([std::ptr::null_mut()]).collect(), _texts: texts }
        }

        fn as_ptr(&self) -> *const *const c_char {
            self.list.as_ptr().cast()
        }
    }

    fn words<'a>(list: impl IntoIterator<Item = &'a *const c_char>) -> String {
        let texts = list.into_iter().take_while(|variable| !variable.is_null());
        // SAFETY: each is a text.
        let texts =
            texts.map(|variable| unsafe { CStr::from_ptr(*variable) }.to_string_lossy().replace(' ', ","));
        texts.collect::<Vec<_>>().join(" ")
    }

    fn check_child(environment: &str, expected: &str) {
        let list = List::new(environment);
        let mut room = Room::new();
        // SAFETY: the list is one, ends with null, and lives to the end of this function.
        let got = match unsafe { room.fill(list.as_ptr(), Added::Nothing) } {
            Some(()) => words(&room.variables),
            None => environment.to_owned(),
        };
        assert_eq!(got, expected, "{environment}");
    }

    #[test]
    fn a_child_has_the_programs_variables_and_its_own_preloads_only() {
        check_child("", "");
        check_child("A=1 B=2", "A=1 B=2");
        check_child("A=1 LD_PRELOAD=/x/libleakline_agent.so LEAKLINE_PID=7 B=2", "A=1 B=2");
        check_child("LD_PRELOAD=/x/libleakline_agent.so:/y/own.so A=1", "A=1 LD_PRELOAD=/y/own.so");
        check_child("LD_PRELOAD=/y/1.so,/x/libleakline_agent.so,/y/2.so", "LD_PRELOAD=/y/1.so:/y/2.so");
        check_child("LD_PRELOAD=libm.so.6", "LD_PRELOAD=libm.so.6");
        let alike = "NOT_LEAKLINE_PID=1 LD_PRELOADS=libleakline_agent.so";
        check_child(alike, alike);
    }

    /// What is left of `environment`, and what a program gets that the process becomes with `then`.
    fn check_program(environment: &str, left: &str, then: &str, expected: &str) {
        let mut list = List::new(environment);
        // SAFETY: the list is one, ends with null, and nobody else has it.
        let taken = unsafe { take_out(list.list.as_mut_ptr()) };
        // SAFETY: as above.
        let variables = unsafe { std::slice::from_raw_parts(list.as_ptr(), list.list.len()) };
        assert_eq!(words(variables), left, "{environment}");
        let then = List::new(then);
        let mut room = Room::new();
        // SAFETY: as above.
        assert_eq!(unsafe { room.fill(then.as_ptr(), Added::ForSame(&taken)) }, Some(()), "{environment}");
        assert_eq!(words(&room.variables), expected, "{environment}");
    }

    #[test]
    fn a_program_that_the_process_becomes_has_what_was_taken_out() {
        let run = "A=1 LD_PRELOAD=/x/libleakline_agent.so LEAKLINE_FILE=/f LEAKLINE_PID=7 Z=2";
        let ours = "LEAKLINE_FILE=/f LEAKLINE_PID=7 LD_PRELOAD=/x/libleakline_agent.so";
        check_program(run, "A=1 Z=2", "A=1 Z=2", &format!("A=1 Z=2 {ours}"));
        check_program(run, "A=1 Z=2", "", ours);
        check_program(run, "A=1 Z=2", "LD_PRELOAD=/own.so B=1", &format!("B=1 {ours}:/own.so"));
        // One that says how it is to be watched from now on.
        let other = "LEAKLINE_FILE=/g LEAKLINE_PID=9 LD_PRELOAD=/y/libleakline_agent.so";
        let both = "LEAKLINE_FILE=/g LEAKLINE_PID=7 LD_PRELOAD=/x/libleakline_agent.so";
        check_program(run, "A=1 Z=2", other, both);
        let beside = "LD_PRELOAD=/x/libleakline_agent.so:libm.so.6 LEAKLINE_PID=7 Z=2";
        let left = "LD_PRELOAD=libm.so.6 Z=2";
        check_program(beside, left, left, "Z=2 LEAKLINE_PID=7 LD_PRELOAD=/x/libleakline_agent.so:libm.so.6");
    }

    #[test]
    fn a_program_that_is_started_is_told_what_it_is_a_part_of() {
        let run = "A=1 LD_PRELOAD=/x/libleakline_agent.so LEAKLINE_APPLICATION=old LEAKLINE_FILE=/f LEAKLINE_PID=7 \
                   LEAKLINE_WATCHED_BY=7:8";
        let mut list = List::new(run);
        // SAFETY: the list is one, ends with null, and nobody else has it.
        let taken = unsafe { take_out(list.list.as_mut_ptr()) };
        let then = List::new("B=2 LD_PRELOAD=/own.so LEAKLINE_PID=9");
        let mut room = Room::new();
        let added = Added::ForChild(&taken, c"LEAKLINE_APPLICATION=new");
        // SAFETY: as above.
        assert_eq!(unsafe { room.fill(then.as_ptr(), added) }, Some(()));
        let expected = "B=2 LEAKLINE_FILE=/f LEAKLINE_PID=7 LEAKLINE_APPLICATION=new LD_PRELOAD=/x/libleakline_agent.so:/own.so";
        assert_eq!(words(&room.variables), expected);
    }

    #[test]
    fn what_does_not_fit_is_passed_on_as_it_is() {
        let long = List::new(&format!("LD_PRELOAD=/x/libleakline_agent.so:/{}.so", "y".repeat(2000)));
        // SAFETY: the list is one, ends with null, and outlives the call.
        assert_eq!(unsafe { Room::new().fill(long.as_ptr(), Added::Nothing) }, None);
        let many = List::new(&"A=1 ".repeat(600));
        let taken = Taken { library: b"/x/libleakline_agent.so".to_vec(), ..Taken::default() };
        for added in [Added::Nothing, Added::ForSame(&taken), Added::ForChild(&taken, c"")] {
            // SAFETY: as above.
            assert_eq!(unsafe { Room::new().fill(many.as_ptr(), added) }, None);
        }
    }
}
