//! Walks the native stack of the thread that it is called on, from inside a malloc hook: no allocation, no lock that
//! somebody waits for, no fault, bounded in frames.
//!
//! What is to be done at a return address is found out once, from its object's unwind table, and kept as one word in a
//! table of the process's, so that a frame that was seen before costs a look-up and two loads. Compared with framehop, whose
//! caches belong to threads and whose lists of objects must be changed under a lock while the host loads and unloads.
//!
//! - An address on this very stack belongs to an object that is loaded, so its table can be read.
//! - Code without a table (made at run time) is passed by its frame pointer, where that leads to code of an object.
//! - Code of a runtime that continues the path ends the walk.

mod memo;
pub(crate) mod objects;
mod rule;
mod stack;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use leakline_probing::joined;
use leakline_probing::sampler::lock::Lock;

use rule::{Context, HERE, Rule, Table};
pub(crate) use stack::ThreadStack;
use stack::{Reader, can_be_read};

/// What a walk begins with: the registers of the function that walks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registers {
    pc: usize,
    sp: usize,
    fp: usize,
    #[cfg(target_arch = "aarch64")]
    lr: usize,
}

impl Registers {
    /// This function's, wherever it is called; it has to be there for as long as the walk takes.
    #[inline(always)]
    pub(crate) fn here() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let (pc, sp, fp);
            // The frame pointer first: an output may take its place.
            // SAFETY: reads registers.
            unsafe {
                std::arch::asm!(
                    "mov {2}, rbp", "mov {1}, rsp", "lea {0}, [rip]",
                    out(reg) pc, out(reg) sp, out(reg) fp, options(nomem, nostack, preserves_flags)
                );
            }
            Self { pc, sp, fp }
        }
        #[cfg(target_arch = "aarch64")]
        {
            let (pc, sp, fp, lr);
            // SAFETY: reads registers.
            unsafe {
                std::arch::asm!(
                    "mov {2}, x29", "mov {3}, x30", "mov {1}, sp", "adr {0}, .",
                    out(reg) pc, out(reg) sp, out(reg) fp, out(reg) lr, options(nomem, nostack, preserves_flags)
                );
            }
            Self { pc, sp, fp, lr }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        Self { pc: 0, sp: 0, fp: 0 }
    }
}

/// Why a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The next frame could not be found. The first, so that what was not walked yet is zero, and takes no room in a file.
    Unknown,
    /// There is no caller.
    Root,
    /// There was no more room.
    Depth,
    /// In the code of a runtime, by its place among those that joined; its frame is the last.
    Runtime(u32),
}

/// What a walk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) frames: usize,
    pub(crate) end: End,
    /// Whether a signal's frame was among them.
    pub(crate) passed_signal: bool,
}

const ENTRIES: usize = 8192;

/// A rule that is known: a thread that finds half of another entry finds none.
struct Entry {
    /// The key, exclusive-or the rule.
    check: AtomicU64,
    rule: AtomicU64,
}

/// The rules that are known; null until [`refresh`].
static RULES: AtomicPtr<[Entry; ENTRIES]> = AtomicPtr::new(std::ptr::null_mut());
/// Counts how often addresses may have got another meaning; in the upper half of each key.
static EPOCH: AtomicU64 = AtomicU64::new(0);
/// For threads that read a table; where all are in use, one more thread's walk ends there, once.
static CONTEXTS: [Lock<Option<Box<Context>>>; 8] = [const { Lock::new(None) }; 8];

/// Makes what walks need, and looks at the objects anew where the loader cannot be asked in a hook. On a thread of the
/// agent's, before the first walk, and whenever something was loaded or unloaded.
pub(crate) fn refresh() {
    objects::refresh();
    stack::note_main_thread();
    for context in &CONTEXTS {
        context.with(|context| {
            context.get_or_insert_with(|| Box::new(Context::new_in()));
        });
    }
    if RULES.load(Acquire).is_null() {
        let zeros = std::alloc::Layout::new::<[Entry; ENTRIES]>();
        // SAFETY: the layout has a size.
        let rules = unsafe { std::alloc::alloc_zeroed(zeros) };
        // All zeros are entries that match no key. Never freed.
        RULES.store(rules.cast(), Release);
    }
}

