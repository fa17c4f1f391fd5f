//! TEMPORARY: the real unwinder is being built.
pub(crate) mod objects;
use std::ffi::{c_int, c_void};

#[derive(Debug, Clone, Copy)]
pub struct Registers { pub(crate) pc: usize, pub(crate) sp: usize, pub(crate) fp: usize }
impl Registers {
    #[inline(always)]
    pub fn here() -> Self {
        let (pc, sp, fp): (usize, usize, usize);
        unsafe { std::arch::asm!("lea {0}, [rip]", "mov {1}, rsp", "mov {2}, rbp", out(reg) pc, out(reg) sp, out(reg) fp) };
        Self { pc, sp, fp }
    }
}
pub(crate) struct ThreadStack;
impl ThreadStack { pub(crate) const fn new() -> Self { Self } }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End { Root, Depth, Stopped(u32), Unknown }
pub(crate) struct Walked { pub(crate) frames: usize, pub(crate) end: End }

unsafe extern "C" { fn _Unwind_Backtrace(f: extern "C" fn(*mut c_void, *mut c_void) -> c_int, a: *mut c_void) -> c_int; fn _Unwind_GetIP(c: *mut c_void) -> usize; fn _Unwind_GetCFA(c: *mut c_void) -> usize; }
struct S<'a> { into: &'a mut [usize], n: usize, sp: usize, stop: i32 }
extern "C" fn step(c: *mut c_void, a: *mut c_void) -> c_int {
    let s = unsafe { &mut *a.cast::<S>() };
    let ip = unsafe { _Unwind_GetIP(c) };
    if unsafe { _Unwind_GetCFA(c) } <= s.sp { return 0; }
    if s.n == s.into.len() { return 5; }
    s.into[s.n] = ip; s.n += 1;
    for (i, j) in leakline_probing::joined::all().enumerate() { if (j.code.0..j.code.1).contains(&ip) { s.stop = i as i32; return 5; } }
    0
}
pub(crate) fn walk(from: Registers, _: &ThreadStack, into: &mut [usize]) -> Walked {
    let _ = (from.pc, from.fp);
    let full = into.len();
    let mut s = S { into, n: 0, sp: from.sp, stop: -1 };
    unsafe { _Unwind_Backtrace(step, (&raw mut s).cast()) };
    let end = if s.stop >= 0 { End::Stopped(s.stop as u32) } else if s.n == full { End::Depth } else { End::Root };
    // caller frames only: the first is a placeholder
    Walked { frames: s.n, end }
}
pub(crate) fn forget() {}
pub(crate) fn refresh() {}
