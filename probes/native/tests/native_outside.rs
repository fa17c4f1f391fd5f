//! The probe `process` of another process: what it says against what that process says of itself.
//!
//! Each test starts this very program again as the host, with `HOST` in its environment, which does as it is told on its
//! standard input and answers on its standard output.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use leakline_core::names;
use leakline_native::{Image, OtherProcess, ProcessOptions, ProcessProbe};
use support::{Driven, MachineClock, value};

const HOST: &str = "LEAKLINE_TEST_HOST_OUTSIDE";

/// Not a test: the host that others start.
#[test]
fn host() {
    if std::env::var_os(HOST).is_none() {
        return;
    }
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut descriptors: Vec<Box<dyn std::any::Any>> = Vec::new();
    println!("\nready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "hold" => held.push(vec![1; rest.parse::<usize>().unwrap() << 20]),
            "many" => held.extend((0..rest.parse::<usize>().unwrap()).map(|_| vec![1; 1000])),
            "thread" => {
                let body = || {
                    let held: Vec<Vec<u8>> = (0..4000).map(|_| vec![1; 500]).collect();
                    println!("\nthread holds {}", held.len());
                    loop {
                        std::thread::sleep(Duration::from_secs(100));
                    }
                };
                drop(std::thread::Builder::new().name(rest.to_owned()).spawn(body).unwrap());
                continue;
            }
            "open" => {
                descriptors.push(Box::new((0..10).map(|_| fs::File::open("/").unwrap()).collect::<Vec<_>>()));
                let udp = (0..20).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
                descriptors.push(Box::new(udp.collect::<Vec<_>>()));
                let tcp = (0..7).map(|_| {
                    std::net::TcpListener::bind("[::1]:0")
                        .or_else(|_| std::net::TcpListener::bind("127.0.0.1:0"))
                        .unwrap()
                });
                descriptors.push(Box::new(tcp.collect::<Vec<_>>()));
                let unix = (0..5).map(|_| std::os::unix::net::UnixDatagram::unbound().unwrap());
                descriptors.push(Box::new(unix.collect::<Vec<_>>()));
            }
            "statm" => print!("\n{}", fs::read_to_string("/proc/thread-self/statm").unwrap()),
            "anonymous" => println!("\n{}", rollup("/proc/thread-self/smaps_rollup", "Anonymous:")),
            "arenas" => println!("\n{}", arenas()),
            "fds" => {
                // Without the folder that is being read.
                println!("\n{}", fs::read_dir("/proc/thread-self/fd").unwrap().count() - 1);
                continue;
            }
            "setuid" => {
                // SAFETY: takes a number.
                assert_eq!(unsafe { libc::setuid(65_534) }, 0);
            }
            "chroot" => {
                // SAFETY: the path ends with a NUL.
                assert_eq!(unsafe { libc::chroot(c"/sys".as_ptr()) }, 0);
            }
            "undumpable" => {
                // SAFETY: takes numbers.
                assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }, 0);
            }
            "zeroed" => {
                let start = &raw mut ZEROED;
                for at in (0..1 << 20).step_by(4096) {
                    // SAFETY: within the array, which nobody else touches.
                    unsafe { start.cast::<u8>().wrapping_add(at).write_volatile(1) };
                }
            }
            "exec" => {
                use std::os::unix::process::CommandExt as _;
                let error = Command::new("/bin/sleep").arg("100").exec();
                panic!("{error}");
            }
            "quit" => std::process::exit(0),
            other => panic!("{other}"),
        }
        println!("\ndone");
    }
}

/// What the linker only notes the size of.
static mut ZEROED: [u8; (1 << 20) + 8192] = [0; (1 << 20) + 8192];