/// Forgets every rule: objects were unloaded.
pub(crate) fn forget() {
    EPOCH.fetch_add(1, Relaxed);
}

/// Walks from where `from` was taken, and fills in the addresses, innermost first: that one, and then return addresses.
#[inline(always)]
pub(crate) fn walk(from: Registers, stack: &ThreadStack, into: &mut [usize]) -> Walked {
    let reader = stack.reader(from.sp);
    // A runtime that joins gives addresses another meaning, too.
    let epoch = EPOCH.load(Relaxed).wrapping_add(joined::count() as u64 * 257);
    let memo = if reader.is_own() { memo::open(stack.end(), epoch) } else { None };
    // SAFETY: null, or entries that are never freed.
    let rules = unsafe { RULES.load(Acquire).as_ref() };
    Walk { rules, epoch, reader, memo, frames: 0, passed_signal: false }.run(from, stack, into)
}

/// A walk under way.
struct Walk<'a> {
    rules: Option<&'static [Entry; ENTRIES]>,
    epoch: u64,
    reader: Reader,
    memo: Option<memo::Open<'a>>,
    frames: usize,
    passed_signal: bool,
}

/// The registers in a frame.
#[derive(Debug, Clone, Copy)]
struct State {
    pc: usize,
    sp: usize,
    fp: usize,
}

