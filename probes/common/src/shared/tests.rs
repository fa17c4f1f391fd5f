//! Two real processes: the server is a fork of the test, which is killed, stopped, and made to write nonsense.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// A process that serves a mailbox until it is killed.
struct Server {
    mailbox: &'static Mailbox,
    process: libc::pid_t,
}

impl Server {
    fn new(handle: impl FnMut(&[u8]) -> Reply) -> Self {
        let mailbox = mapped();
        let process = fork(|| mailbox.serve(handle));
        let begun = Instant::now();
        while !mailbox.is_served() {
            assert!(begun.elapsed() < SOON);
            std::thread::yield_now();
        }
        Self { mailbox, process }
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: our own child, which was not waited for.
        assert_eq!(unsafe { libc::kill(self.process, signal) }, 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        // SAFETY: our own child.
        unsafe { libc::waitpid(self.process, std::ptr::null_mut(), 0) };
    }
}

fn mapped() -> &'static Mailbox {
    let memory = map(size_of::<Mailbox>(), Sharing::WithWatcher).unwrap().cast::<Mailbox>();
    // SAFETY: zeroes are a valid mailbox, mapped for good.
    unsafe { memory.as_ref() }
}

/// Runs `work` in a child, which ends with it.
fn fork<T>(work: impl FnOnce() -> T) -> libc::pid_t {
    // SAFETY: the child runs nothing but `work`, and glibc's malloc works in it.
    match unsafe { libc::fork() } {
        0 => {
            work();
            // SAFETY: ends the child without what the test's process does at its end.
            unsafe { libc::_exit(0) }
        }
        process => {
            assert!(process > 0);
            process
        }
    }
}

fn reply(bytes: Vec<u8>) -> Reply {
    Reply { bytes, more_follows: false }
}

/// So many bytes that differ from chunk to chunk.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    (0..length as u64).map(|index| (index.wrapping_mul(index / 7 + seed + 1) >> 3) as u8).collect()
}

fn doubled(bytes: &[u8]) -> Reply {
    reply(bytes.iter().map(|byte| byte.wrapping_mul(2)).collect())
}

#[test]
fn questions_and_answers_of_any_size_arrive_whole() {
    let server = Server::new(doubled);
    for length in [0, 1, 7, 65_535, 65_536, 65_537, 131_072, 10_000_000] {
        let question = pattern(length, 3);
        let answer = server.mailbox.call(&question, SOON).unwrap();
        assert!(answer == doubled(&question).bytes, "{length}");
    }
    let small = Server::new(|_| reply(pattern(10_000_000, 9)));
    assert!(small.mailbox.call_at_once(b"", SOON).unwrap() == pattern(10_000_000, 9));
}

#[test]
fn what_is_too_large_is_refused_on_both_sides() {
    let server = Server::new(|question| reply(vec![0; MOST_BYTES + question.len()]));
    assert_eq!(server.mailbox.call(b"x", SOON), Err(CallError::Dropped));
    assert_eq!(server.mailbox.call(&vec![0; MOST_BYTES + 1], SOON), Err(CallError::TooLarge));
    assert_eq!(server.mailbox.call(b"", SOON).unwrap().len(), MOST_BYTES);
}

#[test]
fn nobody_is_waited_for_who_does_not_serve() {
    let begun = Instant::now();
    assert_eq!(mapped().call(b"x", SOON), Err(CallError::NotServed));
    assert!(begun.elapsed() < SOON / 4);
}

#[test]
fn a_server_that_is_killed_at_any_moment_costs_the_time_out_and_no_more() {
    for step in 0..40 {
        let server = Server::new(doubled);
        let (mailbox, process) = (server.mailbox, server.process);
        let killer = std::thread::Builder::new().spawn(move || {
            std::thread::sleep(Duration::from_micros(step * 150));
            // SAFETY: the child is waited for after this thread has ended.
            unsafe { libc::kill(process, libc::SIGKILL) };
        });
        let begun = Instant::now();
        let outcome = mailbox.call(&pattern(3_000_000, step), Duration::from_millis(60));
        assert!(begun.elapsed() < Duration::from_secs(2), "{step}: {:?}", begun.elapsed());
        assert!(outcome.is_ok() || outcome == Err(CallError::TimedOut), "{step}");
        killer.unwrap().join().unwrap();
        mailbox.give_up();
        assert_eq!(mailbox.call(b"x", SOON), Err(CallError::Gone));
    }
}

#[test]
fn a_caller_in_wait_goes_on_when_the_other_is_known_to_be_gone() {
    let server = Server::new(|_| {
        std::thread::sleep(SOON);
        Reply::default()
    });
    let mailbox = server.mailbox;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let called = scope.spawn(|| mailbox.call(b"x", SOON));
        std::thread::sleep(Duration::from_millis(30));
        mailbox.give_up();
        assert_eq!(called.join().unwrap(), Err(CallError::Gone));
    });
    assert!(begun.elapsed() < SOON / 2);
}

#[test]
fn a_late_answer_is_dropped_and_the_next_call_has_its_own() {
    let server = Server::new(|question| {
        if question.len() == 1 {
            std::thread::sleep(Duration::from_millis(80));
        }
        reply(question.repeat(100_000))
    });
    for round in 0..5_u8 {
        assert_eq!(server.mailbox.call(&[round], Duration::from_millis(10)), Err(CallError::TimedOut));
        assert!(server.mailbox.call(&[round, 100], SOON).unwrap() == [round, 100].repeat(100_000));
    }
}

