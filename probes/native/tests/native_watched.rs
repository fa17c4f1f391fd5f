//! A host and the watcher that was forked from it: the watcher reads what the hook in the host writes, without the host's
//! help, and whatever becomes of the host.
#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    reason = "test code, though clippy does not see it in helpers"
)]

mod support;

use std::ffi::c_void;
use std::hint::black_box;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leakline_core::{Attachment, Details, ProfileSource, names};
use leakline_native::{NativeOptions, NativeProbe, Watching, answer_now, begin_early, is_this_process};
use leakline_probing::shared::Sharing;
use support::{Driven, MachineClock, value};

const BLOCK: usize = 1000;
const BLOCKS: usize = 4000;
const MEAN: u64 = 4096;

/// Allocates at a call of its own.
#[inline(never)]
fn plant(blocks: &mut [*mut c_void]) {
    for block in blocks {
        // SAFETY: a plain allocation.
        *block = black_box(unsafe { libc::malloc(BLOCK) });
    }
}

#[inline(never)]
fn free(blocks: &[*mut c_void]) {
    // SAFETY: each came from `plant`, and is given back once.
    blocks.iter().for_each(|block| unsafe { libc::free(*block) });
}

fn pipe() -> [RawFd; 2] {
    let mut ends = [0; 2];
    // SAFETY: there is room for two numbers.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    ends
}

/// One byte, without an allocation; 0 at the end.
fn receive(from: RawFd) -> u8 {
    let mut byte = 0_u8;
    // SAFETY: one byte into ours.
    let count = unsafe { libc::read(from, (&raw mut byte).cast(), 1) };
    if count == 1 { byte } else { 0 }
}

fn send(to: RawFd, byte: u8) {
    // SAFETY: one byte of ours.
    assert_eq!(unsafe { libc::write(to, (&raw const byte).cast(), 1) }, 1);
}

/// What the watcher read.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    /// Malloc's live bytes plus one; 0: not there.
    live: u64,
    /// Whether they were there at once.
    at_once: u64,
    /// What is live at `plant`.
    planted: u64,
    /// Whether call paths were read.
    is_read: u64,
    /// Whether a note said that malloc was not asked.
    not_asked: u64,
}

struct Host {
    process: libc::pid_t,
    to_host: RawFd,
    from_host: RawFd,
    to_watcher: RawFd,
    from_watcher: RawFd,
}

impl Host {
    fn start() -> Self {
        let (to_host, from_host, to_watcher, from_watcher) = (pipe(), pipe(), pipe(), pipe());
        // SAFETY: the child has one thread, and ends without the harness's handlers.
        let process = unsafe { libc::fork() };
        assert!(process >= 0);
        if process == 0 {
            be_host(to_host, from_host, to_watcher, from_watcher);
        }
        [to_host[0], from_host[1], to_watcher[0], from_watcher[1]].into_iter().for_each(close);
        let host = Self {
            process,
            to_host: to_host[1],
            from_host: from_host[0],
            to_watcher: to_watcher[1],
            from_watcher: from_watcher[0],
        };
        assert_eq!(receive(host.from_host), b'.', "the host has begun");
        host
    }

    /// Has the host do something, and waits until it did.
    fn does(&self, what: u8) {
        send(self.to_host, what);
        assert_eq!(receive(self.from_host), b'.', "{}", char::from(what));
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: a child of this process.
        assert_eq!(unsafe { libc::kill(self.process, signal) }, 0);
    }

