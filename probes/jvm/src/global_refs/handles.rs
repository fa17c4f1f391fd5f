//! How many global and weak global references there are: read at any time, without a pause and without a call into the JVM.
//!
//! HotSpot keeps either kind in a storage of its own (`OopStorage`), which counts what it has handed out; that number is
//! what the end of a dump of all stacks tells. Where the storages are is in the table that HotSpot exports for debuggers;
//! which of their words is the number is not. So it is tried out: a few references are made and let go of again, and the
//! word that rose and fell by just as many each time is the one. Other threads make references meanwhile: an attempt that
//! they disturb says nothing, and there are more attempts than needed.
//!
//! Reads through the kernel, which says no where a crash would come otherwise. Never here: a guess where attempts disagree.

use std::ptr;

use jni::sys::{self, jobject};
use leakline_probing::{loader, memory};

use crate::env::{Frame, Local, Object as _, table};
use crate::hotspot::Table;

/// Words of a storage that are looked at: it has some thirty, and the number is among the first dozen.
const WORDS: usize = 24;
/// How many references an attempt makes: no two in a row alike, and none that a pointer would move by.
const AMOUNTS: [usize; 8] = [5, 11, 3, 13, 7, 9, 21, 2];
/// Attempts at once, most of which a busy host may disturb.
const ATTEMPTS: usize = 64;
/// Attempts that have to agree on one word.
const ENOUGH: u32 = 4;

/// Words of a storage.
type Words = [u64; WORDS];

/// Where the two numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handles {
    global: u64,
    weak: u64,
}

/// The two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Global references.
    pub(crate) global: u64,
    /// Weak ones, those to objects that were collected among them: until they are deleted, they are held.
    pub(crate) weak: u64,
}

/// Why the numbers are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// They will not be.
    Never(&'static str),
    /// The host made too many references meanwhile: another time.
    Disturbed,
}

impl Unknown {
    /// In words.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Never(reason) => reason,
            Self::Disturbed => "the program makes too many to tell by trial where the JVM counts them",
        }
    }
}

impl Handles {
    /// On a thread that is in the JVM, with nothing pending.
    pub(crate) fn find(frame: &Frame<'_>) -> Result<Self, Unknown> {
        let no_table = Unknown::Never("this JVM does not say where it keeps them");
        let structs = loader::loaded_object(&["libjvm.so"]).and_then(|libjvm| Table::find(&libjvm));
        let structs = structs.ok_or(no_table)?;
        let storage = |field| {
            let place = structs.static_field(c"JNIHandles", field)?;
            let [storage] = memory::words::<1>(place as u64)?;
            (storage != 0 && storage.is_multiple_of(8)).then_some(storage)
        };
        let global = storage(c"_global_handles").ok_or(no_table)?;
        let weak = storage(c"_weak_global_handles").ok_or(no_table)?;
        let object = frame.class("java.lang.Object").map_err(|_| no_table)?;
        let one = search(global, |count| Kind::Global.make_and_delete(frame, object, global, count))?;
        let other = search(weak, |count| Kind::Weak.make_and_delete(frame, object, weak, count))?;
        // Both are of one class.
        if one != other {
            return Err(Unknown::Never("the JVM counts them in another way than is known"));
        }
        let offset = one as u64 * 8;
        Ok(Self { global: global + offset, weak: weak + offset })
    }

    /// The numbers now; `None` where they can no longer be read.
    pub(crate) fn read(self) -> Option<Counts> {
        let [global] = memory::words::<1>(self.global)?;
        let [weak] = memory::words::<1>(self.weak)?;
        Some(Counts { global, weak })
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Global,
    Weak,
}

impl Kind {
    /// The storage before, with `count` more references, and without them; `None` where that could not be done.
    fn make_and_delete(
        self,
        frame: &Frame<'_>,
        object: Local<'_>,
        storage: u64,
        count: usize,
    ) -> Option<[Words; 3]> {
        let before = memory::words::<WORDS>(storage);
        let mut made = [ptr::null_mut(); 32];
        let made = made.get_mut(..count)?;
        made.fill_with(|| self.make(frame, object));
        let with = memory::words::<WORDS>(storage);
        let is_whole = made.iter().all(|reference| !reference.is_null());
        for reference in made.iter().filter(|reference| !reference.is_null()) {
            self.delete(frame, *reference);
        }
        let after = memory::words::<WORDS>(storage);
        if is_whole { Some([before?, with?, after?]) } else { None }
    }

