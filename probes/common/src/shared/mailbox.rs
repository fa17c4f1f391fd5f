//! One call at a time from one process to a thread of another, through shared memory.
//!
//! One word says whose turn it is: the call's number and a state. The caller may take it at any time (it gave up on a call);
//! the server changes it only from the state that it has seen itself, so what it has to say to a call that was given up is
//! dropped. Each direction has a buffer of its own that only one side writes: a side that was late writes into its own.
//! Whoever reads a chunk looks at the word again before it believes what it read.
//!
//! Never here: what is said, or an allocation beyond [`MOST_BYTES`].

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::futex;

/// The largest request and the largest answer.
pub const MOST_BYTES: usize = 64 << 20;

/// What passes at once.
const CHUNK: usize = 64 << 10;
const WORDS: usize = CHUNK / 8;

/// A side that is up is at its next chunk within this; otherwise the call is given up.
const PATIENCE: Duration = Duration::from_secs(2);
/// A wait is cut into pieces, so that a word that was damaged is looked at again.
const PIECE: Duration = Duration::from_millis(250);
/// As long as nobody asks, a server looks again as rarely.
const IDLE_PIECE: Duration = Duration::from_secs(60);
/// A caller takes an answer within this, if it runs at all.
const TAKES: Duration = Duration::from_millis(2);
/// How long a side looks before it sleeps, where the other is expected at once; sleeping and waking would take longer.
const SPIN: Duration = Duration::from_micros(200);

/// In place of the server's thread: it is about to serve.
const COMES: u32 = u32::MAX;

const STATE_BITS: u32 = 3;
const STATES: u32 = (1 << STATE_BITS) - 1;

/// Nobody wants anything, or the call was given up.
const IDLE: u32 = 0;
/// A chunk of the request is there: the server's turn.
const ASKED: u32 = 1;
/// The chunk was taken, and more are to come: the caller's turn.
const NEXT: u32 = 2;
/// The whole request was taken: the server's turn.
const WORKS: u32 = 3;
/// A chunk of the answer is there: the caller's turn.
const ANSWERED: u32 = 4;
/// The chunk was taken, and more are to come: the server's turn.
const GO_ON: u32 = 5;
/// The server has given the call up.
const DROPPED: u32 = 6;

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No thread serves this mailbox.
    #[error("nobody serves it")]
    NotServed,
    /// There was none in time; one that comes later is dropped.
    #[error("no answer in time")]
    TimedOut,
    /// The other side gave up, because this one was too slow.
    #[error("the other side gave up")]
    Dropped,
    /// It is larger than [`MOST_BYTES`].
    #[error("it is larger than 64 MiB")]
    TooLarge,
    /// What stands in the shared memory makes no sense.
    #[error("the shared memory is damaged")]
    Damaged,
    /// The other process is known to have ended.
    #[error("the other process has ended")]
    Gone,
}

/// What a server has to say to a call.
#[derive(Debug, Default)]
pub struct Reply {
    /// The answer.
    pub bytes: Vec<u8>,
    /// Whether the next call follows at once: the server looks for it for a moment before it sleeps.
    pub more_follows: bool,
}

/// See the module. Zeroes are a valid value: nobody calls, nobody serves.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Mailbox {
    /// The call's number and a state: a futex of both sides.
    turn: AtomicU32,
    /// Held by one caller; 1: held, 2: somebody waits.
    calling: AtomicU32,
    /// The thread that serves; 0: nobody.
    server: AtomicU32,
    /// The server is to end.
    stopped: AtomicU32,
    /// The server is known to be gone.
    gone: AtomicU32,
    /// The server is away, and comes back: callers wait for it.
    paused: AtomicU32,
    _unused: [u32; 10],
    request: Buffer,
    answer: Buffer,
}

/// What one side writes and the other reads.
#[derive(Debug)]
#[repr(C, align(64))]
struct Buffer {
    /// Bytes of the whole.
    total: AtomicU32,
    /// Bytes of this chunk.
    length: AtomicU32,
    _unused: [u32; 14],
    words: [AtomicU64; WORDS],
}