fn rollup(path: &str, field: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

/// As malloc itself says.
fn arenas() -> usize {
    unsafe extern "C" {
        fn malloc_info(options: libc::c_int, stream: *mut libc::FILE) -> libc::c_int;
    }
    let mut text = [0_u8; 1 << 16];
    // SAFETY: a stream of our own, closed below.
    let stream = unsafe { libc::fmemopen(text.as_mut_ptr().cast(), text.len(), c"w".as_ptr()) };
    assert!(!stream.is_null());
    // SAFETY: it writes what fits to the stream.
    assert_eq!(unsafe { malloc_info(0, stream) }, 0);
    // SAFETY: it is open, and not used again.
    assert_eq!(unsafe { libc::fclose(stream) }, 0);
    String::from_utf8_lossy(&text).matches("<heap nr=").count()
}

/// A host that runs.
struct Host {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Host {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "host", "--nocapture", "--test-threads=1"]).env(HOST, "1");
        let mut host = Self::of(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        while host.line() != "ready" {}
        host
    }

    fn of(mut child: Child) -> Self {
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout: BufReader::new(stdout) }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the host ended");
        line.trim().to_owned()
    }

    /// Has the host do something; its first line that is not empty.
    fn ask(&mut self, what: &str) -> String {
        writeln!(self.stdin, "{what}").unwrap();
        loop {
            let line = self.line();
            if !line.is_empty() {
                return line;
            }
        }
    }

    /// Has the host do something that ends with `done`; the number in its first line.
    fn number(&mut self, what: &str) -> u64 {
        self.number_at(what, 0)
    }

    /// The word at `at` of the first line as a number; 0 where it says no more than that it is done.
    fn number_at(&mut self, what: &str, at: usize) -> u64 {
        let answer = self.ask(what);
        if answer == "done" {
            return 0;
        }
        while self.line() != "done" {}
        answer.split_whitespace().nth(at).unwrap().parse().unwrap()
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the process is a child of this one that was not waited for.
        assert_eq!(unsafe { libc::kill(self.pid() as libc::pid_t, signal) }, 0);
    }

    /// A probe of it, and what it is reached by.
    fn open(&self) -> (Driven<ProcessProbe>, Arc<OtherProcess>) {
        let (process, clock) = (OtherProcess::open(self.pid()).unwrap(), MachineClock::new());
        let probe = ProcessProbe::watching(clock.clone(), ProcessOptions::default(), Arc::clone(&process));
        let mut driven = Driven::new(clock, probe);
        assert!(matches!(driven.attach(), leakline_core::Attachment::Attached(_)));
        (driven, process)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gauges and details of one tick.
fn read(probe: &mut Driven<ProcessProbe>) -> (Vec<leakline_core::Gauge>, Vec<String>) {
    let (mut gauges, details) = (probe.gauges().gauges, probe.details());
    gauges.extend(details.gauges);
    (gauges, details.notes)
}

fn get(gauges: &[leakline_core::Gauge], name: &str) -> u64 {
    value(gauges, name).unwrap_or_else(|| panic!("{name} in {gauges:?}"))
}

fn kind(gauges: &[leakline_core::Gauge], kind: &str) -> u64 {
    value(gauges, &format!("{}.{kind}", names::DESCRIPTORS)).unwrap_or(0)
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let is_soon = (0..10_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        is_so()
    });
    assert!(is_soon, "10 seconds passed");
}

