//! Makes the watcher: a fork of the host, without exec, that is nobody's child.
//!
//! - An intermediate process forks the watcher and ends; the host reaps it by its number before `main`. It shares the
//!   host's memory, so the page tables are copied once only, and it ends without a signal, so a host that counts its
//!   SIGCHLDs has none of ours. The watcher then belongs to init: a host that waits for any child never sees it.
//! - `_Fork`, which runs no handlers of `pthread_atfork` and takes no lock, makes the watcher's C library whole again.
//! - The watcher gives away what it inherited: descriptors, terminal, folder, signals, its name.
//!
//! Never here: a descriptor or a thread in the host, or a wait for the watcher's own work.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use leakline_probing::loader;

/// What the watcher is called, in `ps` and in `top`.
pub(super) const NAME: &CStr = c"leakline-watch";
/// The watcher's first thread works on this; it makes others for what takes more.
const STACK_BYTES: usize = 512 << 10;

/// The command line, as the loader told it: to be overwritten in the watcher.
static ARGV: AtomicPtr<*mut c_char> = AtomicPtr::new(null_mut());
static ARGC: AtomicUsize = AtomicUsize::new(0);

type Fork = unsafe extern "C" fn() -> libc::pid_t;

/// What the intermediate process is told, and what it answers: it shares the host's memory.
struct Order<F> {
    fork: Fork,
    watch: Option<F>,
    watcher: libc::pid_t,
    error: c_int,
}

/// Keeps where the command line is.
pub(super) fn remember_arguments(argc: c_int, argv: *mut *mut c_char) {
    ARGC.store(usize::try_from(argc).unwrap_or(0), Ordering::Relaxed);
    ARGV.store(argv, Ordering::Release);
}

/// Why this process can have no watcher, whatever the settings.
pub(super) fn refusal() -> Option<String> {
    if std::process::id() == 1 {
        return Some("this program is process 1, and would have to reap it".to_owned());
    }
    let mut reaps: c_int = 0;
    // SAFETY: the kernel writes an int into ours.
    let asked = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut reaps, 0, 0, 0) };
    if asked == 0 && reaps != 0 {
        return Some("this program adopts orphaned processes (PR_SET_CHILD_SUBREAPER)".to_owned());
    }
    let own = refusal as *const () as usize;
    if !loader::symbol(c"__libc_start_main")
        .is_some_and(|main| loader::same_object(main.as_ptr() as usize, own))
    {
        return Some("leakline was loaded late: the program's ways to end are not seen".to_owned());
    }
    if loader::symbol(c"_dl_find_object").is_none() || fork_function().is_none() {
        return Some("it needs glibc 2.35 or newer".to_owned());
    }
    None
}

/// Makes the watcher, which runs `watch` and ends; its process id. Called before `main`.
pub(super) fn spawn<F: FnOnce()>(watch: F) -> Result<u32, String> {
    let fork = fork_function().ok_or("there is no _Fork")?;
    let stack = Stack::map().ok_or_else(|| format!("no memory: {}", io::Error::last_os_error()))?;
    let mut order = Order { fork, watch: Some(watch), watcher: 0, error: 0 };
    // No handler runs in a process of ours, and nothing interrupts the wait.
    let before = block_signals();
    // SAFETY: the stack is the intermediate's alone until it has ended, for which CLONE_VFORK waits; so does `order`.
    let intermediate = unsafe {
        libc::clone(
            intermediate::<F>,
            stack.top(),
            libc::CLONE_VM | libc::CLONE_VFORK,
            (&raw mut order).cast::<c_void>(),
        )
    };
    let outcome = if intermediate < 0 {
        Err(io::Error::last_os_error())
    } else {
        reap(intermediate);
        match (order.watcher, order.error) {
            (watcher, _) if watcher > 0 => Ok(watcher.cast_unsigned()),
            (_, error) => Err(io::Error::from_raw_os_error(error)),
        }
    };
    restore_signals(&before);
    outcome.map_err(|error| format!("cannot fork: {error}"))
}

fn fork_function() -> Option<Fork> {
    let found = loader::symbol(c"_Fork")?;
    // SAFETY: the C library's function of that name takes nothing and gives a process id.
    Some(unsafe { std::mem::transmute::<*mut c_void, Fork>(found.as_ptr()) })
}

/// Forks a watcher, without the handlers of `pthread_atfork`: 0 in the new process, otherwise its number.
///
/// # Safety
/// This process has one thread.
pub(super) unsafe fn fork() -> Option<u32> {
    // SAFETY: the caller's promise.
    let forked = unsafe { fork_function()?() };
    u32::try_from(forked).ok()
}

/// The intermediate process. It shares the host's memory and must change nothing but the order.
extern "C" fn intermediate<F: FnOnce()>(order: *mut c_void) -> c_int {
    // SAFETY: `spawn` gave it, and waits.
    let order = unsafe { &mut *order.cast::<Order<F>>() };
    // SAFETY: it has no preconditions.
    let forked = unsafe { (order.fork)() };
    if forked == 0 {
        let watch = order.watch.take();
        let _ = catch_unwind(AssertUnwindSafe(|| {
            become_a_watcher();
            if let Some(watch) = watch {
                watch();
            }
        }));
        leave();
    }
    if forked < 0 {
        order.error = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN);
    }
    order.watcher = forked;
    0
}

/// Ends the watcher. None of the host's exit handlers are its business.
pub(super) fn leave() -> ! {
    loop {
        // SAFETY: ends this process.
        unsafe { libc::syscall(libc::SYS_exit_group, 0) };
    }
}