    fn make(self, frame: &Frame<'_>, object: Local<'_>) -> jobject {
        let (env, functions) = (frame.raw(), table(frame.raw()));
        let make = match self {
            Self::Global => functions.NewGlobalRef,
            Self::Weak => functions.NewWeakGlobalRef,
        };
        // SAFETY: the frame's thread is in the JVM, and `object` is alive, for its frame is borrowed.
        let made = unsafe { make(env, object.raw()) };
        if made.is_null() {
            // SAFETY: as above; there may have been no memory.
            unsafe { (functions.ExceptionClear)(env) };
        }
        made
    }

    fn delete(self, frame: &Frame<'_>, reference: jobject) {
        let functions = table(frame.raw());
        let delete: unsafe extern "system" fn(*mut sys::JNIEnv, jobject) = match self {
            Self::Global => functions.DeleteGlobalRef,
            Self::Weak => functions.DeleteWeakGlobalRef,
        };
        // SAFETY: `make` made it, and this is its end.
        unsafe { delete(frame.raw(), reference) };
    }
}

/// Which word of a storage counts its references. `attempt` makes and deletes so many.
fn search(storage: u64, mut attempt: impl FnMut(usize) -> Option<[Words; 3]>) -> Result<usize, Unknown> {
    if memory::words::<WORDS>(storage).is_none() {
        return Err(Unknown::Never("the kernel does not let leakline read its own process"));
    }
    let mut votes = [0_u32; WORDS];
    for count in AMOUNTS.iter().copied().cycle().take(ATTEMPTS) {
        let Some([before, with, after]) = attempt(count) else { continue };
        let words = before.into_iter().zip(with).zip(after);
        for (((before, with), after), votes) in words.zip(&mut votes) {
            let is_it = with.wrapping_sub(before) == count as u64 && after == before;
            *votes += u32::from(is_it);
        }
        let leader = votes.iter().position(|votes| *votes == ENOUGH);
        if let Some(leader) = leader {
            let others = votes.iter().enumerate().filter(|(index, _)| *index != leader);
            let doubts = others.map(|(_, votes)| *votes).max().unwrap_or(0);
            return if doubts == 0 {
                Ok(leader)
            } else {
                Err(Unknown::Never("the JVM counts them in another way than is known"))
            };
        }
    }
    Err(Unknown::Disturbed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A storage whose word 9 counts, with a host that disturbs attempts.
    fn check(disturbed: impl Fn(usize) -> bool, also: Option<usize>, expected: Result<usize, Unknown>) {
        let storage: Words = [0; WORDS];
        let mut attempts = 0;
        let found = search(storage.as_ptr() as u64, |count| {
            attempts += 1;
            let mut words = [storage; 3];
            for index in [Some(9), also].into_iter().flatten() {
                words[1][index] = count as u64;
            }
            // A block more, which stays: a pointer moves.
            words[1][3] = 512 * attempts as u64;
            words[2][3] = words[1][3];
            if disturbed(attempts) {
                words[1][9] += 1;
            }
            Some(words)
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn the_word_that_rises_and_falls_by_what_was_made_is_found() {
        check(|_| false, None, Ok(9));
    }

    #[test]
    fn a_host_that_makes_references_meanwhile_only_makes_it_longer() {
        check(|attempt| attempt % 10 != 0, None, Ok(9));
        check(|_| true, None, Err(Unknown::Disturbed));
    }

    #[test]
    fn where_two_words_could_be_it_none_is_taken() {
        let doubt = Unknown::Never("the JVM counts them in another way than is known");
        check(|_| false, Some(4), Err(doubt));
    }
}
