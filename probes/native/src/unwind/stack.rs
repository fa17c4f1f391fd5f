//! Reads a thread's own stack and never faults: within bounds that are known for the thread's life, or, on a stack that is
//! not the thread's own (a signal's, a coroutine's), after asking the kernel page by page.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PAGE: usize = 4096;
const WORD: usize = size_of::<usize>();
/// Nothing is mapped so close below the main thread's stack: the kernel keeps 128 MiB for it.
const MAIN: usize = 64 << 20;

/// Pages that are asked for in order to know a thread's stack.
const MOST_PAGES: usize = 256;

/// What is known of a thread's stack; belongs to the thread.
#[derive(Debug)]
pub(crate) struct ThreadStack {
    /// From here on everything is known to be mapped.
    low: Cell<usize>,
    /// One past the last byte; 0: not asked yet.
    high: Cell<usize>,
}

impl ThreadStack {
    /// Nothing is known yet.
    pub(crate) const fn new() -> Self {
        Self { low: Cell::new(0), high: Cell::new(0) }
    }

    /// A reader for a walk that begins at `sp`.
    #[inline(always)]
    pub(crate) fn reader(&self, sp: usize) -> Reader {
        let is_own = (self.low.get()..self.high.get()).contains(&sp) || self.reaches(sp);
        Reader { from: sp, to: if is_own { self.high.get() } else { sp }, page: 0 }
    }

    /// Its end, which no two threads have in common; once it is known.
    #[inline(always)]
    pub(super) fn end(&self) -> usize {
        self.high.get()
    }

    /// Whether `sp` is in the thread's own stack: from there to its end every page is mapped. The C library knows, but
    /// takes a lock to tell that it may hold just now, because it allocates under it.
    #[cold]
    #[inline(never)]
    fn reaches(&self, sp: usize) -> bool {
        if self.high.get() == 0 {
            let (low, high) = end_of_stack();
            self.low.set(low);
            self.high.set(high);
        }
        let first = sp & !(PAGE - 1);
        let known = self.low.get().min(self.high.get());
        let pages = known.saturating_sub(first).div_ceil(PAGE);
        if sp >= self.high.get() || sp >= known || pages > MOST_PAGES {
            return (known..self.high.get()).contains(&sp);
        }
        // Upwards: another stack below this one ends before this one begins.
        if !(0..pages).all(|page| can_be_read(first + page * PAGE)) {
            return false;
        }
        self.low.set(first);
        true
    }
}

/// One past the last byte of this thread's stack, and from where on it is known to be mapped.
fn end_of_stack() -> (usize, usize) {
    let main = MAIN_THREAD.load(Relaxed);
    let is_main = if main == 0 { is_main_thread() } else { thread_pointer() == main };
    if is_main {
        // The kernel put these bytes above the first frame. What lies below, down to where the stack has come, is mapped; no
        // more than that is ever read.
        // SAFETY: takes a number.
        let top = unsafe { libc::getauxval(libc::AT_RANDOM) } as usize & !(WORD - 1);
        return (top.saturating_sub(MAIN), top);
    }
    // C libraries keep what belongs to a thread at the end of its stack.
    let end = thread_pointer() & !(WORD - 1);
    (end, end)
}

/// The main thread's pointer to itself, where it is known: then no thread has to ask the kernel who it is.
static MAIN_THREAD: AtomicUsize = AtomicUsize::new(0);

/// On the main thread: keeps what it can be known by.
pub(super) fn note_main_thread() {
    if is_main_thread() {
        MAIN_THREAD.store(thread_pointer(), Relaxed);
    }
}

fn is_main_thread() -> bool {
    // SAFETY: takes no arguments.
    let thread = unsafe { libc::gettid() };
    // SAFETY: takes no arguments.
    thread == unsafe { libc::getpid() }
}

fn thread_pointer() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let pointer;
        // SAFETY: the ABI keeps the thread pointer's own value there.
        unsafe { std::arch::asm!("mov {0}, fs:[0]", out(reg) pointer, options(readonly, nostack)) };
        pointer
    }
    #[cfg(target_arch = "aarch64")]
    {
        let pointer;
        // SAFETY: reads a register.
        unsafe { std::arch::asm!("mrs {0}, tpidr_el0", out(reg) pointer, options(nomem, nostack)) };
        pointer
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    0
}

/// Reads words of one walk.
#[derive(Debug)]
pub(crate) struct Reader {
    from: usize,
    /// Up to here everything is mapped.
    to: usize,
    /// The last page beyond that the kernel said can be read.
    page: usize,
}

impl Reader {
    /// The word at `address`; `None` where there may be none.
    #[inline(always)]
    pub(crate) fn word(&mut self, address: usize) -> Option<usize> {
        if !address.is_multiple_of(WORD) || address < self.from {
            return None;
        }
        if address >= self.to && !self.is_mapped(address) {
            return None;
        }
        // SAFETY: it lies in this thread's own stack above where it has come, or the kernel has just read it; and words
        // are aligned.
        Some(unsafe { (address as *const usize).read() })
    }

    /// Whether it is the thread's own stack.
    pub(crate) fn is_own(&self) -> bool {
        self.to > self.from
    }

    /// Whether `address` can be this stack's.
    pub(crate) fn holds(&self, address: usize) -> bool {
        address >= self.from && (address < self.to || self.to == self.from)
    }

    #[cold]
    fn is_mapped(&mut self, address: usize) -> bool {
        // Above a stack of the thread's own there is nothing of it.
        if self.to > self.from {
            return false;
        }
        let page = address & !(PAGE - 1);
        if page != self.page {
            if !can_be_read(address) {
                return false;
            }
            self.page = page;
        }
        true
    }
}

/// Asks the kernel to read eight bytes there for something that it then refuses. The caller looks after errno.
pub(crate) fn can_be_read(address: usize) -> bool {
    const NO_SUCH_CHANGE: libc::c_long = -1;
    let nowhere = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the kernel checks the address that it reads from, and changes nothing with a change that does not exist.
    let outcome =
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, NO_SUCH_CHANGE, address, nowhere, 8_usize) };
    outcome == -1 && std::io::Error::last_os_error().raw_os_error() != Some(libc::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_can_be_read_and_nothing_else() {
        let here = 0_u64;
        assert!(can_be_read(&raw const here as usize));
        for address in [0, 8, 0x1000, usize::MAX - 7, 0x7fff_ffff_f000] {
            assert!(!can_be_read(address), "{address:x}");
        }
    }

    fn check_this_thread() {
        let here = [1_usize, 2];
        let sp = &raw const here as usize;
        let stack = ThreadStack::new();
        let mut reader = stack.reader(sp);
        assert_eq!((reader.word(sp), reader.word(sp + 8), reader.word(sp - 8)), (Some(1), Some(2), None));
        assert_eq!((reader.word(sp + 1), reader.word(usize::MAX - 7)), (None, None));
        // Up to the very end.
        let mut address = sp;
        while reader.word(address).is_some() {
            address += 8;
        }
        assert!(address == stack.high.get() && address > sp, "{stack:?}");
        let elsewhere = Box::new([7_usize; 4]);
        let mut reader = stack.reader(&raw const *elsewhere as usize);
        assert_eq!(reader.word(&raw const *elsewhere as usize), Some(7));
    }

    #[test]
    fn a_threads_stack_is_read_to_its_end() {
        std::thread::Builder::new().spawn(check_this_thread).unwrap().join().unwrap();
    }
}