/// The host's own child, and no other: nobody else's status is taken.
fn reap(child: libc::pid_t) {
    loop {
        // SAFETY: no status is asked for.
        let reaped = unsafe { libc::waitpid(child, null_mut(), libc::__WALL) };
        if reaped >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return;
        }
    }
}

fn become_a_watcher() {
    // SAFETY: takes nothing.
    unsafe { libc::setsid() };
    // SAFETY: the path ends with a NUL.
    unsafe { libc::chdir(c"/".as_ptr()) };
    leave_descriptors();
    ignore_signals();
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit outlives the call.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core) };
    // One arena: each further one would reserve 64 MiB of an address space that may be limited.
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
    // SAFETY: the name ends with a NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr()) };
    overwrite_arguments();
}

/// Of the host's descriptors only the standard error is kept, for the log.
fn leave_descriptors() {
    leave_files();
    // SAFETY: the path ends with a NUL.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    for standard in [0, 1] {
        if null >= 0 {
            // SAFETY: both are numbers of this process's descriptors.
            unsafe { libc::dup2(null, standard) };
        } else {
            // SAFETY: as above.
            unsafe { libc::close(standard) };
        }
    }
    // Never a low number that somebody takes for a standard one.
    // SAFETY: the kernel only looks.
    if null >= 0 && unsafe { libc::fcntl(2, libc::F_GETFD) } < 0 {
        // SAFETY: as above.
        unsafe { libc::dup2(null, 2) };
    }
    if null > 2 {
        // SAFETY: it was opened above.
        unsafe { libc::close(null) };
    }
}

/// Closes all but the standard ones: what this process has inherited and nothing of its own.
pub(super) fn leave_files() {
    // SAFETY: closes what nobody in this process uses.
    if unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) } != 0 {
        close_one_by_one();
    }
}

/// Before Linux 5.9.
fn close_one_by_one() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit` into ours.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    for number in 3..c_int::try_from(limit.rlim_cur).unwrap_or(65_536).min(65_536) {
        // SAFETY: as in `leave_descriptors`.
        unsafe { libc::close(number) };
    }
}

/// Points the standard error to nowhere: whoever reads the host's must see its end.
pub(super) fn leave_stderr() {
    // SAFETY: 1 is /dev/null in a watcher.
    unsafe { libc::dup2(1, 2) };
}

/// No signal but those that its own faults raise, SIGKILL and SIGSTOP does anything to a watcher.
fn ignore_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        let action = match signal {
            libc::SIGKILL | libc::SIGSTOP => continue,
            libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGABRT | libc::SIGTRAP => {
                libc::SIG_DFL
            }
            _ => libc::SIG_IGN,
        };
        // SAFETY: both are no handlers; the C library refuses the signals that it keeps for itself.
        unsafe { libc::signal(signal, action) };
    }
    let faults = leave_only_faults();
    restore_signals(&faults);
}

/// Everything that is ignored may as well be blocked.
fn leave_only_faults() -> libc::sigset_t {
    let mut set = filled();
    for signal in
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS]
    {
        // SAFETY: the set is initialised and the number valid.
        unsafe { libc::sigdelset(&raw mut set, signal) };
    }
    set
}

fn overwrite_arguments() {
    let (argv, argc) = (ARGV.load(Ordering::Acquire), ARGC.load(Ordering::Relaxed));
    if argv.is_null() || argc == 0 {
        return;
    }
    // SAFETY: the loader gave an array of `argc` strings, and it is not empty.
    let first = unsafe { argv.read() };
    // SAFETY: as above.
    let last = unsafe { argv.wrapping_add(argc - 1).read() };
    if first.is_null() || last < first {
        return;
    }
    // SAFETY: as above, each ends with a NUL.
    let end = last as usize + unsafe { CStr::from_ptr(last) }.count_bytes();
    let length = end.saturating_sub(first as usize);
    // SAFETY: the kernel lays the arguments out one after the other, in pages of this process's own since it was forked.
    let area = unsafe { std::slice::from_raw_parts_mut(first.cast::<u8>(), length) };
    area.fill(0);
    for (to, from) in area.iter_mut().zip(NAME.to_bytes()) {
        *to = *from;
    }
}

fn filled() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigfillset initialises what it is given.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above.
    unsafe { set.assume_init() }
}

fn block_signals() -> libc::sigset_t {
    let all = filled();
    let mut before = filled();
    // SAFETY: both sets are initialised and outlive the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before) };
    before
}

fn restore_signals(set: &libc::sigset_t) {
    // SAFETY: the set is initialised.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, null_mut()) };
}

/// The stack of the intermediate process and, as a copy, of the watcher. Unmapped in the host when it is dropped there.
struct Stack(*mut u8);

impl Stack {
    fn map() -> Option<Self> {
        let stack = leakline_probing::shared::map(STACK_BYTES, leakline_probing::shared::Sharing::Private)?;
        Some(Self(stack.as_ptr()))
    }

    fn top(&self) -> *mut c_void {
        self.0.wrapping_add(STACK_BYTES).cast()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        leakline_probing::shared::mapped::forget(self.0 as usize);
        // SAFETY: mapped by `map` with that size; whoever ran on it has ended. By a system call: munmap may be hooked.
        unsafe { libc::syscall(libc::SYS_munmap, self.0, STACK_BYTES) };
    }
}

/// Ends a watcher that does not come up.
pub(super) fn kill(watcher: u32) {
    let Ok(watcher) = libc::pid_t::try_from(watcher) else { return };
    // SAFETY: takes two numbers; the watcher was made a moment ago.
    unsafe { libc::kill(watcher, libc::SIGKILL) };
}