impl Mailbox {
    /// Has the other side answer `request`, and waits for at most `timeout`. Callers come one after the other.
    pub fn call(&self, request: &[u8], timeout: Duration) -> Result<Vec<u8>, CallError> {
        self.call_waiting(request, timeout, Spin::none())
    }

    /// As [`call`](Self::call), where the answer is expected at once: looks for it for a moment before it sleeps.
    pub fn call_at_once(&self, request: &[u8], timeout: Duration) -> Result<Vec<u8>, CallError> {
        self.call_waiting(request, timeout, Spin::begin())
    }

    /// Whether a thread serves this mailbox, as far as is known.
    pub fn is_served(&self) -> bool {
        self.has_server() && self.gone.load(Ordering::Acquire) == 0
    }

    fn has_server(&self) -> bool {
        let [paused, server] = [&self.paused, &self.server].map(|word| || word.load(Ordering::Acquire) != 0);
        // One server leaves by `paused` and the next comes by `server`: whoever changes places between two looks is met by
        // the third or the fourth.
        paused() || server() || paused() || server()
    }

    /// Has the server go away, if nobody calls now: true. Callers that come meanwhile wait for who serves next.
    pub fn pause(&self) -> bool {
        if matches!(self.server.load(Ordering::Acquire), 0 | COMES) {
            return false;
        }
        self.paused.store(1, Ordering::Release);
        if self.is_called() {
            self.paused.store(0, Ordering::Release);
            return false;
        }
        self.rouse();
        true
    }

