//! A program that loads libpython privately, as jep does in a JVM, and starts and ends the interpreter several times while
//! a probe looks on from another thread. For tests: panics with what is wrong.
//!
//! Never links libpython: its first argument is the library's path. With `private` as the second, nobody else may have
//! come to see the library's names in the end.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]
#![expect(clippy::print_stdout, reason = "the test reads it")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use leakline_core::{Attachment, Cause, Probe, ProbeError, Tick, conformance::TestClock, text};
use leakline_probing::loader::LoadedObject;
use leakline_python::{Mode, PythonOptions, PythonProbe, is_present, set_on_closing};

static CLOSINGS: AtomicU32 = AtomicU32::new(0);

struct Python {
    initialize: unsafe extern "C" fn(c_int),
    run: unsafe extern "C" fn(*const c_char) -> c_int,
    save: unsafe extern "C" fn() -> *mut c_void,
    restore: unsafe extern "C" fn(*mut c_void),
    finalize: unsafe extern "C" fn() -> c_int,
}

/// The function `name`, whose type the caller knows from CPython's headers.
fn function<F: Copy>(library: &LoadedObject, name: &CStr) -> F {
    assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
    let address = library.symbol(name).unwrap().as_ptr();
    // SAFETY: `F` is a function pointer of the type that this name has had in every CPython 3.
    unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) }
}

impl Python {
    fn load(path: &Path) -> Self {
        let library = LoadedObject::load(path).unwrap();
        Self {
            initialize: function(&library, c"Py_InitializeEx"),
            run: function(&library, c"PyRun_SimpleString"),
            save: function(&library, c"PyEval_SaveThread"),
            restore: function(&library, c"PyEval_RestoreThread"),
            finalize: function(&library, c"Py_FinalizeEx"),
        }
    }

    /// Starts an interpreter, runs `work` while nobody holds the GIL, and ends it.
    fn with_interpreter(&self, work: impl FnOnce(&dyn Fn(&CStr))) {
        // SAFETY: no interpreter runs, and this is always the same thread.
        unsafe { (self.initialize)(0) };
        // SAFETY: this thread holds the GIL.
        let state = std::cell::Cell::new(unsafe { (self.save)() });
        work(&|code| {
            // SAFETY: the state is this thread's, saved before.
            unsafe { (self.restore)(state.get()) };
            // SAFETY: this thread holds the GIL.
            assert_eq!(unsafe { (self.run)(code.as_ptr()) }, 0);
            // SAFETY: this thread holds the GIL.
            state.set(unsafe { (self.save)() });
        });
        // SAFETY: the state is this thread's, saved before.
        unsafe { (self.restore)(state.get()) };
        // SAFETY: this thread holds the GIL and started the interpreter.
        assert_eq!(unsafe { (self.finalize)() }, 0);
    }
}

/// Runs `ask` as a lane would, on a thread that Python has never seen.
fn on_a_lane<T: Send>(ask: impl Future<Output = T> + Send) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    std::thread::scope(|scope| {
        let lane = std::thread::Builder::new().name("leakline-python".into());
        lane.spawn_scoped(scope, || runtime.block_on(ask)).unwrap().join().unwrap()
    })
}

fn absent(probe: &mut PythonProbe) -> String {
    match on_a_lane(probe.attach()).unwrap() {
        Attachment::Absent { reason } => reason.into_owned(),
        Attachment::Attached(found) => panic!("found {found:?}"),
    }
}

fn main() {
    let library = std::env::args().nth(1).unwrap();
    let clock = TestClock::new();
    let tick =
        Tick { cause: Cause::Tick, at: leakline_core::Clock::now(&*clock), deadline_boot_nanos: u64::MAX };
    let mut probe = PythonProbe::new(
        Arc::clone(&clock) as _,
        PythonOptions { mode: Mode::Tracemalloc, ..PythonOptions::default() },
    );
    set_on_closing(Box::new(|| {
        CLOSINGS.fetch_add(1, Ordering::Relaxed);
    }));
    assert_eq!(absent(&mut probe), "no CPython in this process");
    let python = Python::load(Path::new(&library));
    for round in 1..=3 {
        assert_eq!(absent(&mut probe), "CPython is there, but not started");
        assert!(!is_present());
        python.with_interpreter(|run| {
            assert!(is_present());
            match on_a_lane(probe.attach()).unwrap() {
                Attachment::Attached(info) => assert!(info.name.starts_with("CPython 3."), "{info:?}"),
                Attachment::Absent { reason } => panic!("round {round}: {reason}"),
            }
            run(c"kept = [bytearray(10_000) for _ in range(1000)]");
            let gauges = on_a_lane(probe.gauges(&tick)).unwrap().gauges;
            let traced = gauges.iter().find(|gauge| gauge.name == "python.traced_bytes");
            let details = on_a_lane(probe.details(&tick)).unwrap();
            match details.profiles.first() {
                Some(profile) => {
                    assert!(traced.is_some_and(|traced| traced.value > 1e7), "{gauges:?}");
                    let top = profile.sites().iter().max_by_key(|stat| stat.live.bytes).unwrap();
                    assert!(text::site(&top.site, &[], 1).starts_with("<string>:1"), "{top:?}");
                }
                // CPython itself loses tracemalloc with its first interpreter.
                None => {
                    assert!(round > 1 && traced.is_none() && gauges.len() > 3, "{gauges:?}");
                    assert!(details.notes.concat().contains("cannot trace"), "{:?}", details.notes);
                }
            }
        });
        assert_eq!(CLOSINGS.load(Ordering::Relaxed), round);
        let gone = on_a_lane(probe.gauges(&tick));
        assert!(matches!(gone, Err(ProbeError::Gone { .. })), "{gone:?}");
    }
    let is_visible = leakline_probing::loader::symbol(c"Py_IsInitialized").is_some();
    assert_eq!(is_visible, std::env::args().nth(2).as_deref() != Some("private"));
    println!("ok");
}