impl Walk<'_> {
    #[inline(always)]
    fn run(mut self, from: Registers, stack: &ThreadStack, into: &mut [usize]) -> Walked {
        let mut at = State { pc: from.pc, sp: from.sp, fp: from.fp };
        #[cfg(target_arch = "aarch64")]
        let mut lr = Some(from.lr);
        #[cfg(not(target_arch = "aarch64"))]
        let mut lr = None;
        // Of a return address the call before it is meant; the first, and what a signal interrupted, are meant themselves.
        let mut is_exact = true;
        loop {
            let Some(place) = into.get_mut(self.frames) else { return self.end(End::Depth) };
            *place = at.pc;
            self.frames += 1;
            if let Some(end) = self.go_on_as_before(&mut at, into) {
                return end;
            }
            let address = if is_exact { at.pc } else { at.pc.wrapping_sub(1) };
            let was_exact = std::mem::replace(&mut is_exact, false);
            let (mut caller, words) = match find(self.rules, self.epoch, address) {
                Rule::Step { from_fp, indirect, cfa, fp, ra } => {
                    let step = Step { from_fp, indirect, cfa, fp, ra };
                    match self.step(at, step, lr) {
                        Some(found) => found,
                        None => return self.end(End::Unknown),
                    }
                }
                Rule::FramePointer => match by_frame_pointer(&mut self.reader, at) {
                    Some(found) => found,
                    None => return self.end(End::Unknown),
                },
                Rule::Signal => {
                    is_exact = true;
                    self.passed_signal = true;
                    self.memo = None;
                    match interrupted(&mut self.reader, at.sp) {
                        Some(caller) => (caller, (0, 0)),
                        None => return self.end(End::Unknown),
                    }
                }
                Rule::Root => return self.last(at, End::Root),
                Rule::Stop(index) => return self.last(at, End::Runtime(index)),
                Rule::Unknown => return self.end(End::Unknown),
            };
            lr = None;
            caller.pc = without_authentication(caller.pc);
            if caller.pc == 0 {
                return self.last(at, End::Root);
            }
            // A stack is left in one direction, but for a signal's, which may be another one.
            if is_exact {
                if !self.reader.holds(caller.sp) {
                    self.reader = stack.reader(caller.sp);
                }
            } else if caller.sp <= at.sp && !was_exact {
                return self.end(End::Unknown);
            }
            if let Some(memo) = &mut self.memo {
                memo.push(memo::Frame { pc: at.pc, sp: at.sp, fp: at.fp, words });
            }
            at = caller;
        }
    }

    /// Where this frame was in the last walk, too: goes on for as long as that one's words are what they were. The end, or
    /// `at` is the frame to go on from, whose address is filled in.
    #[inline(always)]
    fn go_on_as_before(&mut self, at: &mut State, into: &mut [usize]) -> Option<Walked> {
        let memo = self.memo.as_mut()?;
        let from = memo.find(at.pc, at.sp, at.fp)?;
        let mut place = from;
        while let Some(next) = place.checked_sub(1) {
            let (frame, caller) = (memo.frame(place)?, memo.frame(next)?);
            let (word, fp_word) = frame.words;
            let same = self.reader.word(word).map(without_authentication) == Some(caller.pc)
                && (fp_word == 0 || self.reader.word(fp_word) == Some(caller.fp));
            if !same {
                break;
            }
            let Some(room) = into.get_mut(self.frames) else {
                memo.take(from, place);
                return Some(self.end(End::Depth));
            };
            *room = caller.pc;
            self.frames += 1;
            place = next;
        }
        if place == 0 && memo.end() != End::Depth {
            let end = memo.end();
            if let Some(memo) = self.memo.take() {
                memo.close(from + 1, end);
            }
            return Some(Walked { frames: self.frames, end, passed_signal: false });
        }
        let frame = *memo.frame(place)?;
        if from > place {
            memo.take(from, place + 1);
        }
        *at = State { pc: frame.pc, sp: frame.sp, fp: frame.fp };
        None
    }

    #[inline(always)]
    fn step(&mut self, at: State, step: Step, lr: Option<usize>) -> Option<(State, (usize, usize))> {
        let base = if step.from_fp { at.fp } else { at.sp };
        let mut frame = base.wrapping_add_signed(step.cfa as isize);
        if step.indirect {
            // One more word that would have to be looked at.
            self.memo = None;
            frame = self.reader.word(frame)?;
        }
        let place = |offset: i16| frame.wrapping_add_signed(isize::from(offset));
        let (pc, word) = match step.ra {
            Some(offset) => (self.reader.word(place(offset))?, place(offset)),
            // Only the innermost frame's is in its register.
            None => {
                self.memo = None;
                (lr?, 0)
            }
        };
        let (fp, fp_word) = match step.fp {
            Some(offset) => (self.reader.word(place(offset))?, place(offset)),
            None => (at.fp, 0),
        };
        Some((State { pc, sp: frame, fp }, (word, fp_word)))
    }

    /// The frame at `at` is the last.
    #[inline(always)]
    fn last(&mut self, at: State, end: End) -> Walked {
        if let Some(memo) = &mut self.memo {
            memo.push(memo::Frame { pc: at.pc, sp: at.sp, fp: at.fp, words: (0, 0) });
        }
        self.end(end)
    }

    #[inline(always)]
    fn end(&mut self, end: End) -> Walked {
        // What could not be found may be found the next time.
        if let Some(memo) = self.memo.take().filter(|_| end != End::Unknown) {
            memo.close(0, end);
        }
        Walked { frames: self.frames, end, passed_signal: self.passed_signal }
    }
}

/// As [`Rule::Step`].
#[derive(Debug, Clone, Copy)]
struct Step {
    from_fp: bool,
    indirect: bool,
    cfa: i32,
    fp: Option<i16>,
    ra: Option<i16>,
}

#[inline(always)]
fn find(rules: Option<&[Entry; ENTRIES]>, epoch: u64, address: usize) -> Rule {
    let key = address as u64 ^ epoch << 48;
    let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 51;
    if let Some(entry) = rules.and_then(|rules| rules.get(hash as usize & (ENTRIES - 1))) {
        let rule = entry.rule.load(Relaxed);
        if entry.check.load(Relaxed) ^ rule == key {
            return Rule::unpack(rule);
        }
        return look_up(address, key, entry);
    }
    Rule::Unknown
}

#[cold]
#[inline(never)]
fn look_up(address: usize, key: u64, entry: &Entry) -> Rule {
    let runtime = joined::all().position(|joined| (joined.code.0..joined.code.1).contains(&address));
    let rule = match runtime {
        Some(index) => Rule::Stop(index as u32),
        None => match by_table(address) {
            Some(rule) => rule,
            // Somebody else is at it; the next time.
            None => return Rule::Unknown,
        },
    };
    let word = rule.pack();
    entry.rule.store(word, Relaxed);
    entry.check.store(key ^ word, Relaxed);
    rule
}