    /// Wakes a server that sleeps, or is about to: it looks at the other words before it sleeps on this one, which must
    /// not be as it was when it looked, or it would sleep through the news.
    fn rouse(&self) {
        let begun = Instant::now();
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            match turn & STATES {
                IDLE => {
                    // A caller that begins meanwhile changes the word itself.
                    let next = (turn >> STATE_BITS).wrapping_add(1) << STATE_BITS;
                    if self.advance(turn, next | IDLE) {
                        return;
                    }
                }
                // The caller is about to make it idle; the server sleeps meanwhile.
                ANSWERED | DROPPED if begun.elapsed() < TAKES => std::thread::yield_now(),
                // It looks at the other words when it is done, or within a piece.
                _ => return futex::wake(&self.turn),
            }
        }
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) != 0
    }

    /// Whether the server is away, or is to go away.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire) != 0
    }

    /// The server does not go away, or nobody comes in its place.
    pub fn forget_pause(&self) {
        self.paused.store(0, Ordering::Release);
        self.rouse();
    }

    /// Whether it is the server's turn.
    fn is_called(&self) -> bool {
        matches!(self.turn.load(Ordering::Acquire) & STATES, ASKED | WORKS | GO_ON | NEXT)
    }

    /// Serves calls on this thread until [`stop`](Self::stop) or [`pause`](Self::pause); one thread at a time: false
    /// where another does. `handle` must not panic.
    pub fn serve(&self, mut handle: impl FnMut(&[u8]) -> Reply) -> bool {
        // SAFETY: takes nothing.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
        if self.server.compare_exchange(0, COMES, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        // Before anybody can have this one pause, or that would be forgotten.
        self.paused.store(0, Ordering::Release);
        self.server.store(thread.max(1), Ordering::Release);
        let mut spin = Spin::none();
        // What was asked before nobody hears the answer to; a caller that still waits for it is served.
        while self.stopped.load(Ordering::Acquire) == 0 {
            let turn = self.turn.load(Ordering::Acquire);
            if turn & STATES != ASKED {
                if self.is_paused() {
                    break;
                }
                if !spin.goes_on() {
                    futex::wait(&self.turn, turn, IDLE_PIECE);
                }
                continue;
            }
            spin = Spin::none();
            if let Some((turn, request)) = self.take_request(turn) {
                let reply = handle(&request);
                drop(request);
                self.give_answer(turn, &reply.bytes);
                if reply.more_follows {
                    spin = Spin::begin();
                }
            }
        }
        self.server.store(0, Ordering::Release);
        futex::wake(&self.turn);
        true
    }

    /// Has the server end when it is done with the call in hand.
    pub fn stop(&self) {
        self.stopped.store(1, Ordering::Release);
        self.rouse();
    }

    /// The server's process is gone: the caller in wait, and those to come, have [`CallError::Gone`].
    pub fn give_up(&self) {
        self.gone.store(1, Ordering::Release);
        futex::wake(&self.turn);
    }

    /// As if no caller had died in a call.
    #[cfg(test)]
    pub(super) fn forget_callers(&self) {
        self.calling.store(0, Ordering::Release);
    }

    fn call_waiting(&self, request: &[u8], timeout: Duration, spin: Spin) -> Result<Vec<u8>, CallError> {
        if request.len() > MOST_BYTES {
            return Err(CallError::TooLarge);
        }
        let until = Instant::now() + timeout;
        let _calling = Calling::take(self, until)?;
        if self.gone.load(Ordering::Acquire) != 0 {
            return Err(CallError::Gone);
        }
        if !self.has_server() {
            return Err(CallError::NotServed);
        }
        // Never 0, which is what stands there before the first call.
        let number =
            (self.turn.load(Ordering::Acquire) >> STATE_BITS).wrapping_add(1) & (u32::MAX >> STATE_BITS);
        let number = number.max(1) << STATE_BITS;
        let called = self.exchange(number, request, until, spin);
        // Whatever came of it: the call is over, and what the server still has to say to it is dropped.
        self.turn.store(number | IDLE, Ordering::Release);
        if called.is_err() {
            futex::wake(&self.turn);
        }
        called
    }

    fn exchange(
        &self,
        number: u32,
        request: &[u8],
        until: Instant,
        spin: Spin,
    ) -> Result<Vec<u8>, CallError> {
        let total = request.len() as u32;
        let mut chunks = request.chunks(CHUNK).peekable();
        loop {
            self.request.write(total, chunks.next().unwrap_or_default());
            self.turn.store(number | ASKED, Ordering::Release);
            futex::wake(&self.turn);
            if chunks.peek().is_none() {
                break;
            }
            self.await_turn(number, NEXT, until, Spin::begin())?;
        }
        let mut answer = Vec::new();
        loop {
            self.await_turn(number, ANSWERED, until, spin)?;
            let total = self.answer.read_into(&mut answer)?;
            // The server writes only when it is its turn, so what was read is whole.
            if self.turn.load(Ordering::Acquire) != number | ANSWERED {
                return Err(CallError::Damaged);
            }
            if answer.len() == total {
                return Ok(answer);
            }
            self.turn.store(number | GO_ON, Ordering::Release);
            futex::wake(&self.turn);
        }
    }

    /// Waits on the caller's side until the server has come to `state`.
    fn await_turn(&self, number: u32, state: u32, until: Instant, spin: Spin) -> Result<(), CallError> {
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            if turn == number | state {
                return Ok(());
            }
            match turn & STATES {
                DROPPED => return Err(CallError::Dropped),
                // What the server may pass through on its way.
                ASKED | NEXT | WORKS | GO_ON if turn & !STATES == number => {}
                _ => return Err(CallError::Damaged),
            }
            if self.gone.load(Ordering::Acquire) != 0 {
                return Err(CallError::Gone);
            }
            if !self.has_server() {
                return Err(CallError::NotServed);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CallError::TimedOut);
            }
            if !spin.goes_on() {
                futex::wait(&self.turn, turn, left.min(PIECE));
            }
        }
    }

    /// Takes the whole request of the call at `turn`; `None`: it was given up, or makes no sense.
    fn take_request(&self, turn: u32) -> Option<(u32, Vec<u8>)> {
        let number = turn & !STATES;
        let mut request = Vec::new();
        loop {
            let Ok(total) = self.request.read_into(&mut request) else {
                self.advance(number | ASKED, number | DROPPED);
                return None;
            };
            let is_whole = request.len() == total;
            let next = number | if is_whole { WORKS } else { NEXT };
            if !self.advance(number | ASKED, next) {
                return None;
            }
            if is_whole {
                return Some((next, request));
            }
            if !self.await_caller(next, number | ASKED) {
                return None;
            }
        }
    }

    /// Hands the answer over, unless the call was given up.
    fn give_answer(&self, turn: u32, answer: &[u8]) {
        let number = turn & !STATES;
        if answer.len() > MOST_BYTES {
            self.advance(turn, number | DROPPED);
            return;
        }
        let total = answer.len() as u32;
        let mut from = turn;
        let mut chunks = answer.chunks(CHUNK).peekable();
        loop {
            // Whether the call stands is looked at first, or a call that follows would be waited for in vain.
            if self.turn.load(Ordering::Acquire) != from {
                return;
            }
            self.answer.write(total, chunks.next().unwrap_or_default());
            if !self.advance(from, number | ANSWERED) || chunks.peek().is_none() {
                return;
            }
            from = number | GO_ON;
            if !self.await_caller(number | ANSWERED, from) {
                return;
            }
        }
    }

    /// Waits on the server's side until the caller has come from `own` to `expected`; false: it did something else, or
    /// is away.
    fn await_caller(&self, own: u32, expected: u32) -> bool {
        let until = Instant::now() + PATIENCE;
        let spin = Spin::begin();
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            if turn != own {
                return turn == expected;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stopped.load(Ordering::Acquire) != 0 {
                self.advance(own, (own & !STATES) | DROPPED);
                return false;
            }
            if !spin.goes_on() {
                futex::wait(&self.turn, own, left.min(PIECE));
            }
        }
    }

    /// The server's step: only from what it has seen.
    fn advance(&self, from: u32, to: u32) -> bool {
        let done = self.turn.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        // That it works is no news to a caller that sleeps.
        if done && to & STATES != WORKS {
            futex::wake(&self.turn);
        }
        done
    }
}

