//! Prints what walking forty frames costs, beside framehop and libgcc's unwinder, which have to find the same frames:
//! `cargo run --release -p leakline-native --example unwind_cost`.

#[path = "../src/unwind/mod.rs"]
#[expect(dead_code, reason = "the unwinder has no use for all of it here")]
mod unwind;

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::time::Instant;

use framehop::{
    CacheNative, ExplicitModuleSectionInfo, Module, UnwindRegsNative, Unwinder as _, UnwinderNative,
};
use unwind::{Registers, ThreadStack};

const FRAMES: usize = 40;
const ROUNDS: usize = 201;
const CALLS: u32 = 500;

unsafe extern "C" {
    fn _Unwind_Backtrace(step: extern "C" fn(*mut c_void, *mut c_void) -> c_int, into: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

type Found = [usize; FRAMES];

/// What libgcc is called back with, and how many frames it found.
struct Libgcc {
    found: Found,
    frames: usize,
}

extern "C" fn step(context: *mut c_void, into: *mut c_void) -> c_int {
    // SAFETY: it is what `libgcc` passes.
    let into = unsafe { &mut *into.cast::<Libgcc>() };
    if let Some(place) = into.found.get_mut(into.frames) {
        // SAFETY: the unwinder's own context.
        *place = unsafe { _Unwind_GetIP(context) };
        into.frames += 1;
    }
    c_int::from(into.frames == FRAMES)
}

#[inline(never)]
fn libgcc() -> Found {
    let mut into = Libgcc { found: [0; FRAMES], frames: 0 };
    // SAFETY: `step` takes what is passed.
    unsafe { _Unwind_Backtrace(step, (&raw mut into).cast()) };
    into.found
}

#[inline(never)]
fn ours(stack: &ThreadStack) -> Found {
    let mut found = [0; FRAMES];
    black_box(unwind::walk(Registers::here(), stack, &mut found));
    found
}

/// framehop, with a list of objects and a cache that were made before, as inside of a hook.
struct Framehop {
    unwinder: UnwinderNative<&'static [u8], framehop::MustNotAllocateDuringUnwind>,
    cache: CacheNative<framehop::MustNotAllocateDuringUnwind>,
}

impl Framehop {
    fn new() -> Self {
        let mut unwinder = UnwinderNative::new();
        // SAFETY: `add_object` takes such an unwinder.
        unsafe { libc::dl_iterate_phdr(Some(add_object), (&raw mut unwinder).cast()) };
        Self { unwinder, cache: CacheNative::new_in() }
    }

    #[inline(never)]
    fn walk(&mut self) -> Found {
        let mut found = [0; FRAMES];
        let (pc, regs) = here();
        // SAFETY: framehop asks for words of this thread's stack, above the frame of this function.
        let mut read = |address: u64| Ok(unsafe { *(address as *const u64) });
        let mut frames = self.unwinder.iter_frames(pc, regs, &mut self.cache, &mut read);
        for place in &mut found {
            let Ok(Some(frame)) = frames.next() else { break };
            *place = frame.address() as usize;
        }
        found
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn here() -> (u64, UnwindRegsNative) {
    let (pc, sp, fp): (u64, u64, u64);
    // SAFETY: reads registers.
    unsafe {
        std::arch::asm!(
            "mov {2}, rbp", "mov {1}, rsp", "lea {0}, [rip]",
            out(reg) pc, out(reg) sp, out(reg) fp, options(nomem, nostack, preserves_flags)
        );
    }
    (pc, UnwindRegsNative::new(pc, sp, fp))
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn here() -> (u64, UnwindRegsNative) {
    let (pc, sp, fp, lr): (u64, u64, u64, u64);
    // SAFETY: reads registers.
    unsafe {
        std::arch::asm!(
            "mov {2}, x29", "mov {3}, x30", "mov {1}, sp", "adr {0}, .",
            out(reg) pc, out(reg) sp, out(reg) fp, out(reg) lr, options(nomem, nostack, preserves_flags)
        );
    }
    (pc, UnwindRegsNative::new(lr, sp, fp))
}

unsafe extern "C" fn add_object(info: *mut libc::dl_phdr_info, _: usize, into: *mut c_void) -> c_int {
    // SAFETY: it is what `Framehop::new` passes.
    let unwinder =
        unsafe { &mut *into.cast::<UnwinderNative<&'static [u8], framehop::MustNotAllocateDuringUnwind>>() };
    // SAFETY: the loader hands in a valid entry for the time of this call.
    let info = unsafe { &*info };
    // SAFETY: the loader gives the object's own headers and their number.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let base = info.dlpi_addr;
    let ends = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let end = ends.map(|header| header.p_vaddr + header.p_memsz).max().unwrap_or(0);
    let Some(table) = headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME) else { return 0 };
    let segment = headers.iter().find(|header| {
        header.p_type == libc::PT_LOAD
            && (header.p_vaddr..header.p_vaddr + header.p_filesz).contains(&table.p_vaddr)
    });
    let Some(segment) = segment else { return 0 };
    let bytes = |from: u64, to: u64| {
        // SAFETY: a part of an object that stays loaded while this program runs.
        unsafe { std::slice::from_raw_parts((base + from) as *const u8, (to - from) as usize) }
    };
    let segment_end = segment.p_vaddr + segment.p_filesz;
    let header = bytes(table.p_vaddr, segment_end);
    // "Relative to this place, four bytes", as every linker writes it.
    let Some(&[1, 0x1b, _, _, one, two, three, four]) = header.first_chunk() else { return 0 };
    let frames =
        (table.p_vaddr + 4).wrapping_add_signed(i64::from(i32::from_ne_bytes([one, two, three, four])));
    let sections = ExplicitModuleSectionInfo {
        eh_frame_svma: Some(frames..segment_end),
        eh_frame: Some(bytes(frames, segment_end)),
        eh_frame_hdr_svma: Some(table.p_vaddr..segment_end),
        eh_frame_hdr: Some(header),
        ..Default::default()
    };
    unwinder.add_module(Module::new(String::new(), base..base + end, base, sections));
    0
}

#[inline(never)]
fn deep(left: usize, at_the_bottom: &mut dyn FnMut()) {
    if left == 0 {
        at_the_bottom();
    } else {
        deep(left - 1, at_the_bottom);
    }
    black_box(left);
}

fn main() {
    unwind::refresh();
    let stack = ThreadStack::new();
    let mut framehop = Framehop::new();
    let mut lines = Vec::new();
    deep(2 * FRAMES, &mut || {
        // The same callers, whatever stands between here and there.
        let common = |found: &Found| found.get(4..).unwrap_or_default().to_vec();
        let all = [ours(&stack), framehop.walk(), libgcc()];
        assert!(all.iter().all(|found| common(found) == common(&all[0])), "{all:x?}");
        let remembering = median(|| ours(&stack));
        let forgetting = median(|| {
            unwind::forget();
            ours(&stack)
        });
        lines.push(format!("ours, the last walk remembered{remembering:>12.0} ns"));
        lines.push(format!("ours, no rule known           {forgetting:>12.0} ns"));
        lines.push(format!("framehop, rules known         {:>12.0} ns", median(|| framehop.walk())));
        lines.push(format!("_Unwind_Backtrace             {:>12.0} ns", median(libgcc)));
    });
    let text = format!("{FRAMES} frames, medians\n{}\n", lines.join("\n"));
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
}

/// Of some rounds, in nanoseconds a call.
fn median(mut walk: impl FnMut() -> Found) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| {
                black_box(walk());
            });
            start.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_unstable_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or(f64::NAN)
}