#[test]
fn a_server_that_is_stopped_answers_again_when_it_goes_on() {
    let server = Server::new(doubled);
    for step in 0..20 {
        let (mailbox, process) = (server.mailbox, server.process);
        let stopper = std::thread::Builder::new().spawn(move || {
            std::thread::sleep(Duration::from_micros(step * 200));
            // SAFETY: our own child, which was not waited for.
            unsafe { libc::kill(process, libc::SIGSTOP) };
        });
        let outcome = mailbox.call(&pattern(2_000_000, step), Duration::from_millis(40));
        assert!(outcome.is_ok() || outcome == Err(CallError::TimedOut), "{step}");
        stopper.unwrap().join().unwrap();
        server.signal(libc::SIGCONT);
        assert!(mailbox.call(&[7; 100], SOON).unwrap() == [14; 100], "{step}");
    }
}

#[test]
fn a_server_outlives_callers_that_are_killed_at_any_moment() {
    let mailbox = mapped();
    let server = std::thread::Builder::new().spawn(|| mailbox.serve(doubled)).unwrap();
    while !mailbox.is_served() {
        std::thread::yield_now();
    }
    for step in 0..40 {
        let caller = fork(|| {
            loop {
                mailbox.call(&pattern(2_000_000, step), SOON).ok();
            }
        });
        std::thread::sleep(Duration::from_micros(500 + step * 170));
        // SAFETY: our own child.
        unsafe { libc::kill(caller, libc::SIGKILL) };
        // SAFETY: our own child.
        unsafe { libc::waitpid(caller, std::ptr::null_mut(), 0) };
        // Callers are threads of one process, so nobody is left to call when one has died so.
        mailbox.forget_callers();
        assert!(mailbox.call(&[7; 100], SOON).unwrap() == [14; 100], "{step}");
    }
    mailbox.stop();
    assert!(server.join().unwrap());
}

#[test]
fn threads_call_one_after_the_other_and_two_do_not_serve() {
    let server = Server::new(doubled);
    assert!(!server.mailbox.serve(doubled));
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let mailbox = server.mailbox;
            scope.spawn(move || {
                for round in 0..200_u8 {
                    let question = vec![thread.wrapping_mul(round); 1 + usize::from(round) * 999];
                    assert!(mailbox.call(&question, SOON).unwrap() == doubled(&question).bytes);
                }
            });
        }
    });
}

#[test]
fn a_call_that_comes_while_the_server_is_away_is_answered_by_the_next() {
    let mailbox = mapped();
    assert!(!mailbox.pause(), "nobody serves");
    let begun = Instant::now();
    for round in 0..250 {
        std::thread::scope(|scope| {
            let first = scope.spawn(|| mailbox.serve(doubled));
            while !mailbox.is_served() || mailbox.is_paused() {
                std::thread::yield_now();
            }
            assert!(mailbox.call(&[round], SOON).is_ok());
            assert!(mailbox.pause());
            let called = scope.spawn(|| mailbox.call(&[3; 100_000], SOON));
            // It may have been called before it was away; then it goes after that.
            assert!(first.join().unwrap() && mailbox.is_served());
            let next = scope.spawn(|| mailbox.serve(doubled));
            assert!(called.join().unwrap().unwrap() == [6; 100_000]);
            while !mailbox.pause() {
                std::thread::yield_now();
            }
            assert!(next.join().unwrap());
        });
        mailbox.forget_pause();
    }
    assert!(!mailbox.is_served());
    // A server that slept through a pause would have slept for a minute.
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
}

#[test]
fn whatever_is_written_into_it_nobody_hangs_or_panics() {
    let mut seed = 7_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    for _ in 0..60 {
        let server = Server::new(doubled);
        let mailbox = server.mailbox;
        let words = std::ptr::from_ref(mailbox).cast::<AtomicU32>();
        let nonsense: Vec<(usize, u32)> =
            (0..200).map(|_| (random() as usize % 34, random() as u32 >> (random() % 32))).collect();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let call = || mailbox.call(&pattern(500_000, 1), Duration::from_millis(30)).ok();
            let caller = scope.spawn(move || (0..4).for_each(|_| drop(call())));
            for (index, value) in &nonsense {
                // SAFETY: a word of the mailbox, all of whose words are atomic.
                let word = unsafe { &*words.wrapping_add(*index) };
                word.store(*value, Ordering::Relaxed);
                std::thread::yield_now();
            }
            caller.join().unwrap();
        });
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_call_takes_microseconds() {
    let server = Server::new(|question| Reply { bytes: question.to_vec(), more_follows: true });
    let mut waking: Vec<Duration> = Vec::new();
    let mut at_once: Vec<Duration> = Vec::new();
    for _ in 0..300 {
        std::thread::sleep(Duration::from_millis(1));
        let begun = Instant::now();
        server.mailbox.call(b"prepare", SOON).unwrap();
        waking.push(begun.elapsed());
        let begun = Instant::now();
        server.mailbox.call_at_once(b"gauges", SOON).unwrap();
        at_once.push(begun.elapsed());
    }
    let begun = Instant::now();
    server.mailbox.call(&pattern(10_000_000, 1), SOON).unwrap();
    let large = begun.elapsed();
    waking.sort_unstable();
    at_once.sort_unstable();
    println!(
        "a call: {:?} (99 %: {:?}); one that is waited for: {:?} (99 %: {:?}); 10 MB there and back: {large:?}",
        waking[150], waking[296], at_once[150], at_once[296]
    );
    // The quickest of all: on a busy machine the others wait for a processor.
    assert!(at_once[0] < Duration::from_millis(1));
}

#[test]
fn a_forked_child_is_not_the_first_process() {
    assert!(is_first_process() && tell_forks_apart() && tell_forks_apart() && is_first_process());
    let child = fork(|| {
        let status = i32::from(is_first_process());
        // SAFETY: ends the child.
        unsafe { libc::_exit(status) }
    });
    let mut status = 1;
    // SAFETY: our own child, and a place of ours for its status.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0));
}