/// Looking without sleeping, for a moment.
#[derive(Clone, Copy)]
struct Spin(Option<Instant>);

impl Spin {
    fn none() -> Self {
        Self(None)
    }

    fn begin() -> Self {
        Self(Some(Instant::now()))
    }

    /// Lets others run, and tells whether to look again; false: it is time to sleep.
    fn goes_on(self) -> bool {
        let goes_on = self.0.is_some_and(|begun| begun.elapsed() < SPIN);
        if goes_on {
            std::thread::yield_now();
        }
        goes_on
    }
}

impl Buffer {
    fn write(&self, total: u32, chunk: &[u8]) {
        self.total.store(total, Ordering::Relaxed);
        self.length.store(chunk.len() as u32, Ordering::Relaxed);
        for (word, bytes) in self.words.iter().zip(chunk.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
    }

    /// Adds the chunk to `whole`, and tells of how many bytes that is a part.
    fn read_into(&self, whole: &mut Vec<u8>) -> Result<usize, CallError> {
        let total = self.total.load(Ordering::Relaxed) as usize;
        let length = self.length.load(Ordering::Relaxed) as usize;
        let after = whole.len() + length;
        // An empty chunk is the whole of an empty message, or there would be no end of them.
        if total > MOST_BYTES || length > CHUNK || after > total || (length == 0 && total != 0) {
            return Err(CallError::Damaged);
        }
        for word in &self.words[..length.div_ceil(8)] {
            whole.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        whole.truncate(after);
        Ok(total)
    }
}

/// The right to call, which one caller has at a time.
struct Calling<'a>(&'a AtomicU32);

impl<'a> Calling<'a> {
    fn take(mailbox: &'a Mailbox, until: Instant) -> Result<Self, CallError> {
        let word = &mailbox.calling;
        if word.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return Ok(Self(word));
        }
        while word.swap(2, Ordering::AcqRel) != 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CallError::TimedOut);
            }
            futex::wait(word, 2, left.min(PIECE));
        }
        Ok(Self(word))
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        if self.0.swap(0, Ordering::AcqRel) != 1 {
            futex::wake(self.0);
        }
    }
}
