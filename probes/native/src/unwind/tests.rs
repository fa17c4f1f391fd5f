//! Against libgcc's unwinder, which throws the exceptions of this process: the same addresses on real stacks.

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;

unsafe extern "C" {
    fn _Unwind_Backtrace(step: extern "C" fn(*mut c_void, *mut c_void) -> c_int, into: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

const MOST: usize = 400;

/// Two walks at once may both come to code that neither has seen, and where the room for that is in use, a walk ends.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn step(context: *mut c_void, into: *mut c_void) -> c_int {
    // SAFETY: it is the list that `expected` passes.
    let into = unsafe { &mut *into.cast::<Vec<usize>>() };
    // SAFETY: the unwinder's own context.
    into.push(unsafe { _Unwind_GetIP(context) });
    if into.len() < MOST { 0 } else { 5 }
}

fn expected() -> Vec<usize> {
    let mut addresses = Vec::with_capacity(MOST);
    // SAFETY: `step` takes such a list.
    unsafe { _Unwind_Backtrace(step, (&raw mut addresses).cast()) };
    addresses
}

fn found(stack: &ThreadStack) -> (Vec<usize>, End) {
    let mut room = [0; MOST];
    let walked = walk(Registers::here(), stack, &mut room);
    (room[..walked.frames].to_vec(), walked.end)
}

/// Both begin in this function, at different calls; from its caller on they are the same.
#[inline(never)]
fn check() -> End {
    refresh();
    let stack = ThreadStack::new();
    let expected = expected();
    let (ours, end) = found(&stack);
    let (again, _) = found(&stack);
    let caller = |addresses: &[usize], frames: usize| addresses.get(frames..).unwrap_or_default().to_vec();
    // Where inlining leaves one frame or two, the callers still are the same.
    let common = (0..4).find_map(|skipped| {
        let theirs = caller(&expected, skipped);
        let at = ours.iter().position(|address| Some(address) == theirs.first())?;
        Some((theirs, at))
    });
    let (mut theirs, at) =
        common.unwrap_or_else(|| panic!("no common caller: {end:?} {ours:x?} {expected:x?}"));
    // libgcc ends with the address 0 where it finds no caller.
    theirs.retain(|address| *address != 0);
    assert_eq!(caller(&ours, at), theirs, "{end:?}");
    assert!(again.ends_with(&theirs), "not what it was the first time: {again:x?} {ours:x?}");
    end
}

#[test]
fn from_a_deep_recursion() {
    let _alone = alone();
    #[inline(never)]
    fn deep(frames: u32) -> u32 {
        if frames == 0 {
            assert_eq!(check(), End::Root);
            return 0;
        }
        black_box(deep(black_box(frames - 1)) + 1)
    }
    assert_eq!(deep(100), 100);
}

#[test]
fn through_the_c_library() {
    let _alone = alone();
    extern "C" fn compare(one: *const c_void, other: *const c_void) -> c_int {
        check();
        // SAFETY: qsort gives one of the numbers below.
        let one = unsafe { *one.cast::<i32>() };
        // SAFETY: as above.
        let other = unsafe { *other.cast::<i32>() };
        one - other
    }
    let mut numbers = [3_i32, 1, 2];
    // SAFETY: three numbers, and a function that compares two of them.
    unsafe { libc::qsort(numbers.as_mut_ptr().cast(), 3, 4, Some(compare)) };
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn with_frames_of_odd_sizes() {
    let _alone = alone();
    #[inline(never)]
    fn odd<const BYTES: usize>() -> u8 {
        let room = black_box([7_u8; BYTES]);
        check();
        black_box(room[BYTES / 2])
    }
    #[repr(align(128))]
    struct Aligned([u8; 128]);
    #[inline(never)]
    fn aligned() -> u8 {
        let room = black_box(Aligned([7; 128]));
        odd::<3>();
        black_box(room.0[5])
    }
    assert_eq!((odd::<1>(), odd::<5000>(), odd::<100_000>(), aligned()), (7, 7, 7, 7));
}

static ENDS: Mutex<Vec<End>> = Mutex::new(Vec::new());

extern "C" fn handler(_: c_int) {
    let end = check();
    ENDS.lock().expect("nobody panicked").push(end);
}

#[test]
fn out_of_a_signal_handler_on_either_stack() {
    let _alone = alone();
    let mut room = vec![0_u8; 256 << 10];
    let stack = libc::stack_t { ss_sp: room.as_mut_ptr().cast(), ss_flags: 0, ss_size: room.len() };
    for flags in [0, libc::SA_ONSTACK] {
        // SAFETY: zeros are an action without a handler.
        let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags;
        // SAFETY: the stack lives until it is given up below.
        assert_eq!(unsafe { libc::sigaltstack(&raw const stack, null_mut()) }, 0);
        // SAFETY: the handler takes one number, and nobody else of this test program uses the signal.
        assert_eq!(unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, null_mut()) }, 0);
        // SAFETY: a signal for this thread, which has a handler.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
        let none = libc::stack_t { ss_flags: libc::SS_DISABLE, ..stack };
        // SAFETY: it is not in use.
        assert_eq!(unsafe { libc::sigaltstack(&raw const none, null_mut()) }, 0);
    }
    assert_eq!(ENDS.lock().unwrap().as_slice(), [End::Root, End::Root]);
}

