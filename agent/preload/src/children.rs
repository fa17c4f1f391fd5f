//! The ways to another program, by their C names: the watched process itself takes leakline along, and a child where it may
//! be watched. See `leakline::preload::Room`.
//!
//! What the C library calls inside itself is not seen. A child by `system` or `popen` has nothing of leakline either: it was
//! taken out of the program's environment. But a program that becomes another by the `execl` family, `fexecve` or
//! `execveat` is lost from view: its recording ends there.
//!
//! Never allocates: these are called between `vfork` and `exec`.

#![expect(unreachable_pub, reason = "called by name, not by path")]

use std::ffi::{c_char, c_int, c_void};

use leakline::preload::{Getter, Room, Search};

use crate::next::Next;

type List = *const *const c_char;
type Exec = unsafe extern "C" fn(*const c_char, List, List) -> c_int;
type Spawn =
    unsafe extern "C" fn(*mut libc::pid_t, *const c_char, *const c_void, *const c_void, List, List) -> c_int;

unsafe extern "C" {
    static environ: List;
}

static EXECVE: Next = Next::new(c"execve");
static EXECVPE: Next = Next::new(c"execvpe");
static SPAWN: Next = Next::new(c"posix_spawn");
static SPAWNP: Next = Next::new(c"posix_spawnp");

/// Looks the functions up before `main`: a child of `vfork` must not.
pub(crate) fn prepare() {
    for next in [&EXECVE, &EXECVPE, &SPAWN, &SPAWNP] {
        next.look_up();
    }
}

/// # Safety
/// As `execve` of the C library's.
unsafe fn exec(
    next: &Next,
    (program, search): (*const c_char, Search),
    words: List,
    environment: List,
) -> c_int {
    let mut room = Room::new();
    // SAFETY: the caller's promise, as below.
    let environment = unsafe { room.for_getter(Getter::Caller, environment, (program, search)) };
    let next = next.get();
    if next.is_null() {
        // SAFETY: as `execve`.
        return unsafe { libc::syscall(libc::SYS_execve, program, words, environment) } as c_int;
    }
    // SAFETY: the C library's functions of these names have this type.
    let next = unsafe { std::mem::transmute::<*mut c_void, Exec>(next) };
    // SAFETY: the caller's promises are passed on.
    unsafe { next(program, words, environment) }
}

macro_rules! execs {
    ($($name:ident($($environment:ident)?) by $next:ident looks $search:ident;)*) => {$(
        /// The C library's, with leakline for the watched process and without it for a child.
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(program: *const c_char, words: List $(, $environment: List)?) -> c_int {
            // SAFETY: the program's own, which it may not change meanwhile.
            let ours = unsafe { environ };
            $(let ours = { let _ = ours; $environment };)?
            // SAFETY: the caller's promises are passed on.
            unsafe { exec(&$next, (program, Search::$search), words, ours) }
        }
    )*};
}

execs! {
    execve(environment) by EXECVE looks None;
    execv() by EXECVE looks None;
    execvpe(environment) by EXECVPE looks Path;
    execvp() by EXECVPE looks Path;
}

macro_rules! spawns {
    ($($name:ident by $next:ident looks $search:ident;)*) => {$(
        /// The C library's, with leakline for a child that may be watched.
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            child: *mut libc::pid_t,
            program: *const c_char,
            actions: *const c_void,
            attributes: *const c_void,
            words: List,
            environment: List,
        ) -> c_int {
            let mut room = Room::new();
            // SAFETY: the caller's promise, as below.
            let environment = unsafe { room.for_getter(Getter::Child, environment, (program, Search::$search)) };
            let next = $next.get();
            if next.is_null() {
                return libc::ENOSYS;
            }
            // SAFETY: the C library's functions of these names have this type.
            let next = unsafe { std::mem::transmute::<*mut c_void, Spawn>(next) };
            // SAFETY: the caller's promises are passed on.
            unsafe { next(child, program, actions, attributes, words, environment) }
        }
    )*};
}

spawns! {
    posix_spawn by SPAWN looks None;
    posix_spawnp by SPAWNP looks Path;
}