    /// What the watcher reads now; it must not take long, whatever the host does.
    fn read(&self) -> Read {
        let began = Instant::now();
        send(self.to_watcher, b'r');
        let mut read = Read::default();
        // SAFETY: as many bytes into ours, which are plain numbers.
        let count = unsafe { libc::read(self.from_watcher, (&raw mut read).cast(), size_of::<Read>()) };
        assert_eq!(count, size_of::<Read>() as isize);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        read
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: a child of this process, which may have ended.
        unsafe { libc::kill(self.process, libc::SIGKILL) };
        // SAFETY: waits for it.
        unsafe { libc::waitpid(self.process, std::ptr::null_mut(), 0) };
        // Another test's host may have inherited this end, so that closing it would not end the watcher's wait.
        // SAFETY: one byte of ours; the watcher may have ended.
        unsafe { libc::write(self.to_watcher, c"e".as_ptr().cast(), 1) };
        [self.to_host, self.from_host, self.to_watcher, self.from_watcher].into_iter().for_each(close);
    }
}

fn close(end: RawFd) {
    // SAFETY: this test's own descriptor.
    unsafe { libc::close(end) };
}

fn end(code: i32) -> ! {
    // SAFETY: ends the process without the harness's exit handlers.
    unsafe { libc::_exit(code) }
}

fn options() -> NativeOptions {
    NativeOptions { mean_sample_bytes: MEAN, ..NativeOptions::default() }
}

fn be_host(
    to_host: [RawFd; 2],
    from_host: [RawFd; 2],
    to_watcher: [RawFd; 2],
    from_watcher: [RawFd; 2],
) -> ! {
    [to_host[1], from_host[0], to_watcher[1], from_watcher[0]].into_iter().for_each(close);
    begin_early(&options(), Sharing::WithWatcher);
    let pid = std::process::id();
    // SAFETY: this process has one thread.
    let watcher = unsafe { libc::fork() };
    if watcher == 0 {
        [to_host[0], from_host[1]].into_iter().for_each(close);
        be_watcher(pid, to_watcher[0], from_watcher[1]);
    }
    [to_watcher[0], from_watcher[1]].into_iter().for_each(close);
    let mut blocks = [std::ptr::null_mut(); BLOCKS];
    send(from_host[1], b'.');
    loop {
        match receive(to_host[0]) {
            b'p' => plant(&mut blocks),
            b'h' => free(blocks.get(..BLOCKS / 2).unwrap()),
            b'e' => answer_now(),
            // SAFETY: a plain allocation, which stays.
            b'm' => drop(black_box(unsafe { libc::malloc(10) })),
            b'b' => {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(200) {
                    // SAFETY: a plain allocation.
                    let block = black_box(unsafe { libc::malloc(black_box(10)) });
                    // SAFETY: given back at once.
                    unsafe { libc::free(block) };
                }
            }
            b'f' => {
                // SAFETY: the child does as it is told below.
                let child = unsafe { libc::fork() };
                be_parent(child, &blocks);
            }
            b'c' => {
                let none = 0_usize;
                // SAFETY: as a fork that the C library does not know of; the child has a copy of this thread.
                let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, none, none, none, none) };
                be_parent(child as libc::pid_t, &blocks);
            }
            _ => end(0),
        }
        send(from_host[1], b'.');
    }
}

/// In the child: frees what the parent has, and allocates as much again. In the parent: waits for it.
fn be_parent(child: libc::pid_t, blocks: &[*mut c_void]) {
    if child == 0 {
        let mut others = [std::ptr::null_mut(); BLOCKS];
        free(blocks);
        plant(&mut others);
        plant(&mut others);
        end(i32::from(is_this_process()));
    }
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
}

fn be_watcher(pid: u32, from: RawFd, to: RawFd) -> ! {
    let clock = MachineClock::new();
    let watching = Watching { pid, tell: Arc::new(|_, _| None), answer: Arc::new(|| ()) };
    let mut native = Driven::new(clock.clone(), NativeProbe::watching(clock, options(), watching));
    assert!(matches!(native.attach(), Attachment::Attached(_)));
    while receive(from) == b'r' {
        let gauges = native.gauges().gauges;
        let details = native.details();
        let at_once = value(&gauges, names::MALLOC_LIVE);
        let live = at_once.or_else(|| value(&details.gauges, names::MALLOC_LIVE));
        let read = Read {
            live: live.map_or(0, |live| live + 1),
            at_once: u64::from(at_once.is_some()),
            planted: planted(&details),
            is_read: u64::from(!details.profiles.is_empty()),
            not_asked: u64::from(details.notes.iter().any(|note| note.starts_with("malloc not asked"))),
        };
        // SAFETY: plain numbers.
        unsafe { libc::write(to, (&raw const read).cast(), size_of::<Read>()) };
    }
    end(0)
}