#[test]
fn garbage_on_the_stack_ends_a_walk() {
    let _alone = alone();
    refresh();
    let mut state = 88_172_645_463_325_252_u64;
    let mut words = vec![0_usize; 4096];
    let start = words.as_ptr() as usize;
    let inside = |random: u64| start + 8 * (random as usize >> 8 & 0xfff);
    for round in 0..2000 {
        for word in &mut words {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Among the garbage are addresses of code and of the stack itself.
            *word = match state % 8 {
                0 => check as *const () as usize + state as usize % 64,
                1 => expected as *const () as usize + state as usize % 64,
                2 => inside(state),
                _ => state as usize,
            };
        }
        let pc = [check as *const () as usize, found as *const () as usize, 8, usize::MAX][round % 4];
        let pc = pc.wrapping_add(round % 128);
        let mut from = Registers::here();
        (from.pc, from.sp, from.fp) = (pc, start, inside(state));
        let mut room = [0; 64];
        let walked = walk(from, &ThreadStack::new(), &mut room);
        assert!(walked.frames <= 64);
    }
}

#[test]
fn a_stack_that_is_the_threads_own_by_no_account_is_read_to_its_guard() {
    let _alone = alone();
    #[repr(C)]
    struct Context {
        done: bool,
        end: Option<End>,
        back: libc::ucontext_t,
        own: libc::ucontext_t,
    }
    static CONTEXT: AtomicPtr<Context> = AtomicPtr::new(null_mut());
    extern "C" fn coroutine() {
        let end = {
            refresh();
            let (addresses, end) = found(&ThreadStack::new());
            assert!(addresses.len() > 1, "{addresses:x?}");
            end
        };
        // SAFETY: the test below set it, and is the only one that does.
        let context = unsafe { &mut *CONTEXT.load(Relaxed) };
        (context.done, context.end) = (true, Some(end));
        // SAFETY: the test's own context waits to go on.
        unsafe { libc::swapcontext(&mut context.own, &context.back) };
    }
    let page = 4096;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new mappings at addresses of the kernel's choice.
    let memory = unsafe { libc::mmap(null_mut(), 64 * page, access, kind, -1, 0) };
    // SAFETY: the first and the last page of that mapping become guards.
    unsafe { libc::mprotect(memory, page, libc::PROT_NONE) };
    // SAFETY: as above.
    unsafe { libc::mprotect(memory.wrapping_byte_add(63 * page), page, libc::PROT_NONE) };
    // SAFETY: zeros are a context that getcontext fills in.
    let mut context = Box::new(unsafe { std::mem::zeroed::<Context>() });
    CONTEXT.store(&raw mut *context, Relaxed);
    // SAFETY: it writes the context.
    assert_eq!(unsafe { libc::getcontext(&mut context.own) }, 0);
    context.own.uc_stack.ss_sp = memory.wrapping_byte_add(page);
    context.own.uc_stack.ss_size = 62 * page;
    // SAFETY: the function takes nothing, and the stack is there for as long as it runs.
    unsafe { libc::makecontext(&mut context.own, coroutine, 0) };
    // SAFETY: both contexts are filled in; it comes back by the coroutine's own switch.
    assert_eq!(unsafe { libc::swapcontext(&mut context.back, &context.own) }, 0);
    assert!(context.done && context.end.is_some());
}

/// A walk that remembers the last one finds what one without memory finds, on stacks that change at random.
#[test]
fn what_is_remembered_changes_nothing() {
    let _alone = alone();
    struct Random {
        state: u64,
        steps: u32,
    }
    impl Random {
        fn next(&mut self) -> u64 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.state
        }
    }
    #[inline(never)]
    fn compare(stack: &ThreadStack, most: usize) {
        let from = Registers::here();
        let (mut with, mut without) = ([0; MOST], [0; MOST]);
        let ours = walk(from, stack, &mut with[..most]);
        forget();
        let fresh = walk(from, stack, &mut without[..most]);
        assert_eq!((ours, &with[..ours.frames]), (fresh, &without[..fresh.frames]));
    }
    #[inline(never)]
    fn one(stack: &ThreadStack, random: &mut Random, depth: u32) -> u64 {
        let room = black_box([random.next(); 3]);
        descend(stack, random, depth);
        black_box(room[1])
    }
    #[inline(never)]
    fn other(stack: &ThreadStack, random: &mut Random, depth: u32) -> u64 {
        let room = black_box([random.next(); 9]);
        descend(stack, random, depth);
        black_box(room[2])
    }
    #[inline(never)]
    fn descend(stack: &ThreadStack, random: &mut Random, depth: u32) {
        for _ in 0..random.next() % 3 + 1 {
            random.steps += 1;
            if random.steps > 20_000 {
                return;
            }
            let most = if random.next().is_multiple_of(4) { random.next() as usize % 20 + 1 } else { 65 };
            compare(stack, most);
            match random.next() % 5 {
                _ if depth == 0 => {}
                0 | 1 => drop(black_box(one(stack, random, depth - 1))),
                2 | 3 => drop(black_box(other(stack, random, depth - 1))),
                _ => {}
            }
        }
    }
    refresh();
    let stack = ThreadStack::new();
    let mut random = Random { state: 88_172_645_463_325_252, steps: 0 };
    for depth in 0..80 {
        random.steps = 0;
        descend(&stack, &mut random, depth);
    }
}
