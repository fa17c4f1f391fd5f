//! Reads a thread's own stack and never faults: within bounds that are known for the thread's life, or, on a stack that is
//! not the thread's own (a signal's, a coroutine's), after asking the kernel page by page.

use std::cell::Cell;

use super::memo::Memo;

const PAGE: usize = 4096;
const WORD: usize = size_of::<usize>();
/// Nothing is mapped so close below the main thread's stack: the kernel keeps 128 MiB for it.
const MAIN: usize = 64 << 20;

/// What is known of a thread's stack; belongs to the thread.
#[derive(Debug)]
pub(crate) struct ThreadStack {
    low: Cell<usize>,
    /// One past the last byte; 0: not asked yet.
    high: Cell<usize>,
    pub(super) memo: Memo,
}

impl ThreadStack {
    /// Nothing is known yet.
    pub(crate) const fn new() -> Self {
        Self { low: Cell::new(0), high: Cell::new(0), memo: Memo::new() }
    }

    /// A reader for a walk that begins at `sp`.
    #[inline(always)]
    pub(crate) fn reader(&self, sp: usize) -> Reader {
        if self.high.get() == 0 {
            self.find(sp);
        }
        let is_own = (self.low.get()..self.high.get()).contains(&sp);
        Reader { from: sp, to: if is_own { self.high.get() } else { sp }, page: 0 }
    }

    #[cold]
    #[inline(never)]
    fn find(&self, sp: usize) {
        // One that nothing lies in.
        self.low.set(usize::MAX);
        self.high.set(usize::MAX);
        // SAFETY: takes no arguments.
        let thread = unsafe { libc::gettid() };
        // SAFETY: takes no arguments.
        let process = unsafe { libc::getpid() };
        if thread == process {
            // The kernel put these bytes above the first frame. What lies below, down to where the stack has come, is
            // mapped; no more than that is ever read.
            // SAFETY: takes a number.
            let top = unsafe { libc::getauxval(libc::AT_RANDOM) } as usize;
            if top > sp {
                self.low.set(top.saturating_sub(MAIN));
                self.high.set(top & !(WORD - 1));
            }
            return;
        }
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::zeroed();
        // SAFETY: takes no arguments.
        let this = unsafe { libc::pthread_self() };
        // SAFETY: it is this thread, and the attributes are ours to write. What it allocates goes past the hook, which this
        // thread is inside of.
        if unsafe { libc::pthread_getattr_np(this, attributes.as_mut_ptr()) } != 0 {
            return;
        }
        let (mut low, mut size) = (std::ptr::null_mut(), 0);
        // SAFETY: the call above filled the attributes in.
        if unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &mut low, &mut size) } == 0 {
            self.low.set(low as usize);
            self.high.set((low as usize).saturating_add(size));
        }
        // SAFETY: as above, and they are not used any more.
        unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    }
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
        assert_eq!(address, stack.high.get());
        let elsewhere = Box::new([7_usize; 4]);
        let mut reader = stack.reader(&raw const *elsewhere as usize);
        assert_eq!(reader.word(&raw const *elsewhere as usize), Some(7));
    }

    #[test]
    fn a_threads_stack_is_read_to_its_end() {
        std::thread::Builder::new().spawn(check_this_thread).unwrap().join().unwrap();
    }
}