/// Bytes that are live at `plant`, told by this program's file and its addresses in it.
fn planted(details: &Details) -> u64 {
    let base = leakline_probing::loader::base_of(plant as *const () as usize).unwrap();
    let start = (plant as *const () as usize - base) as u64;
    let program = std::env::current_exe().unwrap();
    let profile = details.profiles.iter().find(|profile| profile.source().name == ProfileSource::SAMPLED);
    let sites = profile.iter().flat_map(|profile| profile.sites());
    sites
        .filter(|stat| {
            let frame = stat.site.frames().first().unwrap();
            let place = frame.native.as_ref();
            std::path::Path::new(&*frame.file) == program
                && place.is_some_and(|place| (start..start + 512).contains(&place.address))
        })
        .map(|stat| stat.live.bytes)
        .sum()
}

/// Within 4.5 standard errors.
fn close_to(estimate: u64, truth: usize) -> bool {
    (estimate as f64 - truth as f64).abs() < 4.5 * (truth as f64 * MEAN as f64).sqrt()
}

#[test]
fn a_watcher_reads_the_call_paths_of_its_host() {
    let host = Host::start();
    host.does(b'p');
    let read = host.read();
    assert!(close_to(read.planted, BLOCK * BLOCKS), "{read:?}");
    host.does(b'h');
    let read = host.read();
    assert!(close_to(read.planted, BLOCK * BLOCKS / 2), "{read:?}");
}

#[test]
fn children_leave_their_parents_tables_alone() {
    let host = Host::start();
    host.does(b'p');
    let before = host.read();
    host.does(b'f');
    assert_eq!(host.read().planted, before.planted, "after a fork");
    host.does(b'c');
    assert_eq!(host.read().planted, before.planted, "after a raw clone");
}

#[test]
fn malloc_answers_when_the_host_calls_it_and_the_answer_holds_until_it_calls_again() {
    let host = Host::start();
    host.does(b'p');
    send(host.to_host, b'b');
    std::thread::sleep(Duration::from_millis(20));
    let read = host.read();
    assert!(read.live > (BLOCK * BLOCKS) as u64 && read.not_asked == 0, "{read:?}");
    assert_eq!(receive(host.from_host), b'.');
    // It has called since, and does not call now.
    let read = host.read();
    assert!(read.live == 0 && read.not_asked == 1 && read.is_read == 1, "{read:?}");
    // Now it does, once.
    host.does(b'm');
    let first = host.read();
    assert!(first.live > (BLOCK * BLOCKS) as u64 && first.at_once == 1, "{first:?}");
    let second = host.read();
    assert_eq!((second.live, second.at_once), (first.live, 1));
    host.does(b'm');
    let third = host.read();
    assert_eq!((third.live, third.not_asked), (0, 1), "it may be another by now");
    // Before its end it answers unasked.
    host.does(b'e');
    let last = host.read();
    assert!(last.at_once == 1 && last.live > third.live, "{last:?}");
}

#[test]
fn a_host_that_is_stopped_or_killed_is_read_all_the_same() {
    let host = Host::start();
    host.does(b'p');
    let before = host.read();
    host.signal(libc::SIGSTOP);
    let stopped = host.read();
    assert_eq!((stopped.planted, stopped.live), (before.planted, 0));
    host.signal(libc::SIGCONT);
    host.does(b'h');
    let half = host.read();
    host.signal(libc::SIGKILL);
    std::thread::sleep(Duration::from_millis(50));
    let dead = host.read();
    assert!(half.planted < before.planted && dead.planted == half.planted, "{half:?} {dead:?}");
}