/// `None`: not now.
fn by_table(address: usize) -> Option<Rule> {
    let Some(place) = objects::place_of(address).filter(|place| place.header != 0) else {
        return Some(without_table(address));
    };
    let length = place.end.saturating_sub(place.header);
    if place.header < place.start || !(objects::are_current() || is_there(place)) {
        return Some(Rule::Unknown);
    }
    // SAFETY: an address on this thread's own stack lies in the object, so it is loaded as long as we are here, and this is
    // a part of what is mapped of it.
    let header = unsafe { std::slice::from_raw_parts(place.header as *const u8, length) };
    // SAFETY: as above. There may be gaps between its segments, but the table's offsets do not lead there.
    let image = unsafe { std::slice::from_raw_parts(place.start as *const u8, place.end - place.start) };
    let table =
        Table { header, header_address: place.header as u64, image, image_address: place.start as u64 };
    CONTEXTS.iter().find_map(|context| {
        context.try_with(|context| {
            let context = context.as_mut()?;
            Some(
                rule::compile(HERE, table, address as u64, context).unwrap_or_else(|| without_table(address)),
            )
        })?
    })
}

/// Where a handler of a signal returns to often has no table, and is known by what it does: it calls the kernel.
fn without_table(call: usize) -> Rule {
    let code = call.wrapping_add(1);
    // SAFETY: it could be read just now, and the call that is under way will return there.
    let found = can_be_read(code).then(|| unsafe { (code as *const u64).read_unaligned() });
    if found == Some(TRAMPOLINE) { Rule::Signal } else { Rule::FramePointer }
}

/// `mov x8, #139; svc #0`
#[cfg(target_arch = "aarch64")]
const TRAMPOLINE: u64 = 0xd400_0001_d280_1168;
/// `mov $15, %rax; syscall`, but for the last byte.
#[cfg(not(target_arch = "aarch64"))]
const TRAMPOLINE: u64 = 0x0f00_0000_0fc0_c748;

/// Whether an object that was there at the last look still is, as far as its table goes.
fn is_there(place: objects::Place) -> bool {
    can_be_read(place.start) && can_be_read(place.header & !7) && can_be_read((place.end - 8) & !7)
}

/// A frame of code that has no table: made at run time, or by hand. Believed only where it leads back to an object.
#[cold]
fn by_frame_pointer(reader: &mut Reader, at: State) -> Option<(State, (usize, usize))> {
    if at.fp <= at.sp {
        return None;
    }
    let (fp_word, word) = (at.fp, at.fp.wrapping_add(8));
    let (fp, pc) = (reader.word(fp_word)?, reader.word(word)?);
    objects::place_of(without_authentication(pc))?;
    Some((State { pc, sp: at.fp.wrapping_add(16), fp }, (word, fp_word)))
}

/// The registers that a signal interrupted, as the kernel laid them on the stack.
#[cold]
fn interrupted(reader: &mut Reader, sp: usize) -> Option<State> {
    let mut word = |offset: usize| reader.word(sp.wrapping_add(offset));
    if cfg!(target_arch = "aarch64") {
        // siginfo, then in the context: the fault's address, 31 registers, sp and pc.
        const REGISTERS: usize = 128 + 176 + 8;
        let (pc, sp, fp) = (REGISTERS + 32 * 8, REGISTERS + 31 * 8, REGISTERS + 29 * 8);
        return Some(State { pc: word(pc)?, sp: word(sp)?, fp: word(fp)? });
    }
    // The context is there once the handler has returned; its registers follow flags, link and stack.
    const REGISTERS: usize = 40;
    let (pc, sp, fp) = (REGISTERS + 16 * 8, REGISTERS + 15 * 8, REGISTERS + 10 * 8);
    Some(State { pc: word(pc)?, sp: word(sp)?, fp: word(fp)? })
}

/// Some processors sign return addresses in bits that no address uses.
#[inline(always)]
fn without_authentication(address: usize) -> usize {
    if cfg!(target_arch = "aarch64") { address & (0xffff_ffff_ffff_u64 as usize) } else { address }
}
