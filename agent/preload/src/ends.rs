//! The ways by which a program ends, by their C names: each has the last snapshot taken before the first destructor and exit
//! handler, and is passed on. See `leakline::preload::ends`.
//!
//! `main` is called through `__libc_start_main`, which gets ours in its place: the C library calls its own `exit` when
//! `main` has returned, and that call cannot be seen. A thread that ends by unwinding (`pthread_exit` in `main`) passes
//! through here, so these functions may be unwound.
//!
//! Never a catch around the program's own code.

#![expect(unreachable_pub, reason = "called by name, not by path")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::catch_unwind;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use leakline::preload::{Way, ends};

type Main = unsafe extern "C-unwind" fn(c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;
type Hook = Option<unsafe extern "C" fn()>;
type StartMain = unsafe extern "C-unwind" fn(
    Option<Main>,
    c_int,
    *mut *mut c_char,
    Hook,
    Hook,
    Hook,
    *mut c_void,
) -> c_int;
type Exit = unsafe extern "C-unwind" fn(c_int) -> !;

/// The program's own.
static MAIN: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// The C library's function of this name, which stands behind ours.
fn next(name: &CStr) -> *mut c_void {
    // SAFETY: the name ends with a NUL.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

fn before_the_end(way: Way) {
    let _ = catch_unwind(|| ends(way));
}

/// The C library's.
///
/// # Safety
/// As the C library's.
#[unsafe(link_section = "leakline_pass")]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __libc_start_main(
    main: Option<Main>,
    argc: c_int,
    argv: *mut *mut c_char,
    init: Hook,
    fini: Hook,
    rtld_fini: Hook,
    stack_end: *mut c_void,
) -> c_int {
    let next = next(c"__libc_start_main");
    if next.is_null() {
        std::process::abort();
    }
    // SAFETY: the function of that name has that type in every glibc; both of its versions take the same arguments.
    let next = unsafe { std::mem::transmute::<*mut c_void, StartMain>(next) };
    let ours = main.map(|main| {
        MAIN.store(main as *mut c_void, Ordering::Release);
        run_main as Main
    });
    // SAFETY: the caller's promises are passed on.
    unsafe { next(ours, argc, argv, init, fini, rtld_fini, stack_end) }
}

#[unsafe(link_section = "leakline_pass")]
unsafe extern "C-unwind" fn run_main(
    argc: c_int,
    argv: *mut *mut c_char,
    environment: *mut *mut c_char,
) -> c_int {
    // SAFETY: stored from a `Main` before the C library could call this.
    let main = unsafe { std::mem::transmute::<*mut c_void, Main>(MAIN.load(Ordering::Acquire)) };
    // SAFETY: the C library's arguments are passed on.
    let status = unsafe { main(argc, argv, environment) };
    before_the_end(Way::Exit);
    status
}

macro_rules! with_handlers {
    ($($name:ident = $text:literal kept in $kept:ident;)*) => {
        $(
            static $kept: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

            /// The C library's, with a last snapshot before.
            ///
            /// # Safety
            /// As the C library's.
            #[unsafe(link_section = "leakline_pass")]
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name(status: c_int) -> ! {
                before_the_end(Way::Exit);
                let kept = $kept.load(Ordering::Acquire);
                let next = if kept.is_null() { next($text) } else { kept };
                if next.is_null() {
                    end_now(status);
                }
                // SAFETY: the C library's functions of these names take a status and do not return.
                let next = unsafe { std::mem::transmute::<*mut c_void, Exit>(next) };
                // SAFETY: the caller's promises are passed on.
                unsafe { next(status) }
            }
        )*

        /// Looks the functions up before `main`: where they are called, somebody may hold the loader's lock for good.
        pub(crate) fn prepare() {
            pass_over();
            $($kept.store(next($text), Ordering::Release);)*
        }
    };
}

with_handlers! {
    exit = c"exit" kept in EXIT;
    quick_exit = c"quick_exit" kept in QUICK_EXIT;
}

macro_rules! at_once {
    ($($name:ident)*) => {$(
        /// As the C library's, with a last snapshot before.
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(status: c_int) -> ! {
            before_the_end(Way::AtOnce);
            end_now(status)
        }
    )*};
}

at_once! { _exit _Exit }

/// Call paths of the host's go through `run_main`, and are the host's all the same.
fn pass_over() {
    unsafe extern "C" {
        /// The linker gives these for every section whose name is one of C.
        static __start_leakline_pass: u8;
        static __stop_leakline_pass: u8;
    }
    leakline::preload::pass_over(
        (&raw const __start_leakline_pass).addr()..(&raw const __stop_leakline_pass).addr(),
    );
}

fn end_now(status: c_int) -> ! {
    loop {
        // SAFETY: ends this process; the C library's `_exit` does no more.
        unsafe { libc::syscall(libc::SYS_exit_group, status) };
    }
}