fn is_root() -> bool {
    // SAFETY: geteuid only reads, and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// That what is read from outside is what the host says of itself.
fn check_sizes(host: &mut Host, probe: &mut Driven<ProcessProbe>) {
    let ((gauges, notes), resident) = (read(probe), host.number_at("statm", 1) * 4096);
    let anonymous = host.number("anonymous");
    assert_eq!(notes, Vec::<String>::new());
    let close = |one: u64, other: u64| one.abs_diff(other) <= 256 << 10;
    assert!(close(get(&gauges, names::RESIDENT), resident), "{resident} {gauges:?}");
    assert!(close(get(&gauges, names::MAP_ANONYMOUS), anonymous), "{anonymous} {gauges:?}");
    assert!(get(&gauges, names::PROPORTIONAL) > 0 && get(&gauges, names::MAP_STACKS) > 0);
}

#[test]
fn sizes_are_what_the_host_says_of_itself() {
    let mut host = Host::start();
    let (mut probe, _) = host.open();
    check_sizes(&mut host, &mut probe);
    host.number_at("hold 40", 0);
    check_sizes(&mut host, &mut probe);
    let (gauges, _) = read(&mut probe);
    // The block has a page of header.
    assert!(get(&gauges, names::MAP_MALLOC_MAPPED).abs_diff(40 << 20) <= 64 << 10, "{gauges:?}");
    assert_eq!(get(&gauges, names::MAP_MALLOC_FOUND), (40 << 20) + 4096);
    // Whoever watches has a heap of its own, which is none of the host's.
    assert_eq!((get(&gauges, names::MAP_LEAKLINE), get(&gauges, names::MAP_LEAKLINE_SHARED)), (0, 0));
}

#[test]
fn arenas_and_zeroed_data_are_found_and_threads_are_named() {
    let mut host = Host::start();
    let (mut probe, process) = host.open();
    let before = get(&read(&mut probe).0, names::MAP_LIBRARIES);
    for number in 0..3 {
        assert!(host.ask(&format!("thread pool-{number}")).contains("holds 4000"));
    }
    let (gauges, _) = read(&mut probe);
    assert_eq!(get(&gauges, names::MAP_MALLOC_ARENAS), host.number("arenas"));
    assert!(get(&gauges, names::MAP_MALLOC) > 3 * 4000 * 500, "{gauges:?}");
    assert_eq!(get(&gauges, "process.threads.pool_n"), 3);
    host.number_at("zeroed", 0);
    let after = get(&read(&mut probe).0, names::MAP_LIBRARIES);
    assert!(((1 << 20) - 8192..2 << 20).contains(&(after - before)), "{before} {after}");
    assert!(!process.only_named_threads_left("pool-").unwrap());
}

#[test]
fn descriptors_are_the_hosts_own() {
    let mut host = Host::start();
    let (mut probe, _) = host.open();
    let (before, _) = read(&mut probe);
    assert_eq!(get(&before, names::DESCRIPTORS), host.ask("fds").parse::<u64>().unwrap());
    host.number_at("open", 0);
    let (after, _) = read(&mut probe);
    for (name, opened) in [("directory", 10), ("socket_udp", 20), ("socket_tcp", 7), ("socket_unix", 5)] {
        assert_eq!(kind(&after, name) - kind(&before, name), opened, "{name}: {after:?}");
    }
    assert_eq!(get(&after, names::DESCRIPTORS), get(&before, names::DESCRIPTORS) + 42);
    let kinds = format!("{}.", names::DESCRIPTORS);
    let sum: f64 = after.iter().filter(|gauge| gauge.name.starts_with(&kinds)).map(|gauge| gauge.value).sum();
    assert_eq!(sum as u64, get(&after, names::DESCRIPTORS));
}

#[test]
fn a_stopped_host_is_read_like_any_other() {
    let host = Host::start();
    let (mut probe, process) = host.open();
    host.signal(libc::SIGSTOP);
    let (gauges, notes) = read(&mut probe);
    assert!(get(&gauges, names::RESIDENT) > 0 && get(&gauges, names::MAP_ANONYMOUS) > 0 && notes.is_empty());
    assert_eq!(process.image(), Image::Same);
    host.signal(libc::SIGCONT);
}

#[test]
fn a_host_that_ended_is_an_error_and_so_is_a_zombie() {
    let mut host = Host::start();
    let (mut probe, process) = host.open();
    read(&mut probe);
    host.signal(libc::SIGKILL);
    let check = |probe: &mut Driven<ProcessProbe>| {
        let error = probe.try_gauges().unwrap_err();
        assert!(error.contains("the process has ended"), "{error}");
        assert_eq!(process.image(), Image::Gone);
        process.only_named_threads_left("x").unwrap_err();
    };
    // Nobody has waited for it yet. Its first thread may have ended before the others.
    wait_until(|| process.image() == Image::Gone);
    check(&mut probe);
    assert!(OtherProcess::open(host.pid()).unwrap_err().to_string().contains("the process has ended"));
    host.child.wait().unwrap();
    check(&mut probe);
    assert!(OtherProcess::open(host.pid()).unwrap_err().to_string().contains("the process has ended"));
}

#[test]
fn another_program_in_its_place_is_noticed() {
    let mut host = Host::start();
    let (mut probe, process) = host.open();
    read(&mut probe);
    assert!(process.is_same_image());
    writeln!(host.stdin, "exec").unwrap();
    let comm = format!("/proc/{}/comm", host.pid());
    wait_until(|| fs::read_to_string(&comm).unwrap() == "sleep\n");
    assert_eq!(process.image(), Image::Replaced);
    // What is read now is of the new program or an error, never the old one's.
    let (gauges, notes) = read(&mut probe);
    assert!(get(&gauges, names::RESIDENT) < 4 << 20, "{gauges:?}");
    assert!(notes.iter().any(|note| note.contains("the process has replaced its program")), "{notes:?}");
}

/// Ends its first thread at the next line of its input, and goes on with another.
const ENDS_MAIN: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void *stay(void *none) { for (;;) pause(); return none; }
int main(void) {
    pthread_t thread;
    char line[100];
    pthread_create(&thread, 0, stay, 0);
    pthread_setname_np(thread, "stays");
    puts("ready");
    fflush(stdout);
    fgets(line, sizeof line, stdin);
    pthread_exit(0);
}
"#;

#[test]
fn a_host_whose_first_thread_has_ended_is_read_through_another() {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("host.c"), folder.path().join("host"));
    fs::write(&source, ENDS_MAIN).unwrap();
    let compiled = Command::new("cc").arg("-pthread").arg(&source).arg("-o").arg(&program).status();
    if !compiled.is_ok_and(|status| status.success()) {
        println!("not tested: there is no C compiler");
        return;
    }
    let command = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut host = Host::of(command.unwrap());
    assert_eq!(host.line(), "ready");
    let (mut probe, process) = host.open();
    read(&mut probe);
    assert!(!process.only_named_threads_left("stays").unwrap());
    writeln!(host.stdin, "go on").unwrap();
    let stat = format!("/proc/{}/stat", host.pid());
    wait_until(|| fs::read_to_string(&stat).unwrap().contains(") Z "));
    let check = |probe: &mut Driven<ProcessProbe>| {
        let (gauges, notes) = read(probe);
        for name in
            [names::RESIDENT, names::ANONYMOUS, names::MAP_ANONYMOUS, names::PROPORTIONAL, names::DESCRIPTORS]
        {
            assert!(get(&gauges, name) > 0, "{name}: {gauges:?}");
        }
        assert_eq!((get(&gauges, "process.threads.stays"), notes), (1, Vec::new()));
    };
    check(&mut probe);
    // Opened only now.
    let (mut late, _) = host.open();
    check(&mut late);
    assert!(process.only_named_threads_left("stays").unwrap());
    assert!(!process.only_named_threads_left("leakline").unwrap());
    assert_eq!(process.image(), Image::Same);
}

#[test]
fn a_host_that_changes_its_root_and_then_its_user_is_read_on() {
    if !is_root() {
        println!("not tested: only root may change root and user");
        return;
    }
    let mut host = Host::start();
    let (mut probe, _) = host.open();
    read(&mut probe);
    host.number_at("chroot", 0);
    check_outside(&mut probe);
    host.number_at("setuid", 0);
    check_outside(&mut probe);
}

fn check_outside(probe: &mut Driven<ProcessProbe>) {
    let (gauges, notes) = read(probe);
    for name in [names::RESIDENT, names::MAP_ANONYMOUS, names::PROPORTIONAL, names::DESCRIPTORS] {
        assert!(get(&gauges, name) > 0, "{name}: {gauges:?}");
    }
    assert_eq!(notes, Vec::<String>::new());
}

/// Not a test: a watcher without rights, which `a_watcher_without_rights_keeps_what_it_opened` starts.
#[test]
fn watcher() {
    let Ok(pid) = std::env::var(WATCHED) else { return };
    let (process, clock) = (OtherProcess::open(pid.parse().unwrap()).unwrap(), MachineClock::new());
    let mut probe =
        Driven::new(clock.clone(), ProcessProbe::watching(clock, ProcessOptions::default(), process.clone()));
    read(&mut probe);
    println!("\nopened");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let (gauges, notes) = read(&mut probe);
    for name in [names::RESIDENT, names::MAP_ANONYMOUS, names::PROPORTIONAL, names::DESCRIPTORS] {
        assert!(get(&gauges, name) > 0, "{name}: {gauges:?}");
    }
    assert!(
        kind(&gauges, "pipe") == 0 && notes.iter().all(|note| note.contains("descriptors' kinds")),
        "{notes:?}"
    );
    assert_eq!(process.image(), Image::Same);
    println!("\nread");
}

const WATCHED: &str = "LEAKLINE_TEST_WATCHED";

#[test]
fn a_watcher_without_rights_keeps_what_it_opened() {
    if !is_root() {
        println!("not tested: only root may take rights away");
        return;
    }
    use std::os::unix::process::CommandExt as _;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let start = |test: &str, name: &str, value: String| {
        let mut command = Command::new(&copy);
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(name, value).current_dir("/");
        command.uid(65_534).gid(65_534).stdin(Stdio::piped()).stdout(Stdio::piped());
        Host::of(command.spawn().unwrap())
    };
    let mut host = start("host", HOST, "1".to_owned());
    while host.line() != "ready" {}
    let mut watcher = start("watcher", WATCHED, host.pid().to_string());
    while watcher.line() != "opened" {}
    // From now on the host's files are root's.
    host.number_at("undumpable", 0);
    writeln!(watcher.stdin, "go on").unwrap();
    while watcher.line() != "read" {}
}
